"""Regression to the mean of age estimates: measured, and corrected by a line of other hands."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from h2a_lib.analysis.age.errors import PREDICTED, TRUE, slope
from h2a_lib.analysis.statistics.bootstrap import Estimate, bootstrap

# Estimates with a flatter slope hardly follow the age; dividing by it would multiply their noise by
# more than ten, so they are left as they are.
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
        if len(frame) < 2:
            return cls(np.nan, np.nan)
        fitted = float(slope(true, predicted))
        return cls(fitted, float(predicted.mean() - fitted * true.mean()))

    @property
    def is_usable(self) -> bool:
        """Whether the line can be inverted."""
        return bool(self.slope >= LEAST_SLOPE)

    def invert(self, predicted: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return (predicted - intercept) / slope, which needs no true age."""
        return (predicted - self.intercept) / self.slope if self.is_usable else predicted


def measures(frame: pd.DataFrame) -> dict[str, Estimate]:
    """Return calibration_slope and pull of age estimates.

    The slope is of the true age on the predicted one: 1 if calibrated (TRIPOD+AI item 12e). The
    pull is of the error on the true age: 0 without regression to the mean, -1 for a constant
    predictor.
    """
    true, predicted = frame[TRUE].to_numpy(float), frame[PREDICTED].to_numpy(float)
    return {
        "calibration_slope": bootstrap(lambda t, p: slope(p, t), true, predicted),
        "pull": bootstrap(lambda t, p: slope(t, p - t), true, predicted),
    }


def corrected(selection: pd.DataFrame, frame: pd.DataFrame) -> pd.DataFrame:
    """Correct regression to the mean by the line of the selection hands.

    Inverting the line leaves the error at every age unbiased but widens its scatter: the MAE may
    rise. (Corrections that take the true age as an input, common with brain ages, know the answer.)
    """
    line = Line.fit(selection)
    return frame.assign(**{PREDICTED: line.invert(frame[PREDICTED].to_numpy(float))})
