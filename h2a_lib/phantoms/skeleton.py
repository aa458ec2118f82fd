"""The bones of one hand: where each lies, and how long and wide it is.

Lengths are those of adult men (Buryanov and Kotiuk 2010, Int J Morphol 28:755, table of mean
lengths of metacarpals and phalanges); breadths were read off published radiographs by us. The
frame is a left hand seen from the back: x towards the thumb, y towards the fingers, millimetres,
origin in the middle of the wrist.
"""

from dataclasses import dataclass

import numpy as np

from h2a_lib.phantoms.growth import Growth, relative_size
from h2a_lib.phantoms.long_bone import long_bone
from h2a_lib.phantoms.solids import SAMPLES, Blob, Tube
from h2a_lib.phantoms.streams import Stream

# Adult man, mm: length of metacarpal, proximal, middle and distal phalanx of rays 1 to 5.
LENGTHS = {
    1: (46.2, 31.6, None, 21.7),
    2: (68.1, 39.8, 22.4, 15.8),
    3: (64.6, 44.6, 26.3, 17.4),
    4: (58.0, 41.4, 25.7, 17.3),
    5: (53.7, 32.7, 18.1, 16.0),
}
# From joint to joint, with their cartilage, phalanges of children's radiographs are longer against
# the metacarpals than the bare bones (measured by us on the middle finger: 0.76, 0.45, 0.31).
JOINT_TO_JOINT = (1.0, 1.10, 1.12, 1.16)
# Half-width of each at its growing end.
HALF_WIDTHS = {
    1: (7.6, 7.5, None, 6.8),
    2: (7.9, 7.9, 6.7, 5.0),
    3: (7.8, 8.1, 6.9, 5.3),
    4: (6.9, 7.4, 6.5, 5.1),
    5: (6.6, 6.8, 5.6, 4.5),
}
# Where the metacarpals start, and their direction in degrees from the y axis towards the thumb.
BASES = {1: (25.5, 22.0), 2: (13.0, 35.0), 3: (2.5, 36.0), 4: (-7.0, 33.5), 5: (-14.5, 29.0)}
DIRECTIONS = {1: 42.0, 2: 12.0, 3: 1.5, 4: -9.5, 5: -21.0}
ADULT_HAND_MM = 36.0 + 64.6 + 49.1 + 29.5 + 20.2 + 5

# Adult carpals: centre in mm and outline as radii (mm) every 30 degrees from the thumb side
# (0 degrees) towards the fingers (90), drawn after plates of skeletally mature hands.
CARPALS = {
    "capitate": ((2.5, 22.5), (7.4, 8.2, 10.6, 11.6, 10.2, 7.6, 6.6, 7.4, 9.8, 11.4, 9.6, 7.6)),
    "hamate": ((-10.0, 22.5), (6.0, 7.0, 9.2, 9.6, 9.4, 8.8, 7.6, 6.8, 7.0, 8.6, 8.4, 6.4)),
    "triquetrum": ((-13.0, 10.5), (7.0, 6.4, 6.0, 6.2, 7.4, 8.0, 7.2, 6.2, 5.8, 6.0, 6.8, 7.4)),
    "lunate": ((-0.5, 6.6), (7.6, 6.2, 5.0, 4.8, 6.0, 8.0, 7.8, 6.8, 6.2, 6.0, 6.4, 7.6)),
    "scaphoid": ((14.0, 8.5), (6.4, 9.2, 9.4, 6.4, 5.2, 5.4, 6.4, 8.0, 7.6, 6.0, 5.2, 5.4)),
    "trapezium": ((22.5, 18.5), (6.6, 6.6, 6.4, 6.4, 6.8, 6.6, 6.2, 6.6, 6.8, 6.2, 6.2, 6.4)),
    "trapezoid": ((14.5, 26.0), (5.8, 6.4, 7.4, 6.6, 6.4, 5.6, 5.2, 5.6, 5.8, 5.8, 6.2, 6.0)),
    "pisiform": ((-15.5, 12.0), (4.6, 5.0, 5.6, 5.8, 5.2, 4.6, 4.4, 4.6, 5.2, 5.6, 5.2, 4.8)),
}


@dataclass(frozen=True)
class Pose:
    """How the hand lies: angles in degrees, towards the thumb positive.

    `spread` is the turn of each finger (2-5) and of the thumb (1) at its knuckle, `crook` at each
    further joint of a ray; `thumb` turns the whole ray, `forearm` the forearm against the hand.
    `flexion` foreshortens the fingers: an angle out of the plane.
    """

    spread: dict[int, float]
    thumb: float
    forearm: float
    crook: dict[int, float]
    flexion: dict[int, float]

    @classmethod
    def neutral(cls) -> "Pose":
        """Return the textbook pose."""
        return cls({1: 6, 2: 4, 3: 0, 4: -3, 5: -8}, 0, 0, dict.fromkeys(range(1, 6), 0.0), {})

    @classmethod
    def draw(cls, stream: Stream) -> "Pose":
        """Draw a pose as children hold their hands."""
        opening = stream.normal(1.3, 0.8)
        spread = {
            1: stream.normal(6, 7),
            2: 5.5 * opening + stream.normal(0, 2.5),
            3: 0.5 * opening + stream.normal(0, 2),
            4: -4.5 * opening + stream.normal(0, 2.5),
            5: -11 * opening + stream.normal(0, 4),
        }
        crook = {ray: stream.normal(0, 1.8) for ray in range(1, 6)}
        crook[5] += 3.0
        curl = abs(stream.normal(0, 7))
        flexion = {ray: curl + abs(stream.normal(0, 10)) for ray in range(1, 6)}
        return cls(spread, stream.normal(0, 6), stream.normal(-2, 7), crook, flexion)


@dataclass(frozen=True)
class Skeleton:
    """The bones of a posed hand.

    `joints` are (4 or 5, 2) for each ray: base of the metacarpal, the joints, the tip of the bone;
    mm. `forearm` is its direction away from the hand; `scale` the length relative to an adult man's
    hand.
    """

    solids: list
    joints: dict[int, np.ndarray]
    forearm: np.ndarray
    scale: float


def build(growth: Growth, pose: Pose, stream: Stream) -> Skeleton:
    """Place every bone of a hand; the stream draws small differences of length, width and bow."""
    scale = growth.length_mm / ADULT_HAND_MM
    joints: dict[int, np.ndarray] = {}
    solids: list = []
    for ray in range(1, 6):
        points, bones = _ray(ray, growth, pose, scale, stream)
        joints[ray] = points
        solids += bones
    solids += _carpus(growth, scale, stream)
    forearm = _direction(180 - pose.forearm)
    solids += _forearm(growth, forearm, scale, stream)
    return Skeleton(solids, joints, forearm, scale)


def _direction(degrees: float) -> np.ndarray:
    return np.array([np.sin(np.deg2rad(degrees)), np.cos(np.deg2rad(degrees))])


def _ray(ray: int, growth: Growth, pose: Pose, scale: float, stream: Stream):
    """Return the joints (n, 2) of a ray and its bones."""
    names = ("metacarpal", "proximal phalanx", "middle phalanx", "distal phalanx")
    point = np.array(BASES[ray]) * scale * (growth.breadth, 1)
    angle = DIRECTIONS[ray] * growth.breadth + (pose.thumb if ray == 1 else 0)
    points, bones = [point], []
    wide = scale * growth.robustness
    for part, name in enumerate(names):
        length, half = LENGTHS[ray][part], HALF_WIDTHS[ray][part]
        if length is None:
            continue
        length *= scale * JOINT_TO_JOINT[part] * (1 + stream.normal(0, 0.015))
        if ray == 2:
            length *= growth.index_length
        if part == 1:
            angle += pose.spread[ray]
        elif part > 1:
            angle += pose.crook[ray]
        if part > 0:
            tilt_down = pose.flexion.get(ray, 0.0) * (0.4 if part == 1 else 1.0)
            length *= np.cos(np.deg2rad(tilt_down))
        axis = _direction(angle)
        end = point + axis * length
        kind = "metacarpal 1" if (part, ray) == (0, 1) else name
        half *= wide * (1 + stream.normal(0, 0.03))
        from_distal = kind == "metacarpal"
        bones += long_bone(
            f"{name} {ray}",
            kind,
            end if from_distal else point,
            -axis if from_distal else axis,
            length,
            half,
            growth,
            stream,
        )
        point = end
        points.append(point)
        if kind == "metacarpal 1":
            bones += _sesamoid(point, axis, half, growth, stream)
    return np.stack(points), bones


def _carpus(growth: Growth, scale: float, stream: Stream) -> list[Blob]:
    """Return the carpals that are there, each between a dot and its adult outline."""
    blobs = []
    angles = np.linspace(-np.pi, np.pi, SAMPLES)
    for name, (centre, radii) in CARPALS.items():
        jitter = np.array([stream.normal(0, 0.5), stream.normal(0, 0.5)])
        grain = (int(stream.uniform(0, 512)), int(stream.uniform(0, 512)))
        factor = 1 + stream.normal(0, 0.04)
        progress = growth.progress[name]
        if progress <= 0:
            continue
        size = relative_size(progress)
        outline = _outline(np.array(radii), angles)
        mean = outline.mean()
        # A young centre is a round dot; its facets come with the neighbours it meets.
        form = size**1.5
        radius = size * factor * (form * 1.17 * outline + (1 - form) * 1.1 * mean) * scale
        place = (np.array(centre) + jitter) * scale * (growth.breadth, 1)
        blobs.append(
            Blob(
                name,
                place,
                radius * growth.breadth,
                depth=0.58 * float(radius.mean()),
                shell=(0.20 + 0.22 * size) * scale,
                density=growth.density * 1.25,
                grain=grain,
            )
        )
    return blobs


def _outline(radii: np.ndarray, angles: np.ndarray) -> np.ndarray:
    """Return a smooth closed outline through radii given every 30 degrees (trigonometric)."""
    n = len(radii)
    at = 2 * np.pi * np.arange(n) / n
    radius = np.full_like(angles, radii.mean())
    for k in range(1, n // 2 + 1):
        weight = (1 if k == n // 2 else 2) / n
        radius += weight * (radii * np.cos(k * at)).sum() * np.cos(k * angles)
        radius += weight * (radii * np.sin(k * at)).sum() * np.sin(k * angles)
    return radius


def _sesamoid(joint, axis, half, growth: Growth, stream: Stream) -> list[Blob]:
    """Return the adductor sesamoid, at the ulnar side of the thumb's knuckle."""
    progress = growth.progress["adductor sesamoid"]
    aside = np.array([-axis[1], axis[0]])
    place = joint - axis * 0.55 * half + aside * half * (0.85 + stream.normal(0, 0.06))
    if progress <= 0:
        return []
    radius = np.full(SAMPLES, 0.42 * half * relative_size(progress))
    return [Blob("adductor sesamoid", place, radius, 0.4 * half, 0.3, growth.density * 1.5)]


def _forearm(growth: Growth, direction: np.ndarray, scale: float, stream: Stream) -> list[Tube]:
    """Return radius and ulna, growing end at the wrist."""
    side = np.array([-direction[1], direction[0]])
    wide = scale * growth.robustness
    bones: list[Tube] = []
    for name, across, along, half, lean in (
        ("radius", 9.5, 1.8, 15.6, -1.0),
        ("ulna", -15.5, 2.5 + stream.normal(0, 1.2), 7.6, 0.5),
    ):
        origin = side * across * scale * growth.breadth + direction * along * scale
        turn = np.deg2rad(lean)
        axis = np.cos(turn) * direction - np.sin(turn) * side
        bones += long_bone(name, name, origin, axis, 190 * scale, half * wide, growth, stream)
    return bones
