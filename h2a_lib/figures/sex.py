"""Question 2 in pictures: what the image tells of sex, beside what the age label tells."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from h2a_lib.analysis.statistics.bootstrap import Estimate
from h2a_lib.figures.style import BLACK, BLUE, GREY, ORANGE, PURPLE

COLOURS = {"image": BLUE, "label in months": ORANGE, "label in years": PURPLE}


def roc(male: np.ndarray, scores: Mapping[str, np.ndarray], axes: Axes) -> Axes:
    """Draw ROC curves with their areas.

    Parameters
    ----------
    male : ndarray of bool, (n,)
    scores : mapping of str to ndarray, (n,)
        Higher means male; the first is drawn strongest.
    axes : Axes
    """
    from sklearn.metrics import roc_curve

    from h2a_lib.analysis.statistics.roc import auc

    axes.plot([0, 1], [0, 1], color=BLACK, lw=1, ls="--")
    for i, (name, score) in enumerate(scores.items()):
        colour = COLOURS.get(name, GREY)
        area = auc(male, score)
        if np.isnan(area.value):
            continue
        wrong, right, _ = roc_curve(male, score)
        axes.plot(
            wrong,
            right,
            color=colour,
            lw=2.6 if i == 0 else 1.8,
            label=f"{name}\n{area.value:.2f} ({area.span(2)})",
        )
    axes.set(xlabel="Girls called male", ylabel="Boys called male", xlim=(0, 1), ylim=(0, 1.01))
    axes.set_aspect("equal")
    if axes.get_legend_handles_labels()[0]:  # none, where there is one sex alone
        axes.legend(
            title="AUC (95 % CI)", loc="center left", bbox_to_anchor=(1.02, 0.5), handlelength=1.2
        )
    return axes


def by_band(table: pd.DataFrame, axes: Axes, matched: Estimate | None = None) -> Axes:
    """Draw the AUC by age band, and on pairs of one age.

    Parameters
    ----------
    table : DataFrame
        From `analysis.sex.by_band`.
    axes : Axes
    matched : Estimate, optional
        Of pairs of one age: what the image adds to the label.
    """
    names = []
    for x, (_, row) in enumerate(table.iterrows()):
        names.append(f"{row['band'].removesuffix(' years')}\n{row['n']:,}")
        faint = 0.4 if row["few"] else 1.0
        if np.isnan(row["auc"]):
            continue
        axes.plot(x, row["auc"], "o", color=BLUE, ms=10, alpha=faint)
        if not np.isnan(row["auc_low"]):
            axes.plot([x, x], [row["auc_low"], row["auc_high"]], color=BLUE, alpha=faint)
    if matched is not None:
        x = len(table)
        names.append(f"same age\n{matched.n:,}")
        axes.axvspan(x - 0.5, x + 0.5, color=GREY, alpha=0.12, lw=0)
        axes.plot(x, matched.value, "D", color=BLACK, ms=10)
        axes.plot([x, x], [matched.low, matched.high], color=BLACK)
    axes.axhline(0.5, color=BLACK, lw=1, ls="--")
    axes.annotate("chance", (0.01, 0.5), (0, -4), xycoords=("axes fraction", "data"),
                  textcoords="offset points", fontsize=12, va="top")  # fmt: skip
    axes.set_xticks(range(len(names)), names, fontsize=12)
    axes.set(ylabel="AUC (95 % CI)", xlabel="Labelled bone age (years), and n; pale: n < 30")
    axes.set_ylim(min(0.28, axes.get_ylim()[0]), 1.02)
    axes.grid(axis="x", visible=False)
    return axes


def calibration(curve: pd.DataFrame, axes: Axes) -> Axes:
    """Draw the share of boys against the probability that was given.

    Parameters
    ----------
    curve : DataFrame
        From `analysis.sex.calibration_curve`.
    axes : Axes
    """
    axes.plot([0, 1], [0, 1], color=BLACK, lw=1, ls="--", label="calibrated")
    axes.vlines(curve["probability"], curve["male_low"], curve["male_high"], color=BLUE)
    axes.plot(curve["probability"], curve["male"], "o-", color=BLUE, ms=9, label="this network")
    axes.set(xlabel="Probability of male, as given", ylabel="Share of boys")
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    axes.legend()
    return axes


def probabilities(frame: pd.DataFrame, threshold: float, axes: Axes) -> Axes:
    """Draw how the probabilities of each sex are spread, and the threshold."""
    from h2a_lib.analysis.bands import sex_of
    from h2a_lib.figures.style import SEX_COLOURS

    for sex, part in frame.groupby(sex_of(frame["male"])):
        axes.hist(
            part["male_probability"],
            bins=np.linspace(0, 1, 21),
            color=SEX_COLOURS[sex],
            alpha=0.55,
            label=f"{sex} ({len(part):,})",
        )
    axes.axvline(threshold, color=BLACK, lw=1.5, ls="--", label="threshold (training)")
    axes.set(xlabel="Probability of male, as given", ylabel="Hands", xlim=(0, 1))
    axes.set_ylim(top=1.3 * axes.get_ylim()[1])  # room for the legend
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(loc="upper left")
    return axes
