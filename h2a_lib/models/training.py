"""The training loop, written out: read it from top to bottom."""

import copy
import logging
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from h2a_lib.data.hands import Hands
from h2a_lib.models import precision
from h2a_lib.models.dataset import (
    Batch,
    DeviceDataset,
    augment,
    generator,
    normalise,
    steps_per_epoch,
)
from h2a_lib.models.inference import (
    EVALUATION_BATCH,
    Setup,
    calibrate_batch_norm,
    measure_scales,
    predict,
)
from h2a_lib.models.losses import compute_loss
from h2a_lib.models.networks import HandNet
from h2a_lib.models.state import Checkpoint, TrainState, copy_of_weights
from h2a_lib.models.trained import Progress, Trained
from h2a_lib.study import provenance
from h2a_lib.study.config import RunConfig
from h2a_lib.study.runs import metrics_of

# A kill, or the SIGTERM of a cluster's time limit, costs at most this and an epoch; writing 180 MB
# (ResNet-18 with Adam) takes about 0.3 s.
SECONDS_BETWEEN_CHECKPOINTS = 30.0


def train(
    config: RunConfig,
    hands: Hands,
    checkpoint: Path,
    on_epoch: Callable[[Progress, RunConfig], None] = lambda progress, config: None,
    seconds_between_checkpoints: float = SECONDS_BETWEEN_CHECKPOINTS,
) -> Trained:
    """Train one network, from its checkpoint if there is one; the selection hands choose the epoch.

    An interrupted and resumed training gives the same weights, to the bit on a CPU, as an
    uninterrupted one: every random draw is fixed by (seed, purpose, epoch). The caller removes the
    checkpoint when all is kept elsewhere.
    """
    code = provenance.code()
    torch.set_num_threads(config.threads)
    train_rows = hands.training_rows(config.train_fraction)
    selection_rows = hands.rows("selection")
    # As many training hands as selection hands: the training error of an epoch.
    eval_rows = {"train": train_rows[: len(selection_rows)], "selection": selection_rows}

    fabric = new_fabric(precision.resolve(config.precision))
    dataset = DeviceDataset.of(hands, fabric.device)
    setup = Setup(config, dataset, measure_scales(hands, train_rows), fabric)
    state = TrainState.initial(config, fabric, steps_per_epoch(len(train_rows), config.batch_size))
    key = {"config": config.digest, "data": hands.fingerprint}
    saved = Checkpoint(checkpoint, key, seconds_between_checkpoints)
    saved.restore(state)

    while not state.is_finished:
        start = time.monotonic()
        epoch = state.progress.epoch + 1
        steps = train_epoch(epoch, state, setup, train_rows)
        calibrate_batch_norm(state.eval_network, setup, eval_rows["train"])
        row = {
            "epoch": epoch,
            "lr": steps[-1]["lr"],
            "train_loss": float(np.mean([step["train_loss"] for step in steps])),
        }
        for split, rows in eval_rows.items():
            metrics = evaluate(state.eval_network, setup, hands, rows)
            row |= {f"{split}_{name}": value for name, value in metrics.items()}
        state.after_epoch(row, steps)
        state.progress.seconds += time.monotonic() - start
        saved.save_if_due(state)
        on_epoch(state.progress, config)

    return _finish(state, setup, hands, train_rows, code)


def train_epoch(
    epoch: int, state: TrainState, setup: Setup, train_rows: np.ndarray
) -> list[dict[str, float]]:
    """Train on each hand once; return the rows of steps.csv."""
    config = setup.config
    shuffle = generator(torch.device("cpu"), config.seed, "shuffle", epoch)
    random = generator(setup.device, config.seed, "augment", epoch)
    state.network.train()
    losses, rates = [], []
    for batch in setup.dataset.shuffled(train_rows, config.batch_size, shuffle):
        loss = batch_loss(state.model, batch, setup, random)
        state.optimizer.zero_grad()
        setup.fabric.backward(loss)
        rates.append(state.optimizer.param_groups[0]["lr"])
        state.optimizer.step()
        state.after_step()
        losses.append(loss.detach())
    read: list[float] = torch.stack(losses).tolist()  # once an epoch: it waits for the device
    first = (epoch - 1) * len(read) + 1
    return [
        {"step": first + i, "lr": rate, "train_loss": loss}
        for i, (rate, loss) in enumerate(zip(rates, read, strict=True))
    ]


def batch_loss(model: nn.Module, batch: Batch, setup: Setup, random: torch.Generator) -> Tensor:
    """Augment and normalise a batch, and return the training loss of the model on it.

    In self-supervised training the batch is given twice, each image augmented twice.
    """
    config = setup.config
    views = [batch.pixels] * (2 if config.task == "ssl" else 1)
    if config.augment is not None:
        views = [augment(pixels, config.augment, random) for pixels in views]
    pixels = torch.cat(views) if len(views) > 1 else views[0]
    pixels = normalise(pixels, config.pixel_norm, setup.scales.pixels, training=True)
    given_sex = config.sex_input or config.task == "both"
    outputs = model(pixels, batch.male if given_sex else None)
    return compute_loss(outputs, batch, setup.scales, config.loss)


def evaluate(network: HandNet, setup: Setup, hands: Hands, rows: np.ndarray) -> dict[str, float]:
    """Return the metrics of some hands; in self-supervised training the loss."""
    if setup.config.task == "ssl":
        return {"ssl_loss": _self_supervised_loss(network, setup, rows)}
    return metrics_of(hands.labels.iloc[rows].assign(**predict(network, setup, rows)))


@torch.no_grad()
def _self_supervised_loss(network: HandNet, setup: Setup, rows: np.ndarray) -> float:
    # The same augmentations after each epoch, so that epochs can be compared.
    random = generator(setup.device, setup.config.seed, "evaluate")
    # With the statistics of each batch, as in training: those that `calibrate_batch_norm` measures
    # are of hands as they are, and the views are augmented.
    network = copy.deepcopy(network).train()
    losses = []
    for batch in setup.dataset.in_order(rows, EVALUATION_BATCH):
        with setup.fabric.autocast():
            loss = batch_loss(network, batch, setup, random)
        losses.append(loss.item() * len(batch.pixels))
    return sum(losses) / len(rows)


def _finish(
    state: TrainState,
    setup: Setup,
    hands: Hands,
    train_rows: np.ndarray,
    code: dict[str, Any],
) -> Trained:
    """Predict all hands with the best weights."""
    network, progress = state.network, state.progress
    last_weights = copy_of_weights(state.eval_network)
    # Without a best epoch, as no error was ever a number, the last weights are kept.
    best_weights = progress.best_weights or last_weights
    network.load_state_dict(best_weights)
    labels = hands.labels
    # In full precision, as whoever loads the weights will predict.
    exact = Setup(setup.config, setup.dataset, setup.scales, new_fabric("32-true"))

    def predictions(rows: np.ndarray) -> Any:
        frame = labels.iloc[rows][["id", "age_months", "male", "split"]]
        return frame.assign(**predict(network, exact, rows)).reset_index(drop=True)

    return Trained(
        network=network.eval(),
        best_weights=best_weights,
        last_weights=last_weights,
        scales=setup.scales,
        progress=progress,
        predictions=predictions(np.flatnonzero(labels["split"] != "train")),
        predictions_train=predictions(np.sort(train_rows)),
        precision=precision.resolve(setup.config.precision),
        code=code,
    )


def new_fabric(precision: Any) -> Fabric:
    """Return what places networks and batches: on the GPU, if there is one."""
    # A hint for whoever starts Python by hand in a job of Slurm.
    warnings.filterwarnings("ignore", message="The `srun` command is available")
    # "Using bfloat16 Automatic Mixed Precision": the configuration says so.
    logging.getLogger("lightning_fabric.utilities.rank_zero").setLevel(logging.WARNING)
    return Fabric(accelerator="auto", devices=1, precision=precision)
