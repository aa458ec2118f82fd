"""Ages by sex, the heaping of the labels, and the balance of the split."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, MultipleLocator, PercentFormatter

from h2a_lib.analysis.bands import sex_of
from h2a_lib.analysis.population import labels as population
from h2a_lib.figures.colours import BLACK, FAINT, GREY, SEX_COLOURS, SEX_NAMES
from h2a_lib.figures.style import TALL, write_beside
from h2a_lib.study.results import Drawing

# Below this many hands a bin of one year holds too few to show a shape.
ENOUGH_FOR_YEARS = 500
# From this many hands on, labels with fewer than ten are left out: their shares are noise.
MANY = 5000
HEAP_COLOURS = {"multiples of 12": BLACK, "other multiples of 6": GREY, "other months": "#C6C6C6"}
# The others lie on the broad line of the training hands.
SPLIT_STYLES = {
    "train": {"lw": 6, "alpha": 0.3},
    "selection": {"lw": 1.8, "ls": ":"},
    "validation": {"lw": 2.2},
}


def ages_by_sex(labels: pd.DataFrame) -> Drawing:
    """Draw the distribution of bone age for girls and boys."""
    figure, axes = plt.subplots(figsize=TALL)
    bins = _bins(labels)
    by_sex = labels.groupby(sex_of(labels["male"]))["age_months"]
    medians = by_sex.median()
    for sex, ages in by_sex:
        colour = SEX_COLOURS[sex]
        axes.hist(ages, bins, color=colour, alpha=0.25)
        axes.hist(ages, bins, histtype="step", color=colour, lw=2.5)
        axes.axvline(medians[sex], color=colour, ls="--", lw=1.8)
    # Each name stands on the outer side of its median, above the bars.
    axes.set_ylim(0, 1.35 * axes.dataLim.y1)
    for sex, ages in by_sex:
        is_left = len(medians) == 2 and sex == medians.idxmin()
        write_beside(
            axes,
            f"{len(ages):,} {SEX_NAMES[sex]}\nmedian {medians[sex]:g} months",
            (medians[sex], 0.98),
            (-6 if is_left else 6, 0),
            xycoords=axes.get_xaxis_transform(),
            ha="right" if is_left else "left",
            va="top",
            color=SEX_COLOURS[sex],
        )
    width = bins[1] - bins[0]
    axes.set(xlabel="Bone age (months)", ylabel=f"Hands per {width:g} months")
    _ticks_at_whole_years(axes)
    described = "; ".join(
        f"{SEX_NAMES[sex]}, median {age:g} months" for sex, age in medians.items()
    )
    return Drawing(
        figure,
        "ages_by_sex",
        alt=f"Histogram of bone age in months for {len(labels):,} hands: {described}.",
        caption=f"Bone age by sex, n = {len(labels):,}; dashed: medians",
        finding=population.sex_age_sentence(labels),
    )


def label_audit(labels: pd.DataFrame) -> Drawing:
    """Draw how often each label occurs, and the share of boys at each."""
    figure, (left, right) = plt.subplots(1, 2, figsize=TALL)
    _draw_heaps(labels, left)
    _draw_sex_by_label(labels, right)
    round_labels = population.share_of_multiples_of_6(labels).value
    return Drawing(
        figure,
        "label_audit",
        alt=f"Left: hands with each label in months; {round_labels:.0%} are "
        "multiples of 6. Right: the share of boys at each label, from all girls to all boys; "
        f"nearly single-sex labels: {population.format_single_sex_labels(labels)}.",
        caption=f"Labels by month and the share of boys at each, n = {len(labels):,}; "
        "dot area: number of hands; coloured: "
        f"at least {population.MIN_PER_LABEL} hands, "
        f"{100 * population.SINGLE_SEX_SHARE:.0f} % or more of one sex",
        finding=population.heaping_sentence(labels),
    )


def _draw_heaps(labels: pd.DataFrame, axes: Axes) -> None:
    count = labels["age_months"].round().astype(int).value_counts().sort_index()
    of_12, of_6 = count.index % 12 == 0, count.index % 6 == 0
    for (name, colour), chosen in zip(
        HEAP_COLOURS.items(), (of_12, of_6 & ~of_12, ~of_6), strict=True
    ):
        label = f"{name}: {100 * count[chosen].sum() / count.sum():.1f} %"
        axes.bar(count.index[chosen], count[chosen], width=1.4, color=colour, label=label)
    axes.set(xlabel="Bone age (months)", ylabel="Hands with this label")
    # The key has the upper third to itself.
    axes.set_ylim(0, count.max() * 1.5)
    axes.yaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.legend(loc="upper left", handlelength=1, borderaxespad=0)
    _ticks_at_whole_years(axes, 48)


def _draw_sex_by_label(labels: pd.DataFrame, axes: Axes) -> None:
    by_label = population.sex_by_label(labels, 10 if len(labels) >= MANY else 1)
    single_sex = population.single_sex_labels(labels)
    is_single = by_label["age_months"].isin(single_sex["age_months"])
    colour = np.where(by_label["share_male"] >= 0.5, SEX_COLOURS["male"], SEX_COLOURS["female"])
    axes.scatter(
        by_label["age_months"],
        by_label["share_male"],
        s=320 * by_label["n"] / by_label["n"].max() + 8,
        c=np.where(is_single, colour, GREY),
        alpha=0.75,
        lw=0,
    )
    for sex, height in (("female", -0.1), ("male", 1.1)):
        if (single_sex["share_male"] >= 0.5).eq(sex == "male").any():
            share = f"at least {100 * population.SINGLE_SEX_SHARE:.0f} % {SEX_NAMES[sex]}"
            text = f"{share}, n ≥ {population.MIN_PER_LABEL}"
            va = "bottom" if sex == "male" else "top"
            axes.text(2, height, text, color=SEX_COLOURS[sex], va=va)
    share = labels["male"].mean()
    axes.axhline(share, color=GREY, lw=1.5, zorder=0)
    axes.set(xlabel="Bone age (months)", ylabel="Share of boys", ylim=(-0.24, 1.24))
    axes.set_yticks(np.linspace(0, 1, 5))
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    _ticks_at_whole_years(axes, 48)
    text, at_right = f"all hands:\n{100 * share:.0f} % boys", axes.get_yaxis_transform()
    style = {"va": "center", "color": FAINT}
    write_beside(axes, text, (1, share), (4, 0), xycoords=at_right, **style)


def split_balance(labels: pd.DataFrame) -> Drawing:
    """Draw the ages of the training, selection and validation hands, by sex."""
    figure, panels = plt.subplots(1, 2, figsize=TALL, sharey=True)
    for axes, sex in zip(panels, SEX_NAMES, strict=True):
        _draw_split(labels[sex_of(labels["male"]) == sex], sex, _bins(labels), axes)
    names = {"train": "training"}
    handles = [Line2D([], [], color=BLACK, label=names.get(name, name), **style)
               for name, style in SPLIT_STYLES.items()]  # fmt: skip
    figure.legend(handles=handles, loc="outside right center")
    panels[0].set_ylim(bottom=0)
    panels[0].set_ylabel("Share within sex and split")
    panels[0].yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    panels[0].yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    counts = labels["split"].value_counts()
    described = ", ".join(f"{counts[name]:,} {name}" for name in SPLIT_STYLES if name in counts)
    return Drawing(
        figure,
        "split_balance",
        alt=f"Histograms of bone age for girls and for boys, each split as shares: {described}. "
        + population.balance_sentence(labels),
        caption=f"Bone age in each split, by sex, n = {len(labels):,} ({described})",
        finding=population.balance_sentence(labels),
    )


def _draw_split(part: pd.DataFrame, sex: str, bins: np.ndarray, axes: Axes) -> None:
    middles = (bins[1:] + bins[:-1]) / 2
    for name, style in SPLIT_STYLES.items():
        own = part.loc[part["split"] == name, "age_months"]
        if len(own):
            shares = np.histogram(own, bins)[0] / len(own)
            axes.plot(middles, shares, color=SEX_COLOURS[sex], **style)
    axes.set_xlabel("Bone age (months)")
    axes.set_title(f"{SEX_NAMES[sex].capitalize()}, n = {len(part):,}", loc="left")
    _ticks_at_whole_years(axes, 48)


def _bins(labels: pd.DataFrame) -> np.ndarray:
    """Return edges (months) of one year, or of two where there are few hands."""
    width = 12 if len(labels) >= ENOUGH_FOR_YEARS else 24
    # Half a month off, so that a heap at a whole year lies within a bin and not on its edge.
    return np.arange(-0.5, labels["age_months"].max() + width, width)


def _ticks_at_whole_years(axes: Axes, tick_months: int = 24) -> None:
    axes.xaxis.set_major_locator(MultipleLocator(tick_months))
    axes.set_xlim(-2, None)
