"""From thicknesses to grey levels: the X-ray tube, scatter, the detector or film, the window."""

from dataclasses import dataclass

import cv2
import numpy as np

from h2a_lib.data.phantom.scene import Frame, Marker, inside_field
from h2a_lib.data.phantom.solids import Thickness
from h2a_lib.data.phantom.streams import Stream

# Linear attenuation per mm at the mean energy of a 50-55 kV beam behind a hand (about 35 keV):
# water 0.030, compact bone 0.11 (NIST XCOM mass coefficients 0.30 and 0.60 cm2/g, densities 1.0
# and 1.92). Bone displaces soft tissue, so its excess counts. Trabecular bone is 20 % bone.
SOFT = 0.027
COMPACT = 0.085
SPONGY = 0.020


@dataclass(frozen=True)
class Style:
    """How one image was exposed, read out and windowed.

    Attributes
    ----------
    kind : str
        "digital", "dim" (windowed for the marker, so the hand is dark) or "film".
    quanta : float
        Per pixel in the open beam.
    scatter, heel, blur_px : float
        Scatter-to-primary ratio, loss of intensity along the heel, blur (SD).
    sharpen : float
        Strength of the edge enhancement.
    black, white, gamma : float
        Grey level of the open beam, of the brightest bone, and the curve between.
    """

    kind: str
    quanta: float
    scatter: float
    heel: tuple[float, float]
    blur_px: float
    sharpen: float
    black: float
    white: float
    gamma: float
    lead: float

    @classmethod
    def draw(cls, collimated: bool, stream: Stream) -> "Style":
        """Draw a style with the frequencies seen in the real images."""
        dice = stream.uniform()
        if dice < (0.10 if collimated else 0.17):
            kind = "dim"
        elif dice < (0.50 if collimated else 0.27):
            kind = "film"
        else:
            kind = "digital"
        if kind == "digital":
            black, white = abs(stream.normal(4, 5)), stream.normal(222, 22)
            gamma = stream.normal(1.12, 0.12)
        elif kind == "dim":
            black = stream.uniform(2, 42)
            white, gamma = black + stream.uniform(28, 75), stream.normal(1.2, 0.15)
        else:
            black = stream.uniform(20, 150)
            white, gamma = (
                black + stream.uniform(0.45, 0.85) * (255 - black),
                stream.normal(0.9, 0.1),
            )
        lead = stream.uniform(225, 255) if kind != "dim" else stream.uniform(150, 255)
        return cls(
            kind=kind,
            quanta=10 ** stream.uniform(3.1, 4.0),
            scatter=stream.uniform(0.04, 0.14),
            heel=(stream.normal(0, 0.04), stream.normal(0, 0.04)),
            blur_px=stream.uniform(0.5, 0.95),
            sharpen=max(0.0, stream.normal(0.5, 0.4)),
            black=black,
            white=white,
            gamma=gamma,
            lead=lead,
        )


def expose(
    soft_mm: np.ndarray,
    bone: Thickness,
    frame: Frame,
    marker: Marker | None,
    style: Style,
    stream: Stream,
) -> np.ndarray:
    """Take the radiograph.

    Parameters
    ----------
    soft_mm : ndarray
        (h, w): thickness of soft tissue.
    bone : Thickness
        Of bone.
    frame, marker, style
        The exposed field, the lead letters, and how the image was taken.
    stream : Stream
        Quantum noise.

    Returns
    -------
    ndarray
        (h, w), uint8.
    """
    height, width = soft_mm.shape
    attenuation = SOFT * soft_mm + COMPACT * bone.compact + SPONGY * bone.spongy
    if marker is not None:
        attenuation[marker.patch] += 0.10 * marker.plate
    primary = np.exp(-attenuation)
    # Heel effect and the beam's fall-off: a gentle plane across the image.
    rows = np.linspace(-1, 1, height)[:, None]
    columns = np.linspace(-1, 1, width)[None, :]
    primary *= 1 + style.heel[0] * rows + style.heel[1] * columns
    intensity = primary + style.scatter * _haze(primary)
    edge = None
    if frame.field is not None:
        edge = inside_field(frame.field, height, width)
        open_share = np.clip(edge / 2 + 0.5, 0, 1)
        intensity = intensity * (0.02 + 0.98 * open_share)
    intensity = cv2.GaussianBlur(intensity, (0, 0), style.blur_px, borderType=cv2.BORDER_REPLICATE)
    noise = cv2.GaussianBlur(stream.field((height, width)), (0, 0), 0.55)
    intensity = np.maximum(intensity + noise * np.sqrt(intensity / style.quanta), 1e-3)
    # Detectors and films answer to the logarithm of the dose.
    signal = -np.log(intensity)
    if style.sharpen > 0:
        signal = signal + style.sharpen * (
            signal
            - cv2.GaussianBlur(signal, (0, 0), 0.006 * height, borderType=cv2.BORDER_REPLICATE)
        )
    return _window(signal, soft_mm, marker, edge, style)


def _haze(primary: np.ndarray) -> np.ndarray:
    """Return scatter: the primary image, very blurred (computed at an eighth of the size)."""
    height, width = primary.shape
    small = cv2.resize(
        primary, (max(1, width // 8), max(1, height // 8)), interpolation=cv2.INTER_AREA
    )
    small = cv2.GaussianBlur(small, (0, 0), 0.06 * height / 8, borderType=cv2.BORDER_REPLICATE)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)


def _window(signal, soft_mm, marker, edge, style: Style) -> np.ndarray:
    """Map the log signal to grey levels by the range of the hand itself, as a console does."""
    hand = soft_mm > 0
    open_beam = np.sort(signal[~hand][::7])
    floor = open_beam[len(open_beam) // 10] if open_beam.size else 0.0
    tissue = np.sort(signal[hand][::5])
    top = tissue[int(0.995 * (len(tissue) - 1))] if tissue.size else floor + 1
    relative = np.clip((signal - floor) / max(top - floor, 1e-3), 0, 1.35)
    grey = style.black + (style.white - style.black) * relative**style.gamma
    if marker is not None:
        here = grey[marker.patch]
        grey[marker.patch] = here + (style.lead - here) * marker.lead
    return np.clip(np.rint(grey), 0, 255).astype(np.uint8)
