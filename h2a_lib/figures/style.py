"""Sizes, keys and defaults of every figure."""

from collections.abc import Mapping
from typing import Any

import matplotlib as mpl
import pandas as pd
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.typing import ColorType

from h2a_lib.analysis.statistics.bootstrap import FEW
from h2a_lib.figures.colours import DARK_GROUND, ON_DARK, PALETTE, readable
from h2a_lib.study.results import Drawing

# Inches, each at least 100 pixels of a slide of 1280 by 720, so that 13 points are 18 pixels there:
# the whole width above a boxed answer, above one or two plain lines, and half the width.
WIDE = (10.8, 3.25)
TALL = (10.8, 3.9)
HALF = (5.4, 3.6)


def on_dark_ground(figure: Figure) -> None:
    """Give a figure of radiographs a dark background, light text and light lines.

    Only greys change; colours that carry a meaning stay.
    """

    def lightened(colour: ColorType) -> ColorType:
        red, green, blue = to_rgb(colour)
        is_grey = max(red, green, blue) - min(red, green, blue) < 0.05
        return ON_DARK if is_grey and red < 0.6 else colour

    figure.set_facecolor(DARK_GROUND)
    for text in figure.findobj(Text):
        text.set_color(lightened(text.get_color()))
    for axes in figure.axes:
        for spine in axes.spines.values():
            spine.set_edgecolor(lightened(spine.get_edgecolor()))
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_tick_params(color=ON_DARK, labelcolor=ON_DARK)
            for line in axis.get_gridlines():
                line.set_color("#3A4046")
        for line in axes.lines:
            line.set_color(lightened(line.get_color()))


def colour_key(parent: Axes | Figure, colours: Mapping[str, ColorType], **place: Any) -> None:
    """Write words in the colours they explain, above the axes unless `place` says otherwise."""
    above = {"loc": "lower left", "bbox_to_anchor": (-0.02, 1), "ncols": len(colours)}
    parent.legend(
        handles=[Line2D([], [], ls="", label=word) for word in colours],
        labelcolor=[readable(colour) for colour in colours.values()],
        handlelength=0,
        handletextpad=0,
        borderaxespad=0.2,
        columnspacing=1.4,
        **(place or above),
    )


def write_beside(
    axes: Axes, text: str, place: tuple[float, float], offset_pt: tuple[float, float], **more: Any
) -> None:
    """Write a text beside a place, some points away; `more` is for `Axes.annotate`."""
    axes.annotate(text, place, offset_pt, textcoords="offset points", **more)


def pale_note(table: pd.DataFrame, whose: str = "") -> str:
    """Return what is said of rows with few hands, where there are any."""
    return f"; pale: n < {FEW} {whose}".rstrip() if table["few"].any() else ""


def radiographs(
    figure: Figure,
    name: str,
    *,
    alt: str,
    caption: str,
    finding: str = "",
    averaged_over: int = 1,
) -> Drawing:
    """Return a drawing of radiographs: on a dark ground, and saved as PNG; see `Drawing`."""
    on_dark_ground(figure)
    return Drawing(figure, name, alt, caption, finding, is_raster=True, averaged_over=averaged_over)


def use_style() -> None:
    """Set matplotlib's defaults to the report's look, and show the text in tables in full.

    The user's own matplotlibrc plays no part.
    """
    pd.set_option("display.max_colwidth", None)
    pd.set_option("display.precision", 3)
    mpl.rcdefaults()
    mpl.rcParams.update(
        {
            "figure.figsize": WIDE,
            "figure.constrained_layout.use": True,
            "figure.facecolor": "none",
            "savefig.facecolor": "none",
            "axes.facecolor": "none",
            "font.family": "sans-serif",
            "font.sans-serif": ["DejaVu Sans"],
            "font.size": 13,
            "axes.titlesize": 14,
            "axes.labelsize": 13,
            "legend.fontsize": 13,
            "legend.frameon": False,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "grid.color": "#DDDDDD",
            "grid.linewidth": 0.7,
            "axes.axisbelow": True,
            "lines.linewidth": 2.0,
            "axes.prop_cycle": cycler(color=PALETTE),
            # Text as outlines: the same picture in every browser, Typst and print.
            "svg.fonttype": "path",
        }
    )


def run_label(name: str) -> str:
    """Return a run's name as captions have it: "best/seed-0" is "run “best”, seed 0"."""
    experiment, seed = name.replace("_", " ").split("/seed-")
    return f"run “{experiment}”, seed {seed}"
