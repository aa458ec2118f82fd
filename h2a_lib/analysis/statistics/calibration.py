"""Regression to the mean of age estimates: measured, and corrected by a line of other hands."""

import pandas as pd

from h2a_lib.analysis.age.errors import PREDICTED, TRUE, slope
from h2a_lib.analysis.statistics.bootstrap import Estimate, bootstrap

# Estimates with a flatter slope hardly follow the age; dividing by it would multiply their noise by
# more than ten, so they are left as they are.
LEAST_SLOPE = 0.1


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
    true, predicted = (selection[name].to_numpy(float) for name in (TRUE, PREDICTED))
    if len(selection) < 2 or not (of_line := float(slope(true, predicted))) >= LEAST_SLOPE:
        return frame.assign(**{PREDICTED: frame[PREDICTED].astype(float)})
    intercept = predicted.mean() - of_line * true.mean()
    return frame.assign(**{PREDICTED: (frame[PREDICTED] - intercept) / of_line})
