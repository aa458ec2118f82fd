"""Agreement of a clustering with known classes, and the agreement that chance would give."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]
# Permutations held at once: 2 MB of positions for 1,000 hands.
CHUNK = 250
SIGNIFICANCE = 0.05
# Two values of one statistic that differ by less are equal but for rounding.
ROUNDING = 1e-9


@dataclass(frozen=True)
class Agreement:
    """Agreement of groups with classes; `null_..._95` is the 95th percentile over permutations.

    `ari`: adjusted Rand index (Hubert and Arabie 1985), 1 for the same partition and 0 by chance,
    with its one-sided `p`. `nmi`: mutual information over the mean of the entropies. `homogeneity`,
    `completeness`: each group of one class, each class in one group (Rosenberg and Hirschberg
    2007). `accuracy`: share of hands in the group matched to their class, one to one. `majority`:
    share of the largest class.
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
        """Return all values by name, for a table."""
        return {name: float(value) for name, value in vars(self).items()}


def agreement(
    classes: ArrayLike, groups: ArrayLike, permutations: int = 200, seed: int = 0
) -> Agreement:
    """Compare groups, (n,), with classes, (n,), and with permuted classes.

    A ValueError says that the lengths differ or there is nothing to compare.
    """
    from sklearn.metrics import homogeneity_completeness_v_measure

    rows, columns = _codes(classes), _codes(groups)
    if len(rows) != len(columns) or len(rows) == 0:
        raise ValueError(f"{len(rows)} classes and {len(columns)} groups cannot be compared")
    table = _tables(rows[None], columns)
    ari, accuracy = _ari(table)[0], _accuracy(table)[0]
    null = np.concatenate(
        [_tables(rows[order], columns) for order in _orders(len(rows), permutations, seed)]
    )
    null_ari = _ari(null)
    homogeneity, completeness, nmi = homogeneity_completeness_v_measure(rows, columns)
    return Agreement(
        ari=ari,
        nmi=nmi,
        homogeneity=homogeneity,
        completeness=completeness,
        accuracy=accuracy,
        majority=float(np.bincount(rows).max() / len(rows)),
        null_ari_95=float(np.quantile(null_ari, 0.95)),
        null_accuracy_95=float(np.quantile(_accuracy(null), 0.95)),
        p=float((1 + (null_ari >= ari - ROUNDING).sum()) / (1 + permutations)),
    )


@dataclass(frozen=True)
class MinP:
    """Adjusted p of m comparisons, (m,), and the statistic of each that reaches 0.05, (m,)."""

    p: Floats
    critical: Floats


Pairs = Sequence[tuple[ArrayLike, ArrayLike]]


def min_p(pairs: Pairs, permutations: int = 1000, seed: int = 0) -> MinP:
    """Test the ARI of several (classes, groups) of the same hands, adjusted for their number.

    Single-step minP (Westfall and Young 1993, *Resampling-Based Multiple Testing*, section 2.3):
    each ARI is ranked among its own permutations first, so that a comparison with a wide null (few
    hands in a class) does not hide one with a narrow null, as it does under maxT. One permutation
    of the hands serves all comparisons, which keeps their correlation.
    """
    pairs = _coded(pairs)
    statistics = np.empty((permutations + 1, len(pairs)))
    for j, (rows, columns) in enumerate(pairs):
        orders = [np.arange(len(rows))[None], *_orders(len(rows), permutations, seed)]
        statistics[:, j] = np.concatenate([_ari(_tables(rows[o], columns)) for o in orders])
    return _adjust(statistics)


@dataclass(frozen=True)
class Stratified:
    """Association of binary groups with a binary class within strata, (m,) each.

    `difference` is the Mantel-Haenszel one of shares: how much more often, within strata, the
    second class is in the second group than the first class is. Groups have no order, so its sign
    is that of their names; NaN where no stratum has both classes. `p` is two-sided and adjusted by
    minP; `expected_ari` is the mean ARI of permutations within strata: what the strata alone carry.
    """

    difference: Floats
    p: Floats
    expected_ari: Floats


def stratified(
    pairs: Pairs, strata: ArrayLike, permutations: int = 1000, seed: int = 0
) -> Stratified:
    """Test whether binary groups and classes, (n,), are associated within strata, (n,).

    The statistic is that of Cochran, Mantel and Haenszel (Mantel and Haenszel 1959, JNCI 22:719),
    two-sided, its null by permutation within strata. The ARI of the whole table would not do: an
    association within strata that opposes the one between them lowers it.
    """
    pairs, strata = _coded(pairs), _codes(strata)
    size = np.bincount(strata)
    statistics = np.zeros((permutations + 1, len(pairs)))
    difference, expected_ari = np.full(len(pairs), np.nan), np.empty(len(pairs))
    for j, (rows, columns) in enumerate(pairs):
        in_group = columns - (np.bincount(strata, columns) / size)[strata]
        # (classes) @ (in_group) is the sum over strata of observed minus expected counts.
        observed = float(rows @ in_group)
        second = np.bincount(strata, rows)
        weight = float((second * (size - second) / size).sum())
        difference[j] = observed / weight if weight > 0 else np.nan
        null, ari = [], []
        for order in _orders(len(rows), permutations, seed, strata):
            null.append(rows[order] @ in_group)
            ari.append(_ari(_tables(rows[order], columns)))
        statistics[:, j] = np.abs(np.concatenate([[observed], *null]))
        expected_ari[j] = np.concatenate(ari).mean()
    return Stratified(difference, _adjust(statistics).p, expected_ari)


def _coded(pairs: Pairs) -> list[tuple[Codes, Codes]]:
    if not pairs:
        raise ValueError("no groups to compare")
    return [(_codes(classes), _codes(groups)) for classes, groups in pairs]


def _codes(labels: ArrayLike) -> Codes:
    return np.unique(np.asarray(labels), return_inverse=True)[1]


def _adjust(statistics: Floats) -> MinP:
    """Adjust statistics, (1 + permutations, m), the first row observed, higher is stronger."""
    statistics = statistics.round(9)  # equal tables give equal values
    ordered = np.sort(statistics, axis=0)
    total = len(statistics)
    at_least = np.stack(
        [total - np.searchsorted(o, s) for o, s in zip(ordered.T, statistics.T, strict=True)], 1
    )
    smallest = np.sort(at_least.min(axis=1))
    p = np.searchsorted(smallest, at_least[0], side="right") / total
    # The largest rank from the top whose adjusted p is at most 0.05; the first if none is.
    ranks = np.unique(smallest)
    significant = ranks[np.searchsorted(smallest, ranks, side="right") <= SIGNIFICANCE * total]
    rank = int(significant.max(initial=1))
    return MinP(p, ordered[total - rank])


def _orders(
    n: int, permutations: int, seed: int, strata: ArrayLike | None = None
) -> Iterator[Codes]:
    """Yield permutations of n hands, (<= CHUNK, n), within strata; the same for the same seed."""
    rng = np.random.default_rng(seed)
    strata = np.zeros(n) if strata is None else np.asarray(strata, float)
    in_strata = np.argsort(strata, kind="stable")
    for start in range(0, permutations, CHUNK):
        keys = rng.random((min(CHUNK, permutations - start), n)) + strata
        order = np.empty(keys.shape, dtype=np.int64)
        order[:, in_strata] = np.argsort(keys, axis=1)
        yield order


def _tables(rows: Codes, columns: Codes) -> Codes:
    """Count how often each class meets each group: from (p, n) and (n,) to (p, classes, groups)."""
    n_rows, n_columns = int(rows.max()) + 1, int(columns.max()) + 1
    cell = rows * n_columns + columns + np.arange(len(rows))[:, None] * (n_rows * n_columns)
    counts = np.bincount(cell.ravel(), minlength=len(rows) * n_rows * n_columns)
    return counts.reshape(len(rows), n_rows, n_columns)


def _ari(tables: Codes) -> Floats:
    """Return the adjusted Rand index of contingency tables, (p, classes, groups), as (p,)."""

    def pairs(counts: Codes) -> Floats:
        return (counts * (counts - 1) / 2).sum(axis=-1)

    together = pairs(tables.reshape(len(tables), -1))
    of_rows, of_columns = pairs(tables.sum(axis=2)), pairs(tables.sum(axis=1))
    n = tables[0].sum()
    expected = of_rows * of_columns / max(n * (n - 1) / 2, 1)
    most = (of_rows + of_columns) / 2
    # Everyone alone, or all together, on both sides: the same partition.
    same = most == expected
    return np.where(same, 1.0, (together - expected) / np.where(same, 1, most - expected))


def _accuracy(tables: Codes) -> Floats:
    if tables.shape[1:] == (2, 2):
        straight = tables[:, 0, 0] + tables[:, 1, 1]
        crossed = tables[:, 0, 1] + tables[:, 1, 0]
        return np.maximum(straight, crossed) / tables[0].sum()
    matched = [table[linear_sum_assignment(table, maximize=True)].sum() for table in tables]
    return np.array(matched) / tables[0].sum()


def adjusted_rand(a: ArrayLike, b: ArrayLike) -> float:
    """Return the adjusted Rand index of two partitions of the same hands."""
    return float(_ari(_tables(_codes(a)[None], _codes(b)))[0])
