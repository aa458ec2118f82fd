"""Training curves, and what one run's network sees and estimates."""

import itertools
from collections.abc import Iterable, Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from h2a_lib.data.hands import Hands
from h2a_lib.figures.colours import BLUE, FAINT, GREY, PALETTE, readable
from h2a_lib.figures.style import radiographs, write_beside
from h2a_lib.study.config import RunConfig
from h2a_lib.study.results import Drawing
from h2a_lib.study.runs import Run

FONT = 13
# Lines of text of this size, in inches.
LINE = 0.21


def learning_curve(history: pd.DataFrame, axes: Axes) -> Axes:
    """Draw one run's error over epochs, on the training and on the selection hands."""
    measure, label = measure_of(history)
    for split, colour in (("train", GREY), ("selection", BLUE)):
        values = history[f"{split}_{measure}"]
        axes.plot(history["epoch"], values, "o-", color=colour, label=split, markersize=4)
    direct_labels(axes)
    return epoch_axis(axes, label)


def curve(run: Run) -> Drawing:
    """Draw one run's error over epochs and mark the epoch whose weights were kept."""
    measure, unit = measure_of(run.history)
    figure, axes = plt.subplots(figsize=(8, 4))
    learning_curve(run.history, axes)
    best = run.metrics["best_epoch"]
    if run.diverged:
        course, key = " of a run that diverged", ""
        finding = "The training diverged: its error on the selection hands is no longer finite."
    else:
        train, selection = (run.history[f"{split}_{measure}"] for split in ("train", "selection"))
        kept = selection[run.history["epoch"] == best].item()
        _ring(best, kept, BLUE, axes)
        course = f": {train.iloc[-1]:.2f} in training at the end, {kept:.2f} on the selection hands"
        course, key = f"{course} at epoch {best}, which was kept", "; ring: epoch kept"
        finding = f"The weights of epoch {best} were kept: the lowest error on the selection hands."
    n = run.metrics["n_train"]
    return Drawing(
        figure,
        "learning_curve",
        alt=f"{unit} over {run.metrics['epochs']} epochs{course}.",
        caption=f"Learning curve of {run.name}{key}; n = {n:,} training hands",
        finding=finding,
    )


def curves(
    groups: Mapping[str, Sequence[pd.DataFrame]], axes: Axes, colours: Sequence[str] = PALETTE
) -> Axes:
    """Draw the errors of several settings over epochs: mean over seeds, and their range.

    Solid: the selection hands. Dotted: the training hands. Rings mark the epochs whose weights were
    kept. `groups` maps a label to the histories of its seeds; the colours come in turn.
    """
    for (label, histories), colour in zip(groups.items(), itertools.cycle(colours)):
        measure, unit = measure_of(histories[0])
        by_epoch = pd.concat(histories).groupby("epoch")
        selection, train = (by_epoch[f"{split}_{measure}"] for split in ("selection", "train"))
        axes.plot(train.mean(), ":", color=colour)
        axes.plot(selection.mean(), "o-", color=colour, markersize=4, label=label)
        if len(histories) > 1:
            low, high = selection.min(), selection.max()
            axes.fill_between(low.index, low, high, color=colour, alpha=0.15, lw=0)
        kept = {
            history.loc[history[f"selection_{measure}"].idxmin(), "epoch"] for history in histories
        }
        for epoch in sorted(kept):
            _ring(epoch, selection.mean()[epoch], colour, axes)
    return epoch_axis(axes, unit)


def direct_labels(axes: Axes) -> None:
    """Write each line's label beside its end, in its colour, without overlaps.

    The axes have their final limits. They are taken to have two thirds of the figure's height.
    """
    lines = [line for line in axes.lines if not str(line.get_label()).startswith("_")]
    # Of a training that diverged, the last errors are no numbers.
    finite = {line: xy[np.isfinite(xy).all(axis=1)] for line in lines for xy in [line.get_xydata()]}
    lines = [line for line in lines if len(finite[line])]
    if not lines:
        return
    height = 0.68 * axes.figure.bbox.height / axes.figure.dpi  # inches
    axes.get_xlim(), axes.get_ylim()  # settled before anything is measured in them
    to_fraction = axes.transData + axes.transAxes.inverted()
    ends = np.clip([to_fraction.transform(finite[line][-1]) for line in lines], 0, 1)
    heights = spread(ends[:, 1], LINE / height)
    for line, end, at in zip(lines, ends, heights, strict=True):
        colour = line.get_color()
        axes.annotate(
            str(line.get_label()),
            end,
            xytext=(1.04, at),
            xycoords="axes fraction",
            textcoords="axes fraction",
            color=readable(colour),
            fontsize=FONT,
            va="center",
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": colour, "lw": 0.6, "relpos": (0, 0.5)},
        )


def spread(positions: ArrayLike, gap: float) -> np.ndarray:
    """Move positions apart, as little as needed, so that neighbours differ by `gap`."""
    placed = np.sort(positions)
    for i in range(1, len(placed)):
        placed[i] = max(placed[i], placed[i - 1] + gap)
    excess = max(0.0, placed[-1] - max(1.0, (len(placed) - 1) * gap))
    placed[-1] -= excess
    for i in range(len(placed) - 2, -1, -1):
        placed[i] = min(placed[i], placed[i + 1] - gap)
    return placed[np.argsort(np.argsort(positions))]


def reference_line(value: float, label: str, axes: Axes) -> None:
    """Draw a level to compare curves with, with its name on the line."""
    axes.axhline(value, color=FAINT, linewidth=1.4, linestyle=(0, (5, 3)), zorder=0.5)
    axes.set_ylim(top=max(axes.get_ylim()[1], 1.1 * value))  # room for the line and its name
    style = {"ha": "right", "color": FAINT, "fontsize": FONT}
    write_beside(axes, label, (1, value), (-4, 4), xycoords=("axes fraction", "data"), **style)


def noise_band(noise: tuple[float, float], axes: Axes) -> None:
    """Draw the errors that label noise explains, with their name and range."""
    axes.axhspan(*noise, color=GREY, alpha=0.25, lw=0, zorder=0)
    low, high = axes.get_ylim()
    axes.set_ylim(bottom=min(low, noise[0] - 0.05 * (high - low)))
    text = f"label noise: {noise[0]:.1f}–{noise[1]:.1f} months"
    place = {"xycoords": ("axes fraction", "data"), "ha": "right", "va": "center"}
    write_beside(axes, text, (1, np.mean(noise)), (-4, 0), color=FAINT, fontsize=FONT, **place)


def cut_off(values: Iterable[float], constant: float, axes: Axes) -> None:
    """Cut off what lies far above the rest: one training that diverged must not set the scale.

    `constant` is the error of the constant predictor, which stays visible.
    """
    most = max(1.2 * constant, 2 * float(np.median(list(values))))
    if axes.get_ylim()[1] > most:
        axes.set_ylim(top=most)


def measure_of(history: pd.DataFrame) -> tuple[str, str]:
    """Return the error that a history is judged by, and its label with unit."""
    if "selection_mae_months" in history:
        return "mae_months", "Mean absolute error (months)"
    if "selection_ssl_loss" in history:
        return "ssl_loss", "Self-supervised loss"
    return "log_loss", "Log loss of sex"


def epoch_axis(axes: Axes, label: str) -> Axes:
    """Count epochs in whole numbers."""
    axes.set(xlabel="Epoch", ylabel=label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    return axes


def _ring(epoch: float, value: float, colour: str, axes: Axes) -> None:
    axes.plot(epoch, value, "o", color=colour, ms=11, mfc="none", mew=1.6)


def augmented_hands(hands: Hands, config: RunConfig, n: int = 12) -> Drawing:
    """Draw some training hands as the network receives them: augmented and normalised."""
    import torch

    from h2a_lib.models.dataset import PixelStatistics, augment, generator, normalise

    train_rows = hands.training_rows(config.train_fraction)
    rows = np.sort(_evenly_spaced(train_rows, n))
    images = hands.images[rows]
    pixels = torch.from_numpy(images).unsqueeze(1).float() / 255
    if config.augment is not None:
        random = generator(torch.device("cpu"), config.seed, "augmented hands")
        pixels = augment(pixels, config.augment, random)
    statistics = PixelStatistics.of(images)
    normalised = normalise(pixels, config.pixel_norm, statistics, training=True)[:, 0].numpy()
    titles = [f"{months:.0f} months" for months in hands.labels["age_months"].iloc[rows]]
    figure = _hands(normalised, titles, columns=6)
    changes = "augmented at random" if config.augment else "without augmentation"
    return radiographs(
        figure,
        "augmented_hands",
        alt=f"{len(normalised)} training hands of {config.image_size_px} by {config.image_size_px} "
        f"pixels, {changes}, normalised by {config.pixel_norm}, with their labelled ages.",
        caption=f"Training hands as the network receives them, {changes}; "
        f"n = {len(normalised)} of {len(train_rows):,}",
    )


def estimates(run: Run, hands: Hands, n: int = 8) -> Drawing:
    """Draw some selection hands with the label and the network's estimate below each.

    They are spread evenly over the labelled ages, so that none was picked for its error.
    """
    predictions = run.predictions[run.predictions["split"] == "selection"]
    predictions = predictions.sort_values(["age_months", "id"])
    chosen = predictions.iloc[_evenly_spaced(np.arange(len(predictions)), n)]
    rows = hands.labels.reset_index().set_index("id").loc[chosen["id"], "index"]
    titles = [_title(hand) for _, hand in chosen.iterrows()]
    figure = _hands(hands.images[rows.to_numpy()].astype(float), titles, columns=4)
    return radiographs(
        figure,
        "estimates",
        alt=f"{len(chosen)} selection hands with label and estimate: {'; '.join(titles)}.",
        caption=f"Label → estimate of {run.name} on selection hands, at evenly spaced ranks of the "
        f"label; n = {len(chosen)} of {len(predictions):,}",
    )


def _evenly_spaced(rows: np.ndarray, n: int) -> np.ndarray:
    return rows[np.linspace(0, len(rows) - 1, min(n, len(rows))).astype(int)]


def _title(hand: pd.Series) -> str:
    texts = []
    if "predicted_age_months" in hand:
        texts.append(f"{hand['age_months']:.0f} → {hand['predicted_age_months']:.0f} months")
    if "male_probability" in hand:
        sex = "male" if hand["male"] else "female"
        texts.append(f"{sex} → {hand['male_probability']:.0%} male")
    return ", ".join(texts)


def _hands(images: np.ndarray, titles: Sequence[str], columns: int) -> Figure:
    rows = -(-len(images) // columns)
    size = 10.4, rows * (10.4 / columns + 0.3)
    figure, panels = plt.subplots(rows, columns, figsize=size, squeeze=False)
    for axes in panels.flat:
        axes.axis("off")
    for axes, image, title in zip(panels.flat, images, titles, strict=False):
        low, high = np.percentile(image, [0.5, 99.5])
        axes.imshow(image, cmap="gray", vmin=low, vmax=max(high, low + 1e-6))
        axes.set_title(title, fontsize=FONT)
    return figure
