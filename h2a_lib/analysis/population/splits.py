"""What the split allows before any prediction: expected precision, copies across it, and the flow.

CLAIM 2024 items 19 to 21 and 35: sample size, level of disjointness, near-duplicates, flow.
"""

import itertools
import math

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import norm

from h2a_lib.analysis.statistics.bootstrap import CONFIDENCE, number
from h2a_lib.data.hands import Hands

Images = NDArray[np.uint8]
Pixels = NDArray[np.float32]

# The half-width of an interval in standard errors.
Z = float(norm.ppf((1 + CONFIDENCE) / 2))
# Results assumed beforehand: what an expert reader, a good and a small network reach.
ASSUMED_MAE_MONTHS = (5.0, 10.0, 15.0)
ASSUMED_AUC = (0.6, 0.75, 0.9)

# Pictures are compared at 32 x 32 first; the closest pairs are then aligned at 64 x 64.
SEARCH_PX, ALIGN_PX = 32, 64
COMPONENTS = 128
# Share of the total variance that is added to each component's before it is scaled to one.
WHITENING_FLOOR = 1e-3
# Detail finer than this many pixels of `ALIGN_PX` tells hands apart; its coarse shape does not.
DETAIL_PX = 5.0
# The versions in which a held-out picture is compared: mirrored or not, turned, scaled.
MIRRORED = (False, True)
DEGREES = (-3.0, 0.0, 3.0)
SCALES = (0.94, 0.97, 1.0, 1.03, 1.06)
# A pair counts as a copy from here on. Measured on the RSNA images at 100 px by `python
# benchmarks/duplicates.py`: the most similar pair across the split reaches 0.919, just below, so
# that the threshold cannot say what that pair is; the search takes 14 s of processor time.
MIN_CORRELATION = 0.92
# So far below it, a pair may still be a copy.
MARGIN = 0.01
# Share of 300 planted copies of each kind that it found there.
RECALL = {
    "compressed": 0.987,
    "resized": 0.957,
    "brightened": 1.0,
    "rotated by 3°": 0.960,
    "cropped by 3 %": 0.883,
    "mirrored": 1.0,
    "mirrored, rotated and cropped": 0.877,
}


# --- precision -----------------------------------------------------------------------------------


def mae_half_width(mae_months: float, n: int) -> float:
    """Return the half-width to expect of a 95 % interval of an MAE.

    Normal errors with mean 0 have an absolute error whose standard deviation is sqrt(pi / 2 - 1)
    times its mean; the mean of n is then normal.
    """
    return Z * mae_months * math.sqrt(math.pi / 2 - 1) / math.sqrt(n) if n else math.nan


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
    return Z * math.sqrt(variance)


def expected_precision(labels: pd.DataFrame) -> pd.DataFrame:
    """List the half-widths of 95 % intervals to expect of so many validation hands."""
    male = labels.loc[labels["split"] == "validation", "male"].to_numpy(bool)
    boys, n = int(male.sum()), len(male)
    rows = [("MAE, months", mae, mae_half_width(mae, n)) for mae in ASSUMED_MAE_MONTHS]
    rows += [("AUC of sex", area, auc_half_width(area, boys, n - boys)) for area in ASSUMED_AUC]
    frame = pd.DataFrame(rows, columns=["measure", "assumed", "half_width"])
    return frame.assign(n=n)


def precision_sentence(table: pd.DataFrame) -> str:
    """Format `expected_precision` as a sentence."""
    parts = [
        f"{row.measure.split(',')[0]} {row.assumed:g}: ±"
        + number(row.half_width, 2 if row.measure.startswith("MAE") else 3)
        for row in table.itertuples()
    ]
    return (
        f"Expected half-width of the 95 % interval at n = {table['n'].iloc[0]:,}: "
        f"{'; '.join(parts)} (MAE in months, normal errors; AUC after Hanley and McNeil)."
    )


# --- copies across the split ---------------------------------------------------------------------


def closest_pairs(hands: Hands, chunk: int = 512) -> pd.DataFrame:
    """Find the most similar training picture of each held-out hand.

    Every held-out picture is compared with all training pictures in 30 versions (mirrored, turned,
    scaled) by the correlation of whitened principal components. The closest pair is aligned by an
    affine transform (Evangelidis and Psarakis 2008, IEEE TPAMI 30:1858) and compared in its fine
    detail, so that neither exposure nor a changed frame hides a copy. `train` and `held_out` are
    positions in `hands`; `correlation` is of the aligned detail.
    """
    split = hands.labels["split"].to_numpy()
    train, held_out = np.flatnonzero(split == "train"), np.flatnonzero(split != "train")
    columns = ["train", "held_out", "correlation", "mirrored", "identical"]
    if not len(train) or not len(held_out):
        return pd.DataFrame(columns=columns)
    references = _shrink(hands.images, train, SEARCH_PX)
    whitening = _Whitening(references)
    descriptors = whitening(references)
    rows = []
    for start in range(0, len(held_out), chunk):
        part = held_out[start : start + chunk]
        closest, version = _closest(_shrink(hands.images, part, SEARCH_PX), descriptors, whitening)
        for position, reference, (mirrored, *turn) in zip(
            part, train[closest], version, strict=True
        ):
            copy, original = hands.images[position], hands.images[reference]
            correlation = _aligned_correlation(copy, original, mirrored, *turn)
            identical = np.array_equal(copy, original)
            rows.append((reference, position, round(correlation, 4), mirrored, identical))
    return pd.DataFrame(rows, columns=columns)


class _Whitening:
    """Principal components of pictures, scaled to unit variance: what sets one hand apart."""

    def __init__(self, pictures: Pixels):
        vectors = _unit_rows(pictures.reshape(len(pictures), -1))
        self.mean = vectors.mean(axis=0)
        variance, axes = np.linalg.eigh(np.cov(vectors, rowvar=False, bias=True))
        variance, axes = variance[-COMPONENTS:], axes[:, -COMPONENTS:]
        scale = np.sqrt(np.maximum(variance, 0) + WHITENING_FLOOR * variance.sum() + 1e-12)
        self.projection = (axes / scale).astype(np.float32)

    def __call__(self, pictures: Pixels) -> Pixels:
        """Describe (n, s, s) pictures by unit vectors, (n, components)."""
        vectors = _unit_rows(pictures.reshape(len(pictures), -1))
        return _unit_rows((vectors - self.mean) @ self.projection, centre=False)


def _unit_rows(vectors: Pixels, centre: bool = True) -> Pixels:
    if centre:
        vectors = vectors - vectors.mean(axis=1, keepdims=True)
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(length, 1e-6), np.float32)


def _shrink(images: Images, rows: NDArray[np.int64], side: int) -> Pixels:
    size = (side, side)
    return np.stack(
        [
            cv2.resize(np.asarray(images[row], np.float32), size, interpolation=cv2.INTER_AREA)
            for row in rows
        ]
    )


def _closest(
    pictures: Pixels, descriptors: Pixels, whitening: _Whitening
) -> tuple[NDArray[np.int64], list[tuple[bool, float, float]]]:
    """Return each picture's closest descriptor, (n,), and in which version it was closest."""
    n, side = len(pictures), pictures.shape[1]
    best, closest = np.full(n, -np.inf, np.float32), np.zeros(n, np.int64)
    versions = list(itertools.product(MIRRORED, DEGREES, SCALES))
    chosen = np.zeros(n, np.int64)
    for index, (mirrored, degrees, scale) in enumerate(versions):
        source = np.ascontiguousarray(pictures[:, :, ::-1]) if mirrored else pictures
        matrix = _turn(side, degrees, scale)
        turned = [
            cv2.warpAffine(picture, matrix, (side, side), borderMode=cv2.BORDER_REPLICATE)
            for picture in source
        ]
        score = whitening(np.stack(turned)) @ descriptors.T
        candidate = score.argmax(axis=1)
        score = score[np.arange(n), candidate]
        better = score > best
        best[better], closest[better] = score[better], candidate[better]
        chosen[better] = index
    return closest, [versions[index] for index in chosen]


def _turn(side: int, degrees: float, scale: float) -> NDArray[np.float64]:
    middle = (side - 1) / 2
    return cv2.getRotationMatrix2D((middle, middle), degrees, scale)


def _aligned_correlation(
    copy: Images, original: Images, mirrored: bool, degrees: float, scale: float
) -> float:
    """Align a picture with another and correlate their fine detail."""
    copy = copy[:, ::-1] if mirrored else copy
    moving, fixed = _shrink(np.stack([copy, original]), np.arange(2), ALIGN_PX)
    start = cv2.invertAffineTransform(_turn(ALIGN_PX, degrees, scale)).astype(np.float32)
    stop = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 50, 1e-5)
    everywhere = np.ones((ALIGN_PX, ALIGN_PX), np.uint8)
    try:
        _, matrix = cv2.findTransformECC(
            fixed, moving, start.copy(), cv2.MOTION_AFFINE, stop, everywhere, 5
        )
    except cv2.error:  # it does not converge
        return _detail_correlation(moving, fixed, start)
    return max(_detail_correlation(moving, fixed, each) for each in (start, matrix))


def _detail_correlation(moving: Pixels, fixed: Pixels, matrix: Pixels) -> float:
    """Correlate the fine detail of two pictures where they overlap; 0 if that is less than half."""
    size, inverse = (ALIGN_PX, ALIGN_PX), cv2.WARP_INVERSE_MAP
    aligned = cv2.warpAffine(moving, matrix, size, flags=cv2.INTER_LINEAR | inverse)
    whole = np.ones(size, np.float32)
    overlap = cv2.warpAffine(whole, matrix, size, flags=cv2.INTER_NEAREST | inverse) > 0
    rim = round(DETAIL_PX)
    overlap[:rim] = overlap[-rim:] = overlap[:, :rim] = overlap[:, -rim:] = False
    if overlap.mean() < 0.5:
        return 0.0
    a, b = (
        (picture - cv2.GaussianBlur(picture, (0, 0), DETAIL_PX))[overlap]
        for picture in (aligned, fixed)
    )
    a, b = a - a.mean(), b - b.mean()
    return float(a @ b / max(float(np.linalg.norm(a) * np.linalg.norm(b)), 1e-6))


def duplicates(pairs: pd.DataFrame, hands: Hands) -> pd.DataFrame:
    """Count the near-duplicates among `closest_pairs`, naming no child.

    True copies have the same sex (a share) and age (a median difference), look-alikes only about.
    """
    male, age = (hands.labels[name].to_numpy() for name in ("male", "age_months"))
    kinds = {
        "closest training image of each held-out hand": pairs["correlation"] >= -1,
        f"possible copies: correlation at least {MIN_CORRELATION}": pairs["correlation"]
        >= MIN_CORRELATION,
        "of these, pixel-identical": pairs["identical"].astype(bool),
    }
    rows = []
    for kind, chosen in kinds.items():
        a, b = (pairs.loc[chosen, name].to_numpy(int) for name in ("train", "held_out"))
        same_sex = float((male[a] == male[b]).mean()) if len(a) else math.nan
        difference = float(pd.Series(np.abs(age[a] - age[b])).median())  # not every hand has one
        rows.append(
            {"kind": kind, "pairs": len(a), "same_sex": round(same_sex, 4)}
            | {"age_difference_months": difference}
            | {"highest_correlation": round(float(pairs.loc[chosen, "correlation"].max()), 3)}
        )
    return pd.DataFrame(rows)


def duplicates_sentence(table: pd.DataFrame) -> str:
    """State how many near-duplicates cross the split, and what was searched for."""
    n_held_out, near, same = table["pairs"]
    recall = ", ".join(f"{kind} {100 * share:.0f} %" for kind, share in RECALL.items())
    if near == 0:
        result = "No copy of a training image was found in another split"
        if n_held_out:
            highest = table["highest_correlation"].iloc[0]
            result = (
                f"No pair of images across the split reaches the correlation of {MIN_CORRELATION} "
                f"that counts as a copy; the closest pair has {highest:.3f}"
            )
            if highest > MIN_CORRELATION - MARGIN:
                result += ", too near the threshold to be classified"
    else:
        pair = (
            "pair of images across the split reaches"
            if near == 1
            else "pairs of images across the split reach"
        )
        result = (
            f"{near:,} {pair} a correlation of {MIN_CORRELATION} (possible copies), {same:,} of "
            "them identical in every pixel"
        )
        of_all = table["age_difference_months"].iloc[0]
        if (apart := table["age_difference_months"].iloc[1]) > 0:
            result += (
                f"; their ages differ by {apart:g} months (median; {of_all:g} for closest pairs in "
                "general), whereas copies would have equal ages"
            )
    return (
        f"{result}. Each of {n_held_out:,} held-out images was compared with all training images "
        "for resized, compressed, brightened, rotated, cropped and mirrored copies. Recall for "
        f"planted copies in the RSNA images at 100 px, on which the threshold was set: {recall}."
    )


# --- for the report ------------------------------------------------------------------------------


def flow_sentence(labels: pd.DataFrame) -> str:
    """State how many hands there are, in which split, and that none was dropped."""
    counts = labels["split"].value_counts()
    parts = ", ".join(f"{name.replace('_', ' ')} {n:,}" for name, n in counts.items())
    return (
        f"{len(labels):,} labelled hands, each with one readable image: {parts}; none was "
        "excluded. (An unreadable, duplicate or unmatched image or label is named and stops the "
        "study before it begins.)"
    )


def variables(labels: pd.DataFrame, expected: pd.DataFrame, copies: pd.DataFrame) -> dict[str, str]:
    """Format `expected_precision`, `duplicates` and the flow for the report."""
    return {
        "expected_precision": precision_sentence(expected),
        "duplicates": duplicates_sentence(copies),
        "near_duplicates": f"{copies['pairs'].iloc[1]:,}",
        "flow": flow_sentence(labels),
    }
