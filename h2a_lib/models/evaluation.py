"""How well a network does: batch norm measured anew, predictions in words, their errors."""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from h2a_lib.data.hands import Hands
from h2a_lib.models import networks
from h2a_lib.models.batches import HandSet, PixelStatistics, normalise
from h2a_lib.study import RunConfig

# Evaluation holds no activations for a backward pass, so it takes larger batches.
EVALUATION_BATCH = 256
# Enough for the mean and variance of a feature map, and a small part of an epoch.
CALIBRATION_HANDS = 512


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


@torch.no_grad()
def calibrate_batch_norm(
    network: nn.Module,
    config: RunConfig,
    scales: Scales,
    hand_set: HandSet,
    rows: np.ndarray,
    fabric: Fabric,
) -> None:
    """Measure the statistics of the batch-norm layers anew, on training hands as they are.

    The running averages that training leaves lag behind the weights, hold the noise of the last
    few small batches, and are of augmented images; evaluated with them, the error of one epoch
    could be twice that of the one before. See Wu and Johnson 2021, "Rethinking 'Batch' in
    BatchNorm", section 3.

    Parameters
    ----------
    network : nn.Module
        Changed in place; its weights are not.
    rows : ndarray
        (n,), training hands; the first `CALIBRATION_HANDS` are used.
    """
    layers = [layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)]
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # the plain mean over batches
    network.train()
    for batch in hand_set.in_order(rows[:CALIBRATION_HANDS], EVALUATION_BATCH):
        pixels = normalise(batch.pixels, config.pixel_norm, scales.pixels, training=False)
        with fabric.autocast():
            network(pixels, batch.male if config.sex_input else None)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum


@torch.no_grad()
def predict(
    network: networks.HandNet,
    config: RunConfig,
    scales: Scales,
    hand_set: HandSet,
    rows: np.ndarray,
    fabric: Fabric,
) -> dict[str, np.ndarray]:
    """Predict some hands in evaluation mode.

    Returns
    -------
    dict of str to ndarray
        predicted_age_months and/or male_probability, each (n,), in the order of `rows`.
    """
    network.eval()
    found: dict[str, list[Tensor]] = {}
    for batch in hand_set.in_order(rows, EVALUATION_BATCH):
        pixels = normalise(batch.pixels, config.pixel_norm, scales.pixels, training=False)
        with fabric.autocast():
            answers = network(pixels, batch.male if config.sex_input else None)
        for name, values in answers.items():
            found.setdefault(name, []).append(values.float())  # reading waits for the device
    return in_words(found, scales)


def in_words(answers: dict[str, list[Tensor]], scales: Scales) -> dict[str, np.ndarray]:
    """Turn a network's answers, in batches, into months and probabilities, each (n,)."""
    columns = {}
    said = {name: torch.cat(parts).cpu() for name, parts in answers.items()}
    if "age" in said:
        months = said["age"] * scales.age_sd_months + scales.age_mean_months
        columns["predicted_age_months"] = months.double().numpy().round(4)
    if "sex" in said:
        columns["male_probability"] = said["sex"].sigmoid().double().numpy().round(6)
    return columns


def errors_of(predictions: pd.DataFrame) -> dict[str, float]:
    """Return the errors of predictions: mae_months and/or log_loss and auc."""
    from sklearn.metrics import log_loss, roc_auc_score

    errors = {}
    if "predicted_age_months" in predictions:
        difference = predictions["predicted_age_months"] - predictions["age_months"]
        errors["mae_months"] = float(difference.abs().mean())
    if "male_probability" in predictions:
        male, probability = predictions["male"], predictions["male_probability"]
        errors["log_loss"] = float(log_loss(male, probability, labels=[False, True]))
        # Of one sex alone there is nothing to tell apart.
        errors["auc"] = float(roc_auc_score(male, probability)) if male.nunique() == 2 else math.nan
    return errors
