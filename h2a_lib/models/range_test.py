"""Leslie Smith's learning-rate range test, on a copy: nothing is changed by looking."""

import copy
import itertools
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn, optim

from h2a_lib.data.hands import Hands
from h2a_lib.models import networks
from h2a_lib.models.dataset import Batch, DeviceDataset, generator
from h2a_lib.models.inference import Setup, measure_scales
from h2a_lib.models.schedules import build_optimizer
from h2a_lib.models.training import batch_loss, new_fabric
from h2a_lib.study.config import RunConfig

# Weight of the past in the running mean of the loss: about the last ten steps.
SMOOTHING = 0.9
# Smoothed loss over the lowest so far at which the test has seen enough.
DIVERGED = 3.0
# Steps at the start whose running mean is still of a few values.
WARM_UP = 10
# Of the rates whose losses are averaged.
WINDOW_DECADES = 1.0


@dataclass(frozen=True)
class RangeTest:
    """The loss as the rate rises (lr, loss, smoothed of each batch), and the rate that it suggests.

    `diverged` says that the test ended because the loss exploded, and not because rates ran out.
    """

    curve: pd.DataFrame
    suggestion: float
    diverged: bool


def range_test(
    config: RunConfig,
    hands: Hands,
    lowest: float = 1e-6,
    highest: float = 1.0,
    n_steps: int = 100,
) -> RangeTest:
    """Run the test on a run's own network, optimiser, training images and augmentation.

    Its schedule is not used, and the hands are gone through as often as `n_steps` batches need.
    """
    torch.set_num_threads(config.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    rows = hands.training_rows(config.train_fraction)
    dataset = DeviceDataset.of(hands, device)
    setup = Setup(config, dataset, measure_scales(hands, rows), new_fabric("32-true"))
    network = networks.initial(config, device)
    optimizer = build_optimizer(config.optimizer, network, lowest, config.weight_decay)
    random = generator(device, config.seed, "range test")

    def loss(model: nn.Module, batch: Batch) -> Tensor:
        return batch_loss(model, batch, setup, random)

    shuffle = generator(torch.device("cpu"), config.seed, "range test order")
    epochs = (dataset.shuffled(rows, config.batch_size, shuffle) for _ in itertools.count())
    batches = itertools.chain.from_iterable(epochs)
    return sweep(network, optimizer, loss, batches, lowest, highest, n_steps)


def sweep(
    network: nn.Module,
    optimizer: optim.Optimizer,
    loss: Callable[[nn.Module, Batch], Tensor],
    batches: Iterable[Batch],
    lowest: float,
    highest: float,
    n_steps: int,
) -> RangeTest:
    """Train a copy with an exponentially rising rate until its loss explodes.

    The network, the optimiser and torch's random state are afterwards what they were, to the bit
    (Lightning's finder leaves the weights changed: its issues 6675 and 10557).
    """
    rates = np.geomspace(lowest, highest, n_steps)
    network, optimizer = copy.deepcopy((network, optimizer))
    network.train()
    losses: list[float] = []
    smoothed: list[float] = []
    running = 0.0
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        for step, (rate, batch) in enumerate(zip(rates, batches, strict=False), start=1):
            for group in optimizer.param_groups:
                group["lr"] = rate
            value = loss(network, batch)
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            losses.append(value.item())
            running = SMOOTHING * running + (1 - SMOOTHING) * losses[-1]
            smoothed.append(running / (1 - SMOOTHING**step))
            if not math.isfinite(losses[-1]) or (
                step > WARM_UP and smoothed[-1] > DIVERGED * min(smoothed)
            ):
                break
    curve = pd.DataFrame({"lr": rates[: len(losses)], "loss": losses, "smoothed": smoothed})
    return RangeTest(curve, suggest(curve), diverged=len(losses) < n_steps)


def suggest(curve: pd.DataFrame) -> float:
    """Return the highest rate of the decade of rates in which the loss is lowest, in the mean.

    A batch's loss is noisy, hence the decade. The steepest fall, the more usual rule, lies a decade
    lower, and networks trained with it were worse (docs/performance.md). It is the lowest rate of
    the curve if the loss never falls.
    """
    finite = curve[np.isfinite(curve["loss"])]
    decades, losses = np.log10(finite["lr"].to_numpy()), finite["loss"].to_numpy()
    half = min(WINDOW_DECADES, np.ptp(decades)) / 2
    centres = decades[(decades >= decades[0] + half) & (decades <= decades[-1] - half)]
    means = [losses[np.abs(decades - centre) <= half].mean() for centre in centres]
    lowest = int(np.argmin(means))
    return float(10 ** (centres[lowest] + half if lowest else decades[0]))
