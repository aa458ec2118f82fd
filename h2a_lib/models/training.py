"""The training loop, written out: read it from top to bottom."""

import copy
import pickle
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F  # noqa: N812 (its usual name)
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from h2a_lib.data.hands import Hands
from h2a_lib.errors import UserError
from h2a_lib.files import write_atomically
from h2a_lib.models import networks, processor
from h2a_lib.models.compiling import is_compiled
from h2a_lib.models.cuda_graph import Graphed
from h2a_lib.models.dataset import (
    Batch,
    HandSet,
    augment,
    generator,
    normalise,
    steps_per_epoch,
)
from h2a_lib.models.inference import (
    Scales,
    calibrate_batch_norm,
    measure_scales,
    predict,
)
from h2a_lib.models.schedules import build_optimizer, build_schedule
from h2a_lib.models.trained import Progress, Trained
from h2a_lib.study import provenance
from h2a_lib.study.config import RunConfig
from h2a_lib.study.runs import metrics_of

# After the first epoch, which is always kept. A kill, or the SIGTERM of a cluster's time limit,
# costs at most this and an epoch; writing 180 MB (ResNet-18 with Adam) takes about 0.3 s.
SECONDS_BETWEEN_CHECKPOINTS = 30.0


def is_better(error: float, best: float) -> bool:
    """Return whether a validation error beats the best so far: lower is better, NaN never is."""
    return error < best


def train(
    config: RunConfig,
    hands: Hands,
    checkpoint: Path,
    on_epoch: Callable[[Progress, RunConfig], None] = lambda progress, config: None,
    seconds_between_checkpoints: float = SECONDS_BETWEEN_CHECKPOINTS,
) -> Trained:
    """Train one network, going on from its checkpoint if there is one.

    An interrupted and resumed training gives the same weights, to the bit on a CPU, as an
    uninterrupted one: every random draw is fixed by (seed, purpose, epoch).

    Parameters
    ----------
    config : RunConfig
        Everything that determines the run, but for the data.
    hands : Hands
        Images and labels; only the "train" split is learnt from.
    checkpoint : Path
        File that holds the state between epochs; removed by the caller when all is kept elsewhere.
    on_epoch : callable
        Told the progress after each epoch.
    seconds_between_checkpoints : float
        Least time between two writings of the checkpoint; the first is after the first epoch.

    Returns
    -------
    Trained
    """
    code = provenance.code()
    arguments = (config, hands, checkpoint, on_epoch, seconds_between_checkpoints)
    if config.devices > 1:
        # The processes leave a checkpoint; going on from it, there is nothing left to learn.
        _fabric(config, config.devices).launch(lambda fabric: _learn(fabric, *arguments))
    fabric = _fabric(config, devices=1)
    learning = _learn(fabric, *arguments)
    assert learning is not None  # of one device
    network, shown, hand_set = learning.network, learning.shown, learning.hand_set
    labels, learnt, scales = hands.labels, learning.learnt, learning.scales
    progress, heldout = learning.progress, np.flatnonzero(labels["split"] != "train")
    last_weights = _copy_of_weights(shown)
    # An error that was never a number leaves no best epoch; the last weights then speak for it.
    best_weights = progress.best_weights or last_weights
    network.load_state_dict(best_weights)

    def predictions(rows: np.ndarray) -> pd.DataFrame:
        frame = labels.iloc[rows][["id", "age_months", "male", "split"]]
        seen = predict(network, config, scales, hand_set, rows, fabric)
        return frame.assign(**seen).reset_index(drop=True)

    return Trained(
        network=network.eval(),
        best_weights=best_weights,
        last_weights=last_weights,
        scales=scales,
        progress=progress,
        predictions=predictions(heldout),
        predictions_train=predictions(np.sort(learnt)),
        code=code,
    )


@dataclass(frozen=True)
class _Learning:
    """What the loop leaves to whoever predicts: networks, hands and how far it came."""

    network: networks.HandNet
    shown: networks.HandNet
    hand_set: HandSet
    learnt: np.ndarray
    scales: Scales
    progress: Progress


def _learn(
    fabric: Fabric,
    config: RunConfig,
    hands: Hands,
    checkpoint: Path,
    on_epoch: Callable[[Progress, RunConfig], None],
    seconds_between_checkpoints: float,
) -> _Learning | None:
    """Run the loop of `train` on one device; or on one of several, and return nothing.

    Of several each takes its share of every batch, gradients are averaged, and batch norm sees its
    own share alone.
    """
    processor.prepare(config.threads)
    labels = hands.labels
    learnt = hands.training_rows(config.train_fraction)
    selection = hands.rows("selection")
    # As many training hands as there are selection hands tell the training error of an epoch.
    looked_at = learnt[: len(selection)]
    scales = measure_scales(hands, learnt)
    hand_set = HandSet.of(hands, fabric.device)

    network = networks.of_run(config, fabric.device)
    optimizer = build_optimizer(config.optimizer, network, config.lr, config.weight_decay)
    share, shares = fabric.global_rank, fabric.world_size
    steps = steps_per_epoch(len(learnt), config.batch_size, shares)
    rate = build_schedule(config.schedule, optimizer, config.epochs, steps)
    average = copy.deepcopy(network) if config.ema_decay else None
    shown = average or network  # the weights that are evaluated and kept
    learner = _quickened(network, config, len(learnt), fabric)
    model, optimizer = fabric.setup(learner, optimizer, _reapply_compile=False)

    progress = Progress()
    state = {"network": network, "average": average, "optimizer": optimizer, "rate": rate.scheduler}
    key = {"config": config.digest, "data": hands.fingerprint}
    if checkpoint.exists():
        progress = _resume(checkpoint, key, state, progress)
    last_checkpoint = time.monotonic()

    while progress.epoch < config.epochs and not _has_stopped(progress, config):
        began = time.monotonic()
        epoch = progress.epoch + 1
        shuffle = generator(torch.device("cpu"), config.seed, "shuffle", epoch)
        random = generator(
            fabric.device, config.seed, "augment", epoch, *([share] if share else [])
        )
        network.train()
        losses, rates = [], []
        for batch in hand_set.shuffled(learnt, config.batch_size, shuffle, share, shares):
            # One shape is compiled; the last batch of an epoch, which is smaller, is not worth it.
            is_whole = len(batch.pixels) * shares == config.batch_size
            with torch.compiler.set_stance("default" if is_whole else "force_eager"):
                answers = answers_to(batch, model, config, scales, random)
            loss = loss_of(answers, batch, scales, config.loss)
            optimizer.zero_grad()
            fabric.backward(loss)
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            rate.after_step()
            if average is not None and config.ema_decay is not None:
                _update_average(
                    average, network, config.ema_decay, len(progress.steps) + len(rates)
                )
            losses.append(loss.detach())  # read once an epoch: reading waits for the device

        calibrate_batch_norm(shown, config, scales, hand_set, looked_at, fabric)
        of_steps = torch.stack(losses).tolist()
        row = {"epoch": epoch, "lr": rates[-1], "train_loss": float(np.mean(of_steps))}
        for name, rows in (("train", looked_at), ("selection", selection)):
            seen = predict(shown, config, scales, hand_set, rows, fabric)
            errors = metrics_of(labels.iloc[rows].assign(**seen))
            row |= {f"{name}_{error}": value for error, value in errors.items()}
        error = row["selection_mae_months" if config.task != "sex" else "selection_log_loss"]
        # Devices may differ in the last digit, and must agree on what follows from it.
        error = fabric.broadcast(error)
        if is_better(error, progress.best_error):
            progress.best_error, progress.best_epoch = error, epoch
            progress.best_weights = _copy_of_weights(shown)
        rate.after_epoch(error)

        progress.epoch = epoch
        progress.history.append(row)
        progress.steps += [
            {"step": (epoch - 1) * steps + i + 1, "lr": r, "train_loss": x}
            for i, (r, x) in enumerate(zip(rates, of_steps, strict=True))
        ]
        progress.seconds += time.monotonic() - began
        is_last = shares > 1 and (progress.epoch == config.epochs or _has_stopped(progress, config))
        due = time.monotonic() - last_checkpoint >= seconds_between_checkpoints
        if fabric.is_global_zero:
            if due or is_last or not checkpoint.exists():
                _save(checkpoint, key, state, progress)
                last_checkpoint = time.monotonic()
            on_epoch(progress, config)

    if shares > 1:
        return None
    return _Learning(network, shown, hand_set, learnt, scales, progress)


def _quickened(network: networks.HandNet, config: RunConfig, n_hands: int, fabric: Fabric) -> Any:
    """Return what learns: the network, compiled or replayed where that is quicker."""
    # The network alone is compiled, not what Fabric wraps around it, which Dynamo cannot read.
    if is_compiled(config, n_hands, fabric.device):
        return torch.compile(network, dynamic=False)
    if fabric.device.type == "cuda" and fabric.world_size == 1:
        return Graphed(network, config.batch_size, config.image_size_px, fabric)
    return network


def answers_to(
    batch: Batch, model: nn.Module, config: RunConfig, scales: Scales, random: torch.Generator
) -> dict[str, Tensor]:
    """Augment and normalise a batch as a run does in training, and return the network's answers."""
    pixels = batch.pixels
    if config.augment is not None:
        pixels = augment(pixels, config.augment, random)
    pixels = normalise(pixels, config.pixel_norm, scales.pixels, training=True)
    return model(pixels, batch.male if config.sex_input else None)


def _fabric(config: RunConfig, devices: int) -> Fabric:
    """Return what places networks and batches: on GPUs, or on as many processes without one."""
    n_gpus = torch.cuda.device_count()
    if 0 < n_gpus < devices:
        raise UserError(f"devices: {devices}, but this machine has {n_gpus} GPU: say devices: 1")
    # A hint for whoever starts Python by hand in a job of Slurm.
    warnings.filterwarnings("ignore", message="The `srun` command is available")
    # Forks, the only way that works in a notebook too.
    strategy = "ddp_fork" if devices > 1 else "auto"
    return Fabric(
        accelerator="auto", devices=devices, strategy=strategy, precision=_precision(config)
    )


def loss_of(answers: dict[str, Tensor], batch: Batch, scales: Scales, kind: str) -> Tensor:
    """Return the training loss: of standardised months, of sex, or their sum.

    Parameters
    ----------
    answers : dict of str to Tensor
        As from `HandNet.forward`, each (n,).
    batch : Batch
        The truth.
    scales : Scales
    kind : {"l1", "smooth_l1"}
        For months.

    Returns
    -------
    Tensor
        A scalar.
    """
    loss = torch.zeros((), device=batch.pixels.device)
    if "age" in answers:
        target = (batch.age_months - scales.age_mean_months) / scales.age_sd_months
        of_age = F.l1_loss if kind == "l1" else F.smooth_l1_loss
        loss = loss + of_age(answers["age"].float(), target)
    if "sex" in answers:
        loss = loss + F.binary_cross_entropy_with_logits(answers["sex"].float(), batch.male)
    return loss


def _precision(config: RunConfig) -> Any:
    if config.precision != "auto":
        return config.precision
    # Counting, unlike asking whether there is one, leaves CUDA alone: it must not be there yet
    # when processes fork.
    return "bf16-mixed" if torch.cuda.device_count() else "32-true"


def _has_stopped(progress: Progress, config: RunConfig) -> bool:
    patience = config.early_stopping_patience
    return patience is not None and progress.epoch - progress.best_epoch >= patience


@torch.no_grad()
def _update_average(average: nn.Module, network: nn.Module, decay: float, step: int) -> None:
    """Move the running average of the weights towards the network's."""
    # Short memory at first: the average must not remember the random start.
    update = get_ema_multi_avg_fn(min(decay, (1 + step) / (10 + step)))
    update(list(average.parameters()), list(network.parameters()), step)


def _copy_of_weights(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in network.state_dict().items()}


def _save(path: Path, key: dict[str, str], state: dict[str, Any], progress: Progress) -> None:
    content = {name: part.state_dict() for name, part in state.items() if part is not None}
    # Through a file of Python's: torch's own does not say that the disk is full.
    with write_atomically(path) as temporary, temporary.open("wb") as file:
        torch.save({"key": key, "state": content, "progress": vars(progress)}, file)


def _resume(path: Path, key: dict[str, str], state: dict[str, Any], progress: Progress) -> Progress:
    """Load a checkpoint into `state` and return its progress; another run's is left alone."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        of_this_run = content["key"] == key
    except (RuntimeError, pickle.UnpicklingError, EOFError, TypeError, KeyError) as error:
        raise UserError(f"{path} is damaged: delete it to train anew ({error})") from None
    if not of_this_run:
        return progress
    for name, part in state.items():
        if part is not None:
            part.load_state_dict(content["state"][name])
    return Progress(**content["progress"])
