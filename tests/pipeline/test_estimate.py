"""How long trainings will take: from the rate that this machine shows."""

import io
import re
from types import SimpleNamespace

import pandas as pd
import pytest

from h2a_lib.data.labels import TableFormat
from h2a_lib.models.rate import images_per_second
from h2a_lib.pipeline import estimate


class Measured:
    """A process that has measured 100 images per second."""

    def __init__(self, *_, **__):
        self.stdout = io.BytesIO(b"100\n")

    def communicate(self):
        return self.stdout.read(), None


class Failed(Measured):
    """A process that ended without a number."""

    def communicate(self):
        return b"", None


@pytest.mark.parametrize(("n_runs", "parallel", "time"), [(2, 2, "11 min"), (1, 2, "11 min")])
def test_the_costliest_training_is_measured_in_as_many_processes_as_will_train(
    config, monkeypatch, tmp_path, n_runs, parallel, time
):
    monkeypatch.setattr(estimate.subprocess, "Popen", Measured)
    monkeypatch.setattr(estimate.gpus, "places", list)
    study = SimpleNamespace(
        is_prepared=True, labels=pd.DataFrame({"split": ["train"] * 1000}), root=tmp_path
    )
    # 60,000 images each, 10 min at 100 a second, and the evaluations.
    configs = [config(epochs=60) for _ in range(n_runs)]
    text = estimate.estimate(study, configs, parallel)
    assert re.match(rf"{n_runs} trainings? .* about {time} 00 s, estimated from", text)


def test_trainings_of_half_the_arithmetic_take_half_the_time(config, monkeypatch, tmp_path):
    monkeypatch.setattr(estimate.subprocess, "Popen", Measured)
    monkeypatch.setattr(estimate.gpus, "places", list)
    study = SimpleNamespace(
        is_prepared=True, labels=pd.DataFrame({"split": ["train"] * 1000}), root=tmp_path
    )
    text = estimate.estimate(study, [config(epochs=60), config(epochs=30)], 1)
    assert "about 16 min 30 s" in text


@pytest.mark.parametrize("schedule", [{"name": "one_cycle"}, {"name": "plateau"}])
def test_the_rate_is_measured_beyond_the_last_epoch_of_any_schedule(config, schedule):
    assert images_per_second(config(epochs=1, schedule=schedule), seconds=0.2) > 0


def test_a_machine_that_cannot_be_measured_gives_no_number(config, monkeypatch, tmp_path):
    monkeypatch.setattr(estimate.subprocess, "Popen", Failed)
    monkeypatch.setattr(estimate.gpus, "places", list)
    study = SimpleNamespace(is_prepared=True, root=tmp_path)
    assert "could not be measured" in estimate.estimate(study, [config()], 2)


def test_before_the_data_are_prepared_images_are_counted_whatever_the_headings(tmp_path):
    (tmp_path / "images").mkdir()
    for name in ("1", "2", "3"):
        (tmp_path / "images" / f"{name}.png").touch()
    (tmp_path / "own.csv").write_text("Patient,Alter,Gender\n1,60,M\n")
    form = TableFormat.parse("id=Patient,age_months=Alter,sex=Gender", None)
    profile = SimpleNamespace(phantoms=None)
    study = SimpleNamespace(is_prepared=False, profile=profile, data_folder=tmp_path)
    assert estimate.training_hands(study, form) == 3
