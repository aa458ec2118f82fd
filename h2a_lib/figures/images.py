"""Radiographs as stored, their sizes and greys, and what each preprocessing step does to them.

The measurements of all images (`measured`) are those of `data.index.measurements`.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator, PercentFormatter

from h2a_lib.analysis.population import images as population
from h2a_lib.analysis.statistics.bootstrap import capitalised
from h2a_lib.data import decode, images, measure
from h2a_lib.figures.colours import BLACK, BLUE, BRIGHT, DARK, GREY, ORANGE, VERMILLION
from h2a_lib.figures.density import MANY, between, hexagons, key
from h2a_lib.figures.style import HALF, TALL, colour_key, radiographs, write_beside
from h2a_lib.study.results import Drawing

# A slide's figure is 1,920 pixels across; no hand in it needs more than this.
DISPLAY_PX = 480
FEW_SIZES = 30
KINDS = {
    False: ("dark background", DARK),
    True: ("bright background", BRIGHT),
}
GEOMETRY_NAMES = {"center_crop": "centre crop", "pad": "padded", "squash": "squashed"}
CONTRAST_NAMES = {"none": "unchanged", "equalize": "equalised", "clahe": "CLAHE"}
# By name: the values shown as black and as white, and their unit.
NORMALISATIONS = {
    "none": ((0, 1), "grey value / 255"),
    "batch": ((-2, 4), "SDs of the batch"),
    "instance": ((-2, 4), "SDs of the image"),
}


# --- hands ---------------------------------------------------------------------------------------


def age_and_sex(age_months: float, male: bool) -> str:
    """Format as "7 y 10 mo, girl"."""
    years, months = divmod(round(age_months), 12)
    parts = [f"{years} y"] * (years > 0) + [f"{months} mo"] * (months > 0 or years == 0)
    return f"{' '.join(parts)}, {'boy' if male else 'girl'}"


def read_for_display(paths: Iterable[Path]) -> list[np.ndarray]:
    """Read hands, (h, w), uint8, scaled down to what a slide shows; proportions are kept."""
    shown = []
    for path in paths:
        image = decode.read(path)
        scale = min(1, DISPLAY_PX / max(image.shape))
        shown.append(images.scale_to(image, *(max(1, round(n * scale)) for n in image.shape)))
    return shown


def draw_hand(image: np.ndarray, axes: Axes, limits: tuple[float, float] = (0, 255)) -> Axes:
    """Draw one hand, (h, w), in grey between two values, without ticks."""
    axes.imshow(image, cmap="gray", vmin=limits[0], vmax=limits[1], interpolation="antialiased")
    axes.set(xticks=[], yticks=[])
    axes.grid(False)
    for side in axes.spines.values():
        side.set(visible=True, color=GREY, lw=0.6)
    return axes


def draw_grid(hands: Sequence[np.ndarray], titles: Sequence[str], panels: np.ndarray) -> None:
    """Draw hands with titles into an array of Axes; the remaining Axes stay empty."""
    for axes, image, title in zip(panels.flat, hands, titles, strict=False):
        # Titles of a row on one line, however tall the pictures are.
        draw_hand(image, axes).set_anchor("N")
        axes.set_title(title, fontsize=13, pad=4)
    for axes in panels.flat[len(hands) :]:
        axes.set_axis_off()


def raw_grid(hands: pd.DataFrame, data_folder: Path) -> Drawing:
    """Draw up to nine hands as stored."""
    titles = list(map(age_and_sex, hands["age_months"], hands["male"]))
    figure, panels = plt.subplots(3, 3, figsize=(5.8, 4.4), layout="constrained")
    draw_grid(read_for_display(data_folder / path for path in hands["path"]), titles, panels)
    return radiographs(
        figure,
        "raw_grid",
        alt=f"{len(hands)} hand radiographs as stored, each with age and sex: {'; '.join(titles)}.",
        caption=f"{len(hands)} training hands as stored: age, sex",
    )


def extremes(measured: pd.DataFrame, labels: pd.DataFrame, data_folder: Path) -> Drawing:
    """Draw the darkest, brightest, flattest, smallest and largest image."""
    kinds, ids, measurements = zip(*population.extremes(measured), strict=True)
    titles = [f"{kind}\n{value}" for kind, value in zip(kinds, measurements, strict=True)]
    figure, panels = plt.subplots(1, len(ids), figsize=TALL)
    paths = labels.set_index("id")["path"].loc[[*ids]]
    draw_grid(read_for_display(data_folder / path for path in paths), titles, panels)
    verdict = population.extremes_verdict(measured)
    return radiographs(
        figure,
        "extremes",
        alt=f"Five radiographs: {', '.join(titles)}.".replace("\n", " with "),
        caption=f"The extremes of n = {len(measured):,} images",
        finding=f"{capitalised(verdict)}.",
    )


# --- all images, measured ------------------------------------------------------------------------


def resolutions(measured: pd.DataFrame, size_px: int) -> Drawing:
    """Draw height against width of every image, and the network's square in the corner."""
    figure, axes = plt.subplots(figsize=(6.1, 4.4))
    width, height = measured["width_px"], measured["height_px"]
    limit = 1.16 * max(width.max(), height.max(), size_px)
    text = population.variables(measured)
    if text["sizes"] == "1":
        _draw_single_size(width.iloc[0], height.iloc[0], size_px, len(measured), axes)
    else:
        _draw_sizes(width, height, axes)
        axes.add_patch(Rectangle((0, 0), size_px, size_px, fill=False, ec=VERMILLION, lw=2.5))
        _label_square(axes, size_px)
    axes.plot([0, limit], [0, limit], color=GREY, lw=1, ls="--", zorder=0)
    place = 0.94 * limit, 0.97 * limit
    axes.text(*place, "square", color=GREY, ha="right", va="center")
    axes.set(xlabel="Width (pixels)", ylabel="Height (pixels)", xlim=(0, limit), ylim=(0, limit))
    axes.set_aspect("equal")
    return Drawing(
        figure,
        "resolutions",
        alt=f"Height against width of {text['n']} images: {text['sizes_in_words']}, "
        f"widths {text['width_range']}, heights {text['height_range']}.",
        caption=f"Width and height of n = {text['n']} images, and the {size_px} × {size_px} that a "
        "network receives",
        finding=population.sizes_sentence(measured),
    )


def _label_square(axes: Axes, size_px: int) -> None:
    text = f"network: {size_px} × {size_px}"
    write_beside(axes, text, (size_px, 0), (8, 4), color=VERMILLION, va="bottom")


def _draw_single_size(width: int, height: int, size_px: int, n: int, axes: Axes) -> None:
    axes.add_patch(Rectangle((0, 0), width, height, fc=BLUE, alpha=0.15))
    axes.add_patch(Rectangle((0, 0), width, height, fill=False, ec=BLUE, lw=2.5))
    outline = {"fill": False, "ec": VERMILLION, "lw": 2.5, "ls": (0, (4, 3))}
    axes.add_patch(Rectangle((0, 0), size_px, size_px, **outline))
    words = f"all {n:,} images:\n{width:,} × {height:,}"
    if size_px == width == height:
        words += "\n(the network's size)"
    else:
        _label_square(axes, size_px)
    axes.text(width / 2, height / 2, words, color=BLUE, ha="center", va="center")


def _draw_sizes(width: pd.Series, height: pd.Series, axes: Axes) -> None:
    if len(width) < MANY:
        axes.scatter(width, height, s=36, color=BLUE, alpha=0.5, lw=0)
        return
    if len(sizes := pd.DataFrame({"x": width, "y": height}).value_counts()) < FEW_SIZES:
        # Images resized beforehand: a dot for each size, its area their number.
        places = np.array(sizes.index.tolist())
        axes.scatter(*places.T, s=400 * sizes / sizes.max() + 20, color=BLUE, alpha=0.7, lw=0)
        return
    most = max(width.max(), height.max()) * 1.06
    style = {"extent": (0, most, 0, most), "cmap": ListedColormap([BLUE])}
    hexagons(width, height, np.zeros(len(width)), axes, columns=40, **style)


def contrast_exposure(measured: pd.DataFrame) -> Drawing:
    """Draw contrast against exposure of every image, by its background."""
    figure, axes = plt.subplots(figsize=HALF)
    bright = measure.has_bright_background(measured)
    exposure, contrast = measured["mean_grey"], measured["contrast_grey"]
    many = len(measured) >= MANY
    if many:
        cmap = between(*(colour for _, colour in KINDS.values()))
        hexagons(exposure, contrast, bright, axes, columns=30, cmap=cmap, clim=(0, 1))
    for kind, (_, colour) in KINDS.items():
        dots = (bright == kind) & (not many)
        axes.scatter(exposure[dots], contrast[dots], s=36, color=colour, alpha=0.6, lw=0)
    axes.set(xlabel="Brightness: mean grey value", ylabel="Contrast: range of greys")
    axes.set(xlim=(0, None), ylim=(0, 262))
    colour_key(axes, dict(KINDS.values()))
    text = population.variables(measured)
    return Drawing(
        figure,
        "contrast_exposure",
        alt=f"Contrast against exposure of {text['n']} images. Mean grey "
        f"{text['mean_grey_range']}, range from 1st to 99th percentile {text['contrast_range']} "
        "of 255.",
        caption=f"Mean grey and range (1st to 99th percentile) of n = {text['n']} images"
        f"{key(len(measured))}",
        finding=population.exposure_sentence(measured),
    )


def background(measured: pd.DataFrame) -> Drawing:
    """Draw how bright the background is, the rule's threshold, and the shares it gives."""
    figure, axes = plt.subplots(figsize=HALF)
    bright, background = measure.has_bright_background(measured), measured["air"]
    # Edges fall on the threshold.
    width = measure.BRIGHT_FROM / 4
    bins = np.arange(0, background.max() + 2 * width, width)
    words = {}
    for kind, (name, colour) in KINDS.items():
        part = background[bright == kind]
        words[f"{name}: {100 * len(part) / max(len(measured), 1):.0f} %"] = colour
        axes.hist(part, bins, color=colour)
    axes.axvline(measure.BRIGHT_FROM, color=BLACK, ls="--", lw=1.8)
    axes.set(xlabel="Most frequent grey / 99.5th percentile", ylabel="Images")
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    colour_key(axes, words)
    text = population.variables(measured)
    return Drawing(
        figure,
        "background",
        alt=f"Histogram of background (most frequent grey) divided by the 99.5th percentile for "
        f"{text['n']} images, with the rule's threshold; {text['bright_share']} have a "
        "bright background.",
        caption="Background (most frequent grey) divided by the 99.5th percentile, "
        f"n = {text['n']}; dashed: the rule's threshold of 1/8",
        finding=f"By this rule {text['bright_share']} of the images have a bright background.",
    )


# --- preprocessing -------------------------------------------------------------------------------


def geometry(
    hands: pd.DataFrame, data_folder: Path, size_px: int, measured: pd.DataFrame
) -> Drawing:
    """Draw the same hands as stored and brought to a square in each way, a column each."""
    names = ["as stored", *GEOMETRY_NAMES.values()]
    pictures = read_for_display(data_folder / path for path in hands["path"])
    titles = _titles(hands)
    figure, panels = plt.subplots(len(names), len(hands), figsize=(7.2, 4.4), squeeze=False)
    figure.set_layout_engine("constrained", w_pad=0.02, h_pad=0.02, wspace=0, hspace=0)
    for column, (image, title) in enumerate(zip(pictures, titles, strict=True)):
        draw_hand(image, panels[0, column]).set_title(title, fontsize=13, pad=3)
        rows, columns = images.kept_part(*image.shape, "center_crop")
        corner = columns.start - 0.5, rows.start - 0.5
        size = columns.stop - columns.start, rows.stop - rows.start
        panels[0, column].add_patch(Rectangle(corner, *size, fill=False, ec=ORANGE, lw=1.8))
        for row, method in enumerate(GEOMETRY_NAMES, 1):
            draw_hand(images.resize(image, size_px, method), panels[row, column])
    for row, name in enumerate(names):
        _label_row(name, panels[row, 0])
    text = population.geometry_variables(measured)
    return radiographs(
        figure,
        "geometry",
        alt=f"{len(hands)} hands as stored, centre cropped, padded with black and squashed to a "
        f"square. The crop cuts off a median of {text['crop_hand_cut']} of hand and forearm.",
        caption=f"{len(hands)} hands in each geometry, {size_px} px; orange: what the centre crop "
        f"keeps; median cut off: {text['crop_cut']} of the image, n = {len(measured):,}",
        finding=population.geometry_sentence(measured),
    )


def normalised(squares: np.ndarray, method: str) -> np.ndarray:
    """Return squares, (n, s, s), uint8, as a network receives them: float, "none" from 0 to 1."""
    import torch

    from h2a_lib.models.dataset import PixelStatistics, normalise

    pixels = torch.from_numpy(squares).unsqueeze(1).float() / 255
    if method != "none":
        pixels = normalise(pixels, method, PixelStatistics.of(squares), training=True)
    return pixels[:, 0].numpy()


def pixel_normalisation(squares: np.ndarray, hands: pd.DataFrame) -> Drawing:
    """Draw hands without normalisation, normalised as a batch, and each by itself.

    squares: (n, s, s), uint8, in the order of the hands.
    """
    rows = [
        (method, normalised(squares, method), limits, unit)
        for method, (limits, unit) in NORMALISATIONS.items()
    ]
    means = squares.mean(axis=(1, 2))
    return radiographs(
        _rows_with_histograms(rows, _titles(hands)),
        "pixel_normalisation",
        alt=f"{len(hands)} hands without normalisation, normalised as a batch and each alone, "
        "with the histogram of each hand's pixels. After instance normalisation, dark and bright "
        "hands look alike.",
        caption=f"Pixels of {len(hands)} hands without normalisation, by batch and by instance; "
        "one line colour for each hand",
        finding=f"As squares, these {len(hands)} hands have a mean grey from {means.min():.0f} to "
        f"{means.max():.0f} of 255. Instance normalisation sets every mean to 0 and every SD to 1, "
        "so this difference cannot reach the network; batch normalisation keeps it.",
    )


def contrast(squares: np.ndarray, hands: pd.DataFrame) -> Drawing:
    """Draw hands unchanged, histogram-equalised, and equalised locally (CLAHE).

    squares: (n, s, s), uint8, in the order of the hands.
    """
    rows = []
    for method, name in CONTRAST_NAMES.items():
        adjusted = np.stack([images.adjust_contrast(square, method) for square in squares])
        rows.append((name, adjusted, (0, 255), "grey value"))
    # Pixels that are dark from the start: mostly background.
    dark = squares <= np.quantile(squares, 0.25, axis=(1, 2), keepdims=True)
    unchanged, equalised, clahe = (pixels[dark].mean() for _, pixels, *_ in rows)
    return radiographs(
        _rows_with_histograms(rows, _titles(hands)),
        "contrast",
        alt=f"{len(hands)} hands unchanged, histogram-equalised, and equalised locally with "
        "limited contrast (CLAHE), with the histogram of each hand's pixels.",
        caption=f"Contrast of {len(hands)} hands: unchanged, equalised, CLAHE; one line colour for "
        "each hand",
        finding=f"The darkest quarter of each image, mostly background, has a mean grey of "
        f"{unchanged:.0f} before, {equalised:.0f} after equalisation and {clahe:.0f} after CLAHE "
        f"(n = {len(hands)}).",
    )


def _titles(hands: pd.DataFrame) -> list[str]:
    """Return "7 y 10 mo" above "girl", narrow enough for a column."""
    titles = map(age_and_sex, hands["age_months"], hands["male"])
    return [title.replace(", ", "\n") for title in titles]


def _rows_with_histograms(
    rows: Sequence[tuple[str, np.ndarray, tuple[float, float], str]], titles: Sequence[str]
) -> Figure:
    """Draw the same hands processed in several ways, with the histogram of each hand's pixels.

    A row has a name, pixels (n, s, s), the values shown as black and white, and their unit. Each of
    the n hands has a frame and a line in its own colour.
    """
    n = len(titles)
    figure, panels = plt.subplots(
        len(rows), n + 1, figsize=TALL, squeeze=False, width_ratios=[1] * n + [3]
    )
    figure.set_layout_engine("constrained", w_pad=0.02, h_pad=0.03, wspace=0.01, hspace=0.01)
    # The dark end of the scale is lost on the dark ground of a slide.
    shades = plt.get_cmap("viridis")(np.linspace(0.25, 1, n))
    for row, (name, processed, limits, unit) in enumerate(rows):
        for column, image in enumerate(processed):
            draw_hand(image, panels[row, column], limits)
            panels[row, column].spines[:].set(color=shades[column], lw=2.2)
            if row == 0:
                panels[row, column].set_title(titles[column], fontsize=13, pad=3)
        _label_row(name, panels[row, 0])
        draw_histograms(processed, limits, shades, panels[row, n])
        panels[row, n].set_title(capitalised(unit), fontsize=13, pad=3)
    return figure


def draw_histograms(
    processed: np.ndarray, limits: tuple[float, float], colours: Sequence, axes: Axes
) -> None:
    """Draw a line for each picture: the share of its pixels by value; the ends hold the rest."""
    edges = np.linspace(*limits, 33)
    middles = (edges[1:] + edges[:-1]) / 2
    for image, colour in zip(processed, colours, strict=True):
        count, _ = np.histogram(np.clip(image, *limits), edges)
        axes.plot(middles, count / image.size, color=colour, lw=1.6)
    axes.set(xlim=limits, ylim=(0, None))
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    axes.yaxis.tick_right()
    axes.spines[["left"]].set_visible(False)


def _label_row(name: str, axes: Axes) -> None:
    axes.set_ylabel(name, fontsize=13, labelpad=6)
