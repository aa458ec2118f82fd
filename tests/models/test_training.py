"""Training: direction, determinism, resume, and that it learns at all."""

import contextlib
import itertools
import math
import random
import signal
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from squares import squares
from training_process import start

from h2a_lib.errors import UserError
from h2a_lib.models import networks, training
from h2a_lib.models.dataset import normalise
from h2a_lib.models.state import is_better
from h2a_lib.models.trained import save_run
from h2a_lib.models.training import train
from h2a_lib.study import provenance, runs
from h2a_lib.study.runs import metrics_of

FULL = {
    "augment": {},
    "ema_decay": 0.9,
    "optimizer": "sgd",
    "schedule": {"name": "cyclic", "step_size": 1},
    "task": "both",
    "epochs": 4,
    "width": 0.25,
}


def predictions(config, hands, folder: Path, **options) -> bytes:
    return train(config, hands, folder / "checkpoint.pt", **options).predictions.to_csv().encode()


def test_lower_is_better_and_nan_never_is():
    assert is_better(1.0, 2.0)
    assert not is_better(2.0, 1.0)
    assert not is_better(1.0, 1.0)
    assert not is_better(math.nan, math.inf)


def test_best_checkpoint_is_the_one_with_the_lowest_error(config, hands, tmp_path, monkeypatch):
    # (train, validation) errors an epoch, constructed: the third is the best.
    errors = iter([1.0, 30.0, 1.0, 20.0, 1.0, 10.0, 1.0, 25.0])
    monkeypatch.setattr(training, "metrics_of", lambda frame: {"mae_months": next(errors)})
    observed = []
    kept = train(
        config(epochs=4),
        hands,
        tmp_path / "checkpoint.pt",
        on_epoch=lambda progress, _: observed.append(
            (progress.best_epoch, progress.best_weights["trunk.conv1.weight"].clone())
        ),
    )
    assert [epoch for epoch, _ in observed] == [1, 2, 3, 3]
    assert torch.equal(kept.best_weights["trunk.conv1.weight"], observed[2][1])
    assert not torch.equal(kept.last_weights["trunk.conv1.weight"], observed[2][1])
    assert torch.equal(kept.network.state_dict()["trunk.conv1.weight"], observed[2][1])


def test_a_network_learns_the_side_of_a_square(config, tmp_path):
    hands = squares(75, n_validation=15)
    trained = train(config(epochs=8), hands, tmp_path / "checkpoint.pt")
    error = metrics_of(trained.predictions)["mae_months"]
    truth = hands.labels.set_index("id").loc[trained.predictions["id"], "age_months"]
    constant = np.abs(truth - trained.predictions_train["age_months"].median()).mean()
    assert error < constant / 2


def test_the_same_seed_gives_the_same_bytes_and_another_one_others(config, hands, tmp_path):
    first, again, other = (
        predictions(config(**FULL, seed=seed), hands, tmp_path / name)
        for name, seed in (("first", 0), ("again", 0), ("other", 1))
    )
    assert first == again
    assert first != other


@pytest.mark.parametrize("stop_after", [1, 2, 3])
def test_an_interrupted_training_ends_with_the_same_bytes(config, hands, tmp_path, stop_after):
    """Every piece of state that a schedule, optimiser, average or augmentation keeps survives."""

    class KilledError(Exception):
        pass

    def kill(progress, _):
        if progress.epoch == stop_after:
            raise KilledError

    settings = config(**FULL)
    whole = predictions(settings, hands, tmp_path / "whole")
    with pytest.raises(KilledError):
        predictions(settings, hands, tmp_path, on_epoch=kill, seconds_between_checkpoints=0)
    epochs = []
    resumed = predictions(
        settings, hands, tmp_path, on_epoch=lambda progress, _: epochs.append(progress.epoch)
    )
    assert epochs == list(range(stop_after + 1, 5)), "what was done is not done again"
    assert resumed == whole


@pytest.mark.parametrize(
    "schedule",
    [
        "constant",
        {"name": "step", "gamma": 0.1, "step_size": 2},
        {"name": "exponential", "gamma": 0.7},
        {"name": "plateau", "patience": 0},
        {"name": "cyclic", "mode": "exp_range", "step_size": 0.5},
        "one_cycle",
        "cosine",
    ],
)
def test_every_schedule_survives_a_kill(config, hands, tmp_path, schedule):
    def stop(progress, _):
        if progress.epoch == 2:
            raise KeyboardInterrupt

    settings = config(schedule=schedule, optimizer="adamw", epochs=3, width=0.25)
    checkpoint = tmp_path / "checkpoint.pt"
    with pytest.raises(KeyboardInterrupt):
        train(settings, hands, checkpoint, stop, seconds_between_checkpoints=0)
    resumed = train(settings, hands, checkpoint)
    whole = train(settings, hands, tmp_path / "other.pt")
    pd.testing.assert_frame_equal(resumed.predictions, whole.predictions, check_exact=True)
    assert resumed.progress.steps == whole.progress.steps


def test_a_checkpoint_of_another_run_is_not_gone_on_with(config, hands, tmp_path):
    def stop(progress, _):
        raise KeyboardInterrupt

    checkpoint = tmp_path / "checkpoint.pt"
    with pytest.raises(KeyboardInterrupt):
        train(config(lr=1e-4), hands, checkpoint, stop, seconds_between_checkpoints=0)
    epochs = []
    train(config(), hands, checkpoint, lambda progress, _: epochs.append(progress.epoch))
    assert epochs == [1, 2]


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> tuple[Path, float]:
    """Return the run of a training that nothing interrupted, and its seconds."""
    folder = tmp_path_factory.mktemp("whole")
    start(folder / "first")[0].join()  # the first one waits for the server to import
    began = time.monotonic()
    assert finish(start(folder)) == [1, 2, 3, 4, 5]
    return folder, time.monotonic() - began


def finish(started) -> list[int]:
    """Wait for a training to end well; return the epochs that it has done."""
    process, epochs = started
    done = []
    with contextlib.suppress(EOFError):
        while True:
            done.append(epochs.recv())
    process.join()
    assert process.exitcode == 0
    return done


def assert_same_run(folder: Path, whole: Path) -> None:
    for name in ("predictions.csv", "predictions_train.csv", "history.csv", "weights.safetensors"):
        assert (folder / name).read_bytes() == (whole / name).read_bytes(), name


@pytest.mark.slow
def test_a_training_killed_at_random_moments_ends_with_the_same_predictions(whole, tmp_path):
    moments = random.Random(0)
    for _ in range(2):
        process, _ = start(tmp_path)
        time.sleep(moments.uniform(0.1, 0.95) * whole[1])
        process.kill()
        process.join()
    finish(start(tmp_path))
    assert_same_run(tmp_path, whole[0])


def test_a_terminated_training_has_left_its_checkpoint_and_ends_the_same(whole, tmp_path):
    process, epochs = start(tmp_path, training.SECONDS_BETWEEN_CHECKPOINTS)
    assert [epochs.recv() for _ in range(2)] == [1, 2]
    process.terminate()  # as Slurm does at a time limit
    process.join()
    assert process.exitcode == -signal.SIGTERM
    assert (tmp_path / runs.CHECKPOINT).exists()
    assert 1 not in finish(start(tmp_path)), "the first epoch was not done again"
    assert_same_run(tmp_path, whole[0])


@pytest.mark.parametrize("damage", [lambda c: c[: len(c) // 2], lambda _: b"not a checkpoint"])
def test_a_damaged_checkpoint_is_named_with_what_to_do(config, hands, tmp_path, damage):
    checkpoint = tmp_path / "checkpoint.pt"
    train(config(epochs=1), hands, checkpoint)
    checkpoint.write_bytes(damage(checkpoint.read_bytes()))
    with pytest.raises(UserError, match="is damaged: delete it to train anew"):
        train(config(epochs=1), hands, checkpoint)


@pytest.mark.parametrize("task", ["age", "sex"])
def test_a_training_that_diverges_stops_and_says_so(config, hands, tmp_path, task):
    settings = config(lr=1e30, epochs=5, task=task, optimizer="sgd")
    trained = train(settings, hands, tmp_path / runs.CHECKPOINT)
    assert trained.progress.epoch < 5
    save_run(tmp_path, settings, trained, hands.fingerprint, "made-up squares")
    assert "NaN" not in (tmp_path / "metrics.json").read_text()
    run = runs.load(tmp_path)
    assert run.diverged
    assert runs.has_diverged(tmp_path, settings.digest)
    assert not runs.has_diverged(tmp_path, config(lr=1e29).digest), "other settings may not"


def test_the_code_named_is_that_which_the_training_began_with(config, hands, tmp_path, monkeypatch):
    commits = iter(["at the start", "nothing changed"])
    monkeypatch.setattr(provenance, "_git", lambda *_: next(commits, "later"))
    assert train(config(), hands, tmp_path / "checkpoint.pt").code["commit"] == "at the start"


def test_batch_norm_is_evaluated_with_the_statistics_of_training_hands_as_they_are(
    config, hands, tmp_path
):
    settings = config(epochs=1, augment={})
    trained = train(settings, hands, tmp_path / "checkpoint.pt")
    network = networks.from_config(settings, pretrained=False)
    network.load_state_dict(trained.last_weights)
    inspected = hands.training_rows()[:10]  # as many as there are validation hands
    pixels = torch.from_numpy(hands.images[inspected]).unsqueeze(1) / 255
    pixels = normalise(pixels, "instance", trained.scales.pixels, training=False)
    with torch.no_grad():
        observed = network.trunk.conv1(pixels)
    torch.testing.assert_close(network.trunk.bn1.running_mean, observed.mean(dim=(0, 2, 3)))
    torch.testing.assert_close(network.trunk.bn1.running_var, observed.var(dim=(0, 2, 3)))


def test_early_stopping_stops_when_the_error_no_longer_falls(config, hands, tmp_path, monkeypatch):
    errors = iter([1.0, 10.0, 1.0, 9.0, 1.0, 11.0, 1.0, 12.0, 1.0, 13.0])
    monkeypatch.setattr(training, "metrics_of", lambda frame: {"mae_months": next(errors)})
    trained = train(config(epochs=5, early_stopping_patience=2), hands, tmp_path / "checkpoint.pt")
    assert (trained.progress.epoch, trained.progress.best_epoch) == (4, 2)


def test_statistics_come_from_the_training_hands(config, hands, tmp_path):
    trained = train(config(train_fraction=0.5, epochs=1), hands, tmp_path / "checkpoint.pt")
    trained_on = hands.labels["id"].isin(trained.predictions_train["id"])
    assert trained_on.sum() == 10
    assert set(hands.labels["split"][trained_on]) == {"train"}
    assert trained.scales.age_mean_months == pytest.approx(
        hands.labels["age_months"][trained_on].mean()
    )
    assert trained.scales.pixels.mean == pytest.approx(hands.images[trained_on].mean() / 255)


def test_a_smaller_share_of_the_data_is_part_of_a_larger_one(hands):
    shares = [set(hands.training_rows(share)) for share in (0.125, 0.25, 0.5, 1.0)]
    assert all(small < large for small, large in itertools.pairwise(shares))


def test_predictions_meet_their_hands_by_id(config, hands, tmp_path):
    result = train(config(epochs=1), hands, tmp_path / "checkpoint.pt").predictions
    truth = hands.labels.set_index("id").loc[result["id"]]
    assert (result["age_months"].to_numpy() == truth["age_months"].to_numpy()).all()
    assert set(result["split"]) == {"selection", "validation"}


def test_metrics_of_one_sex_alone_have_no_auc():
    frame = pd.DataFrame({"male": [True, True], "male_probability": [0.4, 0.9]})
    assert math.isnan(metrics_of(frame)["auc"])
    assert metrics_of(frame)["log_loss"] > 0
