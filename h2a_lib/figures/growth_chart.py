"""The figure that shows whether the growth model is right."""

from pathlib import Path

import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from h2a_lib.figures.colours import SEX_COLOURS
from h2a_lib.files import write_atomically
from h2a_lib.phantoms.growth import OLDEST_MONTHS, centres
from h2a_lib.phantoms.render import atlas_plate

YEARS = range(1, 19)
_SEXES = (("girls", False, "female"), ("boys", True, "male"))


@style.context("default")  # not the user's own settings
def growth_chart(out: Path | None = None, px_per_mm: float = 1.4) -> Figure:
    """Draw one girl and one boy from 1 to 18 years, and the timeline of the centres.

    `out` is a PNG file to write; the hands have the same scale at every age.
    """
    figure = Figure(figsize=(15, 18.2), layout="constrained")
    hands, timeline = figure.subplots(2, 1, height_ratios=(1.35, 1.0))
    draw_hands(hands, px_per_mm)
    draw_timeline(timeline)
    figure.suptitle("Growth model of the phantoms (synthetic, not patients)", fontsize=15)
    if out is not None:
        with write_atomically(out) as temporary:
            figure.savefig(temporary, dpi=130, facecolor="white")
    return figure


def draw_hands(axes: Axes, px_per_mm: float) -> None:
    """Show atlas plates in yearly steps, to scale: girls above boys, in two blocks of nine."""
    half = len(YEARS) // 2
    rows = [
        (sex, [atlas_plate(12 * year, male, px_per_mm).image for year in years])
        for years in (YEARS[:half], YEARS[half:])
        for sex, male, _ in _SEXES
    ]
    image = np.vstack([np.hstack(plates) for _, plates in rows])
    height, width = rows[0][1][0].shape
    axes.imshow(image, cmap="gray", vmin=0, vmax=255, aspect="equal")
    for row, (sex, _) in enumerate(rows):
        for column in range(half):
            year = YEARS[column + half * (row // 2)]
            where = ((column + 0.03) * width, (row + 0.09) * height)
            axes.text(*where, f"{year} y, {sex[:-1]}", color="white", fontsize=11)
    axes.axis("off")


def draw_timeline(axes: Axes) -> None:
    """Show for each centre, girls above boys, when it appears and when it is done."""
    table = centres()
    names = sorted(table, key=lambda name: table[name].appear["boys"], reverse=True)
    for row, name in enumerate(names):
        centre = table[name]
        for (sex, _, colour), shift in zip(_SEXES, (0.18, -0.18), strict=True):
            start, end = centre.appear[sex] / 12, centre.fuse[sex] / 12
            fused = centre.kind == "epiphysis"
            axes.plot([start, end], [row + shift] * 2, color=SEX_COLOURS[colour], linewidth=2.4)
            axes.plot(start, row + shift, "o", color=SEX_COLOURS[colour], markersize=4)
            axes.plot(end, row + shift, "|" if fused else ">", color=SEX_COLOURS[colour])
    axes.set_yticks(range(len(names)), names, fontsize=9)
    axes.set_ylim(-0.7, len(names) - 0.3)
    axes.set_xlim(0, OLDEST_MONTHS / 12)
    axes.set_xticks(range(20))
    axes.set_xlabel("bone age (years): dot = first visible; bar = fused; arrow = adult size")
    for sex, _, colour in _SEXES:
        axes.plot([], [], color=SEX_COLOURS[colour], linewidth=2.4, label=sex)
    axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=2)
    axes.grid(True, axis="x", alpha=0.4)
