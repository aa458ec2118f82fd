"""How fast this machine trains: `python -m h2a_lib.models.rate SETTINGS` prints a rate."""

import sys
import time

import numpy as np
import pandas as pd
import torch

from h2a_lib.data.hands import Hands
from h2a_lib.models import precision
from h2a_lib.models.dataset import DeviceDataset
from h2a_lib.models.inference import Setup, measure_scales
from h2a_lib.models.state import TrainState
from h2a_lib.models.training import new_fabric, train_epoch
from h2a_lib.study.config import RunConfig

STEPS = 4
# More than are taken: some schedules end with their last step.
MOST_STEPS = 1_000_000


def images_per_second(config: RunConfig, seconds: float = 2.0) -> float:
    """Train the network of these settings on noise for some seconds, after one epoch to warm up."""
    torch.set_num_threads(config.threads)
    n = STEPS * config.batch_size
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (n, *[config.image_size_px] * 2), dtype=np.uint8)
    frame = {"age_months": random.uniform(12, 216, n), "male": random.random(n) < 0.5}
    hands = Hands(images, pd.DataFrame(frame).assign(split="train"), "noise")
    fabric = new_fabric(precision.resolve(config.precision))
    dataset = DeviceDataset.of(hands, fabric.device)
    setup = Setup(config, dataset, measure_scales(hands, np.arange(n)), fabric)
    state = TrainState.initial(config, fabric, MOST_STEPS)
    train_epoch(1, state, setup, np.arange(n))
    epoch, began = 1, time.perf_counter()
    while (passed := time.perf_counter() - began) < seconds:
        epoch += 1
        train_epoch(epoch, state, setup, np.arange(n))
    return n * (epoch - 1) / passed


if __name__ == "__main__":
    print(images_per_second(RunConfig.model_validate_json(sys.argv[1])))
