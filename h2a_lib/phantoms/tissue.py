"""Skin, fat and muscle: the outline of the hand and how thick it is everywhere."""

import cv2
import numpy as np

from h2a_lib.phantoms.growth import Growth
from h2a_lib.phantoms.skeleton import Skeleton
from h2a_lib.phantoms.solids import View

# Half-breadth of the fingers of an adult man at knuckle, joints and tip of the bone, in mm.
_FINGERS = {
    1: (13.8, 12.6, 11.0, 9.2),
    2: (11.2, 10.7, 9.2, 7.7),
    3: (11.4, 10.9, 9.4, 7.9),
    4: (10.8, 10.3, 8.9, 7.4),
    5: (9.9, 9.1, 7.9, 6.6),
}


def soft_tissue(skeleton: Skeleton, growth: Growth, view: View) -> tuple[np.ndarray, np.ndarray]:
    """Wrap the skeleton; return thickness and depth below the skin, negative outside, (h, w) in mm.

    The outline is a smooth union of tapered capsules. Thickness follows from the depth below the
    skin: a circular section near the edge that levels off at what a finger, the palm or the forearm
    measures from front to back.
    """
    # The outline is smooth: every other pixel is enough where a pixel is fine.
    stride = 2 if view.px_per_mm > 1.5 else 1
    rows, columns = -(-view.height // stride), -(-view.width // stride)
    outside = np.full((rows, columns), 1e3)
    weight = np.full((rows, columns), 1e-12)
    level = np.zeros((rows, columns))
    for start, end, radii, halves, blend in _capsules(skeleton, growth):
        reach = max(radii) + 14 * skeleton.scale
        patch = view.patch(np.stack([start, end]), reach)
        patch = tuple(slice(p.start - p.start % stride, p.stop) for p in patch)
        here = tuple(slice(p.start // stride, -(-p.stop // stride)) for p in patch)
        distance, t = _capsule(view, patch, stride, start, end, radii)
        near = outside[here]
        outside[here] = _smooth_min(near, distance, blend * skeleton.scale)
        share = np.exp(-np.maximum(distance + 4, 0) / (2.5 * skeleton.scale))
        weight[here] += share
        level[here] += share * (halves[0] + (halves[1] - halves[0]) * t)
    level /= weight
    if stride > 1:
        outside, level = (_enlarge(a, stride, view) for a in (outside, level))
    depth = -outside
    inner = np.clip(depth / np.maximum(level, 1e-3), 0, 1)
    thickness = 2 * level * np.sqrt(inner * (2 - inner))
    return thickness, depth


def _enlarge(small: np.ndarray, stride: int, view: View) -> np.ndarray:
    """Interpolate a field known at every `stride`-th pixel to all pixels."""
    matrix = np.array([[1 / stride, 0, 0], [0, 1 / stride, 0]], dtype=float)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    size = (view.width, view.height)
    return cv2.warpAffine(small, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)


def _capsule(view, patch, stride, start, end, radii) -> tuple[np.ndarray, np.ndarray]:
    """Return how far outside one tapered capsule, in mm, and how far along it (0 to 1)."""
    length = float(np.hypot(*(end - start)))
    along, across = view.local(patch, start, (end - start) / length, stride)
    t = np.clip(along / length, 0, 1)
    beyond = along - t * length
    return np.sqrt(beyond * beyond + across * across) - (radii[0] + (radii[1] - radii[0]) * t), t


def _smooth_min(a: np.ndarray, b: np.ndarray, blend: float) -> np.ndarray:
    """Return the smaller of two distances, filleted over `blend` mm (quadratic)."""
    overlap = np.maximum(blend - np.abs(a - b), 0) / blend
    return np.minimum(a, b) - overlap * overlap * (blend / 4)


def _capsules(skeleton: Skeleton, growth: Growth):
    """Yield start, end, radius and half-thickness at both, and fillet, all in mm, wrist to tips."""
    scale, plump = skeleton.scale, growth.plumpness
    size = scale * plump * (1.0 if growth.male else 0.95)
    joints = skeleton.joints

    def mm(x: float, y: float) -> np.ndarray:
        return np.array([x, y]) * scale * (growth.breadth, 1)

    wrist, elbow = mm(-1.5, 8), skeleton.forearm * 230 * scale + mm(-2, 0)
    middle = wrist + 0.35 * (elbow - wrist)
    yield wrist, middle, (24.5 * size, 27 * size), (19 * size, 24 * size), 1
    yield middle, elbow, (27 * size, 37 * size), (24 * size, 33 * size), 6
    for ray in (2, 3, 4, 5):
        base, knuckle, second = joints[ray][:3]
        web = knuckle + 0.32 * (second - knuckle)
        yield base * 0.8, web, (13 * size, 11.8 * size), (14 * size, 12.5 * size), 10
    yield mm(-17, 8), joints[5][1], (13 * size, 12.5 * size), (14.5 * size, 13 * size), 10
    root = joints[1][0] * 0.55
    yield root, joints[1][1], (18.5 * size, 12.5 * size), (17 * size, 14 * size), 9
    # The web between thumb and index finger.
    index, thumb = joints[2], joints[1]
    across = index[0] + 0.35 * (index[1] - index[0]), thumb[0] + 0.8 * (thumb[1] - thumb[0])
    yield *across, (13 * size, 10.5 * size), (10 * size, 10 * size), 18
    for ray in range(1, 6):
        chain = joints[ray][1:]
        radii = _FINGERS[ray]
        for part in range(len(chain) - 1):
            start, end = chain[part], chain[part + 1]
            if part == len(chain) - 2:
                end = end + (end - start) * 0.02
            shift = part if ray != 1 else part + (1 if part else 0)
            pair = (radii[shift] * size, radii[min(shift + 1, 3)] * size)
            if ray == 1 and part == 0:
                pair = (radii[0] * size, radii[1] * 0.93 * size)
            yield start, end, pair, (0.88 * pair[0], 0.88 * pair[1]), 0.6 if part else 3
