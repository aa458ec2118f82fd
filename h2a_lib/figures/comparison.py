"""The figures of notebook 06: runs in, figure files out."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from h2a_lib.analysis.comparison import runs as comparison
from h2a_lib.figures import schedules, training
from h2a_lib.figures.style import BLACK, PALETTE, WIDE
from h2a_lib.study.config import Step
from h2a_lib.study.results import Drawing, Results

CURVES = ", solid: validation (ring: epoch kept), dotted: training"
# Of each gamma of StepLR, light to dark by step size.
SHADES = ("Greens", "Oranges", "Purples", "Blues")
# Rows of a forest plot that stay legible on a slide; more make another column.
ROWS = 15


def colours_for(n: int) -> Sequence[str]:
    """Return a colour for each of n settings, the default's first; none comes twice."""
    if n <= len(PALETTE):
        return PALETTE
    import seaborn as sns

    return [BLACK, *sns.husl_palette(n - 1, l=0.55).as_hex()]


@dataclass(frozen=True)
class Drawer:
    """Draws and saves comparisons of the same runs, each with its caption and alt text.

    Attributes
    ----------
    results : Results
        Where figures go.
    groups : dict of str to list of Run
        Experiment -> its runs.
    floor_months : float, optional
        Error of a perfect estimate on these labels.
    """

    results: Results
    groups: comparison.Groups
    floor_months: float | None = None

    def curves(self, name: str, experiments: Sequence[str], what: str) -> Figure:
        """Draw training curves, with the constant predictor above them."""
        figure, axes = plt.subplots(figsize=WIDE)
        self._curves(experiments, axes, colours_for(len(experiments)))
        return self._save(figure, name, experiments, what, key=CURVES)

    def curves_with_rates(self, name: str, experiments: Sequence[str], what: str) -> Figure:
        """Draw training curves with the learning rates beside them."""
        figure, (left, right) = plt.subplots(1, 2, figsize=WIDE, width_ratios=(1.2, 1))
        colours = colours_for(len(experiments))
        self._curves(experiments, left, colours)
        tables = {}
        for experiment in experiments:
            run = self.groups[experiment][0]
            per_epoch = len(run.steps) / run.metrics["epochs"]
            tables[experiment] = run.steps.assign(epoch=run.steps["step"] / per_epoch)
        schedules.rates(tables, right, colours)
        files = ("history.csv", "steps.csv")
        return self._save(figure, name, experiments, what, files, key=CURVES)

    def step_grid(self, name: str, experiments: Sequence[str]) -> Figure:
        """Draw training curves, with StepLR's grid as a heat map beside them if it is one."""
        grid = comparison.step_grid({e: self.groups[e] for e in experiments})
        what, files = "by StepLR's gamma and step size", ("history.csv", "predictions.csv")
        if min(grid.shape) < 2:
            return self.curves(name, experiments, what)
        figure, (left, right) = plt.subplots(1, 2, figsize=WIDE, width_ratios=(1.15, 1))
        # The colours of the curves say nothing of the heat map.
        self._curves(experiments, left, self._shades(experiments), of_figure=False)
        schedules.grid(grid, right)
        return self._save(figure, name, experiments, what, files, key=CURVES)

    def trade_off(self, name: str, experiments: Sequence[str]) -> Figure:
        """Draw training against validation error: over epochs, then over each setting."""
        groups = {experiment: self.groups[experiment] for experiment in experiments}
        tables = {
            words: comparison.trade_off(groups, setting)
            for setting, words in comparison.TRADES.items()
        }
        tables = {words: table for words, table in tables.items() if len(table) > 1}
        figure, (panels,) = plt.subplots(
            1, 1 + len(tables), figsize=WIDE, sharey=True, squeeze=False
        )
        training.learning_curve(groups[comparison.DEFAULT][0].history, panels[0])
        for (words, table), axes in zip(tables.items(), panels[1:], strict=True):
            schedules.bias_and_variance(table, axes, xlabel=words)
        panels[0].set_ylim(bottom=0)
        files = ("history.csv", "predictions.csv", "predictions_train.csv")
        return self._save(figure, name, experiments, "on hands learnt from and on others", files)

    def forest(self, name: str, table: pd.DataFrame) -> Figure:
        """Draw every experiment's difference from the default."""
        columns = math.ceil(len(table) / ROWS)
        rows = math.ceil(len(table) / columns)
        height = max(WIDE[1], 0.27 * rows + 0.95)
        figure, (panels,) = plt.subplots(
            1, columns, figsize=(2.6 * height, height), sharex=True, squeeze=False
        )
        shown = table.assign(experiment=[self._starred(e) for e in table["experiment"]])
        for column, axes in enumerate(panels):
            part = shown[column * rows : (column + 1) * rows]
            training.dots_with_intervals(
                part, axes, label="experiment", value="difference_months", grey=part["tie"]
            )
            axes.set_ylim(len(part) - 0.4 - rows, len(part) - 0.4)  # rows at one height in all
            axes.axvline(0, color=BLACK, linewidth=1)
        figure.supxlabel(
            f"validation MAE less that of {comparison.DEFAULT} (months); left is better",
            fontsize="medium",
        )
        key = f", grey: a tie ({int(table['tie'].sum())} of {len(table)})"
        if any(shown["experiment"].str.endswith("*")):
            key += "; * other epochs or hands too"
        return self._save(
            figure, name, list(self.groups), "against the default", ("predictions.csv",), key
        )

    def _starred(self, experiment: str) -> str:
        """Mark an experiment that was not only set otherwise but trained for longer or on more."""
        configs = comparison.configs_of(self.groups)
        changed = comparison.differences(configs[experiment], configs[comparison.DEFAULT])
        budget = changed.keys() & {"epochs", "train_fraction"}
        return f"{experiment} *" if budget and changed.keys() - budget else experiment

    def _shades(self, experiments: Sequence[str]) -> list[str]:
        """Give each gamma of StepLR a hue, each step size a shade of it, and the default black."""
        steps = {
            experiment: schedule
            for experiment in experiments
            if isinstance(schedule := self.groups[experiment][0].config.schedule, Step)
        }
        hues = dict(zip(sorted({s.gamma for s in steps.values()}), itertools.cycle(SHADES)))
        sizes = sorted({s.step_size for s in steps.values()})
        depths = dict(zip(sizes, np.linspace(0.4, 0.85, len(sizes)), strict=True))
        return [
            to_hex(plt.get_cmap(hues[steps[e].gamma])(depths[steps[e].step_size]))
            if e in steps
            else BLACK
            for e in experiments
        ]

    def _curves(
        self,
        experiments: Sequence[str],
        axes: plt.Axes,
        colours: Sequence[str],
        of_figure: bool = True,
    ) -> None:
        names = comparison.in_words(comparison.configs_of(self.groups), experiments)
        histories = {names[e]: [run.history for run in self.groups[e]] for e in experiments}
        training.curves(histories, axes, colours)
        constant = comparison.constant_error(self.groups[comparison.DEFAULT][0])
        training.reference_line(constant.value, "always the median age", axes)
        if self.floor_months is not None:
            axes.set_ylim(bottom=0)
            training.reference_line(self.floor_months, "noise of the labels", axes)
        size = 10 if len(experiments) > 6 else 13
        if of_figure:
            axes.figure.legend(loc="outside right center", fontsize=size)
        else:
            axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize=size)

    def _save(
        self,
        figure: Figure,
        name: str,
        experiments: Sequence[str],
        what: str,
        files: Sequence[str] = ("history.csv",),
        key: str = "",
    ) -> Figure:
        n = comparison.constant_error(self.groups[experiments[0]][0]).n
        reached = ", ".join(
            f"{e} {comparison.mean_error(self.groups[e]):.1f}" for e in experiments[:12]
        )
        seeds = max(len(self.groups[e]) for e in experiments)
        drawing = Drawing(
            figure,
            name,
            alt=f"Validation error {what}; mean absolute error in months: {reached}.",
            caption=f"Error {what}{key}; n = {n:,}, {seeds} seed{'s' if seeds > 1 else ''}",
        )
        inputs = [run.folder / f for e in experiments for run in self.groups[e] for f in files]
        self.results.show(drawing, inputs)
        return figure
