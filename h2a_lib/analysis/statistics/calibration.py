"""Regression to the mean of age estimates: seen, measured, and corrected without peeking."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from h2a_lib.analysis.age.errors import PREDICTED, TRUE, slope
from h2a_lib.analysis.statistics.bootstrap import Estimate, bootstrap

FOLDS = 5
# A slope below this says that the answers hardly follow the age; dividing by it would blow up
# their noise tenfold, so such answers are left as they are.
LEAST_SLOPE = 0.1


@dataclass(frozen=True)
class Line:
    """predicted = intercept + slope * true, fitted by least squares."""

    slope: float
    intercept: float

    @classmethod
    def fit(cls, frame: pd.DataFrame) -> "Line":
        """Fit on hands whose age is known."""
        true, predicted = frame[TRUE].to_numpy(float), frame[PREDICTED].to_numpy(float)
        fitted = float(slope(true, predicted)) if len(frame) > 1 else np.nan
        return cls(fitted, float(predicted.mean() - fitted * true.mean()))

    @property
    def is_usable(self) -> bool:
        """Whether there is a line that can be turned around."""
        return bool(self.slope >= LEAST_SLOPE)

    def corrected(self, predicted: NDArray[np.float64]) -> NDArray[np.float64]:
        """Undo the pull to the mean: (predicted - intercept) / slope. Needs no true age."""
        return (predicted - self.intercept) / self.slope if self.is_usable else predicted


def measures(frame: pd.DataFrame) -> dict[str, Estimate]:
    """Measure calibration of age estimates.

    Returns
    -------
    dict of str to Estimate
        calibration_slope: of the true age on the predicted one (1 if predictions mean what they
        say; TRIPOD+AI item 12e). pull: of the error on the true age (0 without regression to the
        mean, -1 for a constant answer).
    """
    true, predicted = frame[TRUE].to_numpy(float), frame[PREDICTED].to_numpy(float)
    return {
        "calibration_slope": bootstrap(lambda t, p: slope(p, t), true, predicted),
        "pull": bootstrap(lambda t, p: slope(t, p - t), true, predicted),
    }


def folds_of(ids: pd.Series, folds: int = FOLDS, seed: int = 0) -> NDArray[np.int64]:
    """Deal hands into folds of nearly equal size, by id alone.

    Parameters
    ----------
    ids : Series of str, (n,)
    folds : int
        Fewer if there are fewer hands.
    seed : int

    Returns
    -------
    ndarray
        (n,), the fold of each hand; it does not depend on the order of the rows.
    """
    n = len(ids)
    dealt = np.arange(n) % max(1, min(folds, n))
    in_order = np.argsort(ids.astype(str).to_numpy(), kind="stable")
    fold = np.empty(n, dtype=np.int64)
    fold[in_order] = np.random.default_rng(seed).permutation(dealt)
    return fold


def cross_corrected(frame: pd.DataFrame) -> pd.DataFrame:
    """Correct regression to the mean; no hand's own label has a part in its correction.

    The line is fitted on the other folds of the same hands. It is turned around, which leaves
    the error at every age unbiased but widens its scatter: the mean absolute error may rise.
    (Corrections that take the true age as an input, common with brain ages, know the answer.)

    Parameters
    ----------
    frame : DataFrame
        `id`, `age_months`, `predicted_age_months`.

    Returns
    -------
    DataFrame
        As `frame`, predictions corrected; unchanged where the answers do not follow the age.
    """
    fold = folds_of(frame["id"])
    predicted = frame[PREDICTED].to_numpy(float).copy()
    for k in np.unique(fold):
        others, held_out = frame[fold != k], fold == k
        if len(others) > 1:
            predicted[held_out] = Line.fit(others).corrected(predicted[held_out])
    return frame.assign(**{PREDICTED: predicted})
