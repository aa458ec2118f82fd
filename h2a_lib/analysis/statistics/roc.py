"""Area under the ROC curve of a score for sex, with DeLong's interval."""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri

from h2a_lib.analysis.statistics.bootstrap import CONFIDENCE, Estimate

Array = NDArray[np.float64]


def auc(male: ArrayLike, score: ArrayLike) -> Estimate:
    """Area under the ROC curve with DeLong's 95 % interval, cut off at 0 and 1; NaN of one sex.

    A higher score, (n,), means male. DeLong, DeLong and Clarke-Pearson 1988, Biometrics 44:837; by
    ranks, Sun and Xu 2014, IEEE Signal Processing Letters 21:1389.
    """
    male, score = np.asarray(male, dtype=bool), np.asarray(score, dtype=float)
    boys, girls = _placements(male, score)
    value = float(boys.mean()) if len(boys) and len(girls) else math.nan
    return _wald(value, _variance(boys, girls), len(male), within=(0.0, 1.0))


def auc_difference(male: ArrayLike, score_a: ArrayLike, score_b: ArrayLike) -> Estimate:
    """AUC of a minus that of b on the same hands, with DeLong's paired 95 % interval."""
    male = np.asarray(male, dtype=bool)
    boys_a, girls_a = _placements(male, np.asarray(score_a, dtype=float))
    boys_b, girls_b = _placements(male, np.asarray(score_b, dtype=float))
    boys, girls = boys_a - boys_b, girls_a - girls_b
    value = float(boys.mean()) if len(boys) and len(girls) else math.nan
    return _wald(value, _variance(boys, girls), len(male), within=(-1.0, 1.0))


def _placements(male: NDArray[np.bool_], score: Array) -> tuple[Array, Array]:
    """For each boy the share of girls below him, for each girl the share of boys above her."""
    n_boys, n_girls = int(male.sum()), int((~male).sum())
    if n_boys == 0 or n_girls == 0:
        return np.empty(n_boys), np.empty(n_girls)
    from scipy.stats import rankdata

    overall = rankdata(score)
    boys = (overall[male] - rankdata(score[male])) / n_girls
    girls = 1 - (overall[~male] - rankdata(score[~male])) / n_boys
    return boys, girls


def _variance(boys: Array, girls: Array) -> float:
    if len(boys) < 2 or len(girls) < 2:
        return math.nan
    return float(boys.var(ddof=1) / len(boys) + girls.var(ddof=1) / len(girls))


def _wald(value: float, variance: float, n: int, within: tuple[float, float]) -> Estimate:
    half = ndtri((1 + CONFIDENCE) / 2) * math.sqrt(variance) if variance >= 0 else math.nan
    low, high = np.clip([value - half, value + half], *within).tolist()
    return Estimate(value, low, high, n)
