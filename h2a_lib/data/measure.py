"""What can be measured in every radiograph without knowing anatomy: exposure, contrast, borders.

The rules below were chosen on 96 RSNA training images and are held against the
phantoms, whose truth is known (tests/data/test_data_measure.py). They describe pictures; nobody
recorded how each was taken.
"""

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from h2a_lib.data import images

if TYPE_CHECKING:
    import pandas as pd

MEASUREMENTS = (
    *("width_px", "height_px", "darkest", "brightest", "mean_grey", "contrast_grey", "air"),
    *("black_share", "white_share", "border", "marker", "hand_cut"),
)
# Shapes are found at this long side: grain and resolution then matter little.
SMALL_PX = 256

# A digital detector's picture has black air. On scanned film the exposed background often stays
# grey, as it does in pictures windowed for the marker. Of 96 RSNA images 60 lie below 0.10 and 34
# above 0.15.
BRIGHT_FROM = 0.125
BRIGHT_RULE = "the most frequent grey value is at least 1/8 of the 99.5th percentile"
# A straight edge of the exposed field or the film, within the outer fifth of a side.
BORDER_FROM = 0.1
OUTER = 0.2


def measure_one(image: np.ndarray) -> dict[str, Any]:
    """Return `MEASUREMENTS` of one image, (h, w), uint8, at its full resolution.

    width_px, height_px; darkest, brightest (grey values); mean_grey; contrast_grey (99th minus 1st
    percentile); air (the most frequent grey value over the 99.5th percentile); black_share and
    white_share (of pixels at 0 and 255); border (largest step across a straight edge near a side,
    over the 99.5th percentile); marker (bool: something small and bright beside the hand);
    hand_cut (share of hand and forearm that a centre crop cuts off).
    """
    height, width = image.shape
    share = cv2.calcHist([image], [0], None, [256], [0, 256]).ravel() / image.size
    present = np.flatnonzero(share)
    upto = np.cumsum(share, dtype=float)
    dark, bright, brightest = (int(np.searchsorted(upto, q)) for q in (0.01, 0.99, 0.995))
    air = _air(share)
    scale = SMALL_PX / max(height, width)
    small_size = max(4, round(height * scale)), max(4, round(width * scale))
    small = images.scale_to(image, *small_size)
    hand, others = _components(small, air, bright)
    return {
        "width_px": width,
        "height_px": height,
        "darkest": int(present[0]),
        "brightest": int(present[-1]),
        "mean_grey": round(float(share @ np.arange(256)), 3),
        "contrast_grey": bright - dark,
        "air": round(air / max(brightest, 1), 4),
        "black_share": round(float(share[0]), 5),
        "white_share": round(float(share[255]), 5),
        "border": round(_step(small) / max(brightest, 1), 4),
        "marker": _has_marker(small, others, air),
        "hand_cut": round(_cut(hand), 5),
    }


def has_bright_background(measured: "pd.DataFrame") -> "pd.Series":
    """Tell pictures with a bright background, as scanned films have, by `BRIGHT_RULE`."""
    return measured["air"] >= BRIGHT_FROM


def has_border(measured: "pd.DataFrame") -> "pd.Series":
    """Tell pictures that show a straight edge of film, cassette or field near a side."""
    return measured["border"] >= BORDER_FROM


# --- the rules -----------------------------------------------------------------------------------


def _air(share: np.ndarray) -> int:
    """Return the most frequent grey value, smoothed over five; blank white is not air."""
    smooth = np.convolve(share, np.ones(5), "same")
    return int(smooth[:250].argmax())


def _step(small: np.ndarray) -> float:
    """Return the largest step between row medians (or column medians) in the outer fifths."""
    largest = 0.0
    for turned in (small, small.T):
        # The median of a row is not moved by the forearm that crosses the lower edge.
        profile = np.median(turned, axis=1)
        steps = np.abs(profile[2:] - profile[:-2])
        outer = max(1, int(OUTER * len(profile)))
        largest = max(largest, *steps[:outer], *steps[-outer:])
    return float(largest)


def _components(small: np.ndarray, air: int, bright: int) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return the hand (the largest bright thing) and the other things, each as a (h, w) mask."""
    mask = (small > air + 0.25 * (bright - air)).astype(np.uint8)
    n, where, statistics, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    if n == 1:
        return mask.astype(bool), []
    hand = 1 + int(statistics[1:, cv2.CC_STAT_AREA].argmax())
    return where == hand, [
        where == k for k in range(1, n) if k != hand and _is_small(statistics[k])
    ]


def _is_small(statistics: np.ndarray) -> bool:
    _, _, width, height, area = statistics
    return area >= 12 and max(width, height) < SMALL_PX / 4


def _has_marker(small: np.ndarray, others: list[np.ndarray], air: int) -> bool:
    least = air + 0.6 * (np.percentile(small, 99.9) - air)
    # Thin things at the very edge are the rim of a film.
    inner = np.zeros(small.shape, bool)
    inner[3:-3, 3:-3] = True
    return any((small[other & inner] > least).any() for other in others)


def _cut(hand: np.ndarray) -> float:
    """Return the share of a mask that a centre crop leaves out."""
    kept = hand[images.kept_part(*hand.shape, "center_crop")].sum()
    return float(1 - kept / max(hand.sum(), 1))
