"""The run folder: written whole, read strictly."""

import json

import numpy as np
import pytest

from h2a_lib.analysis import selection
from h2a_lib.errors import UserError
from h2a_lib.models.inference import predictor_of
from h2a_lib.models.trained import save_run
from h2a_lib.models.training import train
from h2a_lib.study import provenance, runs
from h2a_lib.study.runs import metrics_of


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Return a finished run's folder; tests copy what they change."""
    from squares import SETTINGS, squares

    from h2a_lib.study.config import RunConfig

    folder = tmp_path_factory.mktemp("runs") / "seed-0"
    config = RunConfig(**(SETTINGS | {"task": "both", "epochs": 1}))
    hands = squares(40, n_validation=10)
    trained = train(config, hands, folder / runs.CHECKPOINT, seconds_between_checkpoints=0)
    assert (folder / runs.CHECKPOINT).exists()
    save_run(folder, config, trained, hands.fingerprint, "made-up squares")
    return folder, config, trained, hands


@pytest.fixture
def copied(finished, tmp_path):
    import shutil

    return shutil.copytree(finished[0], tmp_path / "run")


def test_a_finished_run_holds_all_its_files_and_no_checkpoint(finished):
    folder = finished[0]
    assert {path.name for path in folder.iterdir()} == {*runs.FILES, *runs.HEAVY}


def test_what_is_read_is_what_was_written(finished):
    folder, config, trained, hands = finished
    run = runs.load(folder)
    assert run.config == config
    assert predictor_of(run).scales == trained.scales
    assert run.predictions["id"].tolist() == trained.predictions["id"].tolist()
    assert run.provenance["config_digest"] == config.digest
    assert run.provenance["data_fingerprint"] == hands.fingerprint
    assert set(run.provenance) >= {"commit", "packages", "machine", "seconds", "lock_sha256"}


def test_metrics_are_those_of_the_predictions(finished):
    run = runs.load(finished[0])
    for name, value in metrics_of(selection.validation(run)).items():
        assert run.metrics["validation"][name] == pytest.approx(value, abs=1e-5)


def test_the_loaded_network_predicts_what_the_run_predicted(finished):
    folder, _, _, hands = finished
    run = runs.load(folder)
    rows = hands.rows("validation")
    result = predictor_of(run).predict(hands.images[rows])
    for name, values in result.items():
        np.testing.assert_allclose(values, selection.validation(run)[name], atol=2e-3)
    assert predictor_of(run).features(hands.images[rows]).shape == (10, 128)


@pytest.mark.parametrize("name", runs.FILES)
def test_a_run_that_lacks_a_file_is_not_finished(copied, name):
    (copied / name).unlink()
    with pytest.raises(UserError, match=f"not a finished run: {name} is missing"):
        runs.load(copied)


def test_a_run_of_another_version_is_refused_with_the_reason(copied):
    metrics = json.loads((copied / "metrics.json").read_text()) | {"format": 99}
    (copied / "metrics.json").write_text(json.dumps(metrics))
    with pytest.raises(UserError, match="has format 99, this version reads 1"):
        runs.load(copied)


def test_a_configuration_edited_after_the_run_is_refused(copied):
    text = (copied / "config.yaml").read_text()
    (copied / "config.yaml").write_text(text.replace("lr: 0.001", "lr: 0.01"))
    with pytest.raises(UserError, match="changed after the run"):
        runs.load(copied)


@pytest.mark.parametrize("name", ["config.yaml", "model.json", "metrics.json"])
def test_a_damaged_file_is_a_named_error(copied, name):
    (copied / name).write_text("]")
    with pytest.raises(UserError, match=str(copied)):
        runs.load(copied)


def test_a_run_without_its_weights_has_all_but_new_estimates(copied, hands):
    for name in runs.HEAVY:
        (copied / name).unlink()
    run = runs.load(copied)
    assert not run.has_weights and len(run.predictions) and len(run.history)
    with pytest.raises(UserError, match=r"weights\.safetensors was deleted, or left"):
        predictor_of(run).predict(hands.images)
    assert selection.with_weights([run]) == []


def test_weights_that_are_not_this_networks_are_refused(copied):
    (copied / runs.WEIGHTS).write_bytes(b"\x80\x04 a pickle")
    with pytest.raises(UserError, match=runs.WEIGHTS):
        _ = predictor_of(runs.load(copied)).network


@pytest.mark.parametrize(
    ("commit", "changed", "text"),
    [
        (None, False, "not in a checkout"),
        ("0123456789abcdef", False, "0123456789"),
        ("0123456789abcdef", True, "0123456789 (with uncommitted changes)"),
    ],
)
def test_the_commit_is_given_in_ten_letters_or_in_words(commit, changed, text):
    record = {"commit": commit, "changed_since_commit": changed}
    assert provenance.describe_commit(record) == text
