"""Question 2 in figures: sex from the image, from the age label and from maturity."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from h2a_lib.analysis.bands import sex_of
from h2a_lib.analysis.sex import errors as sex
from h2a_lib.analysis.sex.calibration import Temperature, calibration_finding, reliability
from h2a_lib.analysis.sex.maturity import ALL, IMAGE, LABEL, MATURITY, TWICE, Maturity
from h2a_lib.analysis.statistics.bootstrap import Estimate
from h2a_lib.analysis.statistics.roc import auc
from h2a_lib.figures.style import (
    BLACK,
    BLUE,
    GREY,
    HALF,
    ORANGE,
    PURPLE,
    SEX_COLOURS,
    WIDE,
    capitalised,
    write_beside,
)
from h2a_lib.study.results import Drawing

COLOURS = {"image": BLUE, "label in months": ORANGE, "label in years": PURPLE}


def roc(train: pd.DataFrame, predictions: pd.DataFrame, run_name: str) -> Drawing:
    """Draw the ROC curves of the image and of the age label, with their areas."""
    from sklearn.metrics import roc_curve

    figure, axes = plt.subplots(figsize=HALF)
    male = predictions["male"].to_numpy(bool)
    scores = {"image": predictions[sex.PROBABILITY].to_numpy(float)} | {
        name: sex.BASELINES[name](train, predictions)
        for name in ("label in months", "label in years")
    }
    axes.plot([0, 1], [0, 1], color=BLACK, lw=1, ls="--")
    areas = {name: auc(male, score) for name, score in scores.items()}
    for name, score in scores.items():
        if np.isnan(areas[name].value):
            continue
        wrong, right, _ = roc_curve(male, score)
        label = f"{name}\n{areas[name].value:.2f} ({areas[name].span(2)})"
        width = 2.6 if name == "image" else 1.8
        axes.plot(wrong, right, color=COLOURS[name], lw=width, label=label)
    axes.set(xlabel="Girls classified as male", ylabel="Boys classified as male")
    axes.set(xlim=(0, 1), ylim=(0, 1.01))
    axes.set_aspect("equal")
    if axes.get_legend_handles_labels()[0]:  # none, where there is one sex alone
        axes.legend(
            title="AUC (95 % CI)", loc="center left", bbox_to_anchor=(1.02, 0.5), handlelength=1.2
        )
    image, label = areas["image"].text(digits=3), areas["label in months"].text(digits=3)
    return Drawing(
        figure,
        "sex_roc",
        alt="ROC curves of sex: the AUC is "
        f"{image} from the image and {label} from the age label in months",
        caption=f"Sex from the image and from the age label, {run_name}, n = {len(male):,}",
        finding=f"The image has an AUC of {image}, the age label alone one of {label}.",
    )


def by_band(table: pd.DataFrame, matched: sex.Matched) -> Drawing:
    """Draw the AUC by age band, from `sex.by_band`, and what the image adds in pairs of one age."""
    figure, axes = plt.subplots(figsize=(5.8, 3.8))
    names = []
    for x, (_, row) in enumerate(table.iterrows()):
        names.append(f"{row['band'].removesuffix(' years')}\n{row['n']:,}")
        _interval(axes, x, Estimate(row["auc"], row["auc_low"], row["auc_high"], row["n"]), "o")
    x = len(table)
    names.append(f"pairs\n{matched.estimate.n:,}")
    axes.axvspan(x - 0.5, x + 0.5, color=GREY, alpha=0.12, lw=0)
    _interval(axes, x, matched.estimate, "D", BLACK)
    axes.axhline(0.5, color=BLACK, lw=1, ls="--")
    at_left = ("axes fraction", "data")
    write_beside(axes, "chance", (0.01, 0.5), (0, -4), xycoords=at_left, va="top")
    axes.set_xticks(range(len(names)), names)
    axes.set(ylabel="AUC (95 % CI)", xlabel="Labelled age (years), and n; pale: n < 30")
    axes.set_ylim(min(0.28, axes.get_ylim()[0]), 1.02)
    axes.grid(axis="x", visible=False)
    sentence = matched.sentence()
    return Drawing(
        figure,
        "sex_by_band",
        alt=f"Area under the ROC curve by age band, and of pairs of a girl and a boy: {sentence}",
        caption=f"AUC by labelled age; right: {matched.description}, n = {table['n'].iloc[-1]:,}",
        finding=f"{capitalised(sentence)}: 50 % would be chance.",
    )


def _interval(axes: Axes, x: float, estimate: Estimate, marker: str, colour: str = BLUE) -> None:
    if np.isnan(estimate.value):
        return
    alpha = 0.4 if estimate.few else 1.0
    axes.plot(x, estimate.value, marker, color=colour, ms=10, alpha=alpha)
    if not np.isnan(estimate.low):
        axes.plot([x, x], [estimate.low, estimate.high], color=colour, alpha=alpha)


def maturity(result: Maturity) -> Drawing:
    """Draw what label and a sex-blind age estimate reach, with and without the image."""
    figure, (left, right) = plt.subplots(1, 2, figsize=WIDE, width_ratios=(4, 3))
    titles = {
        LABEL: "label",
        MATURITY: "label and estimated age",
        TWICE: "label and two estimates",
        IMAGE: "image",
        ALL: "label, estimated age, image",
    }
    colours = {LABEL: ORANGE, MATURITY: PURPLE, TWICE: PURPLE, IMAGE: BLUE, ALL: BLACK}
    for y, row in enumerate(result.table.itertuples()):
        left.plot([row.auc_low, row.auc_high], [y, y], color=colours[row.name])
        left.plot(row.auc, y, "o", color=colours[row.name], ms=10)
    if result.problem:
        left.text(0.5, 0.5, "not determined", ha="center", transform=left.transAxes)
    left.set_yticks(range(len(result.table)), [titles[name] for name in result.table["name"]])
    left.set_ylim(max(len(result.table), 1) - 0.5, -0.5)
    left.axvline(0.5, color=BLACK, lw=1, ls="--")
    left.set(xlabel="AUC (95 % CI); dashed: chance", xlim=(min(0.45, left.get_xlim()[0]), 1.01))
    left.set_title("All hands", loc="left")
    pairs = {
        "estimated\nage": (result.maturity_alone, PURPLE),
        "image": (result.same_label.estimate, BLUE),
        "image, same\nestimate": (result.same_maturity.estimate, BLACK),
    }
    for x, (estimate, colour) in enumerate(pairs.values()):
        _interval(right, x, estimate, "D", colour)
    right.axhline(0.5, color=BLACK, lw=1, ls="--")
    right.set_xticks(range(len(pairs)), pairs)
    right.set(ylabel="Boy scores higher", xlim=(-0.5, 2.5), ylim=(0, 1.02))
    right.yaxis.set_major_formatter(lambda share, _: f"{share * 100:.0f} %")
    right.set_title("Pairs with the same label", loc="left")
    for axes, axis in ((left, "y"), (right, "x")):
        axes.grid(axis=axis, visible=False)
    return Drawing(
        figure,
        "sex_maturity",
        alt="AUC for sex of the age label, of label and an age estimate blind to sex, of the image "
        f"and of all of them; and pairs matched on label and estimate. {result.sentence()}",
        caption=f"Sex, the age label and maturity, n = {result.added.n:,}",
        finding=f"{result.sentence()}.",
    )


def calibration(predictions: pd.DataFrame, threshold: float, temperature: Temperature) -> Drawing:
    """Draw the reliability before and after temperature scaling, and the spread by sex.

    The predictions are not calibrated; the threshold is one on calibrated probabilities.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=WIDE)
    calibrated = temperature.calibrate(predictions)
    before, after = reliability(predictions), reliability(calibrated)
    left.plot([0, 1], [0, 1], color=BLACK, lw=1, ls="--", label="ideal")
    curves = [("as trained", before, GREY)]
    if not temperature.note:
        curves.append((f"temperature {temperature.value:.2f}", after, BLUE))
    for label, curve, colour in curves:
        left.vlines(curve["probability"], curve["male_low"], curve["male_high"], color=colour)
        left.plot(curve["probability"], curve["male"], "o-", color=colour, ms=8, label=label)
    left.set(xlabel="Estimated probability of male", ylabel="Share of boys (95 % CI)")
    left.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    _legend_above(left)
    _probabilities(calibrated, threshold, right)
    finding = calibration_finding(before, after, temperature)
    return Drawing(
        figure,
        "sex_calibration",
        alt="Share of boys against the estimated probability of male, and the spread of "
        f"probabilities by sex. {finding}",
        caption=f"Calibration and spread of the probability of male, n = {len(predictions):,}",
        finding=f"{finding}. A bin is calibrated if the interval of its share of boys "
        "contains its mean probability.",
    )


def _probabilities(calibrated: pd.DataFrame, threshold: float, axes: Axes) -> None:
    for name, part in calibrated.groupby(sex_of(calibrated["male"])):
        values, label = part[sex.PROBABILITY], f"{name} ({len(part):,})"
        axes.hist(values, np.linspace(0, 1, 21), color=SEX_COLOURS[name], alpha=0.55, label=label)
    axes.axvline(threshold, color=BLACK, lw=1.5, ls="--", label="threshold")
    axes.set(xlabel="Calibrated probability of male", ylabel="Hands", xlim=(0, 1))
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    _legend_above(axes)


def _legend_above(axes: Axes) -> None:
    axes.legend(
        loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3, fontsize=13, handlelength=1.2,
        columnspacing=0.9, handletextpad=0.4,
    )  # fmt: skip
