"""Question 2, explored: what a threshold on the probability of male costs each sex."""

import ipywidgets as widgets
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from h2a_lib.analysis.sex.errors import PROBABILITY
from h2a_lib.figures.colours import BLACK, BLUE, VERMILLION
from h2a_lib.figures.explore.live import View, interact
from h2a_lib.figures.style import WIDE


def thresholds(predictions: pd.DataFrame, threshold: float) -> View:
    """Return a slider of the threshold, with the ROC curve and the confusion matrix it gives."""
    slider = widgets.FloatSlider(
        value=threshold, min=0, max=1, step=0.001, readout_format=".3f", description="Threshold"
    )
    return interact(
        lambda threshold: operating_point(predictions, threshold),
        alt="ROC curve with the operating point of the threshold, and its confusion matrix",
        threshold=slider,
    )


def confusion(predictions: pd.DataFrame, threshold: float) -> pd.DataFrame:
    """Count hands by sex (rows: girls, boys) and by the sex they are classified as (columns)."""
    from sklearn.metrics import confusion_matrix

    called = predictions[PROBABILITY] >= threshold
    counts = confusion_matrix(predictions["male"], called, labels=[False, True])
    return pd.DataFrame(counts, index=["girls", "boys"], columns=["as female", "as male"])


def operating_point(predictions: pd.DataFrame, threshold: float) -> Figure:
    """Draw the ROC curve with a threshold's operating point, and its confusion matrix."""
    figure, (left, right) = plt.subplots(1, 2, figsize=WIDE)
    counts = confusion(predictions, threshold)
    total = counts.sum(axis=1).clip(lower=1)
    false_male, true_male = (counts["as male"] / total)[["girls", "boys"]]
    levels = np.concatenate([[-np.inf], np.sort(predictions[PROBABILITY].unique()), [np.inf]])
    male = predictions["male"].to_numpy(bool)
    sides = [np.sort(predictions.loc[of_sex, PROBABILITY]) for of_sex in (~male, male)]
    curve = [1 - np.searchsorted(side, levels) / max(len(side), 1) for side in sides]
    left.plot(*curve, color=BLUE)
    left.plot([0, 1], [0, 1], color=BLACK, lw=1, ls="--")
    left.plot(false_male, true_male, "o", color=VERMILLION, ms=13)
    left.set(xlabel="Girls classified as male", ylabel="Boys classified as male")
    left.set_title(f"Threshold {threshold:.3f}", loc="left")
    left.set_aspect("equal")
    shares = counts.div(total, axis=0)
    right.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for y in range(2):
        for x in range(2):
            share = shares.iloc[y, x]
            right.text(x, y, f"{counts.iloc[y, x]:,}\n{share * 100:.0f} %", ha="center",
                       va="center", fontsize=16,
                       color="white" if share > 0.6 else BLACK)  # fmt: skip
    right.set_xticks(range(2), counts.columns)
    right.set_yticks(range(2), counts.index)
    right.grid(visible=False)
    accuracy = (counts.iloc[0, 0] + counts.iloc[1, 1]) / max(len(predictions), 1)
    right.set_title(f"Accuracy {accuracy * 100:.1f} %, n = {len(predictions):,}", loc="left")
    return figure
