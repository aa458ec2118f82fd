"""Every experiment of study.yaml trains: its own settings, on a few small hands."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from h2a_lib.data.hands import Hands
from h2a_lib.data.images import prepare
from h2a_lib.models.state import selection_metric
from h2a_lib.models.trained import save_run
from h2a_lib.models.training import train
from h2a_lib.study import config as study
from h2a_lib.study import runs

STUDY_FILE = study.load(Path(__file__).parents[2] / "study.yaml")
N = 24


def hands_for(config: study.RunConfig) -> Hands:
    """Return upright pictures with a bright square in them, prepared as the experiment asks."""
    random = np.random.default_rng(0)
    ages = np.linspace(12, 216, N)
    images = []
    for age in ages:
        picture = random.integers(0, 40, (60, 48), dtype=np.uint8)
        picture[10 : 14 + int(age / 8), 8 : 12 + int(age / 8)] += 150
        images.append(prepare(picture, config.image_size_px, config.geometry, config.contrast))
    labels = pd.DataFrame(
        {
            "id": [str(i) for i in range(N)],
            "age_months": ages,
            "male": np.arange(N) % 2 == 0,
            "split": np.resize(["validation", "train", "train", "selection"], N),
        }
    )
    return Hands(np.stack(images), labels, fingerprint="squares")


@pytest.mark.slow
@pytest.mark.parametrize("experiment", STUDY_FILE.experiments)
def test_an_experiment_trains_and_its_run_can_be_read(experiment, tmp_path):
    config = STUDY_FILE.run_config("smoke", experiment, seed=1)
    hands = hands_for(config)
    save_run(
        tmp_path,
        config,
        train(config, hands, tmp_path / runs.CHECKPOINT),
        hands.fingerprint,
        "made-up squares",
    )
    run = runs.load(tmp_path)
    assert run.config == config
    assert 1 <= len(run.history) <= config.epochs
    assert run.steps["lr"].between(0, config.lr * 1.0001).all()
    assert set(run.predictions["split"]) == {"selection", "validation"}
    assert math.isfinite(run.history[selection_metric(config)].iloc[-1])
    assert not run.diverged
    n_train = round(12 * config.train_fraction)
    assert run.metrics["n_train"] == len(run.predictions_train) == n_train
    if config.schedule.name not in ("constant", "plateau"):
        moves = len(set(run.steps["lr"])) > 1
        late = config.schedule.name == "step" and config.schedule.step_size >= len(run.history)
        assert moves or late, "the schedule moves the rate"
