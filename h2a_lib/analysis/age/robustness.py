"""How the estimates change with the picture while the child stays the same.

The changes are made to the images as the network is given them (8-bit, square, at its size), so
pixels are of that size. What comes in from outside a picture is black, as film is.
"""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from h2a_lib.analysis.age.errors import PREDICTED, TRUE
from h2a_lib.analysis.statistics.bootstrap import Estimate, mean_interval, sample_size

Images = NDArray[np.uint8]
Predict = Callable[[Images, NDArray[np.bool_]], NDArray[np.float64]]
CLINICAL_MONTHS = 12
COVERED = "marker covered"


@dataclass(frozen=True)
class Change:
    """A change of a picture: `apply` takes (s, s), uint8, and a generator, and returns (s, s)."""

    family: str
    strength: str
    apply: Callable[[Images, np.random.Generator], Images]


def affine(degrees: float = 0, zoom: float = 1, shift: tuple[float, float] = (0, 0)) -> Callable:
    """Return a change that turns (counter-clockwise), enlarges and shifts (shares of the side)."""

    def apply(image: Images, _: np.random.Generator) -> Images:
        side = image.shape[0]
        centre = ((side - 1) / 2, (side - 1) / 2)
        matrix = cv2.getRotationMatrix2D(centre, degrees, zoom)
        matrix[:, 2] += np.array(shift) * side
        return cv2.warpAffine(image, matrix, (side, side), flags=cv2.INTER_LINEAR)

    return apply


def grey(curve: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> Callable:
    """Return a change of grey values by a curve from 0..255 to 0..255, cut off at the ends."""
    table = np.clip(np.rint(curve(np.arange(256.0))), 0, 255).astype(np.uint8)
    return lambda image, _: cv2.LUT(image, table)


def contrast(factor: float) -> Callable:
    """Return a change that stretches grey values about the picture's own mean."""

    def apply(image: Images, _: np.random.Generator) -> Images:
        mean = image.mean()
        return _to_uint8((image - mean) * factor + mean)

    return apply


def blur(share_of_side: float) -> Callable:
    """Return a Gaussian blur; its standard deviation is a share of the side."""
    return lambda image, _: cv2.GaussianBlur(image, (0, 0), share_of_side * image.shape[0])


def noise(sd: float) -> Callable:
    """Return a change that adds normal noise, `sd` in grey levels."""
    return lambda image, random: _to_uint8(image + random.normal(0, sd, image.shape))


def coarser(factor: int) -> Callable:
    """Return a change to a `factor` times lower resolution and back."""

    def apply(image: Images, _: np.random.Generator) -> Images:
        side = image.shape[0]
        small = max(1, side // factor)
        less = cv2.resize(image, (small, small), interpolation=cv2.INTER_AREA)
        return cv2.resize(less, (side, side), interpolation=cv2.INTER_LINEAR)

    return apply


def jpeg(quality: int) -> Callable:
    """Return a change to JPEG and back."""

    def apply(image: Images, _: np.random.Generator) -> Images:
        _, content = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
        return cv2.imdecode(content, cv2.IMREAD_GRAYSCALE)

    return apply


def cover_corners(image: Images, _: np.random.Generator) -> Images:
    """Cover the four corners, where lead markers usually lie, with the darkest tenth's grey."""
    covered = image.copy()
    corner = max(1, round(0.2 * image.shape[0]))
    for rows in (slice(None, corner), slice(-corner, None)):
        for columns in (slice(None, corner), slice(-corner, None)):
            covered[rows, columns] = np.quantile(image, 0.1)
    return covered


def add_marker(image: Images, _: np.random.Generator) -> Images:
    """Put a bright letter L, a tenth of the side high, into the upper left corner."""
    marked = image.copy()
    side = image.shape[0]
    edge, high, thick = round(0.06 * side), max(3, round(0.1 * side)), max(1, round(0.02 * side))
    marked[edge : edge + high, edge : edge + thick] = 255
    marked[edge + high - thick : edge + high, edge : edge + max(2, high * 2 // 3)] = 255
    return marked


def _to_uint8(values: NDArray[np.float64]) -> Images:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


CHANGES: tuple[Change, ...] = (
    *(Change("rotation", f"{d:+d}°", affine(d)) for d in (-30, -15, -5, 5, 15, 30, 90, 180)),
    Change("mirroring", "left and right", lambda image, _: image[:, ::-1]),
    Change("mirroring", "upside down", lambda image, _: image[::-1]),
    *(
        Change("brightness", f"{b:+d} levels", grey(lambda v, b=b: v + b))
        for b in (-60, -30, 30, 60)
    ),
    *(Change("contrast", f"× {c:g}", contrast(c)) for c in (0.5, 0.75, 1.25, 1.5)),
    *(
        Change("gamma", f"{g:g}", grey(lambda v, g=g: 255 * (v / 255) ** g))
        for g in (0.6, 0.8, 1.25, 1.6)
    ),
    Change("inversion", "black bone", grey(lambda v: 255 - v)),
    *(Change("blur", f"SD {b * 100:g} % of the side", blur(b)) for b in (0.01, 0.02, 0.04)),
    *(Change("noise", f"SD {n} levels", noise(n)) for n in (5, 10, 20)),
    *(Change("resolution", f"1/{f}", coarser(f)) for f in (2, 4, 8)),
    *(Change("JPEG", f"quality {q}", jpeg(q)) for q in (50, 20, 5)),
    *(Change("cropping", f"{c} %", affine(zoom=100 / (100 - c))) for c in (5, 10, 20)),
    Change("reduction", "10 %", affine(zoom=0.9)),
    Change("shift", "5 % sideways", affine(shift=(0.05, 0))),
    Change("shift", "10 % down", affine(shift=(0, 0.1))),
    Change("marker", "corners covered", cover_corners),
    Change("marker", "L added", add_marker),
)  # fmt: skip

# Small enough not to disturb a human reader: averaged over at prediction. None is mirrored: a
# network trained on left hands alone does not know right ones.
AUGMENTATIONS: tuple[Callable, ...] = (
    lambda image, _: image,
    affine(degrees=-5),
    affine(degrees=5),
    affine(zoom=0.95),
    affine(zoom=1.05),
)


def changed(images: Images, change: Callable, seed: int = 0) -> Images:
    """Change each of some images, (n, s, s), uint8; the same seed gives the same noise."""
    random = np.random.default_rng(seed)
    return np.stack([np.ascontiguousarray(change(np.asarray(image), random)) for image in images])


def covered(images: Images, region: NDArray[np.float64]) -> Images:
    """Cover a region, (n, s, s), with each picture's 10th percentile: the marker of a phantom."""
    dark = np.quantile(images, 0.1, axis=(1, 2), keepdims=True)
    return np.where(region > 0, dark, images).astype(np.uint8)


def robustness(
    predict: Predict,
    images: Images,
    frame: pd.DataFrame,
    marker: NDArray[np.float64] | None = None,
) -> pd.DataFrame:
    """Predict the same hands under every change, paired with the unchanged ones.

    `predict` takes (images, male) and returns months, (n,); `marker`, (n, s, s), is where the lead
    marker is known to be, covered as one more change. beyond_12_change is of the share of errors
    above 12 months.
    """
    true, male = frame[TRUE].to_numpy(float), frame["male"].to_numpy(bool)
    before = np.abs(predict(images, male) - true)
    sets = [(c.family, c.strength, lambda c=c: changed(images, c.apply)) for c in CHANGES]
    if marker is not None:
        sets.append((COVERED, "exactly", lambda: covered(images, marker)))
    rows = []
    for family, strength, make in sets:
        after = np.abs(predict(make(), male) - true)
        beyond = (after > CLINICAL_MONTHS).astype(float) - (before > CLINICAL_MONTHS)
        rows.append(
            {"family": family, "strength": strength, "n": len(true)}
            | {"mae_months": float(after.mean())}
            | mean_interval(after - before).row("mae_change_months")
            | mean_interval(beyond).row("beyond_12_change")
        )
    return pd.DataFrame(rows)


def verdict(table: pd.DataFrame) -> str:
    """Say how many perturbations increase the error, for a title."""
    worse = table[table["mae_change_months_low"] > 0]
    return f"{len(worse)} of {len(table)} image perturbations increase the error"


def sentence(table: pd.DataFrame) -> str:
    """Say how many perturbations increase the error, and which most."""
    worst = table.loc[table["mae_change_months"].idxmax()]
    return (
        f"{verdict(table)} (judged by paired, unadjusted 95 % CIs, {sample_size(worst['n'])}). The "
        f"largest increase, {worst['mae_change_months']:.1f} months, is for {worst['family']} "
        f"({worst['strength']}).{_covering(table)}"
    )


def _covering(table: pd.DataFrame) -> str:
    """Say whether the marker influences the network, where its place is known."""
    rows = table[table["family"] == COVERED]
    if rows.empty:
        return ""
    change = Estimate.of(rows.iloc[0], "mae_change_months")
    if change.is_tie:
        return " Covering the marker does not demonstrably change the error."
    verb = "raises" if change.value > 0 else "lowers"
    return f" Covering the marker {verb} the error by {abs(change).text('months')}."


def augmented(predict: Predict, images: Images, frame: pd.DataFrame) -> pd.DataFrame:
    """Predict each hand as the mean over small changes (test-time augmentation).

    spread_months, the standard deviation over the changes, is an uncertainty that needs no label.
    """
    male = frame["male"].to_numpy(bool)
    months = np.stack([predict(changed(images, change), male) for change in AUGMENTATIONS])
    return frame.assign(**{PREDICTED: months.mean(axis=0), "spread_months": months.std(axis=0)})
