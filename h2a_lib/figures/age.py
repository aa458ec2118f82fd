"""Question 1 in pictures: estimated against labelled age."""

import itertools
from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, MultipleLocator

from h2a_lib.analysis.age import errors, sex_gap, summary
from h2a_lib.analysis.age import external as elsewhere
from h2a_lib.analysis.age.errors import PREDICTED, TRUE
from h2a_lib.analysis.age.summary import Yardstick
from h2a_lib.analysis.bands import NAMES, sex_of
from h2a_lib.analysis.statistics.bootstrap import FEW, Estimate, number
from h2a_lib.figures import density
from h2a_lib.figures.colours import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    SEX_COLOURS,
    SEX_KEY,
    SEX_NAMES,
    readable,
)
from h2a_lib.figures.density import MANY, SHARE_OF_BOYS, hexagons, sex_key
from h2a_lib.figures.style import HALF, TALL, WIDE, colour_key, pale_note, radiographs, write_beside
from h2a_lib.study.results import Drawing

WORST_PANELS = (2, 4)
SHORT_NAMES = [name.removesuffix(" years") for name in NAMES]
OLDEST_MONTHS = 228
# A wider range of estimates has ticks at round numbers instead of every fourth year.
FEW_YEARS_MONTHS = 960
# A mean of fewer hands would wander.
LEAST_FOR_A_MEAN = 20
# Of this share of many hands, the difference lies within the axis.
WITHIN_AXIS = 0.995
KIND_COLOURS = {"own": BLUE, "simple": ORANGE, "published": GREY}
KIND_NAMES = {"own": "this study", "simple": "without\nan image", "published": "published"}


# --- drawings -------------------------------------------------------------------------------------


def scatter(
    predictions: pd.DataFrame,
    yardsticks: Sequence[Yardstick],
    answer: str,
    noise: tuple[float, float] | None = None,
) -> Drawing:
    """Draw estimated against labelled age, and the error beside baselines and published results.

    `yardsticks` are those of `summary.yardsticks`, `answer` that of `errors.answer`; `noise` is the
    error that label noise explains, in months.
    """
    figure, axes = plt.subplots(1, 2, figsize=WIDE, width_ratios=(1, 1.1))
    plot_scatter(predictions, axes[0])
    plot_yardsticks(yardsticks, axes[1], noise)
    return Drawing(
        figure,
        "age_scatter",
        alt=f"Estimated against labelled bone age, and errors beside those of baselines. {answer}",
        caption="Left: estimated against labelled age; right: errors, 95 % CI"
        f"{_published_note(yardsticks)}; n = {len(predictions):,}{density.key(len(predictions))}",
        finding=answer,
    )


def _published_note(yardsticks: Sequence[Yardstick]) -> str:
    kinds = {kind for *_, kind in yardsticks}
    if "published" not in kinds:
        return ""
    # Below a heading, others have the official test hands.
    bars = "grey, above the heading" if "heading" in kinds else "grey"
    return f"; {bars}: published, another split"


def agreement(predictions: pd.DataFrame) -> Drawing:
    """Draw the difference of estimate and label against their mean (Bland and Altman).

    Where hands are many, the mean difference of each sex is drawn over their hexagons, and the few
    that differ most lie beyond the axis.
    """
    figure, axes = plt.subplots(figsize=HALF)
    mean = (predictions[PREDICTED] + predictions[TRUE]) / 2
    difference = predictions[PREDICTED] - predictions[TRUE]
    _hands(predictions, mean, difference, axes)
    agreed = errors.bland_altman(predictions)
    for name, style in {"bias": "-", "lower": "--", "upper": "--"}.items():
        line = agreed[name]
        if np.isnan(line.value):
            continue
        axes.axhline(line.value, color=BLACK, lw=1.5, ls=style)
        if not np.isnan(line.low):
            axes.axhspan(line.low, line.high, color=GREY, alpha=0.18, lw=0)
        at_right = {"xycoords": ("axes fraction", "data"), "va": "center"}
        write_beside(axes, sex_gap.signed(line.value), (1, line.value), (4, 0), **at_right)
    many, beyond = len(predictions) >= MANY, 0
    if many:
        _mean_differences(predictions["male"], mean, difference, axes)
        reach = float(difference.abs().quantile(WITHIN_AXIS))
        axes.set_ylim(-reach, reach)
        beyond = (difference.abs() > reach).sum()
    title = f"{'thick: mean of each sex; ' if many else ''}grey strips: 95 % CI"
    place = {"loc": "lower left", "bbox_to_anchor": (-0.02, 1), "ncols": 3, "alignment": "left"}
    sex_key(predictions["male"], axes, mixed=many, title=title, **place)
    axes.set_xlabel("Mean of label and estimate (months)")
    axes.set_ylabel("Estimate − label (months)")
    axes.xaxis.set_major_locator(MultipleLocator(48) if many else MaxNLocator(6))
    sentence = summary.agreement_sentence(predictions)
    return Drawing(
        figure,
        "age_bland_altman",
        alt=f"Difference of estimated and labelled age against their mean. {sentence}",
        caption=f"Agreement of estimated and labelled age, n = {len(predictions):,}; dashed: limits"
        + (f", {beyond} beyond the axis" if beyond else "")
        + density.key(len(predictions)),
        finding=sentence,
    )


def by_band(table: pd.DataFrame) -> Drawing:
    """Draw the error by age band and sex, from `errors.by_band`; pale where hands are few."""
    figure, axes = plt.subplots(figsize=HALF)
    for offset, sex in ((-0.19, "female"), (0.19, "male")):
        rows = table[table["sex"] == sex].set_index("band").loc[[*NAMES]]
        for y, (_, row) in enumerate(rows.iterrows()):
            if row["n"]:
                _bar(row, y + offset, SEX_COLOURS[sex], axes)
    axes.set_yticks(range(len(NAMES)), SHORT_NAMES)
    axes.set_ylim(len(NAMES) - 0.5, -0.5)
    axes.set(ylabel="Labelled bone age (years)", xlabel="Mean absolute error (months)")
    axes.margins(x=0.5)
    axes.grid(axis="y", visible=False)
    note = {pale_note(table).removeprefix("; "): BLACK} if table["few"].any() else {}
    colour_key(axes, SEX_KEY | note)
    n, sentence = int(table["n"].iloc[-1]), summary.band_sentence(table)
    return Drawing(
        figure,
        "age_by_band",
        alt="Mean absolute error in months by age band and sex, with the number of hands in each. "
        f"{sentence}",
        caption=f"Error by labelled age and sex, validation, n = {n:,}",
        finding=sentence,
    )


def gap(table: pd.DataFrame) -> Drawing:
    """Draw the bias of girls and boys by age band, and the gap between them, from `sex_gap`."""
    figure, axes = plt.subplots(1, 2, figsize=WIDE, width_ratios=(1, 1.4))
    plot_biases(table, axes[0])
    plot_gaps(table, axes[1])
    row, sentence = table.iloc[-1], sex_gap.sentence(table)
    return Drawing(
        figure,
        "age_sex_gap",
        alt="Mean signed error of girls and of boys by age band, and the difference between them. "
        f"{sentence}",
        caption=f"Left: bias of each sex; right: girls minus boys at similar labels; 95 % CI"
        f"{pale_note(table, 'of a sex')}; "
        f"n = {row['n_female']:,} girls and {row['n_male']:,} boys",
        finding=sentence,
    )


def external(
    frame: pd.DataFrame | None, validation: pd.DataFrame, nominal: float
) -> Drawing | None:
    """Draw estimates and errors on images of another source; None where there are none.

    `frame` is from `external.predict_external`, `validation` holds the predictions of the study's
    own validation hands, and `nominal` is the coverage that the intervals promise.
    """
    if frame is None:
        return None
    figure, axes = plt.subplots(1, 2, figsize=WIDE, width_ratios=(1, 1.1))
    plot_scatter(frame, axes[0])
    plot_by_source({"additional": frame, "validation": validation}, axes[1])
    sentence = elsewhere.sentence(frame, validation, nominal)
    return Drawing(
        figure,
        "age_external",
        alt="Estimated against labelled bone age on additional images; errors of girls and of boys "
        f"beside those on the study's own validation hands. {sentence}",
        caption=f"Images of other children, n = {len(frame):,}; left: estimated against labelled "
        f"age; right: error by sex, 95 % CI{density.key(len(frame))}",
        finding=sentence,
    )


def worst_cases(images: np.ndarray, predictions: pd.DataFrame) -> Drawing:
    """Draw the hands with the largest errors, each with its label and its estimate.

    images: (n, s, s), uint8, in the order of the n predictions.
    """
    figure, panels = plt.subplots(*WORST_PANELS, figsize=TALL)
    worst = errors.worst(predictions, panels.size)
    for axes in panels.flat:
        axes.set_axis_off()
    rows = predictions.iloc[worst].iterrows()
    for axes, image, (_, row) in zip(panels.flat, images[worst], rows, strict=False):
        axes.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="bilinear")
        sex = "boy" if row["male"] else "girl"
        error = f"{row[PREDICTED] - row[TRUE]:+.0f}".replace("-", "−")
        words = f"{row[TRUE] / 12:.1f} y, {sex}\n→ {number(row[PREDICTED] / 12)} y\n({error} mo)"
        write_beside(axes, words, (1, 0.5), (6, 0), xycoords="axes fraction", va="center")
    sentence = f"The {len(worst)} largest errors are {summary.worst_verdict(predictions)}."
    return radiographs(
        figure,
        "worst_cases",
        alt=f"The hands with the largest errors, each with its labelled age in years, sex, and the "
        f"estimate. {sentence}",
        caption=f"The largest errors of n = {len(predictions):,}; label, sex → estimate (years)",
        finding=sentence,
    )


# --- axes -----------------------------------------------------------------------------------------


def plot_scatter(frame: pd.DataFrame, axes: Axes) -> Axes:
    """Draw estimated against labelled age, with the identity; hexagons where hands are many."""
    end = max(OLDEST_MONTHS + 12, frame[PREDICTED].max() + 6) if len(frame) else OLDEST_MONTHS
    start = min(0.0, frame[PREDICTED].min() - 6) if len(frame) else 0.0
    axes.plot([0, OLDEST_MONTHS], [0, OLDEST_MONTHS], color=BLACK, lw=1.2, ls="--")
    _hands(frame, frame[TRUE], frame[PREDICTED], axes)
    # Where nobody is: of the youngest, no estimate is so high.
    place = {"loc": "upper left", "labelspacing": 0.2}
    sex_key(frame["male"], axes, mixed=len(frame) >= MANY, **place)
    axes.set(xlim=(start, end), ylim=(start, end), xlabel="Labelled bone age (months)")
    axes.set_ylabel("Estimated (months)")
    axes.set_aspect("equal")
    for axis in (axes.xaxis, axes.yaxis):
        # Every fourth year; where a network is absurdly far off, no thousand of them.
        years = MultipleLocator(48) if end - start < FEW_YEARS_MONTHS else MaxNLocator(6)
        axis.set_major_locator(years)
    return axes


def plot_yardsticks(
    rows: Sequence[Yardstick], axes: Axes, noise: tuple[float, float] | None = None
) -> Axes:
    """Draw errors (months) one below the other, and label noise as a band.

    An error is an Estimate or a bare published number. A row's kind is "own" (this study's
    network), "simple" (needs no image), "published", or "heading" (of what follows; no error).
    """
    for y, (name, error, kind) in enumerate(rows):
        if kind == "heading":
            write_beside(axes, name, (0, y), (4, 0), va="center")
            axes.axhline(y - 0.5, color=GREY, lw=0.8)
            continue
        value = error.value if isinstance(error, Estimate) else error
        axes.barh(y, value, color=KIND_COLOURS[kind], height=0.62)
        top = value
        if isinstance(error, Estimate) and not np.isnan(error.low):
            axes.plot([error.low, error.high], [y, y], color=BLACK, lw=1.6)
            top = error.high
        write_beside(axes, number(value), (top, y), (5, 0), va="center")
    for kind, group in itertools.groupby(enumerate(rows), lambda row: row[1][2]):
        if kind in KIND_NAMES:
            ys, style = [y for y, _ in group], {"color": readable(KIND_COLOURS[kind])}
            place = {"xycoords": ("axes fraction", "data"), "va": "center"}
            write_beside(axes, KIND_NAMES[kind], (1, np.mean(ys)), (6, 0), **style, **place)
    if noise is not None:
        # Of these labels: rows below a heading are compared with others.
        last = next((y for y, row in enumerate(rows) if row[2] == "heading"), len(rows)) - 0.5
        axes.fill_betweenx([-1.1, last], *noise, color=GREEN, alpha=0.25, lw=0, zorder=0)
        text = f"label noise: {number(noise[0])}–{number(noise[1])} months"
        write_beside(axes, text, (noise[1], -0.5), (4, 0), color=GREEN, va="bottom")
    axes.set_yticks(
        range(len(rows)),
        ["" if kind == "heading" else name.replace("_", " ") for name, _, kind in rows],
    )
    axes.set_xlabel("Mean absolute error (months)")
    axes.set_ylim(len(rows) - 0.35, -0.6 if noise is None else -1.3)
    axes.margins(x=0.16)
    axes.grid(axis="y", visible=False)
    return axes


def _mean_differences(male: pd.Series, mean: pd.Series, difference: pd.Series, axes: Axes) -> None:
    for sex, part in difference.groupby(sex_of(male)):
        bins = pd.cut(mean[part.index], np.arange(0, OLDEST_MONTHS + 13, 12))
        by_bin = part.groupby(bins, observed=True)
        of_each = by_bin.mean()[by_bin.size() >= LEAST_FOR_A_MEAN]
        middles = [bin.mid for bin in of_each.index]
        axes.plot(middles, of_each, color="white", lw=5)
        axes.plot(middles, of_each, color=SEX_COLOURS[sex], lw=2.8)


def _hands(frame: pd.DataFrame, x: pd.Series, y: pd.Series, axes: Axes) -> None:
    """Draw each hand as a dot in the colour of its sex; many as hexagons, by the share of boys."""
    if len(frame) >= MANY:
        hexagons(x, y, frame["male"], axes, columns=26, cmap=SHARE_OF_BOYS, clim=(0, 1))
        return
    size = 34 if len(frame) < 100 else 16
    for sex, part in frame.groupby(sex_of(frame["male"])):
        axes.scatter(x[part.index], y[part.index], size, SEX_COLOURS[sex], alpha=0.7, lw=0)


def plot_by_source(sources: dict[str, pd.DataFrame], axes: Axes) -> None:
    """Draw the error of girls and of boys on each set of hands; the first set is drawn whole."""
    rows = [
        (name, source, row)
        for sex, name in SEX_NAMES.items()
        for source, table in {k: errors.by_band(v) for k, v in sources.items()}.items()
        for _, row in table.query("band == 'all' and sex == @sex and n > 0").iterrows()
    ]
    for y, (_, source, row) in enumerate(rows):
        row["few"] = source != next(iter(sources))
        _bar(row, y, SEX_COLOURS[row["sex"]], axes)
    axes.set_yticks(range(len(rows)), [f"{name}, {source}" for name, source, _ in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlabel("Mean absolute error (months)")
    axes.margins(x=0.45)
    axes.grid(axis="y", visible=False)


def _bar(row: pd.Series, y: float, colour: str, axes: Axes) -> None:
    """Draw an error with its interval and number of hands, from `errors.by_band`."""
    axes.barh(y, row["mae_months"], 0.36, color=colour, alpha=0.35 if row["few"] else 1.0)
    end = row["mae_months"]
    if not np.isnan(row["mae_months_low"]):
        end = row["mae_months_high"]
        axes.plot([row["mae_months_low"], end], [y, y], color=BLACK, lw=1.4)
    text = f"{number(row['mae_months'])} (n = {row['n']:,})"
    write_beside(axes, text, (end, y), (5, 0), va="center")


def plot_biases(table: pd.DataFrame, axes: Axes) -> None:
    """Draw the mean signed error of each sex by age band, from `sex_gap`."""
    rows = table[table["band"] != sex_gap.ALL].reset_index(drop=True)
    for offset, sex in ((-0.12, "female"), (0.12, "male")):
        x, name = np.arange(len(rows)) + offset, f"{sex}_bias_months"
        colour = SEX_COLOURS[sex]
        axes.plot(x, rows[name], color=colour, lw=1, alpha=0.4)
        for at, (_, row) in zip(x, rows.iterrows(), strict=True):
            faint = 0.35 if row[f"n_{sex}"] < FEW else 1.0
            axes.plot(
                [at, at], [row[f"{name}_low"], row[f"{name}_high"]], color=colour, alpha=faint
            )
            axes.plot(at, row[name], "o", color=colour, ms=8, alpha=faint)
    colour_key(axes, SEX_KEY)
    axes.axhline(0, color=BLACK, lw=1)
    axes.set_xticks(range(len(rows)), SHORT_NAMES)
    axes.set_xlim(-0.5, len(rows) - 0.5)
    axes.set(xlabel="Labelled bone age (years)", ylabel="Estimate − label (months)")


def plot_gaps(table: pd.DataFrame, axes: Axes) -> None:
    """Draw the gap between the sexes by age band and, apart, over all ages, from `sex_gap`."""
    places = np.arange(len(table)) + 0.4 * (table["band"] == sex_gap.ALL)
    for x, (_, row) in zip(places, table.iterrows(), strict=True):
        faint = 0.35 if row["few"] else 1.0
        ends = [row["gap_months_low"], row["gap_months_high"]]
        axes.plot([x, x], ends, color=BLACK, alpha=faint)
        axes.plot(x, row["gap_months"], "D", color=BLACK, ms=8, alpha=faint)
        if not np.isnan(row["gap_months"]):
            top = np.nanmax([*ends, row["gap_months"]])
            write_beside(axes, sex_gap.signed(row["gap_months"]), (x, top), (0, 4), ha="center")
    axes.axhline(0, color=BLACK, lw=1)
    axes.set_xticks(places, [*SHORT_NAMES, sex_gap.ALL])
    axes.set_xlim(-0.5, len(table) - 0.1)
    axes.margins(y=0.16)
    axes.set(xlabel="Labelled bone age (years)", ylabel="Girls − boys (months)")
    axes.grid(axis="x", visible=False)
