"""Choose how a hand is preprocessed."""

from pathlib import Path

import ipywidgets as widgets
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from h2a_lib.analysis.statistics.bootstrap import capitalised
from h2a_lib.data import decode, images
from h2a_lib.figures.colours import BLUE
from h2a_lib.figures.explore.live import View, interact
from h2a_lib.figures.images import (
    CONTRAST_NAMES,
    GEOMETRY_NAMES,
    NORMALISATIONS,
    age_and_sex,
    draw_hand,
    draw_histograms,
    normalised,
)


def preprocess(hands: pd.DataFrame, data_folder: Path, size_px: int) -> View:
    """Show one of some hands, preprocessed as chosen, and the histogram of its pixels.

    The hands together are the batch of batch normalisation.
    """
    pictures = [decode.read(data_folder / path) for path in hands["path"]]
    titles = list(map(age_and_sex, hands["age_months"], hands["male"]))

    def draw(hand: int, geometry: str, contrast: str, normalisation: str) -> Figure:
        squares = np.stack(
            [
                images.adjust_contrast(images.resize(picture, size_px, geometry), contrast)
                for picture in pictures
            ]
        )
        limits, unit = NORMALISATIONS[normalisation]
        pixels = normalised(squares, normalisation)[hand]
        figure, (left, right) = plt.subplots(1, 2, figsize=(8.4, 4), layout="constrained")
        draw_hand(pixels, left, limits).set_title(titles[hand])
        draw_histograms(pixels[None], limits, [BLUE], right)
        right.set(
            xlabel=capitalised(unit),
            title=f"Pixels: mean {pixels.mean():.2f}, SD {pixels.std():.2f}",
        )
        return figure

    names = [f"{i}: {title}" for i, title in enumerate(titles, 1)]
    return interact(
        draw,
        "A hand after the chosen preprocessing, and the histogram of its pixels",
        hand=widgets.Dropdown(options=[(name, i) for i, name in enumerate(names)]),
        geometry=_dropdown(GEOMETRY_NAMES, "geometry"),
        contrast=_dropdown(CONTRAST_NAMES, "contrast"),
        normalisation=widgets.Dropdown(options=list(NORMALISATIONS), description="normalise"),
    )


def _dropdown(names: dict[str, str], description: str) -> widgets.Dropdown:
    options = [(name, method) for method, name in names.items()]
    return widgets.Dropdown(options=options, description=description)
