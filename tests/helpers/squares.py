"""A made-up data set that a network can learn in seconds, and the settings to do it with."""

import numpy as np
import pandas as pd

from h2a_lib.data.hands import Hands

SETTINGS = {
    "image_size_px": 32,
    "geometry": "center_crop",
    "contrast": "none",
    "pixel_norm": "instance",
    "augment": None,
    "network": "resnet18",
    "width": 0.25,
    "stem": "imagenet",
    "pretrained": False,
    "task": "age",
    "sex_input": False,
    "train_fraction": 1.0,
    "loss": "l1",
    "optimizer": "adam",
    "lr": 1e-3,
    "weight_decay": 0.0,
    "schedule": {"name": "exponential", "gamma": 0.7},
    "epochs": 2,
    "batch_size": 8,
    "ema_decay": None,
    "early_stopping_patience": None,
    "precision": "32-true",
    "threads": 1,
    "experiment": "test",
    "seed": 0,
}


def split_of(n: int, n_validation: int) -> list[str]:
    """Return the split of each hand: as many to select by as to validate, the rest to train on."""
    return [["validation", "selection", "train"][min(i // n_validation, 2)] for i in range(n)]


def squares(n: int, n_validation: int, size_px: int = 32) -> Hands:
    """Draw bright squares on noise: the older, the larger; males brighter."""
    random = np.random.default_rng(0)
    ages = np.linspace(12, 216, n)[random.permutation(n)]
    male = random.random(n) < 0.5
    images = random.integers(0, 40, (n, size_px, size_px), dtype=np.uint8)
    for image, age, is_male in zip(images, ages, male, strict=True):
        side = int(4 + age / 216 * (size_px - 6))
        image[2 : 2 + side, 2 : 2 + side] += 200 if is_male else 120
    labels = pd.DataFrame(
        {
            "id": [str(1000 + i) for i in range(n)],
            "age_months": ages,
            "male": male,
            "split": split_of(n, n_validation),
        }
    )
    return Hands(images, labels, fingerprint="squares")
