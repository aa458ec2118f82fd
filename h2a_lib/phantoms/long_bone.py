"""A tubular bone: its shaft, and the epiphysis that appears, widens and fuses at its growing end.

Profiles were read off published radiographs by us.
"""

from dataclasses import dataclass

import numpy as np

from h2a_lib.phantoms.growth import Growth, relative_size
from h2a_lib.phantoms.solids import SAMPLES, Tube
from h2a_lib.phantoms.streams import Stream

# Half-width along a bone from its growing end (0) to the other (1), relative to the widest.
PROFILES = {
    "metacarpal": (
        (0, 0.05, 0.12, 0.19, 0.3, 0.45, 0.62, 0.8, 0.93, 1),
        (0.80, 0.93, 1.0, 0.94, 0.70, 0.56, 0.55, 0.66, 0.86, 0.88),
    ),
    "metacarpal 1": (
        (0, 0.07, 0.17, 0.35, 0.55, 0.75, 0.9, 1),
        (0.85, 1.0, 0.95, 0.68, 0.60, 0.72, 0.92, 0.80),
    ),
    "proximal phalanx": (
        (0, 0.06, 0.15, 0.3, 0.5, 0.68, 0.82, 0.92, 1),
        (0.93, 1.0, 0.95, 0.73, 0.60, 0.56, 0.64, 0.71, 0.64),
    ),
    "middle phalanx": (
        (0, 0.07, 0.18, 0.38, 0.6, 0.8, 0.92, 1),
        (0.93, 1.0, 0.90, 0.66, 0.56, 0.65, 0.74, 0.66),
    ),
    "distal phalanx": (
        (0, 0.08, 0.2, 0.42, 0.62, 0.78, 0.9, 1),
        (0.93, 1.0, 0.86, 0.52, 0.42, 0.50, 0.60, 0.42),
    ),
    "radius": ((0, 0.03, 0.08, 0.16, 0.26, 0.42, 1), (0.95, 1.0, 0.93, 0.72, 0.56, 0.49, 0.47)),
    "ulna": ((0, 0.03, 0.07, 0.15, 0.3, 0.6, 1), (0.88, 1.0, 0.95, 0.76, 0.70, 0.76, 0.90)),
}
# Length of the growing end (cartilage and its bone) as a share of the whole, once grown.
GROWING_ENDS = {
    "metacarpal": 0.165,
    "metacarpal 1": 0.14,
    "proximal phalanx": 0.125,
    "middle phalanx": 0.15,
    "distal phalanx": 0.17,
}
# Thickness from back to palm, as a share of the width.
DEPTHS = {"distal phalanx": 0.78, "radius": 0.62, "ulna": 0.72}
DEPTH = 0.85


@dataclass(frozen=True)
class _GrowingEnd:
    """How far the growing end of a bone is; lengths in mm from its joint.

    `size` of the ossification centre: 0 not there yet, 1 as wide as the shaft; `fused`: 1 one bone
    with it. `length` is of cartilage and bone together, `plate` the thickness of the growth plate
    at its end, `gap` and `far` the cartilage at this joint and at the other end. `young` is 1 at
    birth and falls.
    """

    size: float
    fused: float
    length: float
    plate: float
    gap: float
    far: float
    young: float

    @classmethod
    def of(cls, name: str, kind: str, length: float, half: float, growth: Growth) -> "_GrowingEnd":
        progress = growth.progress[name]
        # As wide as the shaft at about half the way to fusion, as in the atlases.
        size = relative_size(progress / 0.85, 0.42)
        fused = float(np.clip((progress - 0.86) / 0.14, 0, 1))
        young = float(np.exp(-growth.years / 3))
        share = GROWING_ENDS.get(kind)
        end = share * length * (1 + 0.45 * young) if share else half * 0.62 * (1 + 0.3 * young)
        # Cartilage between the bones: 1 mm at each joint for good, more while the far end is young.
        gap = 0.010 * length if share else 0.0
        far = gap + 0.05 * length * (1 - min(1.0, growth.years / 13)) if share else 0.0
        # The plate itself is about 1 mm, and thins as it comes to its end.
        thin = 0.8 if share else 1.0
        plate = (1 - fused) * max(0.6, (thin + 1.6 * (1 - size)) * min(half, 8.5) / 6.5)
        return cls(size, fused, end, plate, gap, far, young)


def long_bone(
    name: str,
    kind: str,
    origin: np.ndarray,
    axis: np.ndarray,
    length: float,
    half: float,
    growth: Growth,
    stream: Stream,
) -> list[Tube]:
    """Return shaft and, once it is there, epiphysis of a tubular bone.

    `origin` and `axis` are the growing joint in mm and the unit direction from it along the bone;
    `length` and `half`, the half-width at the widest, are in mm. The stream draws bow and
    trabeculae.
    """
    end = _GrowingEnd.of(name, kind, length, half, growth)
    u = np.linspace(0, length, SAMPLES)
    width = half * _profile(kind)
    shaft_start, shaft_end = end.length + end.plate / 2, length - end.far
    outer = width * _cap(u - shaft_start, (1 - end.fused) * (0.06 + 0.35 * end.young) * half)
    if kind in GROWING_ENDS:
        outer = outer * _cap(shaft_end - u, 0.55 * half)
    # Half-width of the core along the shaft, and the share of it that is trabecular.
    mid = np.sin(np.pi * np.clip((u - shaft_start) / (shaft_end - shaft_start), 0, 1)) ** 0.8
    shell = growth.cortex * width.min() * (0.10 + 0.90 * mid)
    lid = 0.14 * growth.cortex * width.min() + 0.15
    closed = (u > shaft_start + lid * (1 - end.fused)) & (u < shaft_end - lid)
    core, hollow = np.where(closed, np.maximum(outer - shell, 0.0), 0.0), 1.0 - 0.55 * mid**2
    common = {
        "origin": origin,
        "axis": axis,
        "length": length,
        "depth": DEPTHS.get(kind, DEPTH),
        "bend": stream.normal(0, 0.012) * length,
        "slant": (0.16, end.length) if kind == "radius" else (0.0, 1.0),
        "grain": (int(stream.uniform(0, 512)), int(stream.uniform(0, 512))),
    }
    bones = [Tube(name, outer=outer, inner=core, hollow=hollow, density=growth.density, **common)]
    if end.size > 0:
        outer, inner = _epiphysis(u, width, half, end, kind, growth)
        density = growth.density * 1.1
        bones.append(Tube(f"{name} epiphysis", outer=outer, inner=inner, density=density, **common))
    return bones


def _profile(kind: str) -> np.ndarray:
    """Return relative half-widths, (SAMPLES,), smooth, from the growing end to the other."""
    at, width = PROFILES[kind]
    raw = np.interp(np.linspace(0, 1, SAMPLES), at, width)
    kernel = np.hanning(81)
    return np.convolve(np.pad(raw, 40, mode="edge"), kernel / kernel.sum(), mode="valid")


def _epiphysis(
    u: np.ndarray, width: np.ndarray, half: float, end: _GrowingEnd, kind: str, growth: Growth
) -> tuple[np.ndarray, np.ndarray]:
    """Return half-widths of an epiphysis and of what is inside its shell.

    First it is a dot in the middle of the cartilage, then a cap as wide as the shaft.
    """
    size, fused, plate, gap = end.size, end.fused, end.plate, end.gap
    flat = 0.25 if kind != "metacarpal" else 0.8
    room = end.length - plate / 2 - gap
    tall = 0.5 * room * (0.35 + 0.65 * size)
    wide = half * min(1.03, 1.18 * size)
    tall = max(min(tall, wide * 1.1), 1e-6)
    # It ossifies towards the plate first: joint cartilage is the last to go. There it becomes
    # flat; at the joint a metacarpal's becomes a dome.
    centre = gap + room - tall - (1 - size) * 0.25 * room
    dome = 0.35 * size if kind == "metacarpal" else 0.0
    widest = centre + dome * tall
    joint = np.maximum((widest - u) / (tall * (1 + dome)), 0)
    plateward = np.maximum((u - widest) / (tall * (1 - dome)), 0)
    flat_power, joint_power = 2.0 + 2.5 * size, 2.0 + (0.3 if dome else 2.5) * size
    dot = wide * np.where(
        u < widest,
        np.maximum(1 - joint**joint_power, 0) ** (1 / joint_power),
        np.maximum(1 - plateward**flat_power, 0) ** (1 / flat_power),
    )
    whole = width * _cap(u - gap, flat * half) * (u < end.length + 1e-9)
    cap = np.where(u < end.length - plate / 2 + (1e-9 if fused else 0), dot, 0.0)
    outer = (1 - fused) * cap + fused * whole
    shell = (0.20 + 0.18 * size) * min(half, 8) / 8 * np.clip(growth.years / 4, 0.6, 1)
    inside = np.maximum(outer - shell, 0.0)
    rim = (u > centre - tall + shell) & (u < centre + tall - shell)
    return outer, np.where(rim | (fused >= 1) & (u > gap + shell), inside, 0.0)


def _cap(distance: np.ndarray, radius: float) -> np.ndarray:
    """Return a factor that rounds off an end: 0 beyond it, 1 from `radius` inwards."""
    if radius <= 0:
        return (distance >= 0).astype(float)
    t = np.clip(distance / radius, 0, 1)
    return (1 - (1 - t) ** 2.4) ** (1 / 2.4)
