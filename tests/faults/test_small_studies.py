"""Studies of few or odd hands, on the command line: a report, or one line that says why not."""

import contextlib
import json
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest
from checkout import copy_checkout, h2a, shrink_smoke
from data_folders import picture, write_image
from squares import squares
from typer.testing import CliRunner

from h2a_lib.commands.app import app
from h2a_lib.models.trained import save_run
from h2a_lib.models.training import train
from h2a_lib.study import runs

TABLE, IMAGES = "boneage-training-dataset.csv", "boneage-training-dataset"
ODD = "Häns & co (2) $HOME"
DIVERGES = {"lr_1e30": {"lr": 1.0e30}, "sex_1e30": {"lr": 1.0e30, "task": "sex"}}


@pytest.fixture
def project(tmp_path) -> Path:
    """Return a checkout whose smoke study is two runs of one epoch."""
    folder = copy_checkout(tmp_path / "h2a")
    shrink_smoke(folder)
    return folder


def hands(folder: Path, n: int = 30, **columns) -> Path:
    """Draw phantoms, and set whole columns of their label table."""
    done = CliRunner().invoke(
        app,
        ["data", "phantom", "--n", str(n), "--height-px", "96", "--out", str(folder)],
        catch_exceptions=False,
    )
    assert done.exit_code == 0
    labels = pd.read_csv(folder / TABLE, dtype={"id": str}).assign(**columns)
    labels.to_csv(folder / TABLE, index=False)
    return folder


def report(project: Path, data: Path, *options: str) -> subprocess.CompletedProcess:
    return h2a(project, "report", "--profile", "smoke", "--data", str(data), *options)


def article(project: Path) -> str:
    """Return the text of the only report."""
    (file,) = (project / "report" / "_output").glob("smoke*/paper.html")
    return " ".join(file.read_text(encoding="utf-8").split())


def predictions(project: Path, experiment: str) -> pd.DataFrame:
    (file,) = (project / "runs").glob(f"smoke*/{experiment}/seed-0/predictions.csv")
    return pd.read_csv(file, dtype={"id": str}, keep_default_na=False, na_values={"age_months": ""})


def assert_complete(project: Path, done: subprocess.CompletedProcess) -> None:
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    assert "<h1" in article(project)
    for notebook in (project / "results").glob("smoke*/notebooks/*.ipynb"):
        assert not notebook.name.endswith("failed.ipynb")


@pytest.mark.parametrize("n", [2, 9, 21])
def test_too_few_hands_are_one_line_before_anything_is_trained(project, tmp_path, n):
    done = report(project, hands(tmp_path / "hands", n))
    assert done.returncode == 2
    assert "too few hands in" in done.stderr and "Traceback" not in done.stderr
    assert "22 hands" in done.stderr, "the number that suffices"
    assert not (project / "runs").exists()


def test_an_experiment_whose_name_is_no_folders_is_refused_when_the_study_is_read(project):
    shrink_smoke(project, {"my run": {}})
    done = h2a(project, "status", "--profile", "smoke")
    assert done.returncode == 2
    assert done.stderr.strip().startswith("h2a: study.yaml: 'my run': ")
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.slow
def test_of_the_fewest_hands_in_an_odd_folder_a_report_is_made_without_what_diverged(
    project, tmp_path
):
    shrink_smoke(project, DIVERGES)
    data = hands(tmp_path / ODD, 22)
    done = report(project, data)
    assert_complete(project, done)
    for error in ("KeyError", "StopIteration", "Traceback"):
        assert error not in done.stdout + done.stderr
    assert "lr_1e30 (seed 0), sex_1e30 (seed 0) diverged" in article(project)
    for experiment in DIVERGES:
        (file,) = (project / "runs").glob(f"smoke*/{experiment}/seed-0/metrics.json")
        assert json.loads(file.read_text())["diverged"]
    status = h2a(project, "status", "--profile", "smoke", "--data", str(data)).stdout
    assert status.count("diverged") == 2 and "stale" not in status
    again = report(project, data)
    assert again.returncode == 0 and "Nothing to do" in again.stdout


@pytest.mark.slow
@pytest.mark.parametrize("columns", [{"male": True}, {"boneage": 90}], ids=["one sex", "one age"])
def test_hands_of_one_sex_or_one_age_make_a_report(project, tmp_path, columns):
    assert_complete(project, report(project, hands(tmp_path / "hands", 30, **columns)))


@pytest.mark.parametrize("task", ["age", "sex"])
def test_a_hand_without_an_age_is_estimated_and_not_scored(config, tmp_path, task):
    data = squares(40, n_validation=10)
    data.labels.loc[30:34, "split"] = "unlabelled"
    data.labels.loc[30:34, "age_months"] = float("nan")
    settings = config(task=task, epochs=1)
    save_run(tmp_path, settings, train(settings, data, tmp_path / "checkpoint.pt"), "f", "made up")
    run = runs.load(tmp_path)
    assert run.metrics["unlabelled"] == {"n": 5}
    assert set(run.metrics["validation"]) > {"n"}
    rows = run.predictions.set_index("split").loc["unlabelled"]
    column = "predicted_age_months" if task == "age" else "male_probability"
    assert rows["age_months"].isna().all() and rows[column].notna().all()


@contextlib.contextmanager
def read_only(folder: Path):
    """Mount a folder onto itself, read-only, as Kaggle and Colab do."""
    try:
        subprocess.run(["mount", "--bind", folder, folder], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("mounting is not allowed here")
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", folder], check=True, capture_output=True)
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def as_on_kaggle(drawn: Path, folder: Path) -> Path:
    """Lay phantoms out as `kmader/rsna-bone-age`; four ids are words for nothing."""
    labels = pd.read_csv(drawn / TABLE, dtype={"id": str})
    old = labels["id"].tolist()
    labels.loc[:3, "id"] = ["NA", "null", "None", "nan"]
    target = folder / IMAGES / IMAGES
    target.mkdir(parents=True)
    for before, after in zip(old, labels["id"], strict=True):
        shutil.copy(drawn / IMAGES / f"{before}.png", target / f"{after}.png")
    labels.to_csv(folder / TABLE, index=False)
    for k in (4360, 4361):
        image = folder / "boneage-test-dataset" / "boneage-test-dataset" / f"{k}.png"
        write_image(image, picture(k))
    (folder / "boneage-test-dataset.csv").write_text("Case ID,Sex\n4360,M\n4361,F\n")
    return folder


@pytest.mark.slow
def test_a_kaggle_mount_is_taken_as_it_is_and_hands_without_ages_are_estimated_not_scored(
    project, tmp_path
):
    with read_only(as_on_kaggle(hands(tmp_path / "drawn"), tmp_path / "rsna-bone-age")) as data:
        checked = h2a(project, "data", "check", str(data))
        assert checked.returncode == 0, checked.stdout + checked.stderr
        assert "estimated, and not scored" in checked.stdout
        done = report(project, data)
    assert_complete(project, done)
    for experiment, column in (("resnet18", "predicted_age_months"), ("sex", "male_probability")):
        rows = predictions(project, experiment).set_index("split")
        unlabelled = rows.loc["unlabelled"]
        assert unlabelled["id"].tolist() == ["4360", "4361"]
        assert unlabelled["age_months"].isna().all() and unlabelled[column].notna().all()
        (file,) = (project / "runs").glob(f"smoke*/{experiment}/seed-0/metrics.json")
        assert json.loads(file.read_text())["unlabelled"] == {"n": 2}
        assert rows.drop("unlabelled")["age_months"].notna().all()
