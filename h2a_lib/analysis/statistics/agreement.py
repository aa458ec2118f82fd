"""How far a grouping agrees with known classes, and how far chance would bring it.

All measures are of the contingency table alone, so a permutation costs one pass over the hands.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment
from scipy.special import xlogy

Counts = NDArray[np.int64]
# Below this an entropy, in nats, is zero but for rounding.
TINY = 1e-12


@dataclass(frozen=True)
class Agreement:
    """Agreement of groups with classes.

    Attributes
    ----------
    ari : float
        Adjusted Rand index (Hubert and Arabie 1985): 1 for the same grouping, 0 by chance.
    nmi : float
        Mutual information over the mean of the two entropies.
    homogeneity, completeness : float
        Rosenberg and Hirschberg 2007: each group of one class; each class in one group.
    accuracy : float
        Share of hands whose group is matched to their class, under the best one-to-one matching.
    majority : float
        Share of the largest class: what one single group would reach.
    null_ari_95, null_accuracy_95 : float
        95th percentile over permutations of the classes.
    p : float
        One-sided p of the ARI, (1 + permutations at least as high) / (1 + permutations).
    """

    ari: float
    nmi: float
    homogeneity: float
    completeness: float
    accuracy: float
    majority: float
    null_ari_95: float
    null_accuracy_95: float
    p: float

    def row(self) -> dict[str, float]:
        """Return all values by name, rounded for a table."""
        return {name: round(float(value), 4) for name, value in vars(self).items()}


def agreement(
    classes: ArrayLike, groups: ArrayLike, permutations: int = 200, seed: int = 0
) -> Agreement:
    """Compare groups with classes, and with permuted classes.

    Parameters
    ----------
    classes, groups : array_like, (n,)
        Labels of any kind.
    permutations : int
    seed : int
        Of the permutations.

    Returns
    -------
    Agreement

    Raises
    ------
    ValueError
        If the lengths differ or there is nothing to compare.
    """
    _, rows = np.unique(np.asarray(classes), return_inverse=True)
    _, columns = np.unique(np.asarray(groups), return_inverse=True)
    if len(rows) != len(columns) or len(rows) == 0:
        raise ValueError(f"{len(rows)} classes and {len(columns)} groups cannot be compared")
    table = contingency(rows, columns)
    ari, accuracy = _ari(table), _accuracy(table)
    rng = np.random.default_rng(seed)
    null = [contingency(rng.permutation(rows), columns) for _ in range(permutations)]
    null_ari = np.array([_ari(t) for t in null])
    information, of_classes, of_groups = _information(table)
    mean_entropy = (of_classes + of_groups) / 2
    return Agreement(
        ari=ari,
        nmi=information / mean_entropy if mean_entropy > TINY else 1.0,
        homogeneity=information / of_classes if of_classes > TINY else 1.0,
        completeness=information / of_groups if of_groups > TINY else 1.0,
        accuracy=accuracy,
        majority=float(table.sum(axis=1).max() / table.sum()),
        null_ari_95=float(np.quantile(null_ari, 0.95)),
        null_accuracy_95=float(np.quantile([_accuracy(t) for t in null], 0.95)),
        # The tolerance counts a permutation that gives the very same table as "at least as high".
        p=float((1 + (null_ari >= ari - 1e-12).sum()) / (1 + permutations)),
    )


@dataclass(frozen=True)
class Family:
    """Several comparisons of groups with classes, judged as the best of their number.

    Attributes
    ----------
    ari : ndarray, (m,)
    expected : ndarray, (m,)
        Mean ARI of each under the null: 0, unless the strata carry part of the agreement.
    p : ndarray, (m,)
        Chance that the best of all m comparisons exceeds its expectation by as much as this one
        does, were the null true.
    null_95 : float
        95th percentile of the best excess under the null.
    """

    ari: NDArray[np.float64]
    expected: NDArray[np.float64]
    p: NDArray[np.float64]
    null_95: float


def family(
    pairs: Sequence[tuple[ArrayLike, ArrayLike]],
    permutations: int = 1000,
    seed: int = 0,
    strata: ArrayLike | None = None,
) -> Family:
    """Compare groups with classes in several ways, and with the best of as many chance ones.

    The best of several groupings is picked after looking, so its null is the distribution of the
    largest ARI among them (single-step maxT: Westfall and Young 1993, *Resampling-Based Multiple
    Testing*, chapter 2). One permutation of the hands serves all comparisons, which keeps what
    they have in common.

    Parameters
    ----------
    pairs : sequence of (classes, groups), each array_like, (n,)
        Of the same hands in the same order.
    permutations, seed : int
    strata : array_like, (n,), optional
        Hands change places within their stratum alone, so that what the strata tell of the
        classes is in the null: with strata of age, what is left is agreement beyond age.

    Returns
    -------
    Family

    Raises
    ------
    ValueError
        If there is nothing to compare.
    """
    if not pairs:
        raise ValueError("no groups to compare")
    coded = [
        tuple(np.unique(np.asarray(x), return_inverse=True)[1] for x in pair) for pair in pairs
    ]
    n = len(coded[0][0])
    strata = np.zeros(n) if strata is None else np.asarray(strata)
    in_strata = np.argsort(strata, kind="stable")
    ari = np.array([_ari(contingency(rows, columns)) for rows, columns in coded])
    rng = np.random.default_rng(seed)
    null = np.empty((permutations, len(coded)))
    order = np.empty(n, dtype=np.int64)
    for i in range(permutations):
        order[in_strata] = np.lexsort((rng.random(n), strata))
        null[i] = [_ari(contingency(rows[order], columns)) for rows, columns in coded]
    expected = null.mean(axis=0)
    best = (null - expected).max(axis=1)
    reached = (best[:, None] >= ari - expected - 1e-12).sum(axis=0)
    return Family(ari, expected, (1 + reached) / (1 + permutations), float(np.quantile(best, 0.95)))


def adjusted_rand(a: ArrayLike, b: ArrayLike) -> float:
    """Return the adjusted Rand index of two groupings of the same hands."""
    _, rows = np.unique(np.asarray(a), return_inverse=True)
    _, columns = np.unique(np.asarray(b), return_inverse=True)
    return _ari(contingency(rows, columns))


def contingency(rows: Counts, columns: Counts) -> Counts:
    """Count how often each class meets each group: (classes, groups)."""
    n_columns = int(columns.max()) + 1
    counts = np.bincount(rows * n_columns + columns, minlength=(int(rows.max()) + 1) * n_columns)
    return counts.reshape(-1, n_columns)


def _ari(table: Counts) -> float:
    def pairs(counts: Counts) -> float:
        return float((counts * (counts - 1) / 2).sum())

    together, of_rows, of_columns = pairs(table), pairs(table.sum(1)), pairs(table.sum(0))
    n = table.sum()
    expected = of_rows * of_columns / max(n * (n - 1) / 2, 1)
    most = (of_rows + of_columns) / 2
    # Everyone alone, or all together, on both sides: the same grouping.
    return 1.0 if most == expected else (together - expected) / (most - expected)


def _accuracy(table: Counts) -> float:
    matched = linear_sum_assignment(table, maximize=True)
    return float(table[matched].sum() / table.sum())


def _information(table: Counts) -> tuple[float, float, float]:
    """Mutual information and the two entropies, in nats."""
    share = table / table.sum()

    def entropy(p: NDArray[np.float64]) -> float:
        return float(-xlogy(p, p).sum())

    of_classes, of_groups = entropy(share.sum(axis=1)), entropy(share.sum(axis=0))
    return max(of_classes + of_groups - entropy(share), 0.0), of_classes, of_groups
