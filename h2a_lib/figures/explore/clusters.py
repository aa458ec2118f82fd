"""Question 3, explored: the UMAP plane, and the hand at a chosen point of it."""

import ipywidgets as widgets
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from h2a_lib.analysis.clusters.groups import Clustering
from h2a_lib.figures.clusters import plane
from h2a_lib.figures.colours import BLACK, SEX_KEY
from h2a_lib.figures.density import SHARE_OF_BOYS
from h2a_lib.figures.explore.live import View, interact
from h2a_lib.figures.style import WIDE, colour_key

COLOURINGS = ("sex", "age")


def browse(clustering: Clustering, hands: pd.DataFrame, images: np.ndarray) -> View:
    """Return the plane with a slider that walks over its points and shows the hand of each.

    The points are walked through from left to right, so that neighbours on the slider are
    neighbours on the plane. images: (n, s, s), uint8, in the order of the hands.
    """
    slider = widgets.IntSlider(value=0, min=0, max=max(len(hands) - 1, 0), description="Point")
    colouring = widgets.Dropdown(options=COLOURINGS, description="Colour by")
    return interact(
        lambda point, colour: point_and_hand(clustering, hands, images, point, colour),
        alt="UMAP plane of the validation hands with one point marked, and the hand it stands for",
        point=slider,
        colour=colouring,
    )


def point_and_hand(
    clustering: Clustering, hands: pd.DataFrame, images: np.ndarray, point: int, colour: str
) -> Figure:
    """Draw the plane with one point marked, and its hand beside it."""
    figure, (left, right) = plt.subplots(1, 2, figsize=WIDE)
    # Without a plane (too few hands) the points are numbered in the order of the rows.
    n = len(hands)
    embedding = clustering.embeddings[0] if clustering.embeddings else np.c_[:n, [0] * n]
    row = np.argsort(embedding[:, 0], kind="stable")[point]
    if colour == "sex":
        plane(embedding, hands["male"].to_numpy(float), left, SHARE_OF_BOYS)
        colour_key(left, SEX_KEY, loc="upper center", bbox_to_anchor=(0.5, 0), ncols=2)
    else:
        years = hands["age_months"].to_numpy() / 12
        plane(embedding, years, left, plt.get_cmap("viridis", 19), (0, 19))
        figure.colorbar(left.collections[0], ax=left, label="Age (years)")
    left.plot(*embedding[row], "o", ms=16, mfc="none", mec=BLACK, mew=2.5)
    left.set_title(f"UMAP, {clustering.representation.name}", loc="left")
    right.imshow(images[row], cmap="gray", vmin=0, vmax=255)
    hand = hands.iloc[row]
    sex = "male" if hand["male"] else "female"
    title = f"id {hand['id']}: {hand['age_months'] / 12:.1f} years, {sex}"
    right.set_title(title, parse_math=False)
    right.set_axis_off()
    return figure
