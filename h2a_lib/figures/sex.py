"""Question 2 in figures: sex from the image, from the age label and from maturity."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from h2a_lib.analysis.bands import sex_of
from h2a_lib.analysis.sex import errors as sex
from h2a_lib.analysis.sex.calibration import Temperature, calibration_finding, reliability
from h2a_lib.analysis.sex.maturity import ALL, IMAGE, LABEL, MATURITY, TWICE, Maturity
from h2a_lib.analysis.statistics.bootstrap import Estimate, capitalised
from h2a_lib.analysis.statistics.roc import auc
from h2a_lib.figures.colours import BLACK, BLUE, GREY, ORANGE, PURPLE, SEX_COLOURS, readable
from h2a_lib.figures.density import sex_key
from h2a_lib.figures.style import TALL, WIDE, colour_key, pale_note, run_label, write_beside
from h2a_lib.study.results import Drawing

COLOURS = {"image": BLUE, "label in months": ORANGE, "label in years": PURPLE}
# Half the width above a long answer.
LOW = (5.1, 2.7)


def roc(train: pd.DataFrame, predictions: pd.DataFrame, run_name: str) -> Drawing:
    """Draw the ROC curves of the image and of the age label, with their areas."""
    from sklearn.metrics import roc_curve

    figure, axes = plt.subplots(figsize=LOW)
    male = predictions["male"].to_numpy(bool)
    scores = {"image": predictions[sex.PROBABILITY].to_numpy(float)} | {
        name: sex.BASELINES[name](train, predictions)
        for name in ("label in months", "label in years")
    }
    axes.plot([0, 1], [0, 1], color=GREY, lw=1, ls="--")
    areas = {name: auc(male, score) for name, score in scores.items()}
    words = {}
    for name, score in scores.items():
        if np.isnan(areas[name].value):
            continue
        wrong, right, _ = roc_curve(male, score)
        words[f"{name}\n{areas[name].value:.2f} ({areas[name].span(2)})"] = COLOURS[name]
        axes.plot(wrong, right, color=COLOURS[name], lw=2.6 if name == "image" else 1.8)
    axes.set(xlabel="Girls classified as male", ylabel="Boys classified as male")
    axes.set(xlim=(0, 1), ylim=(0, 1.01), xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])
    if words:  # none, where there is one sex alone
        colour_key(figure, words, loc="outside right center", ncols=1, labelspacing=0.8)
    image, label, years = (area.text(digits=3) for area in areas.values())
    return Drawing(
        figure,
        "sex_roc",
        alt="ROC curves of sex: the AUC is "
        f"{image} from the image and {label} from the age label in months",
        caption="Sex from the image and from the age label: AUC (95 % CI), "
        f"{run_label(run_name)}, n = {len(male):,}",
        finding=f"The image has an AUC of {image}; the age label alone one of {label} in "
        f"months and {years} in years.",
    )


def by_band(table: pd.DataFrame, matched: sex.Matched) -> Drawing:
    """Draw the AUC by age band, from `sex.by_band`, and what the image adds in pairs of one age."""
    figure, axes = plt.subplots(figsize=LOW)
    names = []
    for x, (_, row) in enumerate(table.iterrows()):
        names.append(f"{row['band'].removesuffix(' years')}\n{row['n']:,}")
        _interval(axes, x, Estimate(row["auc"], row["auc_low"], row["auc_high"], row["n"]), "o")
    x = len(table)
    names.append(f"pairs\n{matched.estimate.n:,}")
    axes.axvspan(x - 0.5, x + 0.5, color=GREY, alpha=0.12, lw=0)
    _interval(axes, x, matched.estimate, "D", BLACK)
    turned = {"rotation": 270, "va": "center", "transform": axes.transAxes}
    axes.text(1.01, 0.5, "Share of pairs", **turned)
    axes.axhline(0.5, color=BLACK, lw=1, ls="--")
    at_left = ("axes fraction", "data")
    write_beside(axes, "chance", (0.01, 0.5), (0, -4), xycoords=at_left, va="top")
    axes.set_xticks(range(len(names)), names)
    axes.set_xlim(-0.5, x + 0.5)
    below = f"Labelled age (years); below: n{pale_note(table)}"
    axes.set(ylabel="AUC (95 % CI)", xlabel=below)
    axes.set_ylim(min(0.4, axes.get_ylim()[0]), 1.02)
    axes.grid(axis="x", visible=False)
    sentence = matched.sentence()
    return Drawing(
        figure,
        "sex_by_band",
        alt=f"Area under the ROC curve by age band, and of pairs of a girl and a boy: {sentence}",
        caption=f"AUC by labelled age; right: share of {matched.description} in which the boy "
        f"scores higher; n = {table['n'].iloc[-1]:,}, {matched.estimate.n:,} of them in pairs",
        finding=f"{capitalised(sentence)}: 50 % would be chance.",
    )


def _interval(axes: Axes, x: float, estimate: Estimate, marker: str, colour: str = BLUE) -> None:
    if np.isnan(estimate.value):
        return
    alpha = 0.4 if estimate.few else 1.0
    axes.plot(x, estimate.value, marker, color=colour, ms=7, alpha=alpha)
    if not np.isnan(estimate.low):
        axes.plot([x, x], [estimate.low, estimate.high], color=colour, alpha=alpha)


def maturity(result: Maturity) -> Drawing:
    """Draw what label and a sex-blind age estimate reach, with and without the image."""
    figure, (left, right) = plt.subplots(1, 2, figsize=WIDE)
    figure.set_layout_engine("constrained", wspace=0.08)
    colours = {LABEL: ORANGE, MATURITY: PURPLE, TWICE: PURPLE, IMAGE: BLUE, ALL: BLUE}
    rows = [
        (name.replace("age and image", "age\nand image"), Estimate.of(row, "auc"), colours[name])
        for name, (_, row) in zip(result.table["name"], result.table.iterrows(), strict=True)
    ]
    _rows(rows, left)
    if result.problem:
        left.text(0.5, 0.5, "not determined", ha="center", transform=left.transAxes)
    left.set_xlabel("AUC (95 % CI)")
    left.set_title("All hands", loc="left")
    pairs = [
        ("estimated age", result.maturity_alone, PURPLE),
        ("image", result.same_label.estimate, BLUE),
        ("image, pairs with a\nsimilar estimate too", result.same_maturity.estimate, BLUE),
    ]
    _rows(pairs, right)
    right.set(xlabel="Share of pairs ranked correctly (95 % CI)")
    right.set_title("Pairs with the same label", loc="left")
    return Drawing(
        figure,
        "sex_maturity",
        alt="AUC for sex of the age label, of label and an age estimate blind to sex, of the image "
        f"and of all of them; and pairs matched on label and estimate. {result.sentence()}",
        caption=f"Left: AUC for sex, n = {result.added.n:,}; right: {_pairs(result.same_label)}; "
        f"last row {_pairs(result.same_maturity)}; dashed: chance",
        finding=f"{result.sentence()}.",
    )


def _pairs(matched: sex.Matched) -> str:
    return f"{matched.pairs:,} pairs of {matched.estimate.n:,} hands"


def _rows(rows: Sequence[tuple[str, Estimate, str]], axes: Axes) -> None:
    """Draw estimates one below the other, each named in its colour, with its value beside it."""
    for y, (_, estimate, colour) in enumerate(rows):
        if np.isnan(estimate.value):
            continue
        axes.plot([estimate.low, estimate.high], [y, y], color=colour, lw=3)
        axes.plot(estimate.value, y, "o", color="white", mec=colour, mew=2, ms=5)
        text, place = f"{estimate.value:.3f}", (estimate.value, y)
        write_beside(axes, text, place, (0, 8), ha="center", color=readable(colour))
    axes.axvline(0.5, color=BLACK, lw=1, ls="--")
    axes.set_yticks(range(len(rows)), [name for name, _, _ in rows])
    for label, (_, _, colour) in zip(axes.get_yticklabels(), rows, strict=True):
        label.set_color(readable(colour))
    axes.set(xlim=(min(0.48, axes.get_xlim()[0]), 1.005), ylim=(len(rows) - 0.6, -0.7))
    axes.grid(axis="y", visible=False)


def calibration(predictions: pd.DataFrame, threshold: float, temperature: Temperature) -> Drawing:
    """Draw the reliability before and after temperature scaling, and the spread by sex.

    The predictions are not calibrated; the threshold is one on calibrated probabilities.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=TALL)
    calibrated = temperature.calibrate(predictions)
    before, after = reliability(predictions), reliability(calibrated)
    left.plot([0, 1], [0, 1], color=BLACK, lw=1, ls="--")
    curves = {"as trained": (before, GREY)}
    if not temperature.note:
        curves[f"temperature-scaled (T = {temperature.value:.2f})"] = (after, BLUE)
    for curve, colour in curves.values():
        left.vlines(curve["probability"], curve["male_low"], curve["male_high"], color=colour)
        left.plot(curve["probability"], curve["male"], "o-", color=colour, ms=7)
    left.set(xlabel="Estimated probability of being male", ylabel="Share of boys (95 % CI)")
    left.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    colour_key(left, {name: colour for name, (_, colour) in curves.items()})
    _probabilities(calibrated, threshold, right)
    right.set_xlabel(
        f"{'Estimated' if temperature.note else 'Calibrated'} probability of being male"
    )
    finding = calibration_finding(before, after, temperature)
    return Drawing(
        figure,
        "sex_calibration",
        alt="Share of boys against the estimated probability of male, and the spread of "
        f"probabilities by sex. {finding}",
        caption="Calibration and spread of the probability of being male; dashed, left: ideal, "
        f"right: threshold; n = {len(predictions):,}",
        finding=f"{finding}. A bin is calibrated if the interval of its share of boys "
        "contains its mean probability.",
    )


def _probabilities(calibrated: pd.DataFrame, threshold: float, axes: Axes) -> None:
    for name, part in calibrated.groupby(sex_of(calibrated["male"])):
        values = part[sex.PROBABILITY]
        axes.hist(values, np.linspace(0, 1, 21), color=SEX_COLOURS[name], alpha=0.55)
    sex_key(calibrated["male"], axes)
    axes.axvline(threshold, color=BLACK, lw=1.5, ls="--")
    axes.set(ylabel="Hands", xlim=(0, 1))
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
