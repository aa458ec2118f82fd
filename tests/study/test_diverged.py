"""A run that diverged is named, and left out of what is compared."""

import io
import math
import re
import shutil

import matplotlib.pyplot as plt
import pytest
from trained import trained
from typer.testing import CliRunner

from h2a_lib.commands import app as cli
from h2a_lib.figures import training
from h2a_lib.figures.progress import print_epoch
from h2a_lib.files import read_json, write_json
from h2a_lib.models.trained import Progress
from h2a_lib.pipeline import graph
from h2a_lib.report.study_variables import describe_missing
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


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("run"), n=30, n_validation=10, epochs=2, lr=1e30)


@pytest.mark.parametrize("train_error", [None, 3.0, math.inf])
def test_its_learning_curve_can_be_drawn_and_says_so(run, train_error):
    assert run.diverged
    if train_error is not None:
        run.history["train_mae_months"] = train_error
    drawing = training.curve(run)
    drawing.figure.savefig(io.BytesIO())
    assert "diverged" in drawing.finding
    plt.close(drawing.figure)


def test_its_last_line_on_the_console_says_so(config, capsys):
    row = {"epoch": 1, "lr": 1e30, "selection_mae_months": math.nan}
    print_epoch(Progress(epoch=1, history=[row], last_error=math.nan), config())
    assert capsys.readouterr().out.endswith(", diverged\n")


def test_the_report_distinguishes_it_from_one_that_failed(study):
    finish(study, "sex", diverged=True)
    write_json(study.missing_file, [["resnet18", 0]])
    assert describe_missing(study) == "resnet18 (seed 0) failed; sex (seed 0) diverged"


def test_its_state_is_diverged_and_not_stale(study, run, monkeypatch):
    shutil.copytree(run.folder, study.run_folder("resnet18"))
    monkeypatch.setattr(workspace, "locate", lambda *_: study)
    monkeypatch.setattr(graph, "stale_runs", lambda _: set(study.config.runs_of("smoke")))
    monkeypatch.setattr(type(study), "diverged_runs", lambda _: [("resnet18", 0)])
    output = CliRunner().invoke(cli.app, ["status", "--profile", "smoke"]).output
    (row,) = (line for line in output.splitlines() if re.search(r"resnet18 +│ +0 ", line))
    assert "diverged" in row
    assert "stale" not in output
