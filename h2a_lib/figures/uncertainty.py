"""How certain the answer to question 1 is: intervals, abstention, robustness."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from h2a_lib.analysis.age import robustness as robust
from h2a_lib.analysis.age import summary
from h2a_lib.analysis.bands import NAMES
from h2a_lib.analysis.statistics.bootstrap import capitalised
from h2a_lib.figures.age import SHORT_NAMES
from h2a_lib.figures.colours import BLACK, BLUE, FAINT, GREEN, GREY, ORANGE
from h2a_lib.figures.style import TALL, colour_key, pale_note, write_beside
from h2a_lib.study.results import Drawing


def intervals(
    by_true: pd.DataFrame, by_method: pd.DataFrame, curve: pd.DataFrame, nominal: float
) -> Drawing:
    """Draw the coverage of conformal intervals by age band, and the gain from abstention.

    The tables are those of `conformal.coverage`, `conformal.compare_intervals`, of which the first
    method is drawn, and `errors.abstention`; `nominal` is the stated coverage.
    """
    first = by_method[by_method["method"] == by_method["method"].iloc[0]]
    sentence = summary.conformal_sentence(by_true, nominal)
    n = int(by_true["n"].iloc[-1])
    # Of too few hands the intervals have no end, and cover everything.
    has_ends = np.isfinite(by_true["half_width_months"].iloc[-1])
    if has_ends:
        figure, (left, right) = plt.subplots(1, 2, figsize=TALL, width_ratios=(1.25, 1))
        plot_coverage(first, nominal, left)
        coverage_key(first, nominal, figure, loc="outside upper left")
        caption = (
            f"Left: coverage, 95 % CI (dashed: nominal{_low_note(first)}){pale_note(first)}; "
            "widths: by labelled age; "
            f"right: error of the hands kept; n = {n:,}"
        )
        what = "Coverage of prediction intervals by labelled and by estimated age; error"
    else:
        figure, right = plt.subplots(figsize=TALL)
        caption = f"Abstention: error of the hands kept; band: 95 % CI; n = {n:,}"
        what = "Error"
    plot_abstention(curve, right)
    words = {"most certain first": BLUE, "ideal": FAINT, "at random": BLACK}
    colour_key(figure, words, loc="outside upper right", ncols=3)
    return Drawing(
        figure,
        "age_conformal",
        alt=f"{what} against the share of hands kept. {sentence}",
        caption=caption,
        finding=f"{sentence} {summary.abstention_sentence(curve)}",
    )


def quantiles(by_method: pd.DataFrame, nominal: float) -> Drawing | None:
    """Draw coverage and width of several kinds of intervals; None if there is one kind alone.

    `by_method` is from `conformal.compare_intervals`; `nominal` is the stated coverage.
    """
    methods = list(dict.fromkeys(by_method["method"]))
    if len(methods) < 2:
        return None
    figure, axes = plt.subplots(1, len(methods), figsize=TALL, sharey=True)
    for ax, method in zip(axes, methods, strict=True):
        plot_coverage(by_method[by_method["method"] == method], nominal, ax)
        ax.set_title(capitalised(method), loc="left")
    for ax in axes[1:]:
        ax.set_ylabel("")
    coverage_key(by_method, nominal, figure, loc="outside upper center")
    sentence = summary.quantile_sentence(by_method)
    return Drawing(
        figure,
        "age_quantile",
        alt=f"Coverage of each kind of interval by labelled and by estimated age. {sentence}",
        caption=f"Coverage by age band, 95 % CI (dashed: nominal{_low_note(by_method)})"
        f"{pale_note(by_method)}; widths: by labelled age; "
        f"n = {int(by_method['n'].iloc[0]):,}",
        finding=sentence,
    )


def robustness(table: pd.DataFrame) -> Drawing:
    """Draw the change in error under every change of the picture, from `robustness.robustness`.

    Each kind of change has a row, the most harmful first; its most harmful strength is labelled.
    """
    figure, axes = plt.subplots(figsize=TALL)
    change = "mae_change_months"
    families = table.groupby("family", sort=False)[change].max().sort_values(ascending=False).index
    reach = table.groupby("family")[f"{change}_high"].max()
    y = families.get_indexer(table["family"])
    worse, better = table[f"{change}_low"] > 0, table[f"{change}_high"] < 0
    colours = np.select([worse, better], [BLACK, GREEN], GREY)
    axes.axvline(0, color=BLACK, lw=1)
    axes.hlines(y, table[f"{change}_low"], table[f"{change}_high"], color=colours, lw=2, alpha=0.5)
    axes.scatter(table[change], y, color=colours, s=45, zorder=3)
    for row, family in enumerate(families):
        worst = table.loc[table.loc[table["family"] == family, change].idxmax()]
        strength = worst["strength"].replace("-", "−")
        write_beside(axes, strength, (reach[family], row), (8, 0), va="center")
    axes.set_yticks(range(len(families)), families)
    axes.set_ylim(len(families) - 0.4, -0.6)
    axes.set_xlabel("Change in mean absolute error (months; beyond ±6 on a logarithmic scale)")
    words = {"larger error": BLACK, "no clear change": FAINT}
    colour_key(axes, words | ({"smaller error": GREEN} if better.any() else {}))
    # Months matter near zero and far from it: linear to 6, logarithmic beyond.
    axes.set_xscale("symlog", linthresh=6)
    axes.set_xticks(
        [-12, -6, 0, 6, 12, 30, 60, 120], ["−12", "−6", "0", "+6", "+12", "+30", "+60", "+120"]
    )
    axes.minorticks_off()
    axes.grid(axis="y", visible=False)
    low, high = table[f"{change}_low"].min(), table[f"{change}_high"].max()
    axes.set_xlim(min(-3.0, 1.2 * low), 1.9 * max(6.0, high))
    sentence = robust.sentence(table)
    return Drawing(
        figure,
        "robustness",
        alt=f"Change in error under {len(table)} changes of the image. {sentence}",
        caption=f"Paired change in MAE, 95 % CI, n = {table['n'].iloc[0]:,}; labelled: the most "
        "harmful strength of each kind; each dot: one strength",
        finding=sentence,
    )


def _low_note(by_method: pd.DataFrame) -> str:
    return "; too low: its whole interval is below" if by_method["fails"].any() else ""


def plot_coverage(by_method: pd.DataFrame, nominal: float, axes: Axes) -> Axes:
    """Draw the coverage of one method by true and by estimated age beside the stated one.

    Bands that fail are drawn in orange, those with few hands pale; see `coverage_key`.
    """
    everyone, names = by_method[by_method["by"] == "all"], [*SHORT_NAMES, "all"]
    for offset, by, fill in ((-0.13, "true age", "full"), (0.13, "estimated age", "none")):
        rows = pd.concat([by_method[by_method["by"] == by], everyone])
        for x, (_, row) in enumerate(rows.iterrows()):
            if row["n"] == 0 or (by == "estimated age" and row["by"] == "all"):
                continue
            colour, faint = (ORANGE if row["fails"] else BLUE), (0.4 if row["few"] else 1.0)
            at = x + (offset if row["by"] == by else 0)
            ends = [row["coverage_low"], row["coverage_high"]]
            axes.plot([at, at], ends, color=colour, alpha=faint, zorder=2)
            axes.plot(at, row["coverage"], "o", color=colour, ms=8, alpha=faint, fillstyle=fill,
                      markerfacecoloralt="white", zorder=3)  # fmt: skip
            if by == "true age":
                width = 2 * row["half_width_months"]
                names[x] += "\n∞" if np.isinf(width) else f"\n{width:.0f}"
    axes.axhline(nominal, color=BLACK, ls="--", lw=1.2)
    axes.set_xticks(range(len(NAMES) + 1), names)
    low = np.nanmin([by_method["coverage_low"].min(), by_method["coverage"].min(), nominal])
    axes.set(xlabel="Bone age (years); below: median width (months)", ylabel="Coverage")
    axes.set_ylim(max(-0.02, low - 0.03), 1.02)
    axes.grid(axis="x", visible=False)
    return axes


def coverage_key(
    by_method: pd.DataFrame, nominal: float, parent: Axes | Figure, **place: Any
) -> None:
    """Explain the dots of `plot_coverage`, the orange ones only where there are any."""
    dots = [("full", BLUE, "by labelled age"), ("none", BLUE, "by estimated age")]
    if by_method["fails"].any():
        dots.append(("full", ORANGE, "too low"))
    handles = [
        Line2D([], [], marker="o", ls="", color=colour, fillstyle=fill, ms=8, label=label)
        for fill, colour, label in dots
    ]
    parent.legend(
        handles=handles,
        ncols=len(dots),
        handletextpad=0.1,
        columnspacing=0.8,
        borderpad=0.3,
        **place,
    )


def plot_abstention(curve: pd.DataFrame, axes: Axes) -> None:
    """Draw the error of the hands that are answered against their share."""
    x, error, oracle = (curve[name] for name in ("answered", "mae_months", "oracle_months"))
    low, high = curve["mae_months_low"], curve["mae_months_high"]
    axes.fill_between(100 * x, low, high, color=BLUE, alpha=0.18, lw=0)
    axes.plot(100 * x, error, color=BLUE)
    axes.plot(100 * x, oracle, color=FAINT, ls=":")
    axes.axhline(error.iloc[-1], color=BLACK, lw=1, ls="--")
    axes.set(xlabel="Hands kept (%)", xlim=(0, 101))
    axes.set(ylabel="Mean absolute error (months)", ylim=(0, 1.15 * error.iloc[-1]))
