"""Many hands in one plot: hexagons, where dots would hide each other."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import LinearSegmentedColormap
from numpy.typing import ArrayLike

from h2a_lib.figures.colours import FAINT, SEX_COLOURS, SEX_NAMES
from h2a_lib.figures.style import colour_key

# From so many dots on, they hide each other, and as shapes each would take a hundred bytes.
MANY = 1500
# The fullest tenth of the hexagons is drawn whole, the others by their hands, and none too small.
WHOLE = 0.9
LEAST_AREA = 0.1


def between(none: str, all_of_them: str) -> LinearSegmentedColormap:
    """Return the colours of a share, from 0 to 1; a mixture is grey."""
    return LinearSegmentedColormap.from_list("share", [none, "#CFC9C4", all_of_them])


SHARE_OF_BOYS = between(SEX_COLOURS["female"], SEX_COLOURS["male"])


def hexagons(
    x: ArrayLike,
    y: ArrayLike,
    value: ArrayLike,
    axes: Axes,
    *,
    columns: int,
    extent: tuple[float, float, float, float] | None = None,
    **more: object,
) -> PolyCollection:
    """Draw hexagons whose colour is the mean of a value, and whose area grows with the hands.

    Shapes and not pixels: it stays sharp and small, and no single child is told from another.
    x, y, value: (n,). The columns are counted across the extent (left, right, bottom, top), by
    default the hands' own. `more` is for the `PolyCollection`, whose array is the mean values.
    """
    x, y, value = np.asarray(x), np.asarray(y), np.asarray(value, float)
    # Two passes of matplotlib's own binning, in one order: how many, and their mean.
    passes = [
        axes.hexbin(x, y, C=c, reduce_C_function=reduce, gridsize=columns, extent=extent)
        for c, reduce in ((value, np.size), (value, np.mean))
    ]
    count, mean = (np.ma.compressed(one.get_array()) for one in passes)
    centres, cell = passes[0].get_offsets(), passes[0].get_paths()[0].vertices
    for one in passes:
        one.remove()
    area = np.clip(count / np.quantile(count, WHOLE), LEAST_AREA, 1)
    shapes = centres[:, None, :] + cell * np.sqrt(area)[:, None, None]
    drawn = PolyCollection(shapes, array=mean, lw=0, **more)
    axes.add_collection(drawn)
    return drawn


def sex_key(male: ArrayLike, axes: Axes, mixed: bool = False, **place: Any) -> None:
    """Explain the colours of the sexes, with their numbers, or where they mix in hexagons."""
    male = np.asarray(male, bool)
    counts = {"female": (~male).sum(), "male": male.sum()}
    words = {
        f"mostly {name}" if mixed else f"{name} ({counts[sex]:,})": SEX_COLOURS[sex]
        for sex, name in SEX_NAMES.items()
        if counts[sex]
    }
    colour_key(axes, words | ({"mixed": FAINT} if mixed else {}), **place)


def key(n: int) -> str:
    """Return what a caption says of the hexagons, where there are any."""
    return "; hexagon size: number of hands" if n >= MANY else ""
