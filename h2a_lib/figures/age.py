"""Question 1 in pictures: estimated against labelled age."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MultipleLocator

from h2a_lib.analysis.age.errors import PREDICTED, TRUE, BlandAltman
from h2a_lib.analysis.bands import NAMES, sex_of
from h2a_lib.analysis.statistics.bootstrap import Estimate, number
from h2a_lib.figures.density import MANY, SHARE_OF_BOYS, hexagons
from h2a_lib.figures.style import BLACK, BLUE, GREEN, GREY, ORANGE, SEX_COLOURS, VERMILLION

OLDEST_MONTHS = 228
# A mean of fewer hands would wander.
LEAST_FOR_A_MEAN = 20


def scatter(frame: pd.DataFrame, axes: Axes) -> Axes:
    """Draw estimated against labelled age, with the identity; hexagons where hands are many.

    Parameters
    ----------
    frame : DataFrame
        `age_months`, `predicted_age_months`, `male`.
    axes : Axes
    """
    end = max(OLDEST_MONTHS + 12, frame[PREDICTED].max() + 6) if len(frame) else OLDEST_MONTHS
    start = min(0.0, frame[PREDICTED].min() - 6) if len(frame) else 0.0
    axes.plot([0, OLDEST_MONTHS], [0, OLDEST_MONTHS], color=BLACK, lw=1.2, ls="--", label="equal")
    _hands(frame, frame[TRUE], frame[PREDICTED], axes)
    if len(frame) >= MANY:
        for sex, colour in SEX_COLOURS.items():
            axes.scatter([], [], s=90, marker="h", color=colour, lw=0, label=f"mostly {sex}")
    axes.set(xlim=(start, end), ylim=(start, end), xlabel="Labelled bone age (months)")
    axes.set_ylabel("Estimated (months)")
    axes.set_aspect("equal")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MultipleLocator(48))
    axes.legend(loc="upper left", handlelength=1.4, handletextpad=0.4, borderpad=0.1)
    return axes


def yardsticks(
    rows: Sequence[tuple[str, Estimate | float, str]], axes: Axes, floor: float | None = None
) -> Axes:
    """Draw errors one below the other, with intervals, and the label noise as a line.

    Parameters
    ----------
    rows : sequence of (name, error, kind)
        The error in months, an Estimate or a bare published number; kind is "own" (this study's
        network), "simple" (needs no image), "published", or "heading" (of what follows; no error).
    axes : Axes
    floor : float, optional
        Error of a perfect estimate on these labels, months.
    """
    colours = {"own": BLUE, "simple": ORANGE, "published": GREY}
    for y, (name, error, kind) in enumerate(rows):
        if kind == "heading":
            axes.annotate(name, (0, y), (4, 0), textcoords="offset points", va="center")
            axes.axhline(y - 0.5, color=GREY, lw=0.8)
            continue
        value = error.value if isinstance(error, Estimate) else error
        axes.barh(y, value, color=colours[kind], height=0.62, alpha=0.9)
        top = value
        if isinstance(error, Estimate) and not np.isnan(error.low):
            axes.plot([error.low, error.high], [y, y], color=BLACK, lw=1.6)
            top = error.high
        axes.annotate(number(value), (top, y), (5, 0), textcoords="offset points", va="center")
    if floor is not None:
        # Of these labels: rows below a heading are judged by others.
        last = next((y for y, row in enumerate(rows) if row[2] == "heading"), len(rows)) - 0.5
        axes.vlines(floor, -1.1, last, color=GREEN, lw=1.6, ls="--")
        axes.annotate(
            f"noise of the labels, {number(floor)}",
            (floor, -0.5),
            (4, 0),
            textcoords="offset points",
            color=GREEN,
            va="bottom",
            fontsize=12,
        )
    if any(kind == "published" for _, _, kind in rows):
        said = {"own": "this study", "simple": "without an image", "published": "published"}
        for kind, name in said.items():
            axes.barh(0, 0, color=colours[kind], label=name)
        axes.legend(loc="lower right", handlelength=1)
    axes.set_yticks(range(len(rows)), ["" if kind == "heading" else name for name, _, kind in rows])
    axes.set(
        xlabel="Mean absolute error (months)",
        ylim=(len(rows) - 0.35, -0.6 if floor is None else -1.1),
    )
    axes.margins(x=0.16)
    axes.grid(axis="y", visible=False)
    return axes


def bland_altman(frame: pd.DataFrame, found: BlandAltman, axes: Axes) -> Axes:
    """Draw the difference against the mean of both ages, with bias and limits of agreement.

    Where hands are many, the mean difference of each sex is drawn over their hexagons.
    """
    mean = (frame[PREDICTED] + frame[TRUE]) / 2
    difference = frame[PREDICTED] - frame[TRUE]
    _hands(frame, mean, difference, axes)
    if len(frame) >= MANY:
        for sex, part in frame.groupby(sex_of(frame["male"])):
            bins = pd.cut(mean[part.index], np.arange(0, OLDEST_MONTHS + 13, 12))
            by_bin = difference[part.index].groupby(bins, observed=True)
            of_each = by_bin.mean()[by_bin.size() >= LEAST_FOR_A_MEAN]
            middles = [bin.mid for bin in of_each.index]
            axes.plot(middles, of_each, color="white", lw=5)
            axes.plot(middles, of_each, color=SEX_COLOURS[sex], lw=2.8, label=f"{sex}, mean")
    for line, style in ((found.bias, "-"), (found.lower, "--"), (found.upper, "--")):
        if np.isnan(line.value):
            continue
        axes.axhline(line.value, color=BLACK, lw=1.5, ls=style)
        if not np.isnan(line.low):
            axes.axhspan(line.low, line.high, color=GREY, alpha=0.18, lw=0)
        axes.annotate(
            ("+" if line.value >= 0.05 else "") + number(line.value),
            (1, line.value),
            (-2, 3),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            ha="right",
            fontsize=12,
        )
    axes.set_xlabel("Mean of label and estimate (months)")
    axes.set_ylabel("Estimate − label (months)")
    axes.legend(loc="lower left", ncols=2, markerscale=1.5, handletextpad=0.4)
    axes.margins(y=0.18)
    # Room for the numbers of the lines.
    left, right = axes.get_xlim()
    axes.set_xlim(left, right + 0.1 * (right - left))
    return axes


def _hands(frame: pd.DataFrame, x: pd.Series, y: pd.Series, axes: Axes) -> None:
    """Draw each hand as a dot in the colour of its sex; many as hexagons, by the share of boys."""
    if len(frame) >= MANY:
        hexagons(x, y, frame["male"], axes, columns=26, cmap=SHARE_OF_BOYS, clim=(0, 1))
        return
    for sex, part in frame.groupby(sex_of(frame["male"])):
        axes.scatter(
            *(x[part.index], y[part.index]),
            s=34 if len(frame) < 100 else 16,
            color=SEX_COLOURS[sex],
            alpha=0.7,
            lw=0,
            label=f"{sex} ({len(part):,})",
        )


def by_band(table: pd.DataFrame, axes: Axes) -> Axes:
    """Draw the error by age band and sex; pale and marked where hands are few.

    Parameters
    ----------
    table : DataFrame
        From `analysis.age.by_band`.
    axes : Axes
    """
    for offset, sex in ((-0.17, "female"), (0.17, "male")):
        rows = (
            table[(table["sex"] == sex) & (table["band"] != "all")].set_index("band").loc[[*NAMES]]
        )
        x = np.arange(len(NAMES)) + offset
        for at, (_, row) in zip(x, rows.iterrows(), strict=True):
            if row["n"] == 0:
                continue
            faint = 0.35 if row["few"] else 1.0
            axes.bar(at, row["mae_months"], 0.32, color=SEX_COLOURS[sex], alpha=faint)
            if not np.isnan(row["mae_months_low"]):
                ends = [row["mae_months_low"], row["mae_months_high"]]
                axes.plot([at, at], ends, color=BLACK, lw=1.4)
            axes.annotate(
                f"{row['n']}", (at, 0), (0, 3), textcoords="offset points", ha="center",
                fontsize=10, color=BLACK if row["few"] else "white",
            )  # fmt: skip
        axes.bar(0, 0, color=SEX_COLOURS[sex], label=sex)
    axes.set_xticks(range(len(NAMES)), [name.removesuffix(" years") for name in NAMES])
    axes.set(xlabel="Labelled bone age (years); n in the bars", ylabel="Mean abs. error (months)")
    axes.legend(title="pale: n < 30", ncols=2, loc="upper right", handlelength=1)
    axes.margins(y=0.25)
    axes.grid(axis="x", visible=False)
    return axes


def worst_cases(images: np.ndarray, frame: pd.DataFrame, axes: np.ndarray) -> np.ndarray:
    """Show hands with what was labelled and what was estimated.

    Parameters
    ----------
    images : ndarray
        (n, s, s), uint8.
    frame : DataFrame
        n rows, in the images' order.
    axes : ndarray of Axes, (>= n,)
    """
    for ax in axes:
        ax.set_axis_off()
    for ax, image, (_, row) in zip(axes, images, frame.iterrows(), strict=False):
        ax.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="bilinear")
        sex = "male" if row["male"] else "female"
        error = f"{row[PREDICTED] - row[TRUE]:+.0f}".replace("-", "−")
        ax.set_title(
            f"{row[TRUE] / 12:.2f}, {sex}\n→ {number(row[PREDICTED] / 12, 2)} ({error} mo)",
            fontsize=12,
        )
    return axes


def coverage(table: pd.DataFrame, level: float, axes: Axes) -> Axes:
    """Draw achieved coverage of the intervals by true age band, beside what was promised.

    Parameters
    ----------
    table : DataFrame
        From `analysis.conformal.coverage`.
    level : float
        What was promised.
    axes : Axes
    """
    rows = table[table["sex"] == "both"].set_index("band").loc[[*NAMES, "all"]]
    for x, (_, row) in enumerate(rows.iterrows()):
        if row["n"] == 0:
            continue
        faint = 0.4 if row["few"] else 1.0
        axes.plot([x, x], [row["coverage_low"], row["coverage_high"]], color=BLUE, alpha=faint)
        axes.plot(x, row["coverage"], "o", color=BLUE, ms=9, alpha=faint)
        width = 2 * row["half_width_months"]
        text = "∞" if np.isinf(width) else f"{width:.0f}"
        axes.annotate(text, (x, 0.02), xycoords=("data", "axes fraction"), ha="center", fontsize=12)
    axes.axhline(level, color=VERMILLION, ls="--", lw=1.5, label=f"promised: {level * 100:.0f} %")
    names = [name.removesuffix(" years") for name in NAMES]
    axes.set_xticks(range(len(rows)), [*names, "all"])
    low = np.nanmin([rows["coverage_low"].min(), rows["coverage"].min(), level])
    axes.set(xlabel="Bone age (years); number: median width (mo)", ylabel="Share inside")
    axes.set_ylim(max(-0.1, low - 0.18), 1.03)
    axes.legend(loc="upper left", bbox_to_anchor=(0, 1.12))
    return axes


def abstention(curve: pd.DataFrame, axes: Axes) -> Axes:
    """Draw the error of the hands that are answered against their share.

    Parameters
    ----------
    curve : DataFrame
        From `analysis.age.abstention`.
    axes : Axes
    """
    x = curve["answered"] * 100
    axes.fill_between(x, curve["mae_months_low"], curve["mae_months_high"], color=BLUE, alpha=0.18)
    axes.plot(x, curve["mae_months"], color=BLUE, label="least certain left out")
    axes.plot(x, curve["oracle_months"], color=GREY, ls=":", label="if errors were known")
    axes.axhline(curve["mae_months"].iloc[-1], color=BLACK, lw=1, ls="--", label="at random")
    axes.set(xlabel="Hands answered (%)", ylabel="Mean abs. error (months)", xlim=(0, 101))
    axes.set_ylim(bottom=0)
    axes.legend(loc="lower right")
    return axes


def robustness(table: pd.DataFrame, axes: Axes) -> Axes:
    """Draw the change in error for every change of the picture, a row for each kind of change.

    Parameters
    ----------
    table : DataFrame
        From `analysis.robustness.robustness`.
    axes : Axes
        The kind that does most harm comes first, and the strength that does it is named.
    """
    change = "mae_change_months"
    families = table.groupby("family", sort=False)[change].max().sort_values(ascending=False).index
    y = families.get_indexer(table["family"])
    worse, better = table[f"{change}_low"] > 0, table[f"{change}_high"] < 0
    colours = np.select([worse, better], [BLACK, GREEN], GREY)
    axes.axvline(0, color=BLACK, lw=1)
    axes.hlines(y, table[f"{change}_low"], table[f"{change}_high"], color=colours, lw=2, alpha=0.5)
    axes.scatter(table[change], y, color=colours, s=45, zorder=3)
    for row, family in enumerate(families):
        worst = table.loc[table.loc[table["family"] == family, change].idxmax()]
        axes.annotate(
            worst["strength"].replace("-", "−"),
            (worst[f"{change}_high"], row),
            (8, 0),
            textcoords="offset points",
            va="center",
            fontsize=12,
        )
    axes.set_yticks(range(len(families)), families)
    axes.set_ylim(len(families) - 0.4, -0.6)
    axes.set_xlabel("Change in mean absolute error (months)")
    # Months matter near zero and far from it: linear to 6, logarithmic beyond.
    axes.set_xscale("symlog", linthresh=6)
    axes.set_xticks(
        [-12, -6, 0, 6, 12, 30, 60, 120], ["−12", "−6", "0", "+6", "+12", "+30", "+60", "+120"]
    )
    axes.minorticks_off()
    axes.grid(axis="y", visible=False)
    low, high = table[f"{change}_low"].min(), table[f"{change}_high"].max()
    axes.set_xlim(min(-3.0, 1.2 * low), 1.9 * max(6.0, high))
    return axes
