"""The numbers of question 1, as the deck prints them."""

import math
from collections.abc import Sequence

import pandas as pd

from h2a_lib.analysis.age import errors as age
from h2a_lib.analysis.age import literature, robustness
from h2a_lib.analysis.comparison.hyperparameters import changed_besides
from h2a_lib.analysis.comparison.runs import errors_of
from h2a_lib.analysis.selection import predictions_of, validation
from h2a_lib.analysis.statistics import conformal
from h2a_lib.analysis.statistics.bootstrap import (
    Estimate,
    capitalised,
    listed,
    mean_interval,
    number,
    over_seeds,
    paired_difference,
)
from h2a_lib.analysis.statistics.variance_components import RunNoise, difference
from h2a_lib.study.runs import Run

IMAGE_ALONE, GIVEN_SEX = "this study, image alone", "this study, with sex input"
AUGMENTED = "averaged over small changes to the image"
CORRECTED = "corrected for regression to the mean"
ENSEMBLE = "averaged over seeds"
SPLIT, QUANTILES = "split conformal", "conformalised quantiles"
AROUND_MEDIAN = "split conformal, same network"


# Of hands that are not RSNA's, no other study has the kind of labels.
KINDS_OF_LABELS = {"phantom": "exact", "folder": "the folder's own"}

Yardstick = tuple[str, Estimate | float, str]


def yardsticks(
    train: pd.DataFrame,
    predictions: pd.DataFrame,
    name: str,
    tier: str,
    with_sex_input: pd.DataFrame | None = None,
) -> list[Yardstick]:
    """List the errors to be compared in a figure as (name, error, kind): ours, simple, published.

    Published errors stand under ours on the same kind of label alone: those of validation hands are
    compared with one report, those of the official test hands, where they are predicted, with the
    mean of six readings. Beside phantoms, or hands of unknown origin, no published result is shown:
    it would invite a comparison that says nothing. A "heading" has no error (NaN).
    """
    validation = _of(predictions, "validation")
    rows: list[Yardstick] = [(name, age.error(validation), "own")]
    if with_sex_input is not None:
        rows.append((GIVEN_SEX, age.error(_of(with_sex_input, "validation")), "own"))
    rows += [
        ("median of each sex", age.error(age.constant_by_sex(train, validation)), "simple"),
        ("median age", age.error(age.constant(train, validation)), "simple"),
    ]
    if tier != "rsna":
        return rows
    rows += _published("one report")
    test = _of(predictions, "test")
    if len(test):
        rows.append(("test hands: mean of six readings", math.nan, "heading"))
        rows += [(name, age.error(test), "own"), *_published("six readings")]
    return rows


def _of(predictions: pd.DataFrame, split: str) -> pd.DataFrame:
    return predictions[predictions["split"] == split].reset_index(drop=True)


def _published(labels: str) -> list[Yardstick]:
    return [
        (o.what, o.mae_months, "published") for o in literature.AGE_ERRORS if o.labels == labels
    ]


def published(predictions: pd.DataFrame, name: str, tier: str) -> pd.DataFrame:
    """Put our errors beside published ones, each on its own kind of label; only ours off RSNA."""
    rows = [
        {
            "labels": KINDS_OF_LABELS.get(tier, literature.labels_of(split)),
            "what": f"{name}, {split}",
            "ours": True,
        }
        | error.row("mae_months")
        | {"n": error.n}
        for split, part in predictions.groupby("split", sort=True)
        for error in [age.error(part)]
    ]
    rows += [
        {"labels": reported.labels, "what": reported.what, "ours": False}
        | {"mae_months": reported.mae_months, "source": reported.source}
        for reported in literature.AGE_ERRORS
        if tier == "rsna"
    ]
    frame = pd.DataFrame(rows)
    return frame.sort_values(["labels", "mae_months"], ascending=[True, False], ignore_index=True)


def options(
    validation: pd.DataFrame,
    augmented: pd.DataFrame,
    corrected: pd.DataFrame,
    seeds: Sequence[pd.DataFrame],
) -> pd.DataFrame:
    """Compare ways to predict the validation hands: MAE and its paired change from the first."""
    ways = {"unmodified": validation, AUGMENTED: augmented, CORRECTED: corrected}
    if len(seeds) > 1:
        ways[ENSEMBLE] = age.ensemble(seeds)
    return age.compare(ways, validation, "option", "change_months")


def _bias_by_sex(frame: pd.DataFrame) -> dict[str, Estimate]:
    """Return the mean error of girls and of boys in months, of those there are."""
    error = frame[age.PREDICTED] - frame[age.TRUE]
    parts = {"girls": error[~frame["male"]], "boys": error[frame["male"]]}
    return {who: mean_interval(part) for who, part in parts.items() if len(part)}


def sexes_verdict(frame: pd.DataFrame) -> str:
    """Say which sex is over- or underestimated, in a title's few words."""
    parts = [
        f"{who} {'over' if bias.value > 0 else 'under'}estimated by "
        f"{number(abs(bias.value))} months"
        for who, bias in _bias_by_sex(frame).items()
        if bias.excludes(0)
    ]
    # The unit once: a title has one line.
    return (
        ", ".join(parts[:1] + [text.replace(" months", "") for text in parts[1:]])
        or f"no bias by sex is shown (n = {len(frame):,})"
    )


def sexes_sentence(frame: pd.DataFrame) -> str:
    """Give the mean error of each sex, with its interval."""
    parts = (f"of {who} {bias.text('months')}" for who, bias in _bias_by_sex(frame).items())
    return f"Mean signed error {', '.join(parts)}."


def agreement_sentence(frame: pd.DataFrame) -> str:
    """Give bias, limits of agreement and slope, each with its interval."""
    agreement = age.bland_altman(frame)
    return (
        f"Bias {agreement['bias'].text('months')}; limits of agreement "
        f"{number(agreement['lower'].value)} to {number(agreement['upper'].value)} months (95 % of "
        "the differences, if they are normally distributed); slope of the difference on the mean "
        f"{agreement['slope'].text(digits=2)}."
    )


def worst_verdict(frame: pd.DataFrame) -> str:
    """Say how large the largest errors are, and to which side, in a title's few words."""
    errors = (frame[age.PREDICTED] - frame[age.TRUE]).to_numpy(float)[age.worst(frame)]
    ends = dict.fromkeys(number(end, 0) for end in (abs(errors).min(), abs(errors).max()))
    old, young = int((errors > 0).sum()), int((errors < 0).sum())
    side, n_side = ("overestimates", old) if old > young else ("underestimates", young)
    count = "all" if n_side == len(errors) else f"{n_side} of {len(errors)}"
    return f"{' to '.join(ends)} months, {count} {side}"


def band_sentence(bands: pd.DataFrame) -> str:
    """Say in which age band the error is smallest and largest, from `errors.by_band`."""
    rows = bands[(bands["sex"] == "both") & (bands["band"] != "all") & ~bands["few"]]
    if len(rows) < 2:
        return "Fewer than two age bands have 30 hands: bands cannot be compared."
    ends = (rows.loc[rows["mae_months"].idxmin()], rows.loc[rows["mae_months"].idxmax()])
    least, most = (
        f"{row['band']}, with {Estimate.of(row, 'mae_months').text('months')}" for row in ends
    )
    text = (
        "For both sexes together, the error in bands of 30 hands or more is smallest at "
        f"{least}, and largest at {most}."
    )
    small = bands[(bands["sex"] == "both") & bands["few"] & (bands["n"] > 0)]
    others = [
        f"{Estimate.of(r, 'mae_months').text('months')} at {r['band']}" for _, r in small.iterrows()
    ]
    return f"{text} In smaller bands it is {listed(others)}." if others else text


def variables(
    run: Run,
    seeds: Sequence[pd.DataFrame],
    ways: pd.DataFrame,
    coverage: pd.DataFrame,
    curve: pd.DataFrame,
    robust: pd.DataFrame,
    tier: str,
    nominal: float,
) -> dict[str, str | int]:
    """Return ready-to-print values; of the seeds' validation predictions figures show the first.

    `run` is the first seed's.
    """
    frame, train, with_sex_input = seeds[0], run.predictions_train, run.config.sex_input
    metrics = age.metrics(frame)
    changes = {row["option"]: Estimate.of(row, "change_months") for _, row in ways.iterrows()}
    agreement, calibrated = age.bland_altman(frame), age.regression_to_the_mean(frame)
    lower, upper = (number(agreement[end].value) for end in ("lower", "upper"))
    constant, by_sex = age.constant(train, frame), age.constant_by_sex(train, frame)
    months = {name: metrics[name].text("months") for name in ("mae", "rmse", "median", "bias")}
    shares = {
        name: metrics[name].text("%", scale=100)
        for name in ("within_6", "within_12", "within_24", "beyond_12")
    }
    return {
        "answer": age.answer(train, frame, tier, with_sex_input),
        "given": "image and sex" if with_sex_input else "image alone",
        **months,
        **shares,
        "r2": metrics["r2"].text(digits=2),
        "n": len(frame),
        "over_seeds": over_seeds(age.error(of_seed).value for of_seed in seeds).text("months"),
        "constant_mae": age.error(constant).text("months"),
        "constant_by_sex_mae": age.error(by_sex).text("months"),
        "gain": paired_difference(constant, frame).text("months"),
        "floor": noise_text(tier),
        **({"challenge": literature.CHALLENGE} if tier == "rsna" else {}),
        "limits": f"{lower} to {upper} months",
        "calibration_slope": calibrated["calibration_slope"].text(digits=2),
        "error_slope": calibrated["error_slope"].text("months for each month of age", digits=2),
        "error_slope_sentence": error_slope_sentence(calibrated["error_slope"], changes[CORRECTED]),
        "sexes_verdict": sexes_verdict(frame),
        "sexes_sentence": sexes_sentence(frame),
        "worst_verdict": worst_verdict(frame),
        "augmented_sentence": _change_sentence("Test-time augmentation", changes[AUGMENTED]),
        "ensemble_sentence": _change_sentence(
            f"An ensemble of {len(seeds)} seeds", changes[ENSEMBLE]
        )
        if ENSEMBLE in changes
        else "Only one seed was trained, so there is no ensemble.",
        "conformal_verdict": conformal_verdict(coverage, nominal),
        "conformal_sentence": conformal_sentence(coverage, nominal),
        "abstention_sentence": abstention_sentence(curve),
        "robustness_verdict": robustness.verdict(robust),
        "robustness_sentence": robustness.sentence(robust),
    }


def noise_text(tier: str) -> str:
    """Say how much of the error label noise explains."""
    noise = age.noise_range(tier)
    if noise is None:
        return (
            "none, since phantoms are drawn from their labels"
            if tier == "phantom"
            else "not known for these labels"
        )
    low, high = literature.SINGLE_READERS
    return (
        f"{number(noise[0])}–{number(noise[1])} months ({number(noise[0])} by our own estimate; "
        f"{number(low)}–{number(high)} for single readers)"
    )


def error_slope_sentence(slope: Estimate, correction: Estimate) -> str:
    """Say whether estimates regress to the mean, and how correcting it changes the error."""
    measured = f"the slope of the error on the label is {slope.text(digits=2)}."
    if not slope.high < 0:
        return f"No regression to the mean is shown: {measured}"
    if correction.low == correction.high == 0:
        return f"The estimates hardly depend on the age: {measured}"
    return (
        f"Estimates are drawn towards the mean age: {measured} "
        f"{_change_sentence('Correcting this', correction)}"
    )


def _change_sentence(what: str, change: Estimate) -> str:
    if change.is_tie:
        return (
            f"{what} makes no demonstrable difference: the MAE changes by "
            f"{change.text('months', digits=2)}."
        )
    verb = "raises" if change.value > 0 else "lowers"
    return f"{what} {verb} the MAE by {abs(change).text('months', digits=2)}."


def sex_input_variables(
    with_input: Sequence[Run], without: Sequence[Run], noise: RunNoise
) -> dict[str, str]:
    """Say how close a network with sex input comes; nothing where there is none.

    The interval of the change includes training noise, as far as it is known.
    """
    if not with_input:
        return {}
    change = difference(errors_of(with_input), errors_of(without), noise)
    size = abs(change.estimate).text("months")
    if change.estimate.is_tie:
        text = "not distinguishable from that without it"
    else:
        text = f"{'higher' if change.estimate.value > 0 else 'lower'} than without it"
    error = age.error(validation(with_input[0])).text("months")
    noise_text = "included" if change.holds_noise else "unknown, since there is one seed each"
    sentence = (
        f"With sex as an input, the error is {error}, {text}; the difference is {size}, training "
        f"noise {noise_text}."
    )
    if differences := changed_besides(with_input[0].config, without[0].config, "sex_input"):
        sentence += f" The network with sex input also differs in {differences}."
    return {"sex_input_sentence": sentence}


def conformal_verdict(coverage: pd.DataFrame, nominal: float) -> str:
    """Say how wide the conformal intervals are, for a title."""
    width = 2 * coverage.iloc[-1]["half_width_months"]
    if not math.isfinite(width):
        return f"Too few hands for {nominal * 100:g} % intervals"
    return f"{nominal * 100:g} % prediction intervals span {number(width, 0)} months (median)"


def conformal_sentence(coverage: pd.DataFrame, nominal: float) -> str:
    """Say how often the conformal intervals hold, how wide they are, and where they fail."""
    inside = coverage.iloc[-1]
    width = 2 * inside["half_width_months"]
    if not math.isfinite(width):
        return f"The selection hands are too few for {nominal * 100:g} % intervals."
    sentence = (
        f"Intervals with a nominal coverage of {nominal * 100:g} % contain "
        f"{Estimate.of(inside, 'coverage').text('%', scale=100)} of the labels; the median "
        f"interval width is {number(width, 0)} months."
    )
    by_band = coverage[(coverage["sex"] == "both") & (coverage["band"] != "all")]
    failing = [
        f"{row['band']}, with {Estimate.of(row, 'coverage').text('%', scale=100)}"
        for _, row in by_band[by_band["fails"]].iterrows()
    ]
    return (
        f"{sentence} Coverage falls short at {' and at '.join(failing)}." if failing else sentence
    )


def quantile_intervals(runs: Sequence[Run], nominal: float) -> dict[str, pd.DataFrame]:
    """Return two kinds of intervals of the first run that estimates quantiles, by method.

    Both are of one network: conformalised quantiles, and split conformal around its median.
    """
    if not runs:
        return {}
    selection, validation = (predictions_of(runs[0], part) for part in ("selection", "validation"))
    return {
        AROUND_MEDIAN: conformal.split_conformal(selection, validation, nominal),
        QUANTILES: conformal.quantile_conformal(selection, validation, nominal),
    }


def quantile_sentence(by_method: pd.DataFrame) -> str:
    """Compare the widths of two kinds of intervals, from `conformal.compare_intervals`."""
    rows = by_method[by_method["by"] == "all"].set_index("method")
    if not rows["mean_width_months"].map(math.isfinite).all():
        return "The selection hands are too few to compare the two kinds of intervals."
    parts = (
        f"{method}: {Estimate.of(row, 'coverage').text('%', scale=100)} covered, mean width "
        f"{number(row['mean_width_months'])} months, interval score "
        f"{number(row['interval_score_months'])}"
        for method, row in rows.iterrows()
    )
    best = rows["interval_score_months"].idxmin()
    return f"{capitalised('; '.join(parts))}. The lower (better) score is that of {best}."


def quantile_variables(by_method: pd.DataFrame) -> dict[str, str]:
    """Compare widths by age band with a width for each hand; nothing where there is one kind."""
    rows = by_method[by_method["by"] == "all"].set_index("method")
    if QUANTILES not in rows.index or not rows["half_width_months"].map(math.isfinite).all():
        return {}
    ours, theirs = rows.loc[QUANTILES], rows.loc[AROUND_MEDIAN]
    widths = [number(2 * row["half_width_months"], 0) for row in (ours, theirs)]
    scores = [number(row["interval_score_months"]) for row in (ours, theirs)]
    too_low = [_too_low(by_method, method) for method in (QUANTILES, AROUND_MEDIAN)]
    counts = f"; bands with too low coverage: {len(too_low[0])} against {len(too_low[1])}"
    title = f"Conformalised quantiles: median width {widths[0]} months against {widths[1]}"
    short = "; ".join(
        f"with the {which} at {listed(bands)}"
        for which, bands in zip(("former", "latter"), too_low, strict=True)
        if bands
    )
    return {
        "quantile_verdict": f"{title}{counts if short else ''}",
        "quantile_sentence": "Conformalised quantiles have an interval score of "
        f"{scores[0]} months; split-conformal intervals of the same network, fitted by age "
        f"band, {scores[1]} (lower is better)."
        f"{f' Coverage is too low {short}.' if short else ''}",
    }


def _too_low(by_method: pd.DataFrame, method: str) -> list[str]:
    """Name the bands in which one kind of intervals covers too few labels."""
    failing = by_method[(by_method["method"] == method) & by_method["fails"]]
    return [
        f"{row['band']} of {row['by'].replace('true', 'labelled')} ({100 * row['coverage']:.0f} %)"
        for _, row in failing[failing["by"] != "all"].iterrows()
    ]


def abstention_sentence(curve: pd.DataFrame, answered: float = 0.8) -> str:
    """Say what leaving the least certain fifth unanswered would gain, from `errors.abstention`."""
    row = curve.loc[(curve["answered"] - answered).abs().idxmin()]
    remaining, everyone = Estimate.of(row, "mae_months"), curve["mae_months"].iloc[-1]
    against = " instead of" if remaining.high < everyone else ", no clear gain on"
    return (
        f"Without the {(1 - row['answered']) * 100:.0f} % of hands whose estimates vary most under "
        f"small changes to the image, the error is {remaining.text('months')}{against} "
        f"{number(everyone)}."
    )
