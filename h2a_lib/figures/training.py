"""Training curves and comparisons between runs: data + Axes -> Axes."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from h2a_lib.figures.style import BLUE, FAINT, GREY, PALETTE


def learning_curve(history: pd.DataFrame, axes: Axes) -> Axes:
    """Draw one run's error over epochs, on hands it learns from and on hands it does not.

    Parameters
    ----------
    history : DataFrame
        A run's history.csv.
    axes : Axes
    """
    measure, label = measure_of(history)
    for split, colour in (("train", GREY), ("selection", BLUE)):
        values = history[f"{split}_{measure}"]
        axes.plot(history["epoch"], values, "o-", color=colour, label=split, markersize=4)
    axes.legend()
    return _epoch_axis(axes, label)


def curves(
    groups: Mapping[str, Sequence[pd.DataFrame]], axes: Axes, colours: Sequence[str] = PALETTE
) -> Axes:
    """Draw the errors of several settings over epochs: mean over seeds, and their range.

    A ring marks the error of each seed at the epoch whose weights were kept: what runs are compared
    by, which the end of a curve is not.

    Parameters
    ----------
    groups : mapping of str to sequence of DataFrame
        Label -> the histories of its seeds.
    axes : Axes
    colours : sequence of str
        One for each label, in turn.
    """
    for i, (label, histories) in enumerate(groups.items()):
        colour = colours[i % len(colours)]
        measure, unit = measure_of(histories[0])
        for split, style in (("selection", "-"), ("train", ":")):
            by_epoch = pd.concat(histories).groupby("epoch")[f"{split}_{measure}"]
            mean = by_epoch.mean()
            axes.plot(
                mean.index,
                mean,
                style,
                color=colour,
                marker="o" if split == "selection" else None,
                markersize=4,
                label=label if split == "selection" else None,
            )
            if len(histories) > 1 and split == "selection":
                axes.fill_between(
                    mean.index, by_epoch.min(), by_epoch.max(), color=colour, alpha=0.15, lw=0
                )
        for history in histories:
            kept = history.loc[history[f"selection_{measure}"].idxmin()]
            axes.plot(
                kept["epoch"],
                kept[f"selection_{measure}"],
                "o",
                color=colour,
                markersize=11,
                markerfacecolor="none",
                markeredgewidth=1.6,
            )
    return _epoch_axis(axes, unit)


def reference_line(value: float, label: str, axes: Axes) -> Axes:
    """Draw a level to read curves against, with its name on the line."""
    axes.axhline(value, color=FAINT, linewidth=1.4, linestyle=(0, (5, 3)), zorder=0.5)
    axes.set_ylim(top=max(axes.get_ylim()[1], 1.1 * value))  # room for the line and its name
    axes.annotate(
        label,
        (1, value),
        xycoords=("axes fraction", "data"),
        xytext=(-4, 4),
        textcoords="offset points",
        ha="right",
        color=FAINT,
        fontsize=12,
    )
    return axes


def dots_with_intervals(
    table: pd.DataFrame, axes: Axes, *, label: str, value: str, grey: Sequence[bool] | None = None
) -> Axes:
    """Draw one row for each experiment: its value and interval (a forest plot).

    Parameters
    ----------
    table : DataFrame
        Columns `label`, `value`, and `value` with _low and _high; first row on top.
    axes : Axes
    label, value : str
        Names of columns.
    grey : sequence of bool, optional
        Rows to draw without colour: ties.
    """
    rows = np.arange(len(table))[::-1]
    faint = np.zeros(len(table), bool) if grey is None else np.asarray(grey)
    for row, faded, (_, entry) in zip(rows, faint, table.iterrows(), strict=True):
        colour = GREY if faded else BLUE
        ends = [entry[f"{value}_low"], entry[f"{value}_high"]]
        axes.plot(ends, [row, row], color=colour, linewidth=2.2, solid_capstyle="round")
        axes.plot(entry[value], row, "o", color=colour, markersize=7)
    axes.set_yticks(rows, table[label])
    axes.set_ylim(-0.6, len(table) - 0.4)
    axes.grid(axis="y", visible=False)
    return axes


def measure_of(history: pd.DataFrame) -> tuple[str, str]:
    """Return the error that a history is judged by, and its label with unit."""
    if "selection_mae_months" in history:
        return "mae_months", "mean absolute error (months)"
    if "selection_ssl_loss" in history:
        return "ssl_loss", "self-supervised loss"
    return "log_loss", "log loss of sex"


def _epoch_axis(axes: Axes, label: str) -> Axes:
    axes.set(xlabel="epoch", ylabel=label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return axes
