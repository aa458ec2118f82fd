"""Schedules of the learning rate, the range test and the grid of StepLR."""

import itertools
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullFormatter

from h2a_lib.analysis.comparison.range_test import UNDETERMINED, power_of_ten, suggestion_interval
from h2a_lib.figures import training
from h2a_lib.figures.colours import BLUE, GREY, PALETTE, VERMILLION
from h2a_lib.figures.style import TALL
from h2a_lib.models.range_test import RangeTest
from h2a_lib.study.config import RunConfig
from h2a_lib.study.results import Drawing


def rates(steps: Mapping[str, pd.DataFrame], axes: Axes, colours: Sequence[str] = PALETTE) -> Axes:
    """Draw the learning rate of some runs over their epochs, on a logarithmic axis.

    What is less than a thousandth of the highest rate moves nothing, and lies below the axis.
    `steps` maps a label to a run's steps.csv with a column `epoch`, counted in fractions from 0;
    the colours come in turn.
    """
    for (label, table), colour in zip(steps.items(), itertools.cycle(colours)):
        axes.plot(table["epoch"], table["lr"], color=colour, label=label)
    axes.set(xlabel="Epoch", ylabel="Learning rate", yscale="log")
    low, high = axes.get_ylim()
    if high / low > 1000:
        axes.set_ylim(bottom=10 ** round(np.log10(high / 1000)))
    if high / low < 100:
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high / low > 3 else range(1, 10)))
        axes.yaxis.set_major_formatter(_positional)
        axes.yaxis.set_minor_formatter(NullFormatter())
    return axes


def _positional(rate: float, _: int | None = None) -> str:
    """Write 9e-4 as 0.0009, whatever its last binary digits are."""
    return np.format_float_positional(rate, precision=3, fractional=False, trim="-")


def range_test(result: RangeTest, config: RunConfig) -> Drawing:
    """Draw the loss as the rate rises, and the rate that it suggests with its interval."""
    figure, axes = plt.subplots(figsize=TALL)
    curve, suggestion = result.curve, result.suggestion
    low, high = suggestion_interval(curve)
    axes.axvspan(low, high, color=VERMILLION, alpha=0.12, lw=0)
    axes.axvline(suggestion, color=VERMILLION, linestyle=(0, (5, 3)))
    axes.plot(curve["lr"], curve["loss"], color=GREY, alpha=0.5, linewidth=1, label="each batch")
    axes.plot(curve["lr"], curve["smoothed"], color=BLUE, label="weighted mean")
    height = float(np.interp(suggestion, curve["lr"], curve["smoothed"]))
    axes.plot(suggestion, height, "o", color=VERMILLION, markersize=9)
    # What explodes at the end would press the fall into a line.
    finite = curve["smoothed"][np.isfinite(curve["smoothed"])]
    start = finite.iloc[: len(finite) // 2].max()
    axes.set_ylim(finite.min() - 0.4 * start, 1.6 * start)
    axes.set(xlabel="Learning rate", ylabel="Training loss", xscale="log")
    text = f"Suggested: {power_of_ten(suggestion)}"
    if undetermined := high / low >= UNDETERMINED:
        text += f"; undetermined, 95 % interval {power_of_ten(low)} to {power_of_ten(high)}"
    axes.set_title(text, loc="left", color=VERMILLION)
    training.direct_labels(axes)
    ending = "the loss explodes near" if result.diverged else "the test ends at"
    return Drawing(
        figure,
        "range_test",
        alt=f"Training loss against the learning rate on a logarithmic axis: its mean is lowest "
        f"over the decade up to {power_of_ten(suggestion)}; {ending} "
        f"{power_of_ten(curve['lr'].iloc[-1])}.",
        caption=f"Range test of {config.experiment}: {len(curve)} batches of {config.batch_size}; "
        "band: 95 % interval of the suggestion",
        finding=f"The test suggests {power_of_ten(suggestion)}, with a 95 % interval of "
        f"{power_of_ten(low)} to {power_of_ten(high)}. The study's default is "
        f"{power_of_ten(config.lr)}: {_place(config.lr, low, high)} the interval."
        + (" So wide an interval leaves the rate undetermined." if undetermined else ""),
    )


def _place(rate: float, low: float, high: float) -> str:
    """Say where a rate lies; at the edge if it reads like one end."""
    if power_of_ten(rate) in (power_of_ten(low), power_of_ten(high)):
        return "at the edge of"
    return "inside" if low < rate < high else "outside"


def grid(errors: pd.DataFrame, axes: Axes) -> Axes:
    """Draw the error of each gamma and step size as a heat map, from light (good) to dark.

    errors: one row a gamma, one column a step size in epochs; validation MAE in months.
    """
    import seaborn as sns

    sns.heatmap(
        errors,
        ax=axes,
        annot=True,
        annot_kws={"fontsize": 14},
        fmt=".1f",
        cmap="YlGnBu",
        cbar_kws={"label": "Validation error (months)"},
        linewidths=1,
        linecolor="white",
    )
    # Seaborn's bar is an image, and figures with images are taken to show radiographs.
    axes.collections[0].colorbar.solids.set_rasterized(False)  # type: ignore[union-attr]
    axes.set(xlabel="Step size (epochs)", ylabel="Factor")
    axes.tick_params(rotation=0)
    return axes


def bias_and_variance(table: pd.DataFrame, axes: Axes) -> None:
    """Draw training and validation error against something that trades one for the other.

    The table is from `comparison.runs.trade_off`, in the order to draw; a line joins numbers alone.
    A square shows around a dot that lies on it.
    """
    x, error = np.arange(len(table)), table["mae_months"]
    line = {"ls": "" if table["label"].str.contains("off").any() else "-"}
    square = {"marker": "s", "mfc": "none", "ms": 11, "mew": 2}
    axes.plot(x, table["train_mae_months"], color=GREY, label="training", **square, **line)
    axes.plot(x, error, marker="o", color=BLUE, label="validation", **line)
    below, above = error - table["mae_months_low"], table["mae_months_high"] - error
    axes.errorbar(x, error, yerr=[below, above], fmt="none", ecolor=BLUE, capsize=4)
    axes.set_xticks(x, table["label"])
    axes.set_xlim(-0.4, len(table) - 0.6)
    axes.tick_params(axis="x", rotation=30 if table["label"].str.len().sum() > 12 else 0)
