"""Better, worse, equivalent or inconclusive, over a family of comparisons."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from h2a_lib.analysis.statistics.variance_components import Difference

ALPHA = 0.05
BETTER, WORSE, EQUIVALENT, INCONCLUSIVE = "better", "worse", "equivalent", "inconclusive"


def holm(p: ArrayLike) -> NDArray[np.float64]:
    """Adjust p values, (m,), so that any false rejection is as rare as alpha (Holm 1979)."""
    values = np.asarray(p, float)
    order = np.argsort(values)
    steps = (len(values) - np.arange(len(values))) * values[order]
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(steps))
    return adjusted


def verdicts(differences: Sequence[Difference], margin: float) -> list[str]:
    """Return a verdict for each comparison of one family; differences below zero are better.

    Equivalent comes first: the margin, stated before the data were seen, is the smallest difference
    that matters. Both kinds of tests are adjusted by Holm.
    """
    different = holm([d.p_different for d in differences])
    equivalent = holm([d.p_equivalent(margin) for d in differences])
    results = []
    for d, p_different, p_equivalent in zip(differences, different, equivalent, strict=True):
        verdict = BETTER if d.value < 0 else WORSE
        if p_equivalent < ALPHA:
            verdict = EQUIVALENT
        elif p_different >= ALPHA:
            verdict = INCONCLUSIVE
        results.append(verdict)
    return results
