"""A run that diverged is named, and left out of what is compared."""

import shutil

import pytest

from h2a_lib.files import read_json, write_json
from h2a_lib.study import runs, workspace


@pytest.fixture
def study(tmp_path):
    """Return a study of the smoke profile without any run."""
    root = workspace.project_root()
    shutil.copy(root / "study.yaml", tmp_path)
    return workspace.locate("smoke", root=tmp_path)


def finish(study, experiment: str, diverged: bool) -> None:
    """Leave the file that says how a run ended."""
    digest = study.run_config(experiment).digest
    content = {"config_digest": digest, "diverged": diverged}
    write_json(study.run_folder(experiment) / "metrics.json", content)


def test_a_run_that_diverged_is_missing_and_no_longer_planned(study):
    finish(study, "resnet18", diverged=False)
    finish(study, "sex", diverged=True)
    assert study.missing_runs() == [["sex", 0]]
    assert ("sex", 0) not in study.planned_runs()
    assert ("resnet18", 0) in study.planned_runs()


def test_with_other_settings_it_is_planned_again(study):
    finish(study, "sex", diverged=True)
    file = study.run_folder("sex") / "metrics.json"
    write_json(file, read_json(file) | {"config_digest": "of other settings"})
    assert study.diverged_runs() == []
    assert ("sex", 0) in study.planned_runs()


def test_a_file_that_cannot_be_read_says_nothing_of_divergence(tmp_path):
    assert not runs.has_diverged(tmp_path, "digest")
    (tmp_path / "metrics.json").write_text("]")
    assert not runs.has_diverged(tmp_path, "digest")
