"""What changes while a network is trained, and the checkpoint that survives a kill."""

import copy
import pickle
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from h2a_lib.errors import UserError
from h2a_lib.files import write_atomically
from h2a_lib.models import networks
from h2a_lib.models.cuda_graph import Graphed
from h2a_lib.models.networks import HandNet
from h2a_lib.models.schedules import LearningRate, build_optimizer, build_schedule
from h2a_lib.models.trained import Progress
from h2a_lib.study.config import RunConfig


@dataclass
class TrainState:
    """Networks, optimiser, schedule and progress of one training.

    `ema_network` has the exponential moving average of the network's weights; `model` is what a
    step calls: the network, on a GPU replayed as a CUDA graph.
    """

    config: RunConfig
    network: HandNet
    ema_network: HandNet | None
    model: Any
    optimizer: Any
    schedule: LearningRate
    progress: Progress
    n_steps: int = 0

    @classmethod
    def initial(cls, config: RunConfig, fabric: Fabric, steps_per_epoch: int) -> "TrainState":
        """Build everything as it is before the first step."""
        network = networks.initial(config, fabric.device)
        optimizer = build_optimizer(config.optimizer, network, config.lr, config.weight_decay)
        schedule = build_schedule(config.schedule, optimizer, config.epochs, steps_per_epoch)
        ema_network = copy.deepcopy(network) if config.ema_decay else None
        model: nn.Module = network
        if fabric.device.type == "cuda":
            model = Graphed(network, config.images_per_step, config.image_size_px, fabric)
        wrapped, optimizer = fabric.setup(model, optimizer)
        return cls(config, network, ema_network, wrapped, optimizer, schedule, Progress())

    @property
    def eval_network(self) -> HandNet:
        """The network that is evaluated and kept."""
        return self.ema_network or self.network

    @property
    def is_finished(self) -> bool:
        """Whether all epochs are done, the error no longer falls, or the training diverged."""
        progress, patience = self.progress, self.config.early_stopping_patience
        has_stalled = patience is not None and progress.epoch - progress.best_epoch >= patience
        return progress.epoch >= self.config.epochs or has_stalled or progress.diverged

    def after_step(self) -> None:
        """Move the learning rate and the averaged weights."""
        self.schedule.after_step()
        self.n_steps += 1
        if self.ema_network is not None and self.config.ema_decay is not None:
            # Short memory at first: the average must not remember the random start.
            decay = min(self.config.ema_decay, (1 + self.n_steps) / (10 + self.n_steps))
            with torch.no_grad():
                get_ema_multi_avg_fn(decay)(
                    list(self.ema_network.parameters()),
                    list(self.network.parameters()),
                    self.n_steps,
                )

    def after_epoch(self, row: dict[str, float], steps: list[dict[str, float]]) -> None:
        """Record an epoch, keep its weights if they are the best, and move the learning rate."""
        progress, error = self.progress, row[selection_metric(self.config)]
        if is_better(error, progress.best_error):
            progress.best_error, progress.best_epoch = error, int(row["epoch"])
            progress.best_weights = copy_of_weights(self.eval_network)
        progress.epoch = int(row["epoch"])
        progress.history.append(row)
        progress.steps += steps
        progress.last_error = error
        self.schedule.after_epoch(error)


def selection_metric(config: RunConfig) -> str:
    """Return the column of history.csv that chooses the epoch; lower is better."""
    if config.task == "ssl":
        return "selection_ssl_loss"
    return "selection_mae_months" if config.estimates_age else "selection_log_loss"


def is_better(error: float, best: float) -> bool:
    """Return whether an error is lower than the best so far; NaN never is."""
    return error < best


def copy_of_weights(network: nn.Module) -> dict[str, Tensor]:
    """Return a state dictionary that further training does not change."""
    return {name: value.detach().clone() for name, value in network.state_dict().items()}


class Checkpoint:
    """The file that holds a training's state between epochs.

    One with another `key` is another run's. At least `seconds_between` lie between two writings.
    """

    def __init__(self, path: Path, key: dict[str, str], seconds_between: float):
        self.path, self.key, self.seconds_between = path, key, seconds_between
        self._written = time.monotonic()

    def restore(self, state: TrainState) -> None:
        """Continue from the file, if there is one and it is this run's."""
        if not self.path.exists():
            return
        try:
            content = torch.load(self.path, map_location="cpu", weights_only=True)
            is_of_this_run = content["key"] == self.key
        except (RuntimeError, pickle.UnpicklingError, EOFError, TypeError, KeyError) as error:
            raise UserError(f"{self.path} is damaged: delete it to train anew ({error})") from None
        if is_of_this_run:
            for name, part in _parts(state).items():
                part.load_state_dict(content["state"][name])
            state.progress = Progress(**content["progress"])
            state.n_steps = len(state.progress.steps)

    def save_if_due(self, state: TrainState) -> None:
        """Write the file, unless it was written a moment ago."""
        is_due = time.monotonic() - self._written >= self.seconds_between
        if not is_due and self.path.exists():
            return
        content = {
            "key": self.key,
            "state": {name: part.state_dict() for name, part in _parts(state).items()},
            "progress": vars(state.progress),
        }
        # Through a file of Python's: torch's own does not say that the disk is full.
        with write_atomically(self.path) as temporary, temporary.open("wb") as file:
            torch.save(content, file)
        self._written = time.monotonic()


def _parts(state: TrainState) -> dict[str, Any]:
    parts = {
        "network": state.network,
        "ema_network": state.ema_network,
        "optimizer": state.optimizer,
        "schedule": state.schedule.scheduler,
    }
    return {name: part for name, part in parts.items() if part is not None}
