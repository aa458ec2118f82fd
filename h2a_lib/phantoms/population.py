"""Ages and sexes as in the RSNA training labels, and simulated labels."""

import functools
from pathlib import Path

import numpy as np
import pandas as pd

from h2a_lib.files import read_csv
from h2a_lib.phantoms.growth import OLDEST_MONTHS
from h2a_lib.phantoms.streams import Stream

# 6,833 of 12,611 (labels of the RSNA training set).
SHARE_MALE = 6833 / 12611

# Ages of the plates of Greulich and Pyle's atlas, in months, as they occur in the labels.
PLATES = {
    "girls": (
        *(3, 6, 9, 12, 15, 18, 24, 30, 36, 42, 50, 60, 69, 82, 94, 106, 120, 126, 132, 144),
        *(150, 156, 162, 168, 180, 192, 204, 216),
    ),
    "boys": (
        *(3, 6, 9, 12, 15, 18, 24, 30, 36, 42, 48, 54, 60, 72, 84, 96, 108, 120, 132, 138),
        *(150, 156, 162, 168, 180, 186, 192, 204, 216, 228),
    ),
}


@functools.cache
def quantiles() -> pd.DataFrame:
    """Read the quantiles of bone age in months by sex (population.csv): "percent", "girls", "boys".

    They are aggregates of the RSNA training labels, smoothed over +-6 months so that the atlas
    plates on which real labels sit are spread out again.
    """
    return read_csv(Path(__file__).with_name("population.csv"))


def sample_child(stream: Stream) -> tuple[float, bool]:
    """Draw bone age in months (1 to 228) and whether male, as in the RSNA training set."""
    male = stream.chance(SHARE_MALE)
    table = quantiles()
    percent = stream.uniform(0, 100)
    return float(np.interp(percent, table["percent"], table["boys" if male else "girls"])), male


def simulate_label(
    age_months: float, male: bool, heaping: float, reader_noise_months: float, stream: Stream
) -> int:
    """Simulate the label, in whole months, that a radiologist would give to a hand.

    With the probability `heaping` (about 0.9 in the real labels) it is the age of the nearest plate
    of the atlas, which differs by sex, and not the month. The reader's error has an SD of
    `reader_noise_months`.
    """
    estimate = age_months + stream.normal(0, reader_noise_months)
    if stream.chance(heaping):
        plates = PLATES["boys" if male else "girls"]
        return min(plates, key=lambda plate: abs(plate - estimate))
    return int(min(max(round(estimate), 1), OLDEST_MONTHS))
