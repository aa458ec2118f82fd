"""Question 3: does clustering separate the sexes?

Hands are clustered by their features, without labels (K-means, also on a UMAP embedding), and only
then compared with sex, age and how the radiograph was taken.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from h2a_lib.analysis.bands import HALF_YEAR_MONTHS, band_of
from h2a_lib.analysis.statistics.agreement import (
    Agreement,
    adjusted_rand,
    agreement,
    min_p,
    stratified,
)

Features = NDArray[np.float32]
SEEDS = (0, 1, 2)
NEIGHBOURS = (5, 15, 50)
NEIGHBOURS_SHOWN = 15
COMPONENTS = 50
# To which pictures shrink: 1,024 numbers a hand keep 12,611 hands in 52 MB.
SIDE_PX = 32
# UMAP's own number for more than 10,000 points; its 500 for fewer take twice as long, and K-means
# finds the same groups.
EPOCHS = 200
# Fewer hands than this are not clustered: chance alone makes groups of them.
MIN_HANDS = 10


# --- features ------------------------------------------------------------------------------------


def pixel_features(images: NDArray[np.uint8]) -> Features:
    """Return each image, shrunk and freed of its own brightness and contrast, as a row."""
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
    """Reduce features to their first 50 principal components, fewer of fewer hands or features."""
    from sklearn.decomposition import PCA

    n = min(COMPONENTS, *features.shape)
    return PCA(n, random_state=0).fit_transform(features).astype(np.float32)


def umap_embedding(
    features: Features, seed: int = 0, neighbours: int = NEIGHBOURS_SHOWN
) -> Features:
    """Embed features in a plane by UMAP (McInnes, Healy and Melville 2018, arXiv:1802.03426).

    One thread: with several, a seed does not fix the result (umap issues 1080 and 853).
    """
    # Ten seconds to import: only where it is used.
    from umap import UMAP

    # The spectral start needs more hands than dimensions + 1 by far; at random for a handful.
    start = "spectral" if len(features) > 30 else "random"
    reducer = UMAP(
        n_neighbors=min(neighbours, len(features) - 1),
        n_epochs=EPOCHS,
        random_state=seed,
        n_jobs=1,
        init=start,
    )
    return reducer.fit_transform(features).astype(np.float32)


# --- groups --------------------------------------------------------------------------------------


def k_means(features: Features, k: int, seed: int = 0) -> NDArray[np.int64]:
    """Group hands, (n,), into k groups (fewer if there are fewer hands)."""
    from sklearn.cluster import KMeans

    k = min(k, len(features))
    return KMeans(k, n_init=10, random_state=seed).fit_predict(features).astype(np.int64)


def stability(groupings: Sequence[NDArray[np.int64]]) -> tuple[float, float]:
    """Mean and least ARI between every two groupings of the same hands; NaN for fewer than two."""
    values = [adjusted_rand(a, b) for i, a in enumerate(groupings) for b in groupings[i + 1 :]]
    return (float(np.mean(values)), min(values)) if values else (math.nan, math.nan)


# --- what the groups are compared with -----------------------------------------------------------


def known_classes(
    hands: pd.DataFrame, nuisances: Mapping[str, ArrayLike]
) -> dict[str, NDArray[np.int64]]:
    """Turn sex, age band and nuisances into classes, (n,) each.

    Numbers are cut at their median. A nuisance that is the same for all hands (the size, where all
    files have one) is left out.
    """
    classes = {
        "sex": hands["male"].to_numpy().astype(np.int64),
        "age band": band_of(hands["age_months"]),
    }
    for name, values in nuisances.items():
        column = pd.Series(np.asarray(values))
        if column.nunique() < 2:
            continue
        if pd.api.types.is_numeric_dtype(column) and column.nunique() > 2:
            classes[name] = (column > column.median()).to_numpy().astype(np.int64)
        else:
            classes[name] = pd.factorize(column)[0].astype(np.int64)
    return classes


def age_threshold(train: pd.DataFrame) -> float:
    """Return the age in months that separates the sexes of training hands best, by ARI.

    The baseline of any clustering: labels of age alone carry information on sex. (146 months on
    all 12,611 labels of RSNA, with an ARI of 0.082.)
    """
    male = train["male"].to_numpy().astype(np.int64)
    age = train["age_months"].to_numpy(float)
    cuts = np.unique(age)[1:]
    if len(cuts) == 0:
        return float(age[0])
    return float(max(cuts, key=lambda cut: adjusted_rand(male, age >= cut)))


def age_baseline(train: pd.DataFrame, hands: pd.DataFrame) -> Agreement | None:
    """Agreement with sex of one age threshold, chosen on training hands; None of too few hands."""
    if len(hands) < MIN_HANDS:
        return None
    male = hands["male"].to_numpy().astype(np.int64)
    return agreement(male, hands["age_months"].to_numpy(float) >= age_threshold(train))


NO_LABEL = "no label"


@dataclass(frozen=True)
class Representation:
    """One description of hands by numbers, (n, d), and the label its network was trained on.

    That label ("age", "sex", "age and sex") makes it a comparison and no evidence.
    """

    name: str
    features: Features
    trained_on: str = NO_LABEL

    @property
    def is_label_free(self) -> bool:
        """Whether its groups say something about the hands, and not about what was trained."""
        return self.trained_on == NO_LABEL


@dataclass(frozen=True)
class Clustering:
    """All clusterings of one representation.

    `embeddings` are by UMAP with `NEIGHBOURS_SHOWN`, one for each seed (where a label was trained
    on, the first alone). `groups` are by K-means, first seed, by space ("features", "UMAP") and k:
    2, and one group for each age band that occurs. `table` has a row for each space and known class
    (see `cluster`), `stability` for each space; it is empty where a label was trained on.
    """

    representation: Representation
    embeddings: list[Features]
    groups: dict[tuple[str, int], NDArray[np.int64]]
    table: pd.DataFrame
    stability: pd.DataFrame


COLUMNS = ["source", "trained_on", "space", "truth", "k", "n", *Agreement.__dataclass_fields__]
STABILITY_COLUMNS = ["source", "what", "n_groupings", "ari_mean", "ari_least"]


def cluster(
    representation: Representation,
    classes: Mapping[str, NDArray[np.int64]],
    seeds: Sequence[int] = SEEDS,
    neighbours: Sequence[int] = NEIGHBOURS,
    permutations: int = 200,
) -> Clustering:
    """Cluster the hands of a representation and compare the groups with `known_classes`.

    The first seed, of K-means and UMAP, is compared; the other seeds and `neighbours` are for the
    stability. Columns of the table: `COLUMNS`, where accuracy is of the best match and p of this
    clustering alone (`compare` adjusts for their number). Of fewer than `MIN_HANDS` hands it is
    empty.
    """
    n = len(representation.features)
    if n < MIN_HANDS:
        nothing = pd.DataFrame(columns=COLUMNS), pd.DataFrame(columns=STABILITY_COLUMNS)
        return Clustering(representation, [], {}, *nothing)
    if not representation.is_label_free:
        seeds, neighbours = seeds[:1], ()
    reduced = principal_components(representation.features)
    embeddings = [umap_embedding(reduced, seed) for seed in seeds]
    k_bands = len(np.unique(classes["age band"]))
    groups: dict[tuple[str, int], NDArray[np.int64]] = {}
    rows = []
    for space, points in (("features", reduced), ("UMAP", embeddings[0])):
        groups |= {(space, k): k_means(points, k, seeds[0]) for k in {2, k_bands}}
        for name, known in classes.items():
            k = k_bands if name == "age band" else 2
            rows.append(
                {"source": representation.name, "trained_on": representation.trained_on}
                | {"space": space, "truth": name, "k": k, "n": n}
                | agreement(known, groups[space, k], permutations=permutations).row()
            )
    return Clustering(
        representation=representation,
        embeddings=embeddings,
        groups=groups,
        table=pd.DataFrame(rows, columns=COLUMNS),
        stability=_stability_table(representation, reduced, embeddings, seeds, neighbours),
    )


def _stability_table(
    representation: Representation,
    reduced: Features,
    embeddings: Sequence[Features],
    seeds: Sequence[int],
    neighbours: Sequence[int],
) -> pd.DataFrame:
    if not neighbours:
        return pd.DataFrame(columns=STABILITY_COLUMNS)
    others = [umap_embedding(reduced, seeds[0], n) for n in neighbours if n != NEIGHBOURS_SHOWN]
    variants = {
        "features, seeds": [k_means(reduced, 2, seed) for seed in seeds],
        "UMAP, seeds": [k_means(points, 2, seeds[0]) for points in embeddings],
        "UMAP, neighbours": [k_means(points, 2, seeds[0]) for points in (embeddings[0], *others)],
    }
    rows = [
        (representation.name, what, len(variant), *stability(variant))
        for what, variant in variants.items()
    ]
    return pd.DataFrame(rows, columns=STABILITY_COLUMNS)


def compare(
    clusterings: Sequence[Clustering],
    classes: Mapping[str, NDArray[np.int64]],
    age_months: ArrayLike,
    permutations: int = 1000,
) -> pd.DataFrame:
    """Compare all clusterings with what is known, adjusted for picking the best of them.

    Three sets of tests: sex; sex among hands of one half-year of age, two-sided; and everything but
    sex. A representation that was trained on a label takes part in none (NaN): its groups show what
    it was trained on.

    The clusterings' tables, one below the other, gain p_best (adjusted by minP) and null_best_95,
    the ARI at which that is 0.05; and of sex ari_of_age (what its link with age alone would give),
    difference_within_age (by how much the shares of boys and girls in one group differ among hands
    of one half-year) and p_beyond_age.
    """
    table = pd.concat([clustering.table for clustering in clusterings], ignore_index=True)
    groups = {
        (clustering.representation.name, space, k): labels
        for clustering in clusterings
        for (space, k), labels in clustering.groups.items()
    }
    pairs = [
        (classes[row.truth], groups[row.source, row.space, row.k]) for row in table.itertuples()
    ]
    added = ["p_best", "null_best_95", "ari_of_age", "difference_within_age", "p_beyond_age"]
    table[added] = math.nan
    label_free, by_sex = table["trained_on"] == NO_LABEL, table["truth"] == "sex"
    for rows in (np.flatnonzero(label_free & by_sex), np.flatnonzero(label_free & ~by_sex)):
        if len(rows):
            adjusted = min_p([pairs[i] for i in rows], permutations)
            table.loc[rows, "p_best"] = adjusted.p.round(4)
            table.loc[rows, "null_best_95"] = adjusted.critical.round(4)
    rows = np.flatnonzero(label_free & by_sex)
    if len(rows):
        half_years = np.floor(np.asarray(age_months, float) / HALF_YEAR_MONTHS)
        within = stratified([pairs[i] for i in rows], half_years, permutations)
        table.loc[rows, "ari_of_age"] = within.expected_ari.round(4)
        table.loc[rows, "difference_within_age"] = np.abs(within.difference).round(4)
        table.loc[rows, "p_beyond_age"] = within.p.round(4)
    return table
