"""Training noise: children crossed with runs, and what it does to a difference of means.

Every run estimates the same children. The mean error of a run varies because the children are a
sample and because another seed gives another network. Two mean squares separate the two
(Searle, Casella and McCulloch 1992, *Variance Components*, chapter 4).
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from h2a_lib.analysis.statistics.bootstrap import CONFIDENCE, Estimate

Errors = NDArray[np.float64]
"""(seeds, n): the absolute error of each child by each run of one experiment."""


@dataclass(frozen=True)
class RunNoise:
    """How much the mean error of a run varies from seed to seed, pooled over experiments.

    `mean_square` is the variance within an experiment, NaN without a second seed; the degrees of
    freedom are seeds less experiments.
    """

    mean_square: float
    degrees: int

    @property
    def is_known(self) -> bool:
        """Whether any experiment has a second seed."""
        return self.degrees > 0

    @property
    def sd(self) -> float:
        """Standard deviation of the mean error over seeds, in the unit of the errors."""
        return math.sqrt(self.mean_square)

    def of(self, errors: Errors) -> float:
        """Variance of an experiment's mean error: its own, if that is larger than the pooled one.

        Experiments need not vary equally, and few seeds can show a small variance by chance.
        """
        own = float(errors.mean(axis=1).var(ddof=1)) if len(errors) > 1 else 0.0
        return max(own, self.mean_square) / len(errors)


def run_noise(experiments: Iterable[Errors]) -> RunNoise:
    """Pool the variance between seeds over all experiments that have more than one."""
    repeated = [errors for errors in experiments if len(errors) > 1]
    degrees = sum(len(errors) - 1 for errors in repeated)
    if not degrees:
        return RunNoise(math.nan, 0)
    means = [errors.mean(axis=1) for errors in repeated]
    squares = sum(float(((mean - mean.mean()) ** 2).sum()) for mean in means)
    return RunNoise(squares / degrees, degrees)


@dataclass(frozen=True)
class Difference:
    """A difference of two mean errors over n children, with a t distribution; below zero is better.

    `holds_noise`: whether the standard error holds training noise as well as the children's.
    """

    value: float
    standard_error: float
    degrees: int
    n: int
    holds_noise: bool

    @property
    def estimate(self) -> Estimate:
        """The difference with its 95 % interval."""
        half = stats.t.ppf((1 + CONFIDENCE) / 2, self.degrees) * self.standard_error
        return Estimate(self.value, self.value - half, self.value + half, self.n)

    @property
    def p_different(self) -> float:
        """Two-sided p of no difference; 1 where training noise is unknown."""
        return 2 * self._tail(abs(self.value)) if self.holds_noise else 1.0

    def p_equivalent(self, margin: float) -> float:
        """P of a difference of at least `margin`: two one-sided tests (Schuirmann 1987)."""
        return self._tail(margin - abs(self.value)) if self.holds_noise else 1.0

    def _tail(self, distance: float) -> float:
        if self.standard_error == 0:
            return 0.5 if distance == 0 else float(distance < 0)
        return float(stats.t.sf(distance / self.standard_error, self.degrees))


def difference(errors: Errors, reference: Errors, noise: RunNoise) -> Difference:
    """Compare two experiments on the same children; `noise` gives single seeds an interval too."""
    of_children = errors.mean(axis=0) - reference.mean(axis=0)
    n = len(of_children)
    children = float(of_children.var(ddof=1)) / n
    if not noise.is_known:
        return Difference(float(of_children.mean()), math.sqrt(children), n - 1, n, False)
    runs = noise.of(errors) + noise.of(reference)
    # What differs between a child's estimates by two seeds is in both parts, and the degrees of
    # freedom are those of the runs alone: the interval is a little too wide. With Satterthwaite's
    # degrees it missed up to 12 % instead of 5 where seeds are few.
    error = math.sqrt(children + runs)
    return Difference(float(of_children.mean()), error, noise.degrees, n, True)
