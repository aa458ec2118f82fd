"""Every number with its interval: bootstrap, paired comparisons, spread over seeds.

The bootstrap is the percentile one (Efron and Tibshirani 1993, *An Introduction to the Bootstrap*,
chapter 13), over children: a child is drawn with everything that belongs to it. Shares have
Wilson's interval.
"""

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from h2a_lib.errors import UserError

CONFIDENCE = 0.95
TAILS = ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2)
RESAMPLES = 2000
# Below this a subgroup's interval is not to be relied on, and is marked.
FEW = 30
# Cells of the index matrix drawn at once: 2 MB, which stays in the processor's cache.
CHUNK_CELLS = 250_000

POWER = re.compile(r"\b(\d\.\d+)e([-+])0*(\d+)\b")
RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "+")


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval, from `n` children; NaN where not estimable."""

    value: float
    low: float
    high: float
    n: int

    @classmethod
    def of(cls, row: pd.Series, name: str) -> "Estimate":
        """Return the estimate that `row` of this class put into a table beside its n."""
        return cls(row[name], row[f"{name}_low"], row[f"{name}_high"], int(row["n"]))

    def __abs__(self) -> "Estimate":
        return Estimate(-self.value, -self.high, -self.low, self.n) if self.value < 0 else self

    @property
    def few(self) -> bool:
        """Whether n is below 30, so that the interval is not to be relied on."""
        return self.n < FEW

    @property
    def is_tie(self) -> bool:
        """Whether the interval holds zero (or does not exist): for a difference, no winner."""
        return not self.excludes(0)

    def excludes(self, value: float) -> bool:
        """Whether `value` lies outside the interval. False where there is no interval."""
        return bool(self.low > value or self.high < value)

    def text(self, unit: str = "", digits: int = 1, scale: float = 1.0) -> str:
        """Print as "11.3 months (95 % CI 10.9–11.8, n = 2,611)"; a scale of 100 gives percent."""
        size = sample_size(self.n)
        if math.isnan(self.value):
            return f"not estimable ({size})"
        value = " ".join(filter(None, [number(self.value * scale, digits), unit]))
        if math.isnan(self.low) or math.isnan(self.high):
            return f"{value} (no interval, {size})"
        return f"{value} ({CONFIDENCE * 100:g} % CI {self.span(digits, scale)}, {size})"

    def span(self, digits: int = 1, scale: float = 1.0) -> str:
        """Print the interval alone: "10.9–11.8", or "−0.4 to 0.2" where a dash would mislead."""
        low, high = (number(end * scale, digits) for end in (self.low, self.high))
        return f"{low} to {high}" if "−" in low + high else f"{low}–{high}"

    def row(self, name: str) -> dict[str, float]:
        """Return the columns `name`, `name_low`, `name_high` for a table."""
        return {name: self.value, f"{name}_low": self.low, f"{name}_high": self.high}


@dataclass(frozen=True)
class Seeds:
    """Mean and standard deviation (n - 1 in the denominator; NaN for one seed) over n seeds."""

    mean: float
    spread: float
    n: int

    def text(self, unit: str = "", digits: int = 1) -> str:
        """Print as "11.3 ± 0.2 months (mean ± SD, 3 seeds)", or "11.3 months (1 seed)"."""
        middle = number(self.mean, digits)
        if self.n < 2:
            return " ".join(filter(None, [middle, unit, f"({self.n} seed)"]))
        middle += f" ± {number(self.spread, digits)}"
        return " ".join(filter(None, [middle, unit, f"(mean ± SD, {self.n} seeds)"]))


def number(value: float, digits: int = 1) -> str:
    """Print a number with thousands separated and a true minus sign; never "−0.0"."""
    if math.isnan(value):
        return "–"
    text = f"{value:,.{digits}f}"
    return text.removeprefix("-") if float(text.replace(",", "")) == 0 else text.replace("-", "−")


def months_text(months: float) -> str:
    """Return "1 month", "3 months"."""
    return f"{months:g} month{'' if months == 1 else 's'}"


def sample_size(n: int) -> str:
    """Return "n = 1,234"; below 30 "n = 7, few"."""
    return f"n = {n:,}" + (", few" if 0 < n < FEW else "")


def by_split(
    predictions: pd.DataFrame, measure: Callable[[pd.DataFrame], dict[str, Estimate]]
) -> pd.DataFrame:
    """Measure predictions of every split, one row for each figure: split, measure, value, n."""
    rows = [
        {"split": split, "measure": name} | estimate.row("value") | {"n": estimate.n}
        for split, part in predictions.groupby("split", sort=True)
        for name, estimate in measure(part).items()
    ]
    return pd.DataFrame(rows)


def capitalised(text: str) -> str:
    """Begin a sentence with a capital, and leave the rest as it is."""
    return text[:1].upper() + text[1:]


def listed(names: Sequence[str]) -> str:
    """Join names as a sentence does: "a, b and c"."""
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def powers_of_ten(text: str) -> str:
    """Write the powers in a text as people do: "4.8e-04" as "4.8 × 10⁻⁴", without a break."""
    return POWER.sub(lambda m: f"{m[1]}\u00a0×\u00a010" + (m[2] + m[3]).translate(RAISED), text)


def bootstrap(
    statistic: Callable[..., NDArray[np.float64]],
    *columns: ArrayLike,
    seed: int = 0,
    resamples: int = RESAMPLES,
    strata: ArrayLike | None = None,
) -> Estimate:
    """Estimate `statistic` with its percentile bootstrap interval.

    Parameters
    ----------
    statistic : callable
        Takes one array (..., n) per column, returns (...,): it must reduce the last axis.
        Resamples on which it is NaN are left out of the interval.
    *columns : array_like, (n,)
        A resample takes the same children from every column.
    strata : array_like, (n,), optional
        Groups that keep their size in every resample: the sexes, for an AUC.
    """
    arrays = [np.asarray(column) for column in columns]
    n = len(arrays[0])
    if any(array.shape != (n,) for array in arrays):
        shapes = ", ".join(str(array.shape) for array in arrays)
        raise ValueError(f"columns must be one-dimensional and equally long, got {shapes}")
    if n == 0:
        return Estimate(math.nan, math.nan, math.nan, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        value = float(statistic(*arrays))
        if n == 1:
            return Estimate(value, math.nan, math.nan, 1)
        drawn = np.concatenate(
            [
                statistic(*(array[indices] for array in arrays))
                for indices in _draws(n, seed, resamples, strata)
            ]
        )
    drawn = drawn[~np.isnan(drawn)]
    low, high = np.quantile(drawn, TAILS).tolist() if drawn.size else (math.nan, math.nan)
    return Estimate(value, low, high, n)


def mae_interval(errors: ArrayLike, seed: int = 0, resamples: int = RESAMPLES) -> Estimate:
    """Mean absolute value of errors, (n,), with its bootstrap interval."""
    return mean_interval(np.abs(np.asarray(errors, dtype=float)), seed, resamples)


def mean_interval(values: ArrayLike, seed: int = 0, resamples: int = RESAMPLES) -> Estimate:
    """Mean with its bootstrap interval. The order of values is no matter."""
    ordered = np.sort(np.asarray(values, float))
    return bootstrap(lambda v: v.mean(axis=-1), ordered, seed=seed, resamples=resamples)


def share_interval(values: ArrayLike) -> Estimate:
    """Share of what is true in (n,), with its score interval (Wilson 1927, JASA 22:209).

    Unlike the bootstrap's it has a width where all are true, or none.
    """
    from scipy.stats import binomtest

    flags = np.asarray(values, bool)
    true, n = int(flags.sum()), len(flags)
    if n == 0:
        return Estimate(math.nan, math.nan, math.nan, 0)
    low, high = binomtest(true, n).proportion_ci(CONFIDENCE, method="wilson")
    return Estimate(true / n, low, high, n)


def paired_difference(frame_a: pd.DataFrame, frame_b: pd.DataFrame) -> Estimate:
    """MAE of a minus MAE of b, months, on the same children by id: below zero, a is better."""
    both = join(frame_a, frame_b)
    error_a = (both["predicted_age_months_a"] - both["age_months_a"]).abs()
    error_b = (both["predicted_age_months_b"] - both["age_months_b"]).abs()
    return mean_interval(error_a - error_b)


def over_seeds(values: Iterable[float]) -> Seeds:
    """Mean and standard deviation of one figure over seeds."""
    array = np.array([float(value) for value in values])
    if array.size == 0:
        raise ValueError("no seed to average over")
    spread = float(array.std(ddof=1)) if array.size > 1 else math.nan
    return Seeds(float(array.mean()), spread, array.size)


def join(frame_a: pd.DataFrame, frame_b: pd.DataFrame) -> pd.DataFrame:
    """Join two tables of the same children by id, one to one, in the order of the first.

    Columns of both get the suffixes `_a` and `_b`. A UserError names the ids that are missing on
    one side, occur twice, or differ in `age_months`.
    """
    wrong = []
    for side, frame in (("first", frame_a), ("second", frame_b)):
        double = frame["id"][frame["id"].duplicated()].unique()
        if len(double):
            wrong.append(f"twice in the {side}: {_few_names(double)}")
    for side, here, there in (("first", frame_a, frame_b), ("second", frame_b, frame_a)):
        missing = there["id"][~there["id"].isin(here["id"])].unique()
        if len(missing):
            wrong.append(f"missing from the {side}: {_few_names(missing)}")
    if wrong:
        raise UserError("the two tables do not hold the same ids: " + "; ".join(wrong))
    both = frame_a.merge(frame_b, on="id", suffixes=("_a", "_b"), validate="one_to_one")
    if "age_months_a" in both:
        differs = both["id"][~np.isclose(both["age_months_a"], both["age_months_b"])]
        if len(differs):
            raise UserError(f"the two tables give different ages for id {_few_names(differs)}")
    return both


def _draws(
    n: int, seed: int, resamples: int, strata: ArrayLike | None
) -> Iterable[NDArray[np.int64]]:
    """Yield index matrices (rows, n), `resamples` rows in all, the same however they are cut."""
    labels = np.zeros(n) if strata is None else np.asarray(strata)
    groups = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    # One stream per stratum: the draws of one do not depend on how the rows are cut.
    streams = np.random.default_rng(seed).spawn(len(groups))
    rows = max(1, CHUNK_CELLS // n)
    for start in range(0, resamples, rows):
        count = min(rows, resamples - start)
        yield np.concatenate(
            [
                group[stream.integers(len(group), size=(count, len(group)))]
                for group, stream in zip(groups, streams, strict=True)
            ],
            axis=1,
        )


def _few_names(ids: Iterable[object], most: int = 5) -> str:
    names = [str(name) for name in ids]
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")
