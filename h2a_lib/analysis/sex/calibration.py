"""Calibrated probabilities of sex: temperature scaling and the reliability it leaves."""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logit

from h2a_lib.analysis.sex.errors import PROBABILITY
from h2a_lib.analysis.statistics.bootstrap import CONFIDENCE, number, share_interval

# Below this, or of one sex alone, a temperature follows chance.
MIN_HANDS = 30
# Probabilities are stored with six digits.
SMALLEST = 5e-7
LARGEST_LOG = math.log(20)
BINS = 10


@dataclass(frozen=True)
class Temperature:
    """What the log odds are divided by, so that probabilities are calibrated.

    Guo et al. 2017, "On Calibration of Modern Neural Networks", section 4.2. Above 1 the network
    was overconfident. It changes no ranking. `note` says why nothing was fitted.
    """

    value: float = 1.0
    n: int = 0
    note: str = ""

    @classmethod
    def fit(cls, selection: pd.DataFrame) -> "Temperature":
        """Fit by maximum likelihood on selection hands: `male`, `male_probability`.

        The targets are Platt's (1999), a little inside of 0 and 1, so that the temperature stays
        finite where the sexes are fully separated.
        """
        from scipy.optimize import minimize_scalar

        male, n = selection["male"].to_numpy(bool), len(selection)
        if n < MIN_HANDS or male.all() or not male.any():
            which = "of one sex" if n >= MIN_HANDS else f"fewer than {MIN_HANDS}"
            return cls(note=f"not fitted: the {n} selection hands are {which}")
        boys, girls = male.sum(), (~male).sum()
        target = np.where(male, (boys + 1) / (boys + 2), 1 / (girls + 2))
        log_odds = _log_odds(selection[PROBABILITY])

        def log_loss(log_temperature: float) -> float:
            x = log_odds / math.exp(log_temperature)
            return float((np.logaddexp(0, x) - target * x).mean())

        bounds = (-LARGEST_LOG, LARGEST_LOG)
        best = minimize_scalar(log_loss, bounds=bounds, method="bounded")
        return cls(math.exp(best.x), n)

    def apply(self, probabilities: ArrayLike) -> NDArray[np.float64]:
        """Calibrate probabilities of any shape."""
        if self.value == 1:
            return np.asarray(probabilities, float)
        return np.asarray(expit(_log_odds(probabilities) / self.value))

    def calibrate(self, predictions: pd.DataFrame) -> pd.DataFrame:
        """Return predictions with calibrated `male_probability`."""
        return predictions.assign(**{PROBABILITY: self.apply(predictions[PROBABILITY])})

    def text(self) -> str:
        """Print as "1.25 (fitted on 1,000 selection hands)"."""
        note = self.note or f"fitted on {self.n:,} selection hands"
        return f"{number(self.value, 2)} ({note})"


def _log_odds(probabilities: ArrayLike) -> NDArray[np.float64]:
    return logit(np.clip(np.asarray(probabilities, float), SMALLEST, 1 - SMALLEST))


def reliability(predictions: pd.DataFrame) -> pd.DataFrame:
    """Share of boys against the mean estimated probability, in ten bins of about as many hands.

    A bin is `calibrated` if Wilson's interval of its share holds the mean probability; there are
    fewer bins where there are fewer than 10 hands for each.
    """
    bins = max(1, min(BINS, len(predictions) // 10))
    ordered = predictions.sort_values(PROBABILITY, kind="stable")
    rows = []
    for positions in np.array_split(np.arange(len(ordered)), bins):
        part = ordered.iloc[positions]
        if len(part):
            share, mean = share_interval(part["male"]), part[PROBABILITY].mean()
            calibrated = bool(share.low <= mean <= share.high)
            rows.append(
                {"probability": mean} | share.row("male") | {"n": share.n, "calibrated": calibrated}
            )
    columns = ["probability", "male", "male_low", "male_high", "n", "calibrated"]
    return pd.DataFrame(rows, columns=columns)


def calibration_verdict(curve: pd.DataFrame) -> str:
    """Say in how many bins of `reliability` the probability holds, in a title's few words."""
    calibrated = int(curve["calibrated"].sum())
    some = "all" if calibrated == len(curve) else f"{calibrated} of" if calibrated else "none of"
    return f"in {some} {len(curve)} bins"


def calibration_finding(before: pd.DataFrame, after: pd.DataFrame, temperature: Temperature) -> str:
    """Say in how many bins probabilities are miscalibrated before and after scaling."""
    wrong, left = (int((~curve["calibrated"].astype(bool)).sum()) for curve in (before, after))
    n = len(before)
    if wrong:
        sentence = (
            f"Sex probabilities are miscalibrated in {wrong} of {n} bins{_by_chance(wrong, n)}"
        )
    else:
        sentence = f"Sex probabilities are calibrated in all {n} bins"
    if temperature.note:
        return f"{sentence}; a temperature was {temperature.note}"
    scaled = f"{sentence}; after temperature scaling (T = {number(temperature.value, 2)})"
    if left == wrong:
        return f"{scaled} still in {left} of {n}" if wrong else f"{scaled} too"
    return f"{scaled} in {left} of {n}" + (_by_chance(left, n) if wrong else " they are not")


def _by_chance(wrong: int, n: int) -> str:
    """Say of how many of n bins chance alone misses: each interval does of one in twenty."""
    from scipy.stats import binom

    allowed = wrong and binom.sf(wrong - 1, n, 1 - CONFIDENCE) >= 1 - CONFIDENCE
    return ", no more than by chance" if allowed else ""
