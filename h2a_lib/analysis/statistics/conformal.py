"""Conformal intervals: how far off an estimate may be, with a stated coverage.

Both kinds are fitted on the selection hands, so that the coverage that the validation hands show
is that of hands which had no part in the fit.

Split conformal (Lei et al. 2018, JASA 113:1094, section 2.2), in bands (Vovk, Gammerman and Shafer
2005, *Algorithmic Learning in a Random World*, chapter 4.5, "Mondrian"). The bands are of the true
*and* of the estimated age: an age is in the interval where the error would not exceed the larger of
the two bands' quantiles. The union of two intervals covers at least as often as either, so both
promises hold at once. (Gibbs, Cherian and Candès 2023, arXiv:2305.12616, give the general theory.)

Conformalised quantile regression (Romano, Patterson and Candès 2019, NeurIPS, equations 6 to 8)
starts from a network's own quantiles, so that each hand has a width of its own.
"""

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from h2a_lib.analysis.age.errors import PREDICTED, TRUE
from h2a_lib.analysis.bands import EDGES_MONTHS, NAMES, band_of, by_band_and_sex
from h2a_lib.analysis.statistics.bootstrap import FEW, share_interval

NOMINAL_COVERAGE = 0.9
LOW, HIGH = "predicted_age_low_months", "predicted_age_high_months"

Array = NDArray[np.float64]


@dataclass(frozen=True)
class BandErrors:
    """The error that a stated share of the hands of each age band does not exceed.

    A band with fewer than 30 of the `n` hands is joined to the smaller of its neighbours; the error
    is infinite where all hands together are too few.
    """

    edges_months: tuple[float, ...]
    error_months: tuple[float, ...]
    n: tuple[int, ...]

    @classmethod
    def fit(cls, ages: Array, errors: Array, nominal: float) -> "BandErrors":
        """Fit on the absolute errors, (n,), of hands of some ages, (n,), true or estimated."""
        edges = _joined(ages, list(EDGES_MONTHS[1:-1]))
        band = np.searchsorted(edges, ages, side="right")
        parts = [errors[band == i] for i in range(len(edges) + 1)]
        errors_of_bands = tuple(conformal_quantile(part, nominal) for part in parts)
        return cls(tuple(edges), errors_of_bands, tuple(map(len, parts)))

    def at(self, ages: Array) -> Array:
        """Return the error of the band of each age, (n,)."""
        return np.array(self.error_months)[np.searchsorted(self.edges_months, ages, side="right")]


@dataclass(frozen=True)
class SplitConformal:
    """Intervals around an estimate, by true and by estimated age."""

    by_true: BandErrors
    by_estimate: BandErrors

    @classmethod
    def fit(cls, frame: pd.DataFrame, nominal: float = NOMINAL_COVERAGE) -> "SplitConformal":
        """Fit on predictions, columns `age_months` and `predicted_age_months`, of other hands."""
        true, estimate = frame[TRUE].to_numpy(float), _ages(frame[PREDICTED])
        errors = np.abs(estimate - true)
        return cls(BandErrors.fit(true, errors, nominal), BandErrors.fit(estimate, errors, nominal))

    def interval(self, predicted_age_months: ArrayLike) -> tuple[Array, Array]:
        """Return lower and upper ends, (n,) each, months, around the estimate cut off at 0."""
        estimate = _ages(predicted_age_months)
        error = np.maximum(
            np.array(self.by_true.error_months), self.by_estimate.at(estimate)[:, None]
        )
        # (n, bands): the part of each band of true age that is possible, if any is. The outermost
        # bands are open, so every estimate lies in a band and is in its own interval.
        low = np.maximum(estimate[:, None] - error, [-np.inf, *self.by_true.edges_months])
        high = np.minimum(estimate[:, None] + error, [*self.by_true.edges_months, np.inf])
        possible = low <= high
        lowest = np.where(possible, low, np.inf).min(axis=1)
        return np.maximum(lowest, 0), np.where(possible, high, -np.inf).max(axis=1)


@dataclass(frozen=True)
class ConformalQuantiles:
    """A network's own lower and upper quantile, both moved outwards by the same margin.

    The margin is negative where the network's intervals were too wide, infinite where hands were
    few.
    """

    margin_months: float

    @classmethod
    def fit(cls, frame: pd.DataFrame, nominal: float = NOMINAL_COVERAGE) -> "ConformalQuantiles":
        """Fit on predictions with the quantile columns, of hands not trained on."""
        true = frame[TRUE].to_numpy(float)
        outside = np.maximum(frame[LOW].to_numpy(float) - true, true - frame[HIGH].to_numpy(float))
        return cls(conformal_quantile(outside, nominal))

    def interval(self, low_months: ArrayLike, high_months: ArrayLike) -> tuple[Array, Array]:
        """Return lower and upper ends, (n,) each, months; none is negative."""
        low, high = np.asarray(low_months, float), np.asarray(high_months, float)
        # A negative margin may turn a narrow interval inside out: then it is its middle alone.
        middle = (low + high) / 2
        low = np.minimum(low - self.margin_months, middle)
        high = np.maximum(high + self.margin_months, middle)
        return np.maximum(low, 0), np.maximum(high, 0)


def _ages(months: ArrayLike) -> Array:
    """Cut estimates off at 0: no age is negative."""
    return np.maximum(np.asarray(months, float), 0)


def _joined(ages: Array, edges: list[float]) -> list[float]:
    """Take out edges until no band has fewer than 30 of the ages, (n,), or one band is left."""
    while edges:
        n = np.bincount(np.searchsorted(edges, ages, side="right"), minlength=len(edges) + 1)
        least = int(n.argmin())
        if n[least] >= FEW:
            break
        below = n[least - 1] if least > 0 else math.inf
        above = n[least + 1] if least < len(edges) else math.inf
        del edges[least - 1 if below <= above else least]
    return edges


def conformal_quantile(scores: Array, nominal: float) -> float:
    """Return the ceil((n + 1) nominal)-th smallest score; infinite if there are too few.

    With this rank a new score, exchangeable with these, is no larger with a probability of at
    least `nominal` whatever their distribution (Lei et al. 2018, theorem 2.2).
    """
    # The tolerance keeps 0.9 * 10 = 9.000000000000002 from asking for the tenth.
    rank = math.ceil((len(scores) + 1) * nominal - 1e-9)
    return float(np.sort(scores)[rank - 1]) if rank <= len(scores) else math.inf


def split_conformal(
    selection: pd.DataFrame, frame: pd.DataFrame, nominal: float = NOMINAL_COVERAGE
) -> pd.DataFrame:
    """Add low_months, high_months, half_width_months and covered, fitted on the selection hands."""
    ends = SplitConformal.fit(selection, nominal).interval(frame[PREDICTED])
    return _with_intervals(frame, *ends)


def quantile_conformal(
    selection: pd.DataFrame, frame: pd.DataFrame, nominal: float = NOMINAL_COVERAGE
) -> pd.DataFrame:
    """Conformalise a network's own quantiles on the selection hands; see `split_conformal`."""
    ends = ConformalQuantiles.fit(selection, nominal).interval(frame[LOW], frame[HIGH])
    return _with_intervals(frame, *ends)


def has_quantiles(frame: pd.DataFrame) -> bool:
    """Whether predictions have a lower and an upper quantile of their own."""
    return {LOW, HIGH} <= set(frame)


def _with_intervals(frame: pd.DataFrame, low: Array, high: Array) -> pd.DataFrame:
    return frame.assign(
        low_months=low,
        high_months=high,
        half_width_months=(high - low) / 2,
        covered=frame[TRUE].between(low, high),
    )


def interval_score(intervals: pd.DataFrame, nominal: float) -> Array:
    """Return the interval score of each hand, (n,), months; lower is better.

    The width, and 2 / (1 - nominal) times what the label lies outside: proper for central
    intervals (Gneiting and Raftery 2007, JASA 102:359, equation 43).
    """
    low, high, true = intervals[["low_months", "high_months", TRUE]].to_numpy(float).T
    outside = np.maximum(low - true, 0) + np.maximum(true - high, 0)
    return high - low + 2 / (1 - nominal) * outside


def coverage(intervals: pd.DataFrame, nominal: float = NOMINAL_COVERAGE) -> pd.DataFrame:
    """Measure coverage and median half width by true age band and sex.

    A band `fails` where the whole interval of its coverage lies below what was stated.
    """
    return pd.DataFrame(
        {"band": band, "sex": sex} | _coverage_row(part, nominal)
        for band, sex, part in by_band_and_sex(intervals)
    )


def _coverage_row(part: pd.DataFrame, nominal: float) -> dict[str, object]:
    covered = share_interval(part["covered"])
    width = float(part["half_width_months"].median()) if len(part) else math.nan
    return (
        {"n": covered.n, "few": covered.few}
        | covered.row("coverage")
        | {"fails": bool(covered.high < nominal), "half_width_months": width}
    )


def compare_intervals(
    methods: Mapping[str, pd.DataFrame], nominal: float = NOMINAL_COVERAGE
) -> pd.DataFrame:
    """Compare methods by coverage, width and interval score, by true and by estimated age band."""
    rows = []
    for method, intervals in methods.items():
        scores = interval_score(intervals, nominal)
        bands = {"true age": TRUE, "estimated age": PREDICTED}
        everyone = np.ones(len(intervals), bool)
        parts = [("all", "all", everyone)] + [
            (by, name, band_of(intervals[column]) == i)
            for (by, column), (i, name) in itertools.product(bands.items(), enumerate(NAMES))
        ]
        for by, band, rows_of_band in parts:
            part = intervals[rows_of_band]
            width = (part["high_months"] - part["low_months"]).mean()
            score = scores[rows_of_band].mean() if len(part) else math.nan
            rows.append(
                {"method": method, "by": by, "band": band}
                | _coverage_row(part, nominal)
                | {"mean_width_months": width, "interval_score_months": score}
            )
    return pd.DataFrame(rows)
