"""Question 3: do the hands group by sex on their own?

Features are grouped without labels (K-means, also on a UMAP embedding), and only then compared with
what is known of the hands.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from h2a_lib.analysis.agreement import Agreement, adjusted_rand, agreement
from h2a_lib.analysis.bands import NAMES, band_of
from h2a_lib.analysis.statistics import number

Features = NDArray[np.float32]
SEEDS = (0, 1, 2)
NEIGHBOURS = (5, 15, 50)
NEIGHBOURS_SHOWN = 15
KS = (2, 3, 4, 5, 6, 8)
# The silhouette compares every pair; this many hands pin it down to about 0.01.
SILHOUETTE_HANDS = 2000
COMPONENTS = 50
# Published: an auto-encoder with K-means on bands of 48 months, best-match accuracy, where the
# largest band alone has 39 % (FIELD.md, "The labels are heaped, and leak sex").
PUBLISHED_BAND_ACCURACY = 0.7615
PUBLISHED_BAND_MAJORITY = 0.39


# --- features ------------------------------------------------------------------------------------


def pixel_features(images: NDArray[np.uint8], side_px: int = 32) -> Features:
    """Return each image, shrunk and freed of its own brightness and contrast, as a row.

    Parameters
    ----------
    images : ndarray
        (n, s, s), uint8; may be a memory map.
    side_px : int
        Side to shrink to, by area; 1,024 numbers a hand keep 12,611 hands in 52 MB.

    Returns
    -------
    ndarray
        (n, side_px**2), float32.
    """
    import cv2

    side = min(side_px, images.shape[1])
    small = [
        cv2.resize(image.astype(np.float32), (side, side), interpolation=cv2.INTER_AREA)
        for image in images
    ]
    rows = np.stack(small).reshape(len(images), -1).astype(np.float32)
    rows -= rows.mean(axis=1, keepdims=True)
    return rows / (rows.std(axis=1, keepdims=True) + 1e-6)


def principal_components(features: Features, n: int = COMPONENTS, seed: int = 0) -> Features:
    """Reduce features to their first principal components.

    Parameters
    ----------
    features : ndarray, (n_hands, d)
    n : int
        Fewer where there are fewer hands or features.
    seed : int
        Of the randomised solver.

    Returns
    -------
    ndarray
        (n_hands, <= n), float32.
    """
    from sklearn.decomposition import PCA

    n = min(n, *features.shape)
    return PCA(n, random_state=seed).fit_transform(features).astype(np.float32)


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


def silhouettes(features: Features, ks: Iterable[int] = KS, seed: int = 0) -> pd.Series:
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
    for k in ks:
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
        Numbers, cut at their median, or classes (booleans, words).

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
        if pd.api.types.is_numeric_dtype(column) and column.nunique() > 2:
            found[name] = (column > column.median()).to_numpy().astype(np.int64)
        else:
            found[name] = pd.factorize(column)[0].astype(np.int64)
    return found


def age_threshold(train: pd.DataFrame) -> float:
    """Return the age in months that parts the sexes of training hands best, by ARI.

    What any grouping by sex must beat: labels of age alone tell of sex. (144 months on all 12,611
    labels of RSNA, with an ARI of 0.082: FIELD.md.)
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
    pairs : ndarray, (n,)
        K-means on the features, k = 2, first seed.
    by_band : ndarray, (n,)
        K-means on the features with one group for each age band that occurs.
    best_k : int
        With the highest silhouette.
    table : DataFrame
        One row for each space ("features", "UMAP") and truth: see `group`.
    stable : DataFrame
        One row for each space: seeds' mean and least ARI.
    """

    source: Source
    embeddings: list[Features]
    pairs: NDArray[np.int64]
    by_band: NDArray[np.int64]
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
        completeness, accuracy (best match), majority, null_ari_95, null_accuracy_95, p.
    """
    reduced = principal_components(source.features)
    embeddings = [umap_embedding(reduced, seed) for seed in seeds]
    k_bands = len(np.unique(truth["age band"]))
    rows = []
    for space, points in (("features", reduced), ("UMAP", embeddings[0])):
        for name, classes in truth.items():
            k = k_bands if name == "age band" else 2
            groups = k_means(points, k, seeds[0])
            rows.append(
                {"source": source.name, "has_seen_sex": source.has_seen_sex, "space": space}
                | {"truth": name, "k": k, "n": len(classes)}
                | agreement(classes, groups, permutations=permutations).row()
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
        pairs=spread["features, seeds"][0],
        by_band=k_means(reduced, k_bands, seeds[0]),
        best_k=int(curve.idxmax()) if len(curve) else 1,
        table=pd.DataFrame(rows),
        stable=pd.DataFrame(stable),
    )


def age_baseline(train: pd.DataFrame, hands: pd.DataFrame, permutations: int = 200) -> Agreement:
    """Agreement with sex of one age threshold, chosen on training hands."""
    male = hands["male"].to_numpy().astype(np.int64)
    groups = hands["age_months"].to_numpy(float) >= age_threshold(train)
    return agreement(male, groups, permutations=permutations)


# --- the answer ----------------------------------------------------------------------------------


def answer(table: pd.DataFrame, baseline: Agreement) -> str:
    """Answer question 3 from the numbers, whichever way they fall.

    Parameters
    ----------
    table : DataFrame
        The tables of all sources, one below the other.
    baseline : Agreement
        Of one age threshold with sex.

    Returns
    -------
    str
        Judged by the best of the groupings that have not seen sex. Its p is multiplied by their
        number (Bonferroni), since the best of several was picked.
    """
    blind = table[~table["has_seen_sex"]]
    by_sex = blind[blind["truth"] == "sex"]
    best = by_sex.loc[by_sex["ari"].idxmax()]
    p = min(1.0, best["p"] * len(by_sex))
    where = f"{best['source']}, {best['space']}"
    found = f"ARI {number(best['ari'], 3)} with sex at best ({where}; n = {best['n']:,})"
    if p >= 0.05:
        verdict = f"No: no grouping agrees with sex more than chance does; {found}"
    elif best["ari"] <= baseline.ari:
        verdict = (
            f"Not beyond age: {found} is more than chance, but a single age threshold reaches "
            f"{number(baseline.ari, 3)}"
        )
    elif best["accuracy"] < 0.75:
        verdict = (
            f"Weakly: {found}, more than chance and than one age threshold "
            f"({number(baseline.ari, 3)}), but {best['accuracy']:.0%} of the hands fall on the "
            f"side of their sex"
        ).replace("%", " %")
    else:
        verdict = f"Yes: {found}, against {number(baseline.ari, 3)} of one age threshold"
    rival = strongest_rival(blind)
    if rival is not None and rival["ari"] > best["ari"]:
        verdict += f". The hands group by {rival['truth']} first (ARI {number(rival['ari'], 3)})"
    return verdict + "."


def strongest_rival(blind: pd.DataFrame) -> pd.Series | None:
    """Return the row of what the hands group by most, other than sex; None if by nothing."""
    others = blind[(blind["truth"] != "sex") & (blind["p"] < 0.05)]
    return others.loc[others["ari"].idxmax()] if len(others) else None


def band_sentence(table: pd.DataFrame) -> str:
    """Say the best-match accuracy on 48-month bands, beside the published one."""
    rows = table[(table["truth"] == "age band") & ~table["has_seen_sex"]]
    best = rows.loc[rows["accuracy"].idxmax()]
    return (
        f"{best['accuracy'] * 100:.1f} % of n = {best['n']:,} hands on bands of 48 months "
        f"({best['source']}, {best['space']}; largest of {best['k']} of {len(NAMES)} bands "
        f"{best['majority'] * 100:.0f} %); published, other hands: "
        f"{PUBLISHED_BAND_ACCURACY * 100:.2f} % (largest {PUBLISHED_BAND_MAJORITY * 100:.0f} %)"
    )
