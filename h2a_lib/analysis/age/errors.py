"""Question 1: errors of estimated ages with intervals, beside predictors that need no image.

A `frame` of predictions has a row for each hand: id, male, age_months, predicted_age_months. In the
tables, a number stands with the ends of its 95 % interval, _low and _high, and `few` marks those of
fewer than 30 hands.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from h2a_lib.analysis.age import literature
from h2a_lib.analysis.bands import by_band_and_sex
from h2a_lib.analysis.statistics.bootstrap import (
    Estimate,
    bootstrap,
    join,
    mae_interval,
    mean_interval,
    number,
    paired_difference,
    share_interval,
)
from h2a_lib.errors import UserError

TRUE, PREDICTED = "age_months", "predicted_age_months"
Array = NDArray[np.float64]


def metrics(frame: pd.DataFrame) -> dict[str, Estimate]:
    """Measure mae, rmse, median, bias (months), r2, and shares within_ and beyond_ some months."""
    columns = frame[TRUE].to_numpy(float), frame[PREDICTED].to_numpy(float)
    signed = columns[1] - columns[0]
    size = np.abs(signed)
    estimates = {name: bootstrap(measure, *columns) for name, measure in METRICS.items()}
    estimates |= {f"within_{months}": share_interval(size <= months) for months in (6, 12, 24)}
    # One number has one interval, wherever it stands.
    estimates |= {"mae": error(frame), "bias": mean_interval(signed)}
    return estimates | {"beyond_12": share_interval(size > 12)}


def error(frame: pd.DataFrame) -> Estimate:
    """Return the mean absolute error of predictions, in months."""
    return mae_interval(frame[PREDICTED] - frame[TRUE])


def _r2(true: Array, predicted: Array) -> Array:
    """1 - residual / total sum of squares; NaN where all ages are one."""
    total = ((true - true.mean(axis=-1, keepdims=True)) ** 2).sum(axis=-1)
    residual = ((predicted - true) ** 2).sum(axis=-1)
    return 1 - residual / np.where(total > 0, total, np.nan)


METRICS: dict[str, Callable[[Array, Array], Array]] = {
    "rmse": lambda true, predicted: np.sqrt(((predicted - true) ** 2).mean(axis=-1)),
    "median": lambda true, predicted: np.median(np.abs(predicted - true), axis=-1),
    "r2": _r2,
}


def by_band(frame: pd.DataFrame) -> pd.DataFrame:
    """Errors by age band and sex; NaN where there is no hand."""
    rows = []
    for band, sex, part in by_band_and_sex(frame):
        errors = (part[PREDICTED] - part[TRUE]).to_numpy(float)
        mae, within = mae_interval(errors), share_interval(np.abs(errors) <= 12)
        rows.append(
            {"band": band, "sex": sex, "n": mae.n, "few": mae.few}
            | mae.row("mae_months")
            | mean_interval(errors).row("bias_months")
            | {"within_12": within.value}
        )
    return pd.DataFrame(rows)


def worst(frame: pd.DataFrame, most: int = 8) -> NDArray[np.int64]:
    """Return the positions of the hands with the largest errors, the largest first."""
    errors = (frame[PREDICTED] - frame[TRUE]).abs().to_numpy(float)
    return np.argsort(-errors, kind="stable")[:most]


def by_kind(frame: pd.DataFrame, kinds: Mapping[str, NDArray[np.bool_]]) -> pd.DataFrame:
    """Errors of pictures of each kind, (n,) bool, and of those that are not of it."""
    errors = (frame[PREDICTED] - frame[TRUE]).abs().to_numpy(float)
    rows = []
    for kind, chosen in kinds.items():
        for inside in (True, False):
            part = errors[np.asarray(chosen, bool) == inside]
            mae = mae_interval(part)
            rows.append(
                {"subgroup": kind, "in_subgroup": inside, "n": mae.n, "few": mae.few}
                | mae.row("mae_months")
                | share_interval(part > 24).row("beyond_24")
            )
    return pd.DataFrame(rows)


def kinds_sentence(table: pd.DataFrame) -> str:
    """Say how much larger errors are on pictures of a kind, from `by_kind`."""
    parts = []
    for kind, rows in table.groupby("subgroup", sort=False):
        mae = {
            inside: Estimate.of(rows[rows["in_subgroup"] == inside].iloc[0], "mae_months")
            for inside in (True, False)
        }
        if mae[True].n and mae[False].n:
            parts.append(
                f"{kind} {mae[True].text('months')} against {mae[False].text()} in the others"
            )
    return f"MAE by kind of image: {'; '.join(parts)}." if parts else "All images are of one kind."


def bland_altman(frame: pd.DataFrame) -> dict[str, Estimate]:
    """Agreement of estimated and labelled age in months (Bland and Altman 1986, Lancet 327:307).

    Bias and limits, lower and upper (bias -+ 1.96 SD), are of predicted minus true; `slope` is its
    slope on the mean of the two, 0 if errors do not depend on age.
    """
    difference = (frame[PREDICTED] - frame[TRUE]).to_numpy(float)
    mean = ((frame[PREDICTED] + frame[TRUE]) / 2).to_numpy(float)

    def limit(d: Array, sign: int) -> Array:
        # One hand has no spread: NaN, not a warning.
        spread = d.std(axis=-1, ddof=1) if d.shape[-1] > 1 else np.full(d.shape[:-1], np.nan)
        return d.mean(axis=-1) + sign * 1.96 * spread

    return {
        "bias": mean_interval(difference),
        "lower": bootstrap(lambda d: limit(d, -1), difference),
        "upper": bootstrap(lambda d: limit(d, 1), difference),
        "slope": bootstrap(lambda d, m: slope(m, d), difference, mean),
    }


def slope(x: Array, y: Array) -> Array:
    """Least-squares slope of y on x along the last axis; NaN where x does not vary."""
    x_centred = x - x.mean(axis=-1, keepdims=True)
    spread = (x_centred**2).sum(axis=-1)
    product = (x_centred * y).sum(axis=-1)
    return product / np.where(spread > 0, spread, np.nan)


# --- regression to the mean -----------------------------------------------------------------------

# Estimates with a flatter slope hardly follow the age; dividing by it would multiply their noise by
# more than ten, so they are left as they are.
LEAST_SLOPE = 0.1


def regression_to_the_mean(frame: pd.DataFrame) -> dict[str, Estimate]:
    """Return calibration_slope and error_slope of age estimates.

    The first is of the true age on the predicted one: 1 if calibrated (TRIPOD+AI item 12e). The
    second is of the error on the true age: 0 without regression to the mean, -1 for a constant
    predictor.
    """
    true, predicted = frame[TRUE].to_numpy(float), frame[PREDICTED].to_numpy(float)
    return {
        "calibration_slope": bootstrap(lambda t, p: slope(p, t), true, predicted),
        "error_slope": bootstrap(lambda t, p: slope(t, p - t), true, predicted),
    }


def corrected(selection: pd.DataFrame, frame: pd.DataFrame) -> pd.DataFrame:
    """Correct regression to the mean by the line of the selection hands.

    Inverting the line leaves the error at every age unbiased but widens its scatter: the MAE may
    rise. (Corrections that take the true age as an input, common with brain ages, know the answer.)
    """
    true, predicted = (selection[name].to_numpy(float) for name in (TRUE, PREDICTED))
    if len(selection) < 2 or not (of_line := float(slope(true, predicted))) >= LEAST_SLOPE:
        return frame.assign(**{PREDICTED: frame[PREDICTED].astype(float)})
    intercept = predicted.mean() - of_line * true.mean()
    return frame.assign(**{PREDICTED: (frame[PREDICTED] - intercept) / of_line})


# --- without an image -----------------------------------------------------------------------------


def constant(train: pd.DataFrame, frame: pd.DataFrame) -> pd.DataFrame:
    """Predict every hand by the median age of the training hands (the best constant for MAE)."""
    return frame.assign(**{PREDICTED: train[TRUE].median()})


def constant_by_sex(train: pd.DataFrame, frame: pd.DataFrame) -> pd.DataFrame:
    """Predict each hand by the median training age of its sex; of all, for a sex without one."""
    medians = train.groupby("male")[TRUE].median()
    predicted = frame["male"].map(medians).astype(float).fillna(train[TRUE].median())
    return frame.assign(**{PREDICTED: predicted})


def single_report_floor(
    out_of_fold_months: float = 6.3, on_six_months: float = 4.7, readers: int = 6
) -> float:
    """Mean absolute error, months, of a perfect estimate against labels from one clinical report.

    The rule: one public recipe, as its author reported it, was scored on both kinds of labels. With
    independent normal errors the squared errors are model + report and model + report / readers;
    their difference leaves the report's. A normal error with standard deviation s has a mean
    absolute value of s sqrt(2 / pi), which cancels. The assumptions are crude (labels are heaped,
    and the six readings differ in kind from a report), so the result is one end of `noise_range`
    and not a measurement.
    """
    return float(np.sqrt((out_of_fold_months**2 - on_six_months**2) / (1 - 1 / readers)))


def noise_floor(tier: str) -> float | None:
    """Return the label noise's floor of the MAE in months, or None where labels have no noise.

    Phantoms are drawn from their label, so nothing but the network stands between a picture and
    its age. Of an unknown folder nothing is known: None as well.
    """
    return single_report_floor() if tier == "rsna" else None


def noise_range(tier: str) -> tuple[float, float] | None:
    """Return the range of the MAE that label noise explains, or None without noise.

    From `noise_floor`, which is an inference, to the least consistent published single reader.
    """
    floor = noise_floor(tier)
    return None if floor is None else (floor, literature.SINGLE_READERS[1])


def baselines(train: pd.DataFrame, frame: pd.DataFrame) -> pd.DataFrame:
    """Compare predictions with constants; gain_months is the constant's MAE minus the network's."""
    ways = {"median age": constant, "median age of each sex": constant_by_sex}
    frames = {name: predict(train, frame) for name, predict in ways.items()}
    return compare(frames, frame, "name", "gain_months")


def compare(
    frames: Mapping[str, pd.DataFrame], reference: pd.DataFrame, label: str, difference: str
) -> pd.DataFrame:
    """Compare predictions by their MAE, and by its paired difference from that of a reference."""
    rows = []
    for name, frame in frames.items():
        change = paired_difference(frame, reference)
        rows.append(
            {label: name}
            | error(frame).row("mae_months")
            | change.row(difference)
            | {"tie": change.is_tie, "n": change.n}
        )
    return pd.DataFrame(rows)


# --- several predictions of one hand --------------------------------------------------------------


def ensemble(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Average the predictions of several runs, joined by id; spread_months is their SD."""
    if not frames:
        raise UserError("an ensemble needs at least one run")
    first = frames[0]
    columns = [
        join(first[["id"]], other[["id", PREDICTED]])[PREDICTED].to_numpy(float) for other in frames
    ]
    stacked = np.stack(columns)
    return first.assign(**{PREDICTED: stacked.mean(axis=0), "spread_months": stacked.std(axis=0)})


def abstention(errors: Array, uncertainty: Array) -> pd.DataFrame:
    """Error of the remaining hands when the most uncertain ones, (n,), are left unanswered.

    `answered` rises to 1 in 20 steps (fewer with few hands); oracle_months is the error had the
    largest errors been known.
    """
    errors = np.abs(np.asarray(errors, float))
    by_uncertainty = errors[np.argsort(uncertainty, kind="stable")]
    sizes = np.unique(np.ceil(np.linspace(0.05, 1, 20) * len(errors)).astype(int))
    by_error = np.sort(errors)
    rows = []
    for size in sizes[sizes > 0]:
        mae = mae_interval(by_uncertainty[:size])
        rows.append(
            {"answered": size / len(errors), "n": int(size)}
            | mae.row("mae_months")
            | {"oracle_months": by_error[:size].mean()}
        )
    return pd.DataFrame(rows)


# --- the answer -----------------------------------------------------------------------------------


def answer(
    train: pd.DataFrame, frame: pd.DataFrame, tier: str, with_sex_input: bool = False
) -> str:
    """Answer question 1 in a sentence or two, chosen by the paired intervals."""
    mae = error(frame)
    simple = constant(train, frame)
    gain, yardstick = paired_difference(simple, frame), error(simple)
    given = "From image and sex" if with_sex_input else "From the image alone"
    result = f"{given}, bone age is estimated with a mean absolute error of {mae.text('months')}"
    always = f"always predicting the median age ({number(yardstick.value)} months)"
    if gain.is_tie:
        return f"{result}: not distinguishable from {always}."
    if gain.value < 0:
        return f"{result}: worse than {always}."
    ratio = number(yardstick.value / mae.value) if mae.value else "infinitely many"
    sentence = (
        f"{result}; always predicting the median gives {number(yardstick.value)} months, {ratio} "
        "times as large."
    )
    floor = noise_floor(tier)
    if floor is not None and mae.high < floor:
        sentence += (
            f" An error below {number(floor)} months, the estimated label noise, suggests leakage."
        )
    return sentence
