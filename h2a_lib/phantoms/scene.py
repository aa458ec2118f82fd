"""What surrounds the hand: the frame and its size, the collimator, the lead marker."""

from dataclasses import dataclass

import numpy as np

from h2a_lib.phantoms.lettering import LETTERS, distance_to_text, text_width
from h2a_lib.phantoms.skeleton import Skeleton
from h2a_lib.phantoms.solids import View
from h2a_lib.phantoms.streams import Stream

SHARE_RIGHT_HANDS = 0.01
SHARE_COLLIMATED = 0.32
SHARE_WITH_STRIP = 0.10


@dataclass(frozen=True)
class Frame:
    """The image and what of it was exposed.

    `field` are the corners, (4, 2) in pixels, of the exposed field; None when all was exposed.
    `strip` are rows and columns along one edge that are white: the rim of a cassette or of a scan.
    """

    view: View
    right_hand: bool
    field: np.ndarray | None
    strip: tuple[slice, slice] | None = None


def compose(skeleton: Skeleton, plumpness: float, height_px: int, stream: Stream) -> Frame:
    """Choose size and shape of the image, and lay the hand into it.

    Fingers and wrist are inside; the forearm runs out. `height_px` is the median long side of
    images.
    """
    # Spread of sizes and shapes as measured on 96 real images (docs/phantoms.md).
    # Pixels of a detector have one size, so images of large hands have more of them.
    long_side = height_px * (skeleton.scale / 0.83) ** 0.5 * np.exp(stream.normal(0.0, 0.22))
    aspect = 1.26 + stream.normal(0, 0.145)
    if stream.chance(0.02):
        aspect = stream.uniform(0.74, 0.85)
    long_side = max(32, round(long_side))
    short = max(24, round(long_side / max(aspect, 1 / aspect)))
    height, width = (long_side, short) if aspect >= 1 else (short, long_side)

    right = stream.chance(SHARE_RIGHT_HANDS)
    turn = np.deg2rad(stream.normal(0, 5))
    if stream.chance(0.06):
        turn += np.deg2rad(stream.normal(0, 25))
    matrix = _rotation(turn) @ np.array([[-1.0 if right else 1.0, 0.0], [0.0, -1.0]])

    # The box that must be inside: every joint with its skin, and some forearm.
    scale = skeleton.scale
    skin = 14 * scale * plumpness
    required = list(skeleton.joints.values())
    arm = skeleton.forearm * scale
    forearm_mm = stream.uniform(24, 100)
    required.append(np.stack([arm * 12 + (27 * scale, 0), arm * 12 - (27 * scale, 0)]))
    box = np.concatenate(required) @ matrix.T
    foot = (arm * forearm_mm) @ matrix.T
    low, high = box.min(axis=0) - skin, box.max(axis=0) + skin
    high[1] = max(high[1], foot[1])
    extent = high - low

    collimated = stream.chance(SHARE_COLLIMATED)
    margin = stream.uniform(0.02, 0.2) if collimated else max(0.015, stream.normal(0.045, 0.04))
    px_per_mm = min(width / extent[0], height / extent[1]) * (1 - margin)
    spare = np.array([width, height]) - extent * px_per_mm
    across = min(max(stream.normal(0.5, 0.2), 0.02), 0.98)
    # Hands lie towards the lower edge: the forearm leaves the image there.
    down = stream.uniform(0.35, 0.9) if collimated else stream.uniform(0.5, 1.0)
    shift = spare * (across, down) - low * px_per_mm
    view = View(matrix * px_per_mm, shift, height, width)
    field = _field(low * px_per_mm + shift, high * px_per_mm + shift, view, stream)
    strip = _strip(height, width, stream) if stream.chance(SHARE_WITH_STRIP) else None
    return Frame(view, right, field if collimated else None, strip)


def _strip(height: int, width: int, stream: Stream) -> tuple[slice, slice]:
    """Return a narrow band along one edge of the image."""
    share = 0.004 + 0.02 * stream.uniform() ** 2
    tall, wide = max(1, round(share * height)), max(1, round(share * width))
    bands = (
        (slice(0, tall), slice(0, width)),
        (slice(height - tall, height), slice(0, width)),
        (slice(0, height), slice(0, wide)),
        (slice(0, height), slice(width - wide, width)),
    )
    return stream.choice(bands)


def _field(low, high, view: View, stream: Stream) -> np.ndarray:
    """Return the corners of the exposed rectangle, which holds the hand, (4, 2) in pixels."""
    size = np.array([view.width, view.height])
    gaps = [low[0], low[1], size[0] - high[0], size[1] - high[1]]
    near = [max(0.0, gap) * stream.uniform(0.15, 0.95) for gap in gaps]
    if stream.chance(0.6):  # the lower blade is mostly open
        near[3] = -0.02 * size[1]
    for side in range(4):
        if side != 3 and stream.chance(0.25):
            near[side] = -0.05 * size[side % 2]
    x0, y0, x1, y1 = near[0], near[1], size[0] - near[2], size[1] - near[3]
    corners = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])
    middle = corners.mean(axis=0)
    turn = np.deg2rad(stream.normal(0, 1.2) + (stream.normal(0, 5) if stream.chance(0.2) else 0))
    return (corners - middle) @ _rotation(turn).T + middle


def _rotation(turn: float) -> np.ndarray:
    return np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])


def distance_inside_field(field: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return the distance in pixels from the edge of the exposed field, (h, w), positive inside."""
    rows = np.arange(height, dtype=float)[:, None]
    columns = np.arange(width, dtype=float)[None, :]
    nearest = np.full((height, width), np.inf)
    for a, b in zip(field, np.roll(field, -1, axis=0), strict=True):
        edge = (b - a) / np.hypot(*(b - a))
        np.minimum(nearest, (rows - a[1]) * edge[0] - (columns - a[0]) * edge[1], out=nearest)
    return nearest


@dataclass(frozen=True)
class Marker:
    """A lead marker: the share of each pixel of a patch covered by lead and by its plate."""

    lead: np.ndarray
    plate: np.ndarray
    patch: tuple[slice, slice]


def place_marker(depth_px: np.ndarray, frame: Frame, stream: Stream) -> Marker | None:
    """Place a marker where there is room: the side's letter, initials, sometimes a date; else None.

    `depth_px`, (h, w), is how far inside the skin each pixel is, negative outside.
    """
    height, width = depth_px.shape
    if stream.chance(0.04):
        return None
    letter = "R" if frame.right_hand else "L"
    initials = "".join(stream.choice(LETTERS) for _ in range(2 if stream.chance(0.45) else 3))
    stacked = stream.chance(0.2)
    lines = [(letter, 1.0)]
    lines += [(c, 0.55) for c in initials] if stacked else [(initials, 0.55)]
    if stream.chance(0.10):
        day, month = int(stream.uniform(1, 29)), int(stream.uniform(1, 13))
        lines.append((f"{day:02d}-{month:02d}-{int(stream.uniform(0, 17)):02d}", 0.35))
    if stream.chance(0.06):
        lines = lines[:1]
    cap = stream.uniform(0.04, 0.085) * height
    pad = cap * stream.uniform(0.35, 0.8)
    half_w = max(text_width(text, cap * size) for text, size in lines) / 2 + pad
    tall = sum(cap * size * 1.35 for _, size in lines) + 2 * pad * stream.uniform(0.8, 1.4)
    radius = float(np.hypot(half_w, tall / 2))
    place = _room(depth_px, radius, (half_w, tall / 2), frame, stream)
    if place is None:
        return None
    turn = np.deg2rad(stream.normal(0, 5) if stream.chance(0.7) else stream.uniform(-60, 60))
    flipped = stream.chance(0.03)
    y0, y1 = max(0, int(place[1] - radius)), min(height, int(place[1] + radius) + 2)
    x0, x1 = max(0, int(place[0] - radius)), min(width, int(place[0] + radius) + 2)
    rows = np.arange(y0, y1, dtype=float)[:, None] - place[1]
    columns = np.arange(x0, x1, dtype=float)[None, :] - place[0]
    x = columns * np.cos(turn) + rows * np.sin(turn)
    y = columns * np.sin(turn) - rows * np.cos(turn)
    if flipped:
        x = -x
    corner = 0.18 * cap
    outside = np.hypot(
        np.maximum(np.abs(x) - half_w + corner, 0), np.maximum(np.abs(y) - tall / 2 + corner, 0)
    )
    plate = np.clip(corner - outside + 0.5, 0, 1)
    lead = np.zeros_like(plate)
    top = tall / 2 - pad
    for text, size in lines:
        tall_line = cap * size
        top -= tall_line
        stroke = tall_line * (0.25 if size == 1.0 else 0.21)
        gap = distance_to_text(text, x, y - top, tall_line)
        np.maximum(lead, np.clip(stroke / 2 - gap + 0.5, 0, 1), out=lead)
        top -= 0.35 * cap * size
    return Marker(
        lead, plate * stream.choice((0.0, 0.6, 1.0, 1.0, 1.3)), (slice(y0, y1), slice(x0, x1))
    )


def _room(depth_px, radius, half, frame: Frame, stream: Stream):
    """Return a point (x, y) where a marker of this radius covers no skin, or None."""
    height, width = depth_px.shape
    for attempt in range(60):
        slack = 1.0 if attempt < 30 else 0.75
        x = stream.uniform(0.2 * half[0], width - 0.2 * half[0])
        y = stream.uniform(0.2 * half[1], height - 0.2 * half[1])
        # Most lie beside the little finger's side of the hand, at half height.
        if not frame.right_hand and stream.chance(0.5):
            x = stream.uniform(0.6 * half[0], 0.3 * width)
        if depth_px[int(y), int(x)] < -radius * slack:
            return x, y
    return None
