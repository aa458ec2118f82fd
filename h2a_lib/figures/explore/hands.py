"""Browse the hands of a data set by age and sex."""

from pathlib import Path

import ipywidgets as widgets
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from h2a_lib.figures.explore.live import View, interact
from h2a_lib.figures.images import age_and_sex, draw_hand, read_for_display

# By the value of the control.
SEXES = {"all": (False, True), "girls": (False,), "boys": (True,)}


def browse(labels: pd.DataFrame, data_folder: Path) -> View:
    """Show one hand at a time, from the youngest to the oldest of an age range and sex."""
    ordered = labels.sort_values(["age_months", "id"])
    oldest = int(np.ceil(labels["age_months"].max()))
    sex = widgets.ToggleButtons(options=list(SEXES), style={"button_width": "5em"})
    age = widgets.IntRangeSlider(
        value=(0, oldest), max=oldest, description="months", continuous_update=False
    )
    position = widgets.IntSlider(
        value=1, min=1, max=len(labels), description="hand", continuous_update=False
    )

    def select(sex: str, age: tuple[int, int]) -> pd.DataFrame:
        return ordered[ordered["male"].isin(SEXES[sex]) & ordered["age_months"].between(*age)]

    def limit(_: object) -> None:
        position.max = max(1, len(select(sex.value, age.value)))

    # Before the view's own callbacks: the position is in range when the picture is drawn.
    sex.observe(limit, names="value")
    age.observe(limit, names="value")

    def draw(sex: str, age: tuple[int, int], position: int) -> Figure:
        figure, axes = plt.subplots(figsize=(4.2, 5), layout="constrained")
        selected = select(sex, age)
        if selected.empty:
            axes.set_axis_off()
            axes.text(0.5, 0.5, "No hand of this age and sex", ha="center", va="center")
            return figure
        row = selected.iloc[position - 1]
        draw_hand(read_for_display([data_folder / row["path"]])[0], axes)
        axes.set_title(age_and_sex(row["age_months"], row["male"]))
        label = f"id {row['id']}: {position:,} of {len(selected):,}"
        axes.set_xlabel(label, parse_math=False)
        return figure

    return interact(draw, "A hand radiograph", sex=sex, age=age, position=position)
