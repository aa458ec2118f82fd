"""From images to predictions: a finished run's network, and batch norm as evaluation needs it."""

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from h2a_lib.data.hands import Hands
from h2a_lib.errors import UserError
from h2a_lib.files import sha256
from h2a_lib.models import networks
from h2a_lib.models.dataset import Batch, DeviceDataset, PixelStatistics, normalise
from h2a_lib.study.config import RunConfig
from h2a_lib.study.runs import WEIGHTS, Run

if TYPE_CHECKING:  # it imports torch's compiler, which takes a prediction's user seconds
    from lightning_fabric import Fabric

# Output of the network -> column of predictions.csv.
AGE_COLUMNS = {
    "age": "predicted_age_months",
    "age_low": "predicted_age_low_months",
    "age_high": "predicted_age_high_months",
}
# Evaluation holds no activations for a backward pass, so it takes larger batches.
EVALUATION_BATCH = 256
# Enough for the mean and variance of a feature map, and a small part of an epoch.
CALIBRATION_HANDS = 512
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


@dataclass(frozen=True)
class Scales:
    """What training measured on its own images and labels, and prediction needs again."""

    age_mean_months: float
    age_sd_months: float
    pixels: PixelStatistics


def measure_scales(hands: Hands, rows: np.ndarray) -> Scales:
    """Measure what standardises months and pixels, on training hands alone."""
    ages = hands.labels["age_months"].to_numpy()[rows]
    return Scales(
        age_mean_months=float(ages.mean()),
        age_sd_months=max(float(ages.std()), 1.0),
        pixels=PixelStatistics.of(hands.images[np.sort(rows)]),
    )


@dataclass(frozen=True)
class Setup:
    """What a training or an evaluation is done with, and does not change."""

    config: RunConfig
    dataset: DeviceDataset
    scales: Scales
    fabric: "Fabric"

    @property
    def device(self) -> torch.device:
        """Where networks and batches are."""
        return self.fabric.device


@torch.no_grad()
def calibrate_batch_norm(network: nn.Module, setup: Setup, rows: np.ndarray) -> None:
    """Measure the statistics of the batch-norm layers anew, on training hands as they are.

    The running averages that training leaves lag behind the weights, hold the noise of the last few
    small batches, and are of augmented images; evaluated with them, the error of one epoch could be
    twice that of the one before. See Wu and Johnson 2021, "Rethinking 'Batch' in BatchNorm",
    section 3.
    """
    layers = [layer for layer in network.modules() if isinstance(layer, BATCH_NORMS)]
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # the plain mean over batches
    network.train()
    for batch in setup.dataset.in_order(rows[:CALIBRATION_HANDS], EVALUATION_BATCH):
        _forward(network, batch, setup)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum


@torch.no_grad()
def predict(network: networks.HandNet, setup: Setup, rows: np.ndarray) -> dict[str, np.ndarray]:
    """Return the columns of `to_predictions` for some hands; none of a self-supervised network."""
    if setup.config.task == "ssl":
        return {}
    network.eval()
    outputs: dict[str, list[Tensor]] = {}
    for batch in setup.dataset.in_order(rows, EVALUATION_BATCH):
        for name, values in _forward(network, batch, setup).items():
            outputs.setdefault(name, []).append(values.float())  # reading waits for the device
    return to_predictions(outputs, setup.scales)


def _forward(network: nn.Module, batch: Batch, setup: Setup) -> dict[str, Tensor]:
    """Return a network's outputs for a batch as it is, not augmented."""
    how, scales = setup.config.pixel_norm, setup.scales
    pixels = normalise(batch.pixels, how, scales.pixels, training=False)
    with setup.fabric.autocast():
        return network(pixels, batch.male if setup.config.sex_input else None)


def to_predictions(outputs: dict[str, list[Tensor]], scales: Scales) -> dict[str, np.ndarray]:
    """Turn a network's outputs, in batches, into columns of predictions.csv, (n,) each."""
    columns = {}
    joined = {name: torch.cat(parts).cpu() for name, parts in outputs.items()}
    for name, column in AGE_COLUMNS.items():
        if name in joined:
            months = joined[name] * scales.age_sd_months + scales.age_mean_months
            columns[column] = months.double().numpy().round(4)
    if "sex" in joined:
        columns["male_probability"] = joined["sex"].sigmoid().double().numpy().round(6)
    return columns


class Predictor:
    """The network of a finished run, ready to predict; its weights are loaded when first needed."""

    def __init__(self, run: Run):
        self.run = run
        self.config = run.config
        self.scales = Scales(
            run.model["age_mean_months"],
            run.model["age_sd_months"],
            PixelStatistics(run.model["pixel_mean"], run.model["pixel_sd"]),
        )

    @cached_property
    def network(self) -> networks.HandNet:
        """The network with the weights of its best epoch, in evaluation mode, on the CPU.

        A UserError says that the weights are not there, damaged, or another network's.
        """
        file = self.run.folder / WEIGHTS
        network = networks.from_config(self.config, pretrained=False)
        if not self.run.has_weights:
            raise UserError(
                f"{file} was deleted, or left where the run was trained: bring it, or delete the "
                "folder to train the run again"
            )
        if self.run.model["weights_sha256"] != sha256(file):
            raise UserError(f"{file}: damaged, or another run's")
        try:
            network.load_state_dict(load_file(file))
        except Exception as error:
            raise UserError(f"{file}: not this network's weights: {error}") from None
        return network.to(memory_format=torch.channels_last).eval()

    def normalise(self, images: np.ndarray) -> Tensor:
        """Turn uint8 images (n, s, s) into the network's input: float, (n, 1, s, s)."""
        pixels = torch.from_numpy(np.ascontiguousarray(images)).unsqueeze(1).float() / 255
        return normalise(pixels, self.config.pixel_norm, self.scales.pixels, training=False)

    @torch.no_grad()
    def predict(
        self, images: np.ndarray, male: np.ndarray | None = None, batch_size: int = 256
    ) -> dict[str, np.ndarray]:
        """Predict uint8 images (n, s, s): the columns of `to_predictions`, each (n,).

        `male`, (n,), is read by a network with sex input alone: one for both tasks is not given its
        own answer.
        """
        if not self.config.sex_input:
            male = None
        outputs: dict[str, list[Tensor]] = {}
        for start in range(0, len(images), batch_size):
            part = slice(start, start + batch_size)
            sex = None if male is None else torch.tensor(male[part], dtype=torch.float32)
            for name, values in self.network(self.normalise(images[part]), sex).items():
                outputs.setdefault(name, []).append(values)
        return to_predictions(outputs, self.scales)

    @torch.no_grad()
    def features(self, images: np.ndarray, batch_size: int = 256) -> np.ndarray:
        """Return the input of the heads for uint8 images (n, s, s): (n, d), float32."""
        starts = range(0, len(images), batch_size)
        parts = (self.normalise(images[start : start + batch_size]) for start in starts)
        return np.concatenate([self.network.features(part).numpy() for part in parts])


@lru_cache(maxsize=8)
def predictor_of(run: Run) -> Predictor:
    """Return a run's predictor; those used last are kept, so that weights are read once."""
    return Predictor(run)
