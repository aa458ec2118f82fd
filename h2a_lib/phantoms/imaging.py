"""From thicknesses to grey levels: the X-ray tube, scatter, the detector or film, the window."""

from dataclasses import dataclass

import cv2
import numpy as np

from h2a_lib.phantoms.scene import Frame, Marker, distance_inside_field
from h2a_lib.phantoms.solids import Thickness
from h2a_lib.phantoms.streams import Stream

# Linear attenuation per mm at the mean energy of a 50-55 kV beam behind a hand (about 35 keV):
# water 0.030, compact bone 0.11 (NIST XCOM mass coefficients 0.30 and 0.60 cm2/g, densities 1.0
# and 1.92). Bone displaces soft tissue, so its excess counts. Trabecular bone is 20 % bone.
SOFT = 0.027
COMPACT = 0.085
TRABECULAR = 0.020
# Of an adult hand in an image of 640 pixels.
USUAL_PX_PER_MM = 3.0


@dataclass(frozen=True)
class Style:
    """How one image was exposed, read out and windowed.

    `kind` is "digital", "dim" (windowed for the lead, so that the hand is dark) or "film". `bone`
    is its contrast relative to the mean beam: tubes and filters differ, children too. `quanta` are
    per pixel of a third of a millimetre in the open beam, `scatter` its scatter-to-primary ratio.
    `heel` is the relative change of intensity to the lower and to the right edge. `blur_px` (SD) is
    of focal spot and detector together; `sharpen` is negative for a film that blurs. `black` is the
    grey level of the open beam, `white` of the brightest bone, `gamma` the curve between; `lead`
    and `shutter` (outside the exposed field) are grey levels too, and `rim` is how much brighter
    the field's edge line is. `veil` is a glow around the hand, from off-focus radiation and the
    console's processing.
    """

    kind: str
    bone: float
    quanta: float
    scatter: float
    heel: tuple[float, float]
    blur_px: float
    sharpen: float
    black: float
    white: float
    gamma: float
    lead: float
    veil: float
    shutter: float
    rim: float

    @classmethod
    def draw(cls, collimated: bool, stream: Stream) -> "Style":
        """Draw a style, about as often as it occurs among the real images."""
        dice = stream.uniform()
        if dice < 0.15:
            kind, black = "dim", stream.uniform(1, 45)
            white, gamma = black + stream.uniform(24, 75), stream.normal(1.2, 0.15)
        elif dice < (0.55 if collimated else 0.29):
            kind, black = "film", 10 + 140 * stream.uniform() ** 1.6
            white = black + stream.uniform(0.45, 0.9) * (255 - black)
            gamma = stream.normal(0.95, 0.1)
        else:
            kind, black = "digital", abs(stream.normal(3, 5))
            white, gamma = stream.normal(206, 27), stream.normal(1.02, 0.12)
        dark = stream.chance(0.65)
        return cls(
            kind=kind,
            bone=np.exp(stream.normal(-0.03, 0.1)),
            quanta=10 ** stream.uniform(3.1, 4.6),
            scatter=stream.uniform(0.03, 0.10),
            heel=(stream.normal(0, 0.015), stream.normal(0, 0.015)),
            blur_px=stream.uniform(0.5, 0.95),
            sharpen=min(max(-0.2, stream.normal(0.35, 0.2)), 0.9),
            black=black,
            white=white,
            gamma=gamma,
            lead=stream.uniform(150, 255) if kind == "dim" else stream.uniform(235, 255),
            veil=stream.uniform(0.02, 0.15),
            shutter=stream.uniform(0, 6)
            if dark
            else black + 0.35 * (white - black) * stream.uniform(),
            rim=0.45 * (white - black) * stream.uniform(0.1, 1) ** 2,
        )

    @classmethod
    def plain(cls) -> "Style":
        """Return the style of an atlas: clean, evenly exposed."""
        return cls(
            kind="digital",
            bone=1.0,
            quanta=1e6,
            scatter=0.05,
            heel=(0.0, 0.0),
            blur_px=0.6,
            sharpen=0.4,
            black=0.0,
            white=235.0,
            gamma=1.0,
            lead=255.0,
            veil=0.0,
            shutter=0.0,
            rim=0.0,
        )


def expose(
    soft_mm: np.ndarray,
    bone: Thickness,
    frame: Frame,
    marker: Marker | None,
    style: Style,
    stream: Stream,
) -> np.ndarray:
    """Take the radiograph, (h, w) uint8, of soft tissue, (h, w) mm, bone and lead letters."""
    height, width = soft_mm.shape
    excess = COMPACT * bone.compact + TRABECULAR * bone.trabecular
    attenuation = SOFT * soft_mm + style.bone * excess
    if marker is not None:
        attenuation[marker.patch] += 0.10 * marker.plate
    primary = np.exp(-attenuation)
    # Heel effect and the beam's fall-off: a gentle plane across the image.
    rows = np.linspace(-1, 1, height)[:, None]
    columns = np.linspace(-1, 1, width)[None, :]
    primary *= 1 + style.heel[0] * rows + style.heel[1] * columns
    intensity = primary + style.scatter * _haze(primary)
    intensity = cv2.GaussianBlur(intensity, (0, 0), style.blur_px, borderType=cv2.BORDER_REPLICATE)
    noise = cv2.GaussianBlur(stream.field((height, width)), (0, 0), 0.55)
    # A larger pixel collects more quanta, so small images have less noise, as when real ones
    # are reduced.
    quanta = style.quanta / (frame.view.px_per_mm / USUAL_PX_PER_MM) ** 2
    intensity = np.maximum(intensity + noise * np.sqrt(intensity / quanta), 1e-3)
    # Detectors and films respond to the logarithm of the dose.
    signal = -np.log(intensity)
    if style.sharpen:
        soft = cv2.GaussianBlur(signal, (0, 0), 0.005 * height, borderType=cv2.BORDER_REPLICATE)
        signal += style.sharpen * (signal - soft)
    grey = _window(signal, soft_mm, style)
    if marker is not None:
        here = grey[marker.patch]
        grey[marker.patch] = here + (style.lead - here) * marker.lead
    if frame.field is not None:
        _close_shutters(grey, frame.field, style)
    if frame.strip is not None:
        grey[frame.strip] = 0.25 * grey[frame.strip] + 0.75 * 255
    return np.clip(np.rint(grey), 0, 255).astype(np.uint8)


def _close_shutters(grey: np.ndarray, field: np.ndarray, style: Style) -> None:
    """Replace what lies outside the exposed field, in place.

    Consoles and film scanners leave it black or some grey, with a bright line along the edge
    where the processing overshoots.
    """
    height, width = grey.shape
    edge = distance_inside_field(field, height, width)
    if not (edge < 4).any():
        return
    line = 0.004 * height + 0.5
    share = np.clip(edge / 2 + 0.5, 0, 1)
    grey *= share
    grey += style.shutter * (1 - share) + style.rim * np.exp(-np.abs(edge) / line)


def _haze(primary: np.ndarray) -> np.ndarray:
    """Return scatter: the primary image, very blurred (computed at an eighth of the size)."""
    height, width = primary.shape
    small = cv2.resize(
        primary, (max(1, width // 8), max(1, height // 8)), interpolation=cv2.INTER_AREA
    )
    small = cv2.GaussianBlur(small, (0, 0), 0.06 * height / 8, borderType=cv2.BORDER_REPLICATE)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)


def _window(signal: np.ndarray, soft_mm: np.ndarray, style: Style) -> np.ndarray:
    """Map the log signal to grey levels by the range of the hand itself, as a console does."""
    hand = soft_mm > 0
    background, tissue = signal[~hand][::7], signal[hand][::5]
    floor = _ranked(background, 0.10) if background.size else 0.0
    top = _ranked(tissue, 0.995) if tissue.size else floor + 1
    relative = np.clip((signal - floor) / max(top - floor, 1e-3), 0, 1.35)
    relative += style.veil * _haze(hand.astype(np.float64)) * (1 - 0.7 * hand)
    return style.black + (style.white - style.black) * relative**style.gamma


def _ranked(values: np.ndarray, share: float) -> float:
    """Return the value below which this share lies."""
    rank = int(share * (values.size - 1))
    return float(np.partition(values, rank)[rank])
