"""Solid bodies and their thickness as an X-ray sees it: chords, in closed form, in local patches.

A solid is described in millimetres in the hand's own frame (x towards the thumb, y towards the
fingertips, origin at the wrist) and drawn into the pixels of a `View`. All arithmetic is float64
and is rounded to grey levels only once, at the very end, so that a last-bit difference between
two machines' math libraries does not reach a pixel.
"""

import functools
import math
from dataclasses import dataclass

import cv2
import numpy as np

from h2a_lib.phantoms.streams import Stream

SAMPLES = 1024
_TILE = 512


@dataclass(frozen=True)
class View:
    """Where the hand lies in the image: pixel = matrix @ mm + shift.

    The matrix holds rotation, scale and mirror (y points down in the image); `shift` is the wrist.
    """

    matrix: np.ndarray
    shift: np.ndarray
    height: int
    width: int

    @functools.cached_property
    def px_per_mm(self) -> float:
        """Return the scale."""
        return float(np.sqrt(abs(np.linalg.det(self.matrix))))

    @functools.cached_property
    def inverse(self) -> np.ndarray:
        """Return the matrix from pixels to mm, (2, 2)."""
        return np.linalg.inv(self.matrix)

    def to_px(self, points_mm: np.ndarray) -> np.ndarray:
        """Map (n, 2) millimetres to (n, 2) pixels, x before y."""
        return points_mm @ self.matrix.T + self.shift

    def patch(self, points_mm: np.ndarray, margin_mm: float) -> tuple[slice, slice]:
        """Return rows and columns of the image that hold these points and a margin."""
        margin = margin_mm * self.px_per_mm + 2
        spans = []
        for values, size in zip(
            self.to_px(points_mm).T.tolist(), (self.width, self.height), strict=True
        ):
            low, high = math.floor(min(values) - margin), math.ceil(max(values) + margin)
            spans.append(slice(min(max(low, 0), size), min(max(high, 0), size)))
        return spans[1], spans[0]

    def local(
        self, patch: tuple[slice, slice], origin: np.ndarray, axis: np.ndarray, stride: int = 1
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return coordinates along and across an axis, in mm, of each `stride`-th pixel of a patch.

        Across is positive to the right of the unit vector `axis`.
        """
        rows = np.arange(patch[0].start, patch[0].stop, stride, dtype=float) - self.shift[1]
        columns = np.arange(patch[1].start, patch[1].stop, stride, dtype=float) - self.shift[0]
        normal = np.array([axis[1], -axis[0]])
        along, across = axis @ self.inverse, normal @ self.inverse
        return (
            (columns * along[0] - axis @ origin)[None, :] + (rows * along[1])[:, None],
            (columns * across[0] - normal @ origin)[None, :] + (rows * across[1])[:, None],
        )


class Thickness:
    """Thickness of bone along the rays, (h, w) in mm; trabecular times its relative density."""

    def __init__(self, height: int, width: int):
        self.compact, self.trabecular = np.zeros((2, height, width))


@dataclass(frozen=True)
class Tube:
    """A solid of revolution (flattened by `depth`) along an axis, with a shell and a core.

    The tables, (SAMPLES,), start at `origin` and run over `length` mm: half-widths in mm of the
    body (`outer`) and of its core (`inner`), and the share of the core that is filled with
    trabeculae (`hollow`); the rest is marrow. `density`, of trabeculae, is relative to an adult.
    `bend` is the sideways bow at mid-length, in mm. `slant` is how far the first end surface slants
    (u is shifted by slant * v), and within how many mm that fades. `grain` is the offset of the
    trabecular pattern.
    """

    name: str
    origin: np.ndarray
    axis: np.ndarray
    length: float
    outer: np.ndarray
    inner: np.ndarray
    depth: float
    density: float
    hollow: np.ndarray | None = None
    bend: float = 0.0
    slant: tuple[float, float] = (0.0, 1.0)
    grain: tuple[int, int] = (0, 0)

    def patch(self, view: View) -> tuple[slice, slice]:
        """Return the part of the image that the tube may touch."""
        ends = np.stack([self.origin, self.origin + self.axis * self.length])
        return view.patch(ends, float(self.outer.max()) + abs(self.bend))

    def draw(self, view: View, into: Thickness) -> None:
        """Add the tube's chords to a thickness map."""
        patch = self.patch(view)
        u, v = view.local(patch, self.origin, self.axis)
        t = np.clip(u / self.length, 0.0, 1.0)
        if self.bend:
            v = v - 4 * self.bend * t * (1 - t)
        if self.slant[0]:
            u = u - self.slant[0] * v * np.clip(1 - u / self.slant[1], 0.0, 1.0)
        step = np.clip(u * ((SAMPLES - 2) / self.length) + 1, 0, SAMPLES - 1).astype(np.int32)
        square = v * v
        # A pixel sees the mean of what it covers, or a thin plate would be a broken line.
        run = round(SAMPLES / (self.length * view.px_per_mm))
        outer, inner = (
            np.sqrt(np.maximum(_averaged(np.square(table), run)[step] - square, 0.0))
            for table in (self.outer, self.inner)
        )
        filling = (2 * self.depth * self.density) * inner
        if self.hollow is not None:
            filling *= self.hollow[step]
        into.compact[patch] += (2 * self.depth) * (outer - inner)
        # Trabeculae run along the bone: the pattern is stretched threefold in that direction.
        into.trabecular[patch] += filling * _grain(view, u * 4.0, v * 11.0, self.grain)


@dataclass(frozen=True)
class Blob:
    """A star-shaped lens with a shell: a carpal bone or a sesamoid; lengths in mm.

    `radius`, (SAMPLES,), is the distance of the outline from the centre at angles from -pi to pi;
    `depth` the half-thickness at the centre; `shell` the thickness of the cortex.
    """

    name: str
    centre: np.ndarray
    radius: np.ndarray
    depth: float
    shell: float
    density: float
    grain: tuple[int, int] = (0, 0)

    def patch(self, view: View) -> tuple[slice, slice]:
        """Return the part of the image that the blob may touch."""
        return view.patch(self.centre[None, :], float(self.radius.max()))

    def draw(self, view: View, into: Thickness) -> None:
        """Add the blob's chords to a thickness map."""
        patch = self.patch(view)
        u, v = view.local(patch, self.centre, np.array([0.0, 1.0]))
        angle = np.arctan2(u, v)
        step = ((angle + np.pi) * ((SAMPLES - 1) / (2 * np.pi))).astype(np.int32)
        edge = self.radius[step]
        distance = np.sqrt(u * u + v * v)
        outer = self.depth * _dome(distance / edge)
        core = np.maximum(edge - self.shell, 1e-6)
        inner = max(self.depth - self.shell, 0.0) * _dome(distance / core)
        into.compact[patch] += 2 * (outer - inner)
        grain = _grain(view, u * 7.0, v * 7.0, self.grain)
        into.trabecular[patch] += (2 * self.density) * inner * grain


def _averaged(table: np.ndarray, run: int) -> np.ndarray:
    """Return the running mean of a table, (SAMPLES,), over an odd number of about `run` samples.

    Its two ends stay as they are: they stand for all that lies beyond.
    """
    half = max(1, run // 2)
    mean = np.convolve(table, np.full(2 * half + 1, 1 / (2 * half + 1)), mode="same")
    mean[[0, -1]] = table[[0, -1]]
    return mean


def _grain(view: View, u: np.ndarray, v: np.ndarray, offset: tuple[int, int]) -> np.ndarray:
    """Return the trabecular texture at these places of the tile, averaged out by large pixels."""
    row, column = (
        places.astype(np.int32) + start & (_TILE - 1)
        for places, start in zip((u, v), offset, strict=True)
    )
    contrast = min(1.0, (view.px_per_mm / 2.5) ** 1.5)
    return 1 + contrast * (trabeculae()[row, column] - 1)


def _dome(rho: np.ndarray) -> np.ndarray:
    """Return the profile of a lens: flat in the middle, round at its rim (1 at 0, 0 at 1)."""
    square = rho * rho
    return np.sqrt(np.maximum(1.0 - square * square, 0.0))


@functools.cache
def trabeculae() -> np.ndarray:
    """Return a tile of trabecular texture, (512, 512), mean 1, that repeats seamlessly."""
    noise = Stream(1, "trabeculae").field((_TILE, _TILE))
    wrapped = np.pad(noise, 32, mode="wrap")
    fine = cv2.GaussianBlur(wrapped, (0, 0), 1.1)[32:-32, 32:-32]
    coarse = cv2.GaussianBlur(wrapped, (0, 0), 5.0)[32:-32, 32:-32]
    return np.maximum(1 + 0.17 * fine / fine.std() + 0.10 * coarse / coarse.std(), 0.1)
