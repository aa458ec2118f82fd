"""The population in pictures: ages by sex, the heaps in the labels, the balance of the split."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, MultipleLocator, PercentFormatter

from h2a_lib.analysis.population.labels import plates, single_sex_plates
from h2a_lib.figures.style import BLACK, GREY, ORANGE, SEX_COLOURS, SKY

# Below this many hands a bin of one year holds too few to show a shape.
ENOUGH_FOR_YEARS = 500
HEAP_COLOURS = {"multiple of 12": BLACK, "other multiple of 6": ORANGE, "other": SKY}


def ages_by_sex(labels: pd.DataFrame, axes: Axes) -> Axes:
    """Draw how many hands of each sex there are of each age, and the medians.

    Parameters
    ----------
    labels : DataFrame
        age_months, male.
    axes : Axes
    """
    bins = _bins(labels)
    for sex, part in _sexes(labels):
        colour = SEX_COLOURS[sex]
        median = part["age_months"].median()
        axes.hist(part["age_months"], bins, color=colour, alpha=0.25)
        name = f"{sex}, n = {len(part):,}, median {median:g} months"
        axes.hist(part["age_months"], bins, histtype="step", color=colour, lw=2.5, label=name)
        axes.axvline(median, color=colour, ls="--", lw=1.8)
    axes.legend(loc="upper left")
    axes.margins(y=0.2)
    width = bins[1] - bins[0]
    axes.set(xlabel="Bone age (months)", ylabel=f"Hands in {width:g} months")
    return _in_years(axes)


def heaps(labels: pd.DataFrame, axes: Axes) -> Axes:
    """Draw how many hands have each value of the label; round ages stand out.

    Parameters
    ----------
    labels : DataFrame
        age_months.
    axes : Axes
    """
    month = labels["age_months"].round().astype(int)
    count = month.value_counts().sort_index()
    of_12, of_6 = count.index % 12 == 0, count.index % 6 == 0
    kinds = {"multiple of 12": of_12, "other multiple of 6": of_6 & ~of_12, "other": ~of_6}
    for name, chosen in kinds.items():
        share = count[chosen].sum() / count.sum()
        colour = HEAP_COLOURS[name]
        label = f"{name}: {100 * share:.1f} %"
        axes.bar(count.index[chosen], count[chosen], width=1.4, color=colour, label=label)
    axes.legend(loc="upper left", handlelength=1)
    axes.set(xlabel="Bone age (months)", ylabel="Hands with this label")
    # Room for the legend, which is wider than the ages without labels.
    axes.set_ylim(0, count.max() * 1.35)
    return _in_years(axes, 48)


def sex_by_plate(labels: pd.DataFrame, axes: Axes) -> Axes:
    """Draw the share of boys at each value of the label, the area of a dot being its children.

    Nearly single-sex plates have the colour of their sex; of a plate with few children nothing
    can be said.

    Parameters
    ----------
    labels : DataFrame
        age_months, male.
    axes : Axes
    """
    least = 10 if len(labels) >= ENOUGH_FOR_YEARS else 1
    by_age = plates(labels, least)
    one_sex = by_age["age_months"].isin(single_sex_plates(labels)["age_months"])
    size = 320 * by_age["n"] / by_age["n"].max() + 8
    leaning = np.where(by_age["share_male"] >= 0.5, SEX_COLOURS["male"], SEX_COLOURS["female"])
    axes.axhline(labels["male"].mean(), color=GREY, lw=1.5, zorder=0)
    axes.scatter(
        by_age["age_months"],
        by_age["share_male"],
        s=size,
        c=np.where(one_sex, leaning, GREY),
        alpha=0.75,
        lw=0,
    )
    axes.set(xlabel="Bone age (months)", ylabel="Boys among them", ylim=(-0.08, 1.08))
    axes.yaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
    return _in_years(axes, 48)


def split_balance(labels: pd.DataFrame, sex: str, axes: Axes) -> Axes:
    """Draw one sex's ages in training and validation, each as a share of its hands.

    Parameters
    ----------
    labels : DataFrame
        age_months, male, split.
    sex : {"female", "male"}
    axes : Axes
    """
    part = dict(_sexes(labels)).get(sex, labels.iloc[:0])
    bins, colour = _bins(labels), SEX_COLOURS[sex]
    train, held_out = (part[part["split"] == name] for name in ("train", "validation"))
    styles = (
        (train, "train", {"color": colour, "alpha": 0.3}),
        (held_out, "validation", {"color": colour, "histtype": "step", "lw": 2.5}),
    )
    for own, name, style in styles:
        weights = np.full(len(own), 1 / max(len(own), 1))
        label = f"{name}, n = {len(own):,}"
        axes.hist(own["age_months"], bins, weights=weights, label=label, **style)
    axes.legend(loc="upper left", title=sex, title_fontsize=13, alignment="left")
    axes.set(xlabel="Bone age (months)", ylabel="Share of the hands")
    # Room for the legend, in both panels of a shared axis.
    parts = (train, held_out)
    tallest = max(
        np.histogram(own["age_months"], bins)[0].max() / max(len(own), 1) for own in parts
    )
    axes.set_ylim(0, max(axes.get_ylim()[1], 1.3 * tallest))
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    return _in_years(axes, 48)


def _sexes(labels: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    parts = (("female", labels[~labels["male"]]), ("male", labels[labels["male"]]))
    return [(sex, part) for sex, part in parts if len(part)]


def _bins(labels: pd.DataFrame) -> np.ndarray:
    """Return edges (months) of one year, or of two where there are few hands."""
    width = 12 if len(labels) >= ENOUGH_FOR_YEARS else 24
    # Half a month off, so that a heap at a whole year lies within a bin and not on its edge.
    return np.arange(-0.5, labels["age_months"].max() + width, width)


def _in_years(axes: Axes, tick_months: int = 24) -> Axes:
    """Put the ticks on whole years."""
    axes.xaxis.set_major_locator(MultipleLocator(tick_months))
    axes.set_xlim(-2, None)
    return axes
