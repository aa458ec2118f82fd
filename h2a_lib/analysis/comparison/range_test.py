"""How certain the suggestion of a learning-rate range test is."""

import numpy as np
import pandas as pd

from h2a_lib.analysis.statistics.bootstrap import RAISED
from h2a_lib.models.range_test import RangeTest, suggest
from h2a_lib.study.config import RunConfig

RESAMPLES = 200
# Batches on either side over which the trend is taken; about a third of a decade of rates.
HALF_WINDOW = 5
# An interval of the suggestion from here on, its ends a decade apart, suggests nothing.
UNDETERMINED = 10


def suggestion_interval(curve: pd.DataFrame, seed: int = 0) -> tuple[float, float]:
    """Return the 95 % interval of the suggested rate, by a residual bootstrap.

    Residuals around the running mean keep their rate and change their sign at random, because they
    grow as the loss explodes (the wild bootstrap: Wu 1986, Annals of Statistics 14:1261).
    """
    finite = curve[np.isfinite(curve["loss"])]
    loss = finite["loss"]
    trend = loss.rolling(2 * HALF_WINDOW + 1, center=True, min_periods=1).mean()
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], size=(RESAMPLES, len(finite)))
    drawn = [suggest(finite.assign(loss=trend + sign * (loss - trend))) for sign in signs]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(low), float(high)


def power_of_ten(value: float) -> str:
    """Round to one digit: 6.4e-4 becomes "6 × 10⁻⁴"."""
    digit, exponent = f"{value:.0e}".split("e")
    return f"{digit}\u00a0×\u00a010{str(int(exponent)).translate(RAISED)}"


def variables(result: RangeTest, config: RunConfig) -> dict[str, str]:
    """Return what the deck says of the range test, ready to print."""
    low, high = suggestion_interval(result.curve)
    interval = f"{power_of_ten(low)} to {power_of_ten(high)}"
    return {
        "verdict": f"The range test is inconclusive: 95 % interval {interval}"
        if high / low >= UNDETERMINED
        else f"The range test suggests {power_of_ten(result.suggestion)}",
        "suggestion": power_of_ten(result.suggestion),
        "interval": interval,
        "default_lr": power_of_ten(config.lr),
    }
