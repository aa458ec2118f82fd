"""Question 3: do the hands group by sex on their own?

Features are grouped without labels (K-means, also on a UMAP embedding), and only then compared with
what is known of the hands.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from h2a_lib.analysis.bands import band_of
from h2a_lib.analysis.statistics.agreement import Agreement, adjusted_rand, agreement, family

Features = NDArray[np.float32]
SEEDS = (0, 1, 2)
NEIGHBOURS = (5, 15, 50)
NEIGHBOURS_SHOWN = 15
KS = (2, 3, 4, 5, 6, 8)
# The silhouette compares every pair; this many hands pin it down to about 0.01.
SILHOUETTE_HANDS = 2000
COMPONENTS = 50
# To which pictures shrink: 1,024 numbers a hand keep 12,611 hands in 52 MB.
SIDE_PX = 32
# Labels of bone age are nearly all multiples of six months, so half a year is one label or two.
AGE_STRATUM_MONTHS = 6


# --- features ------------------------------------------------------------------------------------


def pixel_features(images: NDArray[np.uint8]) -> Features:
    """Return each image, shrunk and freed of its own brightness and contrast, as a row.

    Parameters
    ----------
    images : ndarray
        (n, s, s), uint8; may be a memory map.

    Returns
    -------
    ndarray
        (n, <= 1024), float32.
    """
    import cv2

    side = min(SIDE_PX, images.shape[1])
    small = [
        cv2.resize(image.astype(np.float32), (side, side), interpolation=cv2.INTER_AREA)
        for image in images
    ]
    rows = np.stack(small).reshape(len(images), -1).astype(np.float32)
    rows -= rows.mean(axis=1, keepdims=True)
    return rows / (rows.std(axis=1, keepdims=True) + 1e-6)


def principal_components(features: Features) -> Features:
    """Reduce features to their first 50 principal components, fewer of fewer hands or features.

    Parameters
    ----------
    features : ndarray, (n, d)

    Returns
    -------
    ndarray
        (n, <= 50), float32.
    """
    from sklearn.decomposition import PCA

    n = min(COMPONENTS, *features.shape)
    return PCA(n, random_state=0).fit_transform(features).astype(np.float32)


def umap_embedding(
    features: Features, seed: int = 0, neighbours: int = NEIGHBOURS_SHOWN
) -> Features:
    """Embed features in a plane by UMAP (McInnes, Healy and Melville 2018, arXiv:1802.03426).

    One thread: with several, a seed does not fix the result (umap issues 1080 and 853).

    Parameters
    ----------
    features : ndarray, (n, d)
    seed : int
    neighbours : int
        Cut down to n - 1.

    Returns
    -------
    ndarray
        (n, 2), float32.

    Raises
    ------
    ValueError
        For fewer than four hands, which span no neighbourhood.
    """
    if len(features) < 4:
        raise ValueError(f"{len(features)} hands are too few to embed")
    # Ten seconds to import: only where it is used.
    from umap import UMAP

    # The spectral start needs more hands than dimensions + 1 by far; at random for a handful.
    start = "spectral" if len(features) > 30 else "random"
    reducer = UMAP(
        n_neighbors=min(neighbours, len(features) - 1), random_state=seed, n_jobs=1, init=start
    )
    return reducer.fit_transform(features).astype(np.float32)


# --- groups --------------------------------------------------------------------------------------


def k_means(features: Features, k: int, seed: int = 0) -> NDArray[np.int64]:
    """Group hands, (n,), into k groups (fewer if there are fewer hands)."""
    from sklearn.cluster import KMeans

    k = min(k, len(features))
    return KMeans(k, n_init=10, random_state=seed).fit_predict(features).astype(np.int64)


def silhouettes(features: Features, seed: int = 0) -> pd.Series:
    """Mean silhouette (Rousseeuw 1987) for each number of groups that the hands allow.

    Returns
    -------
    Series
        Indexed by k; empty for fewer than four hands.
    """
    from sklearn.metrics import silhouette_score

    most = min(SILHOUETTE_HANDS, len(features))
    sample = np.random.default_rng(seed).permutation(len(features))[:most]
    found = {}
    for k in KS:
        groups = k_means(features, k, seed)[sample] if k < most else np.zeros(1)
        if 1 < len(np.unique(groups)) < len(groups):
            found[k] = float(silhouette_score(features[sample], groups))
    return pd.Series(found, dtype=float, name="silhouette")


def stability(groupings: Sequence[NDArray[np.int64]]) -> tuple[float, float]:
    """Mean and least ARI between every two groupings of the same hands; NaN for fewer than two."""
    values = [adjusted_rand(a, b) for i, a in enumerate(groupings) for b in groupings[i + 1 :]]
    return (float(np.mean(values)), min(values)) if values else (math.nan, math.nan)


# --- what the groups are compared with -----------------------------------------------------------


def truths(hands: pd.DataFrame, nuisances: Mapping[str, ArrayLike]) -> dict[str, NDArray[np.int64]]:
    """Turn what is known of hands into classes.

    Parameters
    ----------
    hands : DataFrame
        n rows: `age_months`, `male`.
    nuisances : mapping of str to array_like, (n,)
        Numbers, cut at their median, or classes (booleans, words). What is the same for all
        hands (the size, where all files have one) groups nothing and is left out.

    Returns
    -------
    dict of str to ndarray
        "sex", "age band" and the nuisances, (n,) each.
    """
    found = {
        "sex": hands["male"].to_numpy().astype(np.int64),
        "age band": band_of(hands["age_months"]),
    }
    for name, values in nuisances.items():
        column = pd.Series(np.asarray(values))
        if column.nunique() < 2:
            continue
        if pd.api.types.is_numeric_dtype(column) and column.nunique() > 2:
            found[name] = (column > column.median()).to_numpy().astype(np.int64)
        else:
            found[name] = pd.factorize(column)[0].astype(np.int64)
    return found


def age_threshold(train: pd.DataFrame) -> float:
    """Return the age in months that parts the sexes of training hands best, by ARI.

    What any grouping by sex must beat: labels of age alone tell of sex. (146 months on all 12,611
    labels of RSNA, with an ARI of 0.082.)
    """
    male = train["male"].to_numpy().astype(np.int64)
    age = train["age_months"].to_numpy(float)
    cuts = np.unique(age)[1:]
    if len(cuts) == 0:
        return float(age[0])
    return float(max(cuts, key=lambda cut: adjusted_rand(male, age >= cut)))


@dataclass(frozen=True)
class Source:
    """One way to describe hands by numbers, without labels (but for `has_seen_sex`).

    Attributes
    ----------
    name : str
        As printed: "pixels", "network, trained for age".
    features : ndarray, (n, d)
    has_seen_sex : bool
        Trained on the answer: an upper bound, never evidence.
    """

    name: str
    features: Features
    has_seen_sex: bool = False


@dataclass(frozen=True)
class Grouped:
    """All groupings of one source.

    Attributes
    ----------
    source : Source
    embeddings : list of ndarray, (n, 2)
        UMAP with the neighbours shown, one for each seed.
    groups : dict of (str, int) to ndarray, (n,)
        K-means, first seed, by space ("features", "UMAP") and k: 2, and one group for each age
        band that occurs.
    best_k : int
        With the highest silhouette.
    table : DataFrame
        One row for each space ("features", "UMAP") and truth: see `group`.
    stable : DataFrame
        One row for each space: seeds' mean and least ARI.
    """

    source: Source
    embeddings: list[Features]
    groups: dict[tuple[str, int], NDArray[np.int64]]
    best_k: int
    table: pd.DataFrame
    stable: pd.DataFrame


def group(
    source: Source,
    truth: Mapping[str, NDArray[np.int64]],
    seeds: Sequence[int] = SEEDS,
    neighbours: Sequence[int] = NEIGHBOURS,
    permutations: int = 200,
) -> Grouped:
    """Group the hands of a source and compare the groups with what is known.

    Parameters
    ----------
    source : Source
    truth : mapping of str to ndarray, (n,)
        From `truths`.
    seeds : sequence of int
        Of K-means and of UMAP. The first is shown and compared; all are for the stability.
    neighbours : sequence of int
        Of UMAP, for the stability, with the first seed.
    permutations : int
        Of the null.

    Returns
    -------
    Grouped
        Its table has: source, has_seen_sex, space, truth, k, n, ari, nmi, homogeneity,
        completeness, accuracy (best match), majority, null_ari_95, null_accuracy_95, p (of this
        grouping alone; `judge` sees all of them).
    """
    reduced = principal_components(source.features)
    embeddings = [umap_embedding(reduced, seed) for seed in seeds]
    k_bands = len(np.unique(truth["age band"]))
    groups: dict[tuple[str, int], NDArray[np.int64]] = {}
    rows = []
    for space, points in (("features", reduced), ("UMAP", embeddings[0])):
        groups |= {(space, k): k_means(points, k, seeds[0]) for k in {2, k_bands}}
        for name, classes in truth.items():
            k = k_bands if name == "age band" else 2
            rows.append(
                {"source": source.name, "has_seen_sex": source.has_seen_sex, "space": space}
                | {"truth": name, "k": k, "n": len(classes)}
                | agreement(classes, groups[space, k], permutations=permutations).row()
            )
    other = [umap_embedding(reduced, seeds[0], n) for n in neighbours if n != NEIGHBOURS_SHOWN]
    spread = {
        "features, seeds": [k_means(reduced, 2, seed) for seed in seeds],
        "UMAP, seeds": [k_means(points, 2, seeds[0]) for points in embeddings],
        "UMAP, neighbours": [k_means(points, 2, seeds[0]) for points in (embeddings[0], *other)],
    }
    stable = [
        {"source": source.name, "what": what, "n_groupings": len(groupings)}
        | dict(zip(("ari_mean", "ari_least"), stability(groupings), strict=True))
        for what, groupings in spread.items()
    ]
    curve = silhouettes(reduced, seed=seeds[0])
    return Grouped(
        source=source,
        embeddings=embeddings,
        groups=groups,
        best_k=int(curve.idxmax()) if len(curve) else 1,
        table=pd.DataFrame(rows),
        stable=pd.DataFrame(stable),
    )


def age_baseline(train: pd.DataFrame, hands: pd.DataFrame) -> Agreement:
    """Agreement with sex of one age threshold, chosen on training hands."""
    male = hands["male"].to_numpy().astype(np.int64)
    groups = hands["age_months"].to_numpy(float) >= age_threshold(train)
    return agreement(male, groups)


def judge(
    grouped: Sequence[Grouped],
    truth: Mapping[str, NDArray[np.int64]],
    age_months: ArrayLike,
    permutations: int = 1000,
) -> pd.DataFrame:
    """Judge all groupings as the best of their number; see `agreement.family`.

    Three families: sex; sex within half a year of the label, so beyond what the label of age
    tells; and everything but sex. Groupings of a source that has seen sex belong to none.

    Parameters
    ----------
    grouped : sequence of Grouped
    truth : mapping of str to ndarray, (n,)
        As given to `group`.
    age_months : array_like, (n,)
    permutations : int

    Returns
    -------
    DataFrame
        The sources' tables, one below the other, with p_best (of sex among the groupings by sex,
        of the rest among the rest) and null_best_95, the 95th percentile of the best by chance;
        and of sex ari_of_age (what its link with age alone would give) and p_beyond_age. NaN
        where a source has seen sex.
    """
    table = pd.concat([one.table for one in grouped], ignore_index=True)
    groups = {
        (one.source.name, space, k): found
        for one in grouped
        for (space, k), found in one.groups.items()
    }
    pairs = [(truth[row.truth], groups[row.source, row.space, row.k]) for row in table.itertuples()]
    table[["p_best", "null_best_95", "ari_of_age", "p_beyond_age"]] = math.nan
    blind, by_sex = ~table["has_seen_sex"], table["truth"] == "sex"
    half_years = np.floor(np.asarray(age_months, float) / AGE_STRATUM_MONTHS)
    for chosen in (np.flatnonzero(blind & by_sex), np.flatnonzero(blind & ~by_sex)):
        found = family([pairs[i] for i in chosen], permutations)
        table.loc[chosen, "p_best"] = found.p.round(4)
        table.loc[chosen, "null_best_95"] = round(found.null_95, 4)
    chosen = np.flatnonzero(blind & by_sex)
    found = family([pairs[i] for i in chosen], permutations, strata=half_years)
    table.loc[chosen, "ari_of_age"] = found.expected.round(4)
    table.loc[chosen, "p_beyond_age"] = found.p.round(4)
    return table
