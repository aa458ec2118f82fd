"""The radiographs in pictures: raw hands, their sizes and greys, and what processing does to them.

A hand is drawn on a black ground whatever the page's colour, as on a light box.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import PercentFormatter

from h2a_lib.data import decode, images, measure
from h2a_lib.figures.density import MANY, between, hexagons
from h2a_lib.figures.style import BLACK, BLUE, GREY, ORANGE, VERMILLION

if TYPE_CHECKING:
    from ipywidgets import Widget

# A slide's figure is 1,920 pixels across; no hand in it needs more than this.
SHOWN_PX = 480
FEW_SIZES = 30
KINDS = {False: ("digital", BLUE), True: ("scanned or fogged", ORANGE)}


# --- hands ---------------------------------------------------------------------------------------


def caption(age_months: float, male: bool) -> str:
    """Return the original deck's caption: age in years and sex, "7.83, female"."""
    return f"{age_months / 12:.2f}, {'male' if male else 'female'}"


def read_for_display(paths: Iterable[Path]) -> list[np.ndarray]:
    """Read hands, (h, w), uint8, scaled down to what a slide shows; proportions are kept."""
    shown = []
    for path in paths:
        image = decode.read(path)
        scale = min(1, SHOWN_PX / max(image.shape))
        shown.append(images.scale_to(image, *(max(1, round(n * scale)) for n in image.shape)))
    return shown


def hand(image: np.ndarray, axes: Axes, limits: tuple[float, float] = (0, 255)) -> Axes:
    """Draw one hand, (h, w), in grey between two values, without ticks."""
    axes.imshow(image, cmap="gray", vmin=limits[0], vmax=limits[1], interpolation="antialiased")
    axes.set(xticks=[], yticks=[])
    axes.grid(False)
    for side in axes.spines.values():
        side.set(visible=True, color=GREY, lw=0.6)
    return axes


def grid(shown: Sequence[np.ndarray], titles: Sequence[str], panels: np.ndarray) -> None:
    """Draw hands with titles into an array of Axes; Axes that are left over stay empty."""
    for axes, image, title in zip(panels.flat, shown, titles, strict=False):
        # Titles of a row on one line, however tall the pictures are.
        hand(image, axes).set_anchor("N")
        axes.set_title(title, fontsize=13, pad=4)
    for axes in panels.flat[len(shown) :]:
        axes.set_axis_off()


def leaf_through(labels: pd.DataFrame, data_folder: Path, live: bool) -> "Widget | None":
    """Leaf through the hands by age and sex.

    Parameters
    ----------
    labels : DataFrame
        id, age_months, male, path.
    data_folder : Path
    live : bool
        False in a batch run: nothing is made.

    Returns
    -------
    Widget or None
    """
    if not live:
        return None
    import ipywidgets

    oldest = int(np.ceil(labels["age_months"].max()))
    sex = ipywidgets.ToggleButtons(options=["both", "female", "male"])
    age = ipywidgets.IntRangeSlider(value=(0, oldest), min=0, max=oldest, description="months")
    number = ipywidgets.IntSlider(max=len(labels) - 1, description="hand")
    title, picture = ipywidgets.HTML(), ipywidgets.Image(format="png", height=SHOWN_PX)

    def show(_change: object = None) -> None:
        own = labels[labels["age_months"].between(*age.value)]
        own = own if sex.value == "both" else own[own["male"] == (sex.value == "male")]
        number.max = max(len(own) - 1, 0)
        if own.empty:
            title.value, picture.value = "no hand of this age and sex", b""
            return
        row = own.sort_values(["age_months", "id"]).iloc[number.value]
        (image,) = read_for_display([data_folder / row["path"]])
        picture.value = cv2.imencode(".png", image)[1].tobytes()
        place = f"{number.value + 1} of {len(own):,}"
        title.value = f"{caption(row['age_months'], row['male'])} (id {row['id']}, {place})"

    # No Output widget: a batch run that meets one waits for ever (papermill 2, nbclient 0.11).
    for control in (sex, age, number):
        control.observe(show, names="value")
    show()
    return ipywidgets.VBox([sex, age, number, title, picture])


# --- all of them, measured -----------------------------------------------------------------------


def resolutions(measured: pd.DataFrame, size_px: int, axes: Axes) -> Axes:
    """Draw height against width of every image; the network's square in the corner.

    Parameters
    ----------
    measured : DataFrame
        From `data.measure.measure`.
    size_px : int
        Side of the square.
    axes : Axes
    """
    width, height = measured["width_px"], measured["height_px"]
    _dots_or_density(width, height, axes)
    limit = 1.16 * max(width.max(), height.max(), size_px)
    axes.plot([0, limit], [0, limit], color=GREY, lw=1, ls="--", zorder=0)
    axes.text(
        0.94 * limit, 0.97 * limit, "square", color=GREY, ha="right", va="center", fontsize=12
    )
    axes.add_patch(Rectangle((0, 0), size_px, size_px, fill=False, ec=VERMILLION, lw=2.5))
    axes.annotate(
        f"{size_px} × {size_px}",
        (size_px, 0),
        (8, 4),
        textcoords="offset points",
        color=VERMILLION,
        va="bottom",
    )
    axes.set(xlabel="Width (pixels)", ylabel="Height (pixels)", xlim=(0, limit), ylim=(0, limit))
    axes.set_aspect("equal")
    return axes


def contrast_exposure(measured: pd.DataFrame, axes: Axes) -> Axes:
    """Draw contrast against exposure of every image, scanned and digital apart."""
    scanned = measure.is_scanned(measured)
    exposure, contrast = measured["mean_grey"], measured["contrast_grey"]
    many = len(measured) >= MANY
    if many:
        cmap = between(*(colour for _, colour in KINDS.values()))
        hexagons(exposure, contrast, scanned, axes, columns=30, cmap=cmap, clim=(0, 1))
    for kind, (name, colour) in KINDS.items():
        dots = measured[(scanned == kind) & (not many)]
        axes.scatter(
            *(exposure[dots.index], contrast[dots.index]),
            s=36,
            color=colour,
            alpha=0.6,
            lw=0,
            label=name,
        )
    axes.set(xlabel="Exposure: mean grey value", ylabel="Contrast: 1st to 99th percentile")
    axes.set(xlim=(0, None), ylim=(0, 262))
    axes.legend(loc="lower right", frameon=True)
    return axes


def scanned_digital(measured: pd.DataFrame, axes: Axes) -> Axes:
    """Draw how bright the background is, the rule's threshold, and the shares it gives."""
    scanned = measure.is_scanned(measured)
    # Edges fall on the threshold.
    width = measure.SCANNED_FROM / 4
    bins = np.arange(0, measured["air"].max() + 2 * width, width)
    for kind, (name, colour) in KINDS.items():
        part = measured.loc[scanned == kind, "air"]
        share = f"{name}: {100 * len(part) / max(len(measured), 1):.0f} %"
        axes.hist(part, bins, color=colour, label=share)
    axes.axvline(measure.SCANNED_FROM, color=BLACK, ls="--", lw=1.8)
    axes.set(xlabel="Background: most frequent grey / brightest", ylabel="Images")
    axes.legend(loc="upper right")
    return axes


def _dots_or_density(x: pd.Series, y: pd.Series, axes: Axes) -> None:
    if len(x) < MANY:
        axes.scatter(x, y, s=36, color=BLUE, alpha=0.5, lw=0)
        return
    if len(sizes := pd.DataFrame({"x": x, "y": y}).value_counts()) < FEW_SIZES:
        # Copies brought to one size beforehand: a dot each, its area their number.
        places = np.array(sizes.index.tolist())
        axes.scatter(*places.T, s=400 * sizes / sizes.max() + 20, color=BLUE, alpha=0.7, lw=0)
        return
    most = max(x.max(), y.max()) * 1.06
    one_colour, extent = ListedColormap([BLUE]), (0, most, 0, most)
    hexagons(x, y, np.zeros(len(x)), axes, columns=40, extent=extent, cmap=one_colour)


# --- what processing does ------------------------------------------------------------------------


def geometries(shown: Sequence[np.ndarray], titles: Sequence[str], size_px: int) -> Figure:
    """Draw the same hands as they are and brought to a square in each way.

    Parameters
    ----------
    shown : sequence of ndarray
        n hands, (h, w), uint8.
    titles : sequence of str
    size_px : int
        Of the squares.

    Returns
    -------
    Figure
        A row each: as it is, with what the centre crop keeps in a frame; centre crop; padded;
        squashed. A column each: the hands.
    """
    names = ["as it is", "centre crop", "padded", "squashed"]
    figure, panels = plt.subplots(len(names), len(shown), figsize=(7.7, 5.3), squeeze=False)
    figure.set_layout_engine("constrained", w_pad=0.02, h_pad=0.02, wspace=0, hspace=0)
    for column, (image, title) in enumerate(zip(shown, titles, strict=True)):
        hand(image, panels[0, column]).set_title(title, fontsize=11, pad=3)
        rows, columns = images.kept_part(*image.shape, "center_crop")
        corner = columns.start - 0.5, rows.start - 0.5
        kept = columns.stop - columns.start, rows.stop - rows.start
        panels[0, column].add_patch(Rectangle(corner, *kept, fill=False, ec=ORANGE, lw=1.8))
        for row, geometry in enumerate(images.GEOMETRIES, 1):
            hand(images.resize(image, size_px, geometry), panels[row, column])
    for row, name in enumerate(names):
        _row_name(name, panels[row, 0])
    return figure


def with_histograms(
    rows: Mapping[str, np.ndarray],
    titles: Sequence[str],
    limits: Mapping[str, tuple[float, float]],
    unit: Mapping[str, str],
) -> Figure:
    """Draw the same hands processed in several ways, with the histogram of each hand's pixels.

    Parameters
    ----------
    rows : mapping of str to ndarray
        By name of the way: (n, s, s), any real type.
    titles : sequence of str
        n titles of the hands.
    limits : mapping of str to (float, float)
        By name: the values shown as black and white.
    unit : mapping of str to str
        By name: what the pixel values are, written in the histogram.

    Returns
    -------
    Figure
        A row each way: the hands, each in a frame of its own colour, then one histogram with a
        line in that colour for each hand.
    """
    n = len(titles)
    figure, panels = plt.subplots(
        len(rows), n + 1, figsize=(10.4, 4.1), squeeze=False, width_ratios=[1] * n + [2.2]
    )
    figure.set_layout_engine("constrained", w_pad=0.02, h_pad=0.03, wspace=0.01, hspace=0.01)
    # The dark end of the scale is lost on the dark ground of a slide.
    shades = plt.get_cmap("viridis")(np.linspace(0.25, 1, n))
    for row, (name, processed) in enumerate(rows.items()):
        low, high = limits[name]
        for column, image in enumerate(processed):
            hand(image, panels[row, column], limits[name])
            panels[row, column].spines[:].set(color=shades[column], lw=2.2)
            if row == 0:
                panels[row, column].set_title(titles[column], fontsize=12, pad=3)
        _row_name(name, panels[row, 0])
        _histograms(processed, np.linspace(low, high, 33), shades, panels[row, n])
        panels[row, n].text(
            0.98, 0.97, unit[name], transform=panels[row, n].transAxes, ha="right", va="top"
        )
    panels[0, n].set_title("pixels of each hand", fontsize=12, pad=3)
    return figure


def _histograms(processed: np.ndarray, edges: np.ndarray, shades: np.ndarray, axes: Axes) -> None:
    # What lies outside the limits is shown at them, as the picture shows it.
    middles = (edges[1:] + edges[:-1]) / 2
    for image, shade in zip(processed, shades, strict=True):
        count, _ = np.histogram(np.clip(image, edges[0], edges[-1]), edges)
        axes.plot(middles, count / image.size, color=shade, lw=1.6)
    axes.set(xlim=(edges[0], edges[-1]), ylim=(0, None))
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    axes.yaxis.tick_right()
    axes.tick_params(labelsize=12)
    axes.spines[["left"]].set_visible(False)


def _row_name(name: str, axes: Axes) -> None:
    axes.set_ylabel(name, fontsize=13, labelpad=6)
