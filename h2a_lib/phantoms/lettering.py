"""Lead letters, drawn as strokes: no font file, and the same on every machine."""

import itertools

import numpy as np

# Each letter as polylines on a grid 4 wide and 6 high, y upwards.
_STROKES = {
    "A": "00 26 40|12 32", "B": "00 06 36 45 44 33 03|33 42 41 30 00",
    "C": "45 36 16 05 01 10 30 41", "D": "00 06 26 45 41 20 00", "E": "46 06 00 40|03 33",
    "F": "46 06 00|03 33", "G": "45 36 16 05 01 10 30 41 43 23", "H": "00 06|40 46|03 43",
    "J": "01 10 30 41 46", "K": "00 06|46 03 40", "L": "06 00 40", "M": "00 06 23 46 40",
    "N": "00 06 40 46", "P": "00 06 36 45 44 33 03", "R": "00 06 36 45 44 33 03|23 40",
    "S": "45 36 16 05 04 13 33 42 41 30 10 01", "T": "06 46|26 20", "V": "06 20 46",
    "W": "06 10 24 30 46",
    "0": "10 01 05 16 36 45 41 30 10", "1": "15 26 20", "2": "05 16 36 45 44 00 40",
    "3": "05 16 36 45 44 33 13|33 42 41 30 10 01", "4": "30 36 02 42",
    "5": "46 06 03 33 42 41 30 10 01", "6": "45 36 16 05 01 10 30 41 42 33 03", "7": "06 46 10",
    "8": "13 04 05 16 36 45 44 33 13 02 01 10 30 41 42 33",
    "9": "01 10 30 41 45 36 16 05 04 13 43", "-": "13 33",
}  # fmt: skip

LETTERS = "".join(filter(str.isalpha, _STROKES))


def distance_to_text(text: str, x: np.ndarray, y: np.ndarray, height: float) -> np.ndarray:
    """Return how far points are from the strokes of a line of `LETTERS`, digits and hyphens.

    x runs to the right from the middle of the line, y upwards from its base, in the unit of
    `height`, that of a capital. A stroke of width w is where the distance is below w / 2.
    """
    unit = height / 6
    advance = 5.8 * unit
    left = -(len(text) * advance - 1.8 * unit) / 2
    nearest = np.full(x.shape, 1e9)
    for index, letter in enumerate(text):
        for line in _STROKES[letter].split("|"):
            points = [
                (left + index * advance + int(a) * unit, int(b) * unit) for a, b in line.split()
            ]
            for (x0, y0), (x1, y1) in itertools.pairwise(points):
                dx, dy = x1 - x0, y1 - y0
                t = np.clip(((x - x0) * dx + (y - y0) * dy) / (dx * dx + dy * dy), 0, 1)
                gap = (x - x0 - t * dx) ** 2 + (y - y0 - t * dy) ** 2
                np.minimum(nearest, gap, out=nearest)
    return np.sqrt(nearest)


def text_width(text: str, height: float) -> float:
    """Return the width of a line of text with capitals of this height."""
    return (len(text) * 5.8 - 1.8) * height / 6
