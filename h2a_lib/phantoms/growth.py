"""How a hand grows: which bones there are at an age, how far along they are, how large.

Everything here is a table or a curve of published or stated origin; the drawing is elsewhere.
"""

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from h2a_lib.files import read_csv
from h2a_lib.phantoms.streams import Stream

OLDEST_MONTHS = 228

# Hand length, wrist crease to tip of the middle finger, in mm at these ages in years. Rounded
# from the anthropometry of U.S. children (Snyder et al. 1977, UM-HSRI-77-17) and, below two
# years, from its infant series; girls end two years before boys, as their epiphyses do.
_YEARS = (0, 1, 2, 4, 6, 8, 10, 12, 14, 16, 18, 19)
_HAND_MM = {
    "girls": (62, 88, 100, 117, 130, 143, 157, 170, 177, 179, 180, 180),
    "boys": (64, 91, 103, 120, 133, 146, 158, 170, 186, 193, 195, 195),
}


@dataclass(frozen=True)
class Centre:
    """One ossification centre: when, in months, it appears, and when it is fused or full-grown.

    `kind` is "carpal", "sesamoid" or "epiphysis"; `appear` and `fuse` are by "girls" and "boys". A
    carpal or sesamoid does not fuse: there `fuse` is when it has its adult size and shape.
    """

    name: str
    kind: str
    appear: dict[str, float]
    fuse: dict[str, float]
    source: str


@functools.cache
def centres() -> dict[str, Centre]:
    """Read the table of ossification centres (centres.csv), by name."""
    table = read_csv(Path(__file__).with_name("centres.csv"))
    return {
        row.centre: Centre(
            name=row.centre,
            kind=row.kind,
            appear={"girls": float(row.girls_appear), "boys": float(row.boys_appear)},
            fuse={"girls": float(row.girls_fuse), "boys": float(row.boys_fuse)},
            source=row.source,
        )
        for row in table.itertuples()
    }


@dataclass(frozen=True)
class Growth:
    """The state of one hand.

    `progress` of each centre runs from its appearance (0) to fusion or full size (1); below 0 it is
    not there yet, above 1 it is done. `length_mm` is from the wrist to the tip of the middle
    finger. `breadth` (over length), `index_length` (of the second ray), `robustness` (width of the
    bones) and `plumpness` (thickness of soft tissue) are relative to an adult man. `cortex` is the
    share of a tubular bone's half-width at its waist; `density` of trabecular bone is relative to
    an adult.
    """

    age_months: float
    male: bool
    progress: dict[str, float]
    length_mm: float
    breadth: float
    index_length: float
    robustness: float
    plumpness: float
    cortex: float
    density: float

    @property
    def years(self) -> float:
        """Return the bone age in years."""
        return self.age_months / 12


def grow(age_months: float, male: bool, stream: Stream | None = None) -> Growth:
    """Grow a hand to a bone age of 0 to 228 months.

    The stream draws how far this hand's centres deviate from the table; without it they do not.
    """
    sex = "boys" if male else "girls"
    years = age_months / 12

    def vary(sd: float) -> float:
        return stream.normal(0, sd) if stream else 0.0

    # Carpals, short bones and forearm run ahead of or behind each other within one hand, which is
    # why two readers differ; the deviation is shared within a group and grows with age. What all
    # centres share is bone age itself, so there is no common term.
    spread = 1.0 + 0.02 * age_months
    group_shift = {kind: vary(spread) for kind in ("carpal", "sesamoid", "forearm", "short")}
    progress = {}
    for centre in centres().values():
        forearm = centre.name in ("radius", "ulna")
        kind = "short" if centre.kind == "epiphysis" else centre.kind
        shift = group_shift["forearm" if forearm else kind] + vary(0.6 * spread)
        start, end = centre.appear[sex], centre.fuse[sex]
        # A shift in months is felt in full in the middle; near the start it fades, so that no
        # centre of a newborn's hand comes a year early.
        progress[centre.name] = (age_months + shift * min(1.0, age_months / 24) - start) / (
            end - start
        )
    length = float(np.interp(years, _YEARS, _HAND_MM[sex])) * (1 + vary(0.045))
    puberty = float(np.clip((years - (11.5 if male else 9.5)) / 5, 0, 1))
    return Growth(
        age_months=age_months,
        male=male,
        progress=progress,
        length_mm=length,
        breadth=(1.0 if male else 0.95) * (1.07 - 0.07 * min(years / 8, 1)) * (1 + vary(0.02)),
        # 2D:4D is about 0.98 in men and 1.00 in women on radiographs (Manning et al. 1998).
        index_length=(0.985 if male else 1.005) * (1 + vary(0.015)),
        robustness=(1.0 + 0.05 * puberty if male else 0.89)
        * (1.08 - 0.08 * min(years / 8, 1))
        * (1 + vary(0.025)),
        plumpness=(1.27 - 0.29 * min(years / 13, 1)) * (1 + vary(0.035)),
        # Combined cortical thickness over width of the second metacarpal rises from about 0.3
        # in infancy to 0.5-0.6 (Garn 1970, The Earlier Gain and the Later Loss of Cortical Bone).
        cortex=(0.27 + 0.13 * min(years / 12, 1) + 0.15 * puberty) * (1 + vary(0.05)),
        density=(0.50 + 0.25 * min(years / 12, 1) + 0.25 * puberty) * (1 + vary(0.04)),
    )


def relative_size(progress: float, exponent: float = 0.5) -> float:
    """Return the size of an ossification centre relative to its final size, from its progress.

    A centre grows fast at first: capitate and hamate have reached four tenths of their adult
    breadth at two years and nearly nine tenths at nine (our reading of radiographs). The smaller
    the exponent, the earlier the growth.
    """
    return 0.0 if progress <= 0 else min(1.0, 0.06 + 0.94 * progress**exponent)
