"""What the split promises before a prediction is looked at: precision, and no hand on both sides.

CLAIM 2024 items 19 to 21 and 35: sample size, level of disjointness, near-duplicates, flow.
"""

import hashlib
import math

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import norm

from h2a_lib.analysis.statistics.bootstrap import CONFIDENCE, number
from h2a_lib.data.hands import Hands

Images = NDArray[np.uint8]
SIDE = 32
HASH_SIDE = 8
# Between the 10,000 and 2,611 RSNA images of 100 px the most alike correlate by 0.967, and are of
# one sex as often as any two: look-alikes. Copies (JPEG, resized, brightened) stay above 0.97.
MOST_BITS = 6
LEAST_CORRELATION = 0.97
# Errors assumed before any was seen: what an expert reader, a good and a small network show.
ASSUMED_MAE_MONTHS = (5.0, 10.0, 15.0)
ASSUMED_AUC = (0.6, 0.75, 0.9)


# --- precision -----------------------------------------------------------------------------------


def mae_half_width(mae_months: float, n: int) -> float:
    """Return the half-width to expect of a 95 % interval of an MAE.

    Normal errors with mean 0 have an absolute error whose standard deviation is sqrt(pi / 2 - 1)
    times its mean; the mean of n is then normal.
    """
    return _z() * mae_months * math.sqrt(math.pi / 2 - 1) / math.sqrt(n) if n else math.nan


def auc_half_width(area: float, n_male: int, n_female: int) -> float:
    """Return the half-width to expect of a 95 % interval of an AUC.

    Hanley and McNeil 1982, Radiology 143:29, equation 1.
    """
    if not n_male or not n_female:
        return math.nan
    both_above, both_below = area / (2 - area), 2 * area**2 / (1 + area)
    variance = (
        area * (1 - area)
        + (n_male - 1) * (both_above - area**2)
        + (n_female - 1) * (both_below - area**2)
    ) / (n_male * n_female)
    return _z() * math.sqrt(variance)


def _z() -> float:
    return float(norm.ppf((1 + CONFIDENCE) / 2))


def precision(labels: pd.DataFrame) -> pd.DataFrame:
    """List what intervals to expect from the number of validation hands alone.

    Parameters
    ----------
    labels : DataFrame
        male, split.

    Returns
    -------
    DataFrame
        measure, assumed (what it might come to), half_width (of its 95 % interval), n.
    """
    male = labels.loc[labels["split"] == "validation", "male"].to_numpy(bool)
    boys, n = int(male.sum()), len(male)
    rows = [("MAE, months", mae, mae_half_width(mae, n)) for mae in ASSUMED_MAE_MONTHS]
    rows += [("AUC of sex", area, auc_half_width(area, boys, n - boys)) for area in ASSUMED_AUC]
    frame = pd.DataFrame(rows, columns=["measure", "assumed", "half_width"])
    return frame.assign(half_width=frame["half_width"].round(4), n=n)


def precision_sentence(table: pd.DataFrame) -> str:
    """Say what was to be expected, from `precision`."""
    said = [
        f"{row.measure.split(',')[0]} {row.assumed:g}: ±"
        + number(row.half_width, 2 if row.measure.startswith("MAE") else 3)
        for row in table.itertuples()
    ]
    return (
        f"Half-width of the 95 % interval to expect from n = {table['n'].iloc[0]:,} alone: "
        f"{'; '.join(said)} (MAE in months, normal errors; AUC after Hanley and McNeil)."
    )


# --- the same hand on both sides -----------------------------------------------------------------


def perceptual_hash(images: Images) -> NDArray[np.uint64]:
    """Hash pictures so that copies that were resized, compressed or brightened have like hashes.

    The signs of the 64 lowest frequencies about their median (Zauner 2010, *Implementation and
    benchmarking of perceptual image hash functions*, section 3.2.1).

    Parameters
    ----------
    images : ndarray
        (n, s, s), uint8.

    Returns
    -------
    ndarray
        (n,), uint64; the number of differing bits is the distance.
    """
    small = _small(images)
    low = np.stack([cv2.dct(image)[:HASH_SIDE, :HASH_SIDE].ravel() for image in small])
    bits = low > np.median(low, axis=1, keepdims=True)
    return np.packbits(bits, axis=1).view(np.uint64).ravel()


def _small(images: Images) -> NDArray[np.float32]:
    """Shrink pictures to 32 x 32 by area, (n, 32, 32)."""
    return np.stack(
        [
            cv2.resize(np.asarray(image, np.float32), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
            for image in images
        ]
    )


def crossing(hands: Hands, chunk: int = 512) -> pd.DataFrame:
    """Find pictures of the training split that are also in another one.

    Parameters
    ----------
    hands : Hands
    chunk : int
        Held-out hands compared at once.

    Returns
    -------
    DataFrame
        One row for each pair whose perceptual hashes differ in at most 6 of 64 bits: train, other
        (positions in `hands`), bits, correlation (of the pixels at 32 x 32), identical (whether
        every pixel of the network's picture is the same).
    """
    split = hands.labels["split"].to_numpy()
    train, others = np.flatnonzero(split == "train"), np.flatnonzero(split != "train")
    if not len(train) or not len(others):
        return pd.DataFrame(columns=["train", "other", "bits", "correlation", "identical"])
    images = np.asarray(hands.images)
    hashes = perceptual_hash(images)
    found = []
    for start in range(0, len(others), chunk):
        part = others[start : start + chunk]
        bits = np.bitwise_count(hashes[part][:, None] ^ hashes[train][None])
        at, to = np.nonzero(bits <= MOST_BITS)
        found.append(np.stack([train[to], part[at], bits[at, to].astype(int)], axis=1))
    pairs = pd.DataFrame(np.concatenate(found), columns=["train", "other", "bits"])
    small = _small(images).reshape(len(images), -1)
    small = small - small.mean(axis=1, keepdims=True)
    small /= np.maximum(np.linalg.norm(small, axis=1, keepdims=True), 1e-6)
    correlation = (small[pairs["train"]] * small[pairs["other"]]).sum(axis=1)
    content = np.array([hashlib.blake2b(image.tobytes()).hexdigest() for image in images])
    identical = content[pairs["train"]] == content[pairs["other"]]
    return pairs.assign(correlation=correlation.round(4), identical=identical)


def duplicates(pairs: pd.DataFrame, hands: Hands) -> pd.DataFrame:
    """Count what `crossing` found, naming no child.

    Returns
    -------
    DataFrame
        what, pairs, same_sex (share) and age_difference_months (median): true copies have the
        same sex and age, look-alikes only about.
    """
    male, age = (hands.labels[name].to_numpy() for name in ("male", "age_months"))
    kinds = {
        f"hash within {MOST_BITS} of 64 bits": pairs["bits"] >= 0,
        f"of these, correlation at least {LEAST_CORRELATION}": pairs["correlation"]
        >= LEAST_CORRELATION,
        "of these, the same pixels": pairs["identical"].astype(bool),
    }
    rows = []
    for what, chosen in kinds.items():
        a, b = pairs.loc[chosen, "train"].to_numpy(int), pairs.loc[chosen, "other"].to_numpy(int)
        same = float((male[a] == male[b]).mean()) if len(a) else math.nan
        apart = float(np.median(np.abs(age[a] - age[b]))) if len(a) else math.nan
        rows.append(
            {"what": what, "pairs": len(a), "same_sex": round(same, 4)}
            | {"age_difference_months": apart}
        )
    return pd.DataFrame(rows)


def duplicates_sentence(table: pd.DataFrame) -> str:
    """Say whether a picture is on both sides of the split."""
    alike, near, same = table["pairs"]
    found = (
        "No picture of the training split is in another one"
        if near == same == 0
        else f"{near:,} pairs across the split are near copies, {same:,} of them pixel by pixel"
    )
    return (
        f"{found}: {alike:,} pairs have perceptual hashes that differ in at most {MOST_BITS} of 64 "
        f"bits, {near:,} of these correlate by {LEAST_CORRELATION} or more, {same:,} have the same "
        "pixels."
    )


# --- for the report ------------------------------------------------------------------------------


def flow_sentence(labels: pd.DataFrame) -> str:
    """Say how many hands there are, where they went, and that none was dropped on the way."""
    counts = labels["split"].value_counts()
    into = ", ".join(f"{name.replace('_', ' ')} {n:,}" for name, n in counts.items())
    return (
        f"{len(labels):,} labelled hands, each with one readable image: {into}; none was refused. "
        "(An unreadable, doubled or unmatched image or label is named and ends the study before "
        "it begins.)"
    )


def variables(labels: pd.DataFrame, expected: pd.DataFrame, copies: pd.DataFrame) -> dict[str, str]:
    """Return ready-to-print values: of `precision`, `duplicates` and the flow."""
    return {
        "expected_precision": precision_sentence(expected),
        "duplicates": duplicates_sentence(copies),
        "near_duplicates": f"{copies['pairs'].iloc[1]:,}",
        "flow": flow_sentence(labels),
    }
