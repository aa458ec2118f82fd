"""The numbers of question 2, as the slides print them."""

import math
from collections.abc import Sequence

import pandas as pd

from h2a_lib.analysis.sex import calibration
from h2a_lib.analysis.sex import errors as sex
from h2a_lib.analysis.sex.calibration import Temperature
from h2a_lib.analysis.sex.maturity import ESTIMATE, Maturity
from h2a_lib.analysis.statistics.bootstrap import FEW, Estimate, months_text, number, over_seeds
from h2a_lib.analysis.statistics.roc import auc, auc_difference


def calipers(predictions: pd.DataFrame) -> pd.DataFrame:
    """Match girls and boys ever less closely: caliper_months, pairs, share with interval, n."""
    rows = [
        {"caliper_months": matched.caliper_months, "pairs": matched.pairs}
        | matched.estimate.row("share")
        | {"n": matched.estimate.n}
        for matched in (sex.age_matched(predictions, caliper) for caliper in sex.CALIPERS_MONTHS)
    ]
    return pd.DataFrame(rows)


def answer(train: pd.DataFrame, predictions: pd.DataFrame, maturity: Maturity) -> str:
    """Answer question 2 in two or three sentences, chosen by the intervals."""
    first = conclusion(predictions, maturity)
    area = auc(predictions["male"], predictions[sex.PROBABILITY])
    if math.isnan(area.value):
        return first
    by_label = sex.by_label(train, predictions)
    label = auc(predictions["male"], by_label)
    gain = auc_difference(predictions["male"], predictions[sex.PROBABILITY], by_label)
    verdict = (
        "not distinguishable from"
        if gain.is_tie
        else "higher than"
        if gain.value > 0
        else "lower than"
    )
    image = (
        f"The AUC of the image is {area.text(digits=3)}, {verdict} that of the age label "
        f"({label.value:.3f})."
    )
    above_chance = sex.closest_match(predictions).estimate.low > 0.5
    return " ".join([first, *([f"{maturity.sentence()}."] if above_chance else []), image])


def conclusion(predictions: pd.DataFrame, maturity: Maturity) -> str:
    """Say in a sentence whether the image shows the sex beyond label and estimated maturity."""
    if predictions["male"].nunique() < 2:
        return f"Sex cannot be assessed: all {len(predictions):,} hands are of one sex."
    matched = sex.closest_match(predictions)
    share, pairs = matched.estimate, matched.sentence()
    carries = "The image carries information on sex beyond the age label"
    if share.low > 0.5:
        if maturity.is_beyond:
            similar = _at_similar_estimates(maturity)
            return f"{carries} and estimated maturity: {pairs}{similar}."
        if maturity.problem:
            return f"{carries}: {pairs}."
        return f"{carries}, but not demonstrably beyond maturity: {pairs}."
    if share.high < 0.5:
        return f"The image does not predict sex: {pairs}, worse than chance."
    if math.isnan(share.value):
        return f"Whether {carries.lower()} is unknown: no girl and boy have similar labels."
    carries_not = carries.replace("carries", "does not demonstrably carry")
    return f"{carries_not}: {pairs}, not distinguishable from chance."


def _at_similar_estimates(maturity: Maturity) -> str:
    share = maturity.same_maturity.estimate
    if math.isnan(share.value):
        return ""
    apart = months_text(maturity.same_maturity.calipers[ESTIMATE])
    chance = "" if share.low > 0.5 else ", which may be chance"
    share_text = share.text("%", 0, 100)
    return f"; where the estimated ages agree to within {apart} as well, in {share_text}{chance}"


def verdict(area: Estimate, label: Estimate) -> str:
    """Compare the AUC of the image with that of the label, for a title."""
    if math.isnan(area.value):
        return "Sex cannot be assessed: all hands are of one sex"
    text = f"Sex from the image: AUC {area.value:.3f}"
    if not area.excludes(0.5):
        return f"{text}, not distinguishable from chance"
    return f"{text}, against {label.value:.3f} from the age label"


def band_sentence(bands: pd.DataFrame) -> str:
    """Say at which ages the sexes are hardest to tell apart, from `errors.by_band`; "" if unknown.

    Bands with few hands do not count.
    """
    rows = bands[(bands["band"] != "all") & ~bands["few"] & bands["auc"].notna()]
    if len(rows) < 2:
        return ""
    row = rows.loc[rows["auc"].idxmin()]
    auc_of_band = Estimate.of(row, "auc").text(digits=3)
    among = f"Among bands with {FEW} hands or more, the" if bands["few"].any() else "The"
    return f"{among} AUC is lowest at {row['band']}: {auc_of_band}."


def variables(
    train: pd.DataFrame,
    seeds: Sequence[pd.DataFrame],
    threshold: float,
    temperature: Temperature,
    maturity: Maturity,
) -> dict[str, str | int]:
    """Return ready-to-print values; the threshold is one of calibrated probabilities.

    `seeds` holds uncalibrated validation predictions of each seed; figures show the first, which
    `temperature` and `maturity` belong to.
    """
    raw = seeds[0]
    predictions = temperature.calibrate(raw)
    lowest = band_sentence(sex.by_band(predictions, threshold))
    measures, matched = sex.metrics(predictions, threshold), sex.closest_match(predictions)
    label = sex.by_label(train, predictions)
    label_auc = auc(predictions["male"], label)
    gain = auc_difference(predictions["male"], predictions[sex.PROBABILITY], label)
    majority = max(predictions["male"].mean(), 1 - predictions["male"].mean())
    table = sex.baselines(train, predictions).set_index("name")
    shares = ("accuracy", "balanced_accuracy", "recall_male", "recall_female")
    over = over_seeds(auc(seed["male"], seed[sex.PROBABILITY]).value for seed in seeds)
    before, after = calibration.reliability(raw), calibration.reliability(predictions)
    return {
        "answer": answer(train, predictions, maturity),
        "conclusion": conclusion(predictions, maturity),
        "verdict": verdict(measures["auc"], label_auc),
        "auc": measures["auc"].text(digits=3),
        "auc_rounded": number(measures["auc"].value, 2),
        "label_auc_rounded": number(label_auc.value, 2),
        "auc_over_seeds": over.text(digits=3),
        **{name: measures[name].text("%", scale=100) for name in shares},
        "average_precision": measures["average_precision"].text(digits=3),
        "brier": measures["brier"].text(digits=3),
        "calibration_verdict": calibration.calibration_verdict(before),
        "calibration_verdict_after": calibration.calibration_verdict(after),
        "calibration_finding": calibration.calibration_finding(before, after, temperature),
        "temperature": temperature.text(),
        "threshold": f"{number(threshold, 3)}, chosen on selection hands",
        "n": len(predictions),
        "majority": f"{majority * 100:.1f} %",
        "age_threshold_accuracy": f"{table.loc['one age threshold', 'accuracy'] * 100:.1f} %",
        "label_auc": label_auc.text(digits=3),
        "label_accuracy": f"{table.loc['label in months', 'accuracy'] * 100:.1f} %",
        "gain_over_label": gain.text(digits=3),
        "matched": matched.estimate.text("%", scale=100),
        "matched_sentence": f"I{matched.sentence()[1:]}.",
        "matched_pairs": f"{matched.pairs:,}",
        "matched_caliper": months_text(matched.caliper_months),
        **({"band_sentence": lowest} if lowest else {}),
        # Of a score that says nothing of sex there is nothing to explain.
        **(maturity.variables() if matched.estimate.low > 0.5 else {}),
    }
