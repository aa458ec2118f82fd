"""Does it harm that training images are resampled by augmentation and validation images are not?

    python benchmarks/resampling.py --run runs/rsna-100px/best/seed-0 --profile rsna-100px

Of one finished run that was trained with augmentation: the validation error with batch-norm
statistics measured on training images as they are, or augmented, on validation images as they are,
or softened as bilinear resampling softens them (shifted by half a pixel both ways). Prints one line
of JSON a pair, with the paired difference to the run's own way: as they are, both.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from h2a_lib.analysis.statistics.bootstrap import paired_difference
from h2a_lib.data.hands import load_hands
from h2a_lib.models.dataset import augment, generator, normalise
from h2a_lib.models.inference import CALIBRATION_HANDS, EVALUATION_BATCH, predictor_of
from h2a_lib.study import runs
from h2a_lib.study.notebook import open_study


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--profile", required=True)
    parser.add_argument("--data")
    options = parser.parse_args()
    run = runs.load(options.run)
    if run.config.augment is None or run.config.task == "sex":
        parser.error(f"{run.name} was not trained for age with augmentation")
    hands = load_hands(open_study("resampling", options.profile, options.data), run.config)
    trained_on = hands.training_rows(run.config.train_fraction)[:CALIBRATION_HANDS]
    rows = hands.rows("validation")
    labels = hands.labels.iloc[rows].reset_index(drop=True)
    images = torch.from_numpy(hands.images[rows]).unsqueeze(1) / 255
    training = torch.from_numpy(hands.images[np.sort(trained_on)]).unsqueeze(1) / 255
    random = generator(torch.device("cpu"), 0, "resampling")
    ways = {"as they are": training, "augmented": augment(training, run.config.augment, random)}
    observed = {}
    for statistics, calibrating in ways.items():
        calibrate(run, calibrating)
        for shown, pixels in (("as they are", images), ("softened", soften(images))):
            frame = labels[["id", "age_months"]].assign(predicted_age_months=ages(run, pixels))
            observed[statistics, shown] = frame
    own = observed["as they are", "as they are"]
    for (statistics, shown), frame in observed.items():
        error = frame["predicted_age_months"] - frame["age_months"]
        row = {"statistics": statistics, "validation images": shown, "n": len(frame)}
        row |= {"mae_months": round(float(error.abs().mean()), 2)}
        row |= {"bias_months": round(float(error.mean()), 2)}
        if frame is not own:
            row["difference_months"] = paired_difference(frame, own).text(digits=2)
        print(json.dumps(row), flush=True)


def soften(images: Tensor) -> Tensor:
    """Shift by half a pixel right and down, bilinearly: the mean of four neighbours."""
    padded = torch.nn.functional.pad(images, (1, 0, 1, 0), mode="replicate")
    return torch.nn.functional.avg_pool2d(padded, 2, stride=1)


@torch.no_grad()
def calibrate(run: runs.Run, images: Tensor) -> None:
    """Measure the batch-norm statistics on images (n, 1, s, s), 0 to 1."""
    for layer in predictor_of(run).network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.reset_running_stats()
            layer.momentum = None
    predictor_of(run).network.train()
    for part in images.split(EVALUATION_BATCH):
        predictor_of(run).network.features(normalised(run, part))
    predictor_of(run).network.eval()


@torch.no_grad()
def ages(run: runs.Run, images: Tensor) -> pd.Series:
    """Predict images (n, 1, s, s), 0 to 1: months, (n,)."""
    parts = [
        predictor_of(run).network(normalised(run, part))["age"]
        for part in images.split(EVALUATION_BATCH)
    ]
    standardised = torch.cat(parts).double().numpy()
    return pd.Series(
        standardised * predictor_of(run).scales.age_sd_months
        + predictor_of(run).scales.age_mean_months
    )


def normalised(run: runs.Run, images: Tensor) -> Tensor:
    """Scale pixel values as the run does outside training."""
    return normalise(images, run.config.pixel_norm, predictor_of(run).scales.pixels, training=False)


if __name__ == "__main__":
    main()
