"""The figures of notebook 06: runs in, figure files out."""

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from h2a_lib.analysis import comparison
from h2a_lib.figures import schedules, training
from h2a_lib.figures.style import BLACK, WIDE
from h2a_lib.results import Results

CURVES = ", validation (solid) and training (dotted)"


@dataclass(frozen=True)
class Drawer:
    """Draws and saves comparisons of the same runs, each with its caption and alt text.

    Attributes
    ----------
    results : Results
        Where figures go.
    groups : dict of str to list of Run
        Experiment -> its runs.
    made_by : str
        The notebook.
    floor_months : float, optional
        Error of a perfect estimate on these labels.
    """

    results: Results
    groups: comparison.Groups
    made_by: str
    floor_months: float | None = None

    def curves(self, name: str, experiments: Sequence[str], what: str) -> Figure:
        """Draw training curves, with the constant predictor above them."""
        figure, axes = plt.subplots(figsize=WIDE)
        self._curves(experiments, axes)
        return self._save(figure, name, experiments, what, key=CURVES)

    def curves_with_rates(self, name: str, experiments: Sequence[str], what: str) -> Figure:
        """Draw training curves with the learning rates beside them."""
        figure, (left, right) = plt.subplots(1, 2, figsize=WIDE, width_ratios=(1.2, 1))
        self._curves(experiments, left)
        tables = {}
        for experiment in experiments:
            run = self.groups[experiment][0]
            per_epoch = len(run.steps) / run.metrics["epochs"]
            tables[experiment] = run.steps.assign(epoch=run.steps["step"] / per_epoch)
        schedules.rates(tables, right)
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
        self._curves(experiments, left, of_figure=False)
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
        figure, axes = plt.subplots(figsize=(WIDE[0], max(WIDE[1], 0.36 * len(table) + 1.2)))
        training.dots_with_intervals(
            table, axes, label="experiment", value="difference_months", grey=table["tie"]
        )
        axes.axvline(0, color=BLACK, linewidth=1)
        axes.set_xlabel(
            f"validation MAE less that of {comparison.DEFAULT} (months); left is better"
        )
        ties = f"grey: a tie ({int(table['tie'].sum())} of {len(table)})"
        return self._save(
            figure, name, list(self.groups), f"against the default, {ties}", ("predictions.csv",)
        )

    def _curves(self, experiments: Sequence[str], axes: plt.Axes, of_figure: bool = True) -> None:
        names = comparison.in_words(comparison.configs_of(self.groups), experiments)
        histories = {names[e]: [run.history for run in self.groups[e]] for e in experiments}
        training.curves(histories, axes)
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
        self.results.figure(
            figure,
            name,
            alt=f"Validation error {what}; mean absolute error in months: {reached}.",
            caption=f"Error {what}{key}; n = {n:,} validation hands, {seeds} "
            f"seed{'s' if seeds > 1 else ''}",
            made_by=self.made_by,
            inputs=[run.folder / f for e in experiments for run in self.groups[e] for f in files],
        )
        return figure
