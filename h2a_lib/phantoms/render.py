"""Draw one synthetic hand radiograph, with its ground truth."""

import math
from dataclasses import dataclass

import cv2
import numpy as np

from h2a_lib.phantoms.growth import OLDEST_MONTHS, Growth, grow
from h2a_lib.phantoms.imaging import Style, expose
from h2a_lib.phantoms.scene import Frame, Marker, compose, distance_inside_field, place_marker
from h2a_lib.phantoms.skeleton import Pose, Skeleton, build
from h2a_lib.phantoms.solids import Thickness, View
from h2a_lib.phantoms.streams import Stream
from h2a_lib.phantoms.tissue import soft_tissue

BACKGROUND, SOFT_TISSUE, BONE, MARKER, BORDER = range(5)


@dataclass(frozen=True)
class PhantomImage:
    """A synthetic radiograph, (h, w) uint8, with its ground truth.

    `regions`, (h, w) uint8, holds BACKGROUND, SOFT_TISSUE, BONE, MARKER (lead and plate) and BORDER
    (outside the exposed field, or the white rim of a cassette). `boxes` are x0, y0, x1, y1 in
    pixels, end exclusive: "hand", "marker" where there is one, and every bone and epiphysis that is
    there, clipped to the image. `right_hand` (rare) is mirrored; `kind` is "digital", "dim" or
    "film".
    """

    image: np.ndarray
    regions: np.ndarray
    boxes: dict[str, tuple[int, int, int, int]]
    growth: Growth
    right_hand: bool
    kind: str


def render(age_months: float, male: bool, seed: int, height_px: int = 640) -> PhantomImage:
    """Draw the hand of a child; the arguments fix every pixel.

    `height_px` is the median long side of images; this one's own size varies around it. A
    ValueError if the age is outside 0 to 228 months.
    """
    if not (math.isfinite(age_months) and 0 <= age_months <= OLDEST_MONTHS):
        raise ValueError(
            f"age_months is {age_months}; phantoms are 0 to {OLDEST_MONTHS} months old"
        )
    growth = grow(age_months, male, Stream(seed, "growth"))
    skeleton = build(growth, Pose.draw(Stream(seed, "pose")), Stream(seed, "bones"))
    frame = compose(skeleton, growth.plumpness, height_px, Stream(seed, "frame"))
    view = frame.view
    soft, depth = soft_tissue(skeleton, growth, view)
    bone = _bone(skeleton, view)
    lead = place_marker(depth * view.px_per_mm, frame, Stream(seed, "marker"))
    style = Style.draw(frame.field is not None, Stream(seed, "style"))
    image = expose(soft, bone, frame, lead, style, Stream(seed, "noise"))

    regions = np.where(soft > 0, SOFT_TISSUE, BACKGROUND).astype(np.uint8)
    regions[bone.compact + bone.trabecular > 0] = BONE
    boxes = _boxes(soft > 0, skeleton, view, lead)
    if lead is not None:
        here = regions[lead.patch]
        here[lead.lead + lead.plate > 0] = MARKER
    if frame.field is not None:
        regions[distance_inside_field(frame.field, view.height, view.width) < 0] = BORDER
    if frame.strip is not None:
        regions[frame.strip] = BORDER
    return PhantomImage(image, regions, boxes, growth, frame.right_hand, style.kind)


def _bone(skeleton: Skeleton, view: View) -> Thickness:
    thickness = Thickness(view.height, view.width)
    for solid in skeleton.solids:
        solid.draw(view, thickness)
    return thickness


def _boxes(hand: np.ndarray, skeleton, view, lead: Marker | None) -> dict:
    """Return the boxes of `PhantomImage`."""
    patches = {solid.name: solid.patch(view) for solid in skeleton.solids}
    if lead is not None:
        patches["marker"] = lead.patch
    x, y, width, height = cv2.boundingRect(hand.astype(np.uint8))
    return {"hand": (x, y, x + width, y + height)} | {
        name: (columns.start, rows.start, columns.stop, rows.stop)
        for name, (rows, columns) in patches.items()
    }


@dataclass(frozen=True)
class Plate:
    """A hand as an atlas shows it: no individual variation, no markers, no noise.

    `bone_mm`, (h, w), is the thickness of compact plus trabecular bone.
    """

    image: np.ndarray
    bone_mm: np.ndarray
    view: View
    skeleton: Skeleton


def atlas_plate(age_months: float, male: bool, px_per_mm: float = 2.0) -> Plate:
    """Draw the hand that the table of centres describes, in a neutral pose, to scale.

    The image is of 255 x 175 mm, so that plates of all ages can stand side by side.
    """
    growth = grow(age_months, male)
    skeleton = build(growth, Pose.neutral(), _MeanStream())
    height, width = round(255 * px_per_mm), round(175 * px_per_mm)
    matrix = np.array([[px_per_mm, 0.0], [0.0, -px_per_mm]])
    view = View(matrix, np.array([0.43 * width, 0.84 * height]), height, width)
    soft, _ = soft_tissue(skeleton, growth, view)
    bone = _bone(skeleton, view)
    frame = Frame(view, right_hand=False, field=None)
    image = expose(soft, bone, frame, None, Style.plain(), Stream(0, "atlas"))
    return Plate(image, bone.compact + bone.trabecular, view, skeleton)


class _MeanStream(Stream):
    """A stream that is not random: every draw is its mean."""

    def uniform(self, low: float = 0.0, high: float = 1.0) -> float:
        return (low + high) / 2

    def normal(self, mean: float = 0.0, sd: float = 1.0, most: float = 2.5) -> float:
        return mean
