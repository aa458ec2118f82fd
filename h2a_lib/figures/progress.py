"""The progress of a training: a growing curve in a live notebook, a line an epoch otherwise."""

from collections.abc import Callable
from typing import Any

from h2a_lib.figures.explore.live import is_live
from h2a_lib.models.training import Progress
from h2a_lib.study.config import RunConfig
from h2a_lib.study.provenance import duration


def show_progress() -> Callable[[Progress, RunConfig], None]:
    """Return what `train` calls after each epoch.

    Nobody watches a batch run: a bar would flood its log (papermill #433).
    """
    return _LiveCurve() if is_live() else print_epoch


def print_epoch(progress: Progress, config: RunConfig) -> None:
    """Print one line: epoch, rate, errors, time left or that it diverged."""
    row = progress.history[-1]
    errors = [
        f"{name.replace('_', ' ')} {value:.2f}"
        for name, value in row.items()
        if name.startswith(("train_", "selection_")) and name != "train_loss"
    ]
    left = progress.seconds / progress.epoch * (config.epochs - progress.epoch)
    state = "diverged" if progress.diverged else f"{duration(left)} left"
    print(
        f"{config.experiment} seed {config.seed}, epoch {progress.epoch}/{config.epochs}: "
        f"{', '.join(errors)}, lr {row['lr']:.1e}, {state}",
        flush=True,
    )


class _LiveCurve:
    """A progress bar and the training curve, redrawn after each epoch."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._display: Any = None

    def __call__(self, progress: Progress, config: RunConfig) -> None:
        import matplotlib.pyplot as plt
        import pandas as pd
        from IPython.display import display
        from tqdm.auto import tqdm

        from h2a_lib.figures import training

        if self._bar is None:
            self._bar = tqdm(total=config.epochs, unit="epoch", initial=progress.epoch - 1)
            self._display = display(display_id=True)
        self._bar.update(progress.epoch - self._bar.n)
        figure, axes = plt.subplots(figsize=(7, 3.6))
        training.learning_curve(pd.DataFrame(progress.history), axes)
        self._display.update(figure)
        plt.close(figure)
        if progress.epoch == config.epochs:
            self._bar.close()
