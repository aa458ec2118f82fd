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
    return _mean(*_placements(male, score), least=0.0)


def auc_difference(male: ArrayLike, score_a: ArrayLike, score_b: ArrayLike) -> Estimate:
    """AUC of a minus that of b on the same hands, with DeLong's paired 95 % interval."""
    boys_a, girls_a = _placements(male, score_a)
    boys_b, girls_b = _placements(male, score_b)
    return _mean(boys_a - boys_b, girls_a - girls_b, least=-1.0)


def _placements(male: ArrayLike, score: ArrayLike) -> tuple[Array, Array]:
    """For each boy the share of girls below him, for each girl the share of boys above her."""
    male, score = np.asarray(male, dtype=bool), np.asarray(score, dtype=float)
    n_boys, n_girls = int(male.sum()), int((~male).sum())
    if n_boys == 0 or n_girls == 0:
        return np.empty(n_boys), np.empty(n_girls)
    from scipy.stats import rankdata

    overall = rankdata(score)
    boys = (overall[male] - rankdata(score[male])) / n_girls
    girls = 1 - (overall[~male] - rankdata(score[~male])) / n_boys
    return boys, girls


def _mean(boys: Array, girls: Array, least: float) -> Estimate:
    """Mean of placements, or of differences of them, with its interval cut off at `least` and 1."""
    value = float(boys.mean()) if len(boys) and len(girls) else math.nan
    half = math.nan
    if len(boys) > 1 and len(girls) > 1:
        variance = boys.var(ddof=1) / len(boys) + girls.var(ddof=1) / len(girls)
        half = ndtri((1 + CONFIDENCE) / 2) * math.sqrt(variance)
    low, high = np.clip([value - half, value + half], least, 1).tolist()
    return Estimate(value, low, high, len(boys) + len(girls))
