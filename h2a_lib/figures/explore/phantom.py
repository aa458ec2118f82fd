"""Grow a synthetic hand."""

import ipywidgets as widgets
import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from h2a_lib import phantoms
from h2a_lib.figures.explore.live import View, interact
from h2a_lib.figures.images import age_and_sex, draw_hand
from h2a_lib.phantoms.growth import OLDEST_MONTHS

HEIGHT_PX = 320


def grow(age_months: int = 90) -> View:
    """Show a phantom that follows sliders for age and seed and a choice of sex."""

    def draw(age_months: int, sex: str, seed: int) -> Figure:
        male = sex == "boy"
        figure, axes = plt.subplots(figsize=(4.2, 5), layout="constrained")
        draw_hand(phantoms.render(age_months, male, seed, HEIGHT_PX).image, axes)
        axes.set_title(f"{age_and_sex(age_months, male)} (synthetic)")
        return figure

    return interact(
        draw,
        "A synthetic hand radiograph of the chosen age and sex",
        age_months=widgets.IntSlider(
            value=age_months, min=0, max=OLDEST_MONTHS, description="months"
        ),
        sex=widgets.ToggleButtons(options=["girl", "boy"], style={"button_width": "5em"}),
        seed=widgets.IntSlider(value=0, min=0, max=50, description="child"),
    )
