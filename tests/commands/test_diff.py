import json
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from h2a_lib.analysis.comparison.studies import StudyRecord, compare_studies
from h2a_lib.commands import app as cli
from h2a_lib.errors import UserError
from h2a_lib.files import write_csv, write_json, write_yaml

N = 60


def make_study(
    project, name, lr=1e-3, bias=0.0, networks=("resnet18", "resnet34"), fingerprint="f" * 64
):
    """Write a study of made-up runs, each with N validation hands that lie `bias` months off."""
    results = project / "results" / name
    write_json(results / "data.json", {"tier": "phantom", "fingerprint": fingerprint})
    write_yaml(results / "variables" / "age.yml", {"mae": f"{10 + bias:.1f} months"})
    write_yaml(results / "variables" / "study.yml", {"date": f"lr {lr} was today"})
    rng = np.random.default_rng(0)
    ages = rng.uniform(50, 200, N)
    errors = 10 + rng.normal(0, 3, N)
    rows = []
    for network in networks:
        folder = project / "runs" / name / network / "seed-0"
        settings = {"network": network, "lr": lr, "experiment": network, "seed": 0}
        write_yaml(folder / "config.yaml", settings)
        hands = pd.DataFrame({"id": range(N), "split": "validation", "age_months": ages})
        hands["predicted_age_months"] = ages + errors + bias
        hands["male"] = np.arange(N) % 2 == 0
        write_csv(folder / "predictions.csv", hands)
        mae = round(float(np.abs(errors + bias).mean()), 3)
        write_json(folder / "metrics.json", {"validation": {"n": N, "mae_months": mae}})
        machine = {"python": "3.12", "cpu": "a processor", "gpu": None}
        packages = {"torch": "2.11.0"}
        write_json(
            folder / "provenance.json",
            {"commit": "c" * 40, "packages": packages, "machine": machine},
        )
        row = {"experiment": network, "seed": 0, "mae_months": mae, "n": N}
        rows.append(row | {"mae_months_low": mae - 1, "mae_months_high": mae + 1})
    write_csv(results / "tables" / "runs.csv", pd.DataFrame(rows))
    return results


@pytest.fixture
def project(tmp_path, monkeypatch):
    (tmp_path / "study.yaml").write_text("")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")
    make_study(tmp_path, "first")
    return tmp_path


def diff(*words):
    return CliRunner().invoke(cli.app, ["diff", *words])


def test_the_same_study_has_no_difference(project):
    make_study(project, "second")
    done = diff("first", "second")
    assert done.exit_code == 0
    assert done.stdout.startswith("no difference in settings, data and numbers")


def test_a_changed_setting_is_one_row_with_the_paired_difference_it_made(project):
    make_study(project, "second", lr=3e-3, bias=-2.0)
    done = diff("first", "second", "--json")
    assert done.exit_code == 1
    content = json.loads(done.stdout)
    assert content["settings"] == [{"of": "all runs", "name": "lr", "a": "0.001", "b": "0.003"}]
    assert content["data"] == [] and content["versions"] == []
    change = content["metrics"][0]
    assert (change["run"], change["measure"], change["paired"]) == (
        "resnet18/seed-0",
        "mae_months",
        True,
    )
    # Every hand is 2 months nearer: hand by hand there is almost no noise.
    difference = change["difference"]
    assert difference["value"] == pytest.approx(-2, abs=0.05)
    assert -2.1 < difference["low"] <= difference["high"] < -1.9
    assert difference["n"] == N
    assert content["variables"] == [
        {"of": "", "name": "age.mae", "a": "10.0 months", "b": "8.0 months"}
    ]
    table = diff("first", "second").stdout
    assert "lr" in table and "paired" in table and "age.mae" in table


def test_without_predictions_the_interval_is_wider_and_says_that_it_is_unpaired(project):
    make_study(project, "second", bias=-2.0)
    for file in project.glob("runs/second/*/*/predictions.csv"):
        file.unlink()
    records = [StudyRecord.open(project / "results" / name) for name in ("first", "second")]
    change = compare_studies(*records).metrics[0]
    assert not change.paired
    # Half widths of 1 and 1 make one of the square root of 2.
    assert change.difference.high - change.difference.value == pytest.approx(2**0.5, abs=0.01)
    assert "unpaired" in change.text()


def test_other_hands_are_not_paired_by_chance(project):
    make_study(project, "second", bias=-2.0)
    file = project / "runs/second/resnet18/seed-0/predictions.csv"
    write_csv(file, pd.read_csv(file).assign(id=lambda frame: frame["id"] + 1))
    records = [StudyRecord.open(project / "results" / name) for name in ("first", "second")]
    changes = {change.run: change.paired for change in compare_studies(*records).metrics}
    assert changes == {"resnet18/seed-0": False, "resnet34/seed-0": True}


def test_other_data_and_runs_that_one_study_lacks_are_listed(project):
    make_study(project, "second", networks=("resnet18", "resnet50"), fingerprint="0" * 64)
    difference = compare_studies(
        *(StudyRecord.open(project / "results" / name) for name in ("first", "second"))
    )
    assert [change.name for change in difference.data] == ["fingerprint"]
    assert [(c.of, c.a, c.b) for c in difference.settings] == [
        ("resnet34/seed-0", "yes", "–"),
        ("resnet50/seed-0", "–", "yes"),
    ]


def test_a_revision_of_git_is_compared_with_the_folder_of_today(project):
    published = project / "results" / "first"
    (project / "runs" / "first").rename(published / "runs")
    for words in (
        ["init", "-q"],
        ["add", "-f", "."],
        ["-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "-qm", "first"],
    ):
        subprocess.run(["git", *words], check=True)
    assert diff("HEAD:results/first", "results/first").exit_code == 0
    file = published / "runs" / "resnet18" / "seed-0" / "config.yaml"
    file.write_text(file.read_text().replace("0.001", "0.003"))
    content = json.loads(diff("HEAD:results/first", "results/first", "--json").stdout)
    assert [(c["of"], c["name"]) for c in content["settings"]] == [("resnet18/seed-0", "lr")]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("frist", "'frist' (did you mean 'first'?); known: first"),
        ("HEAD:results/none", "HEAD:results/none: "),
        ("study.yaml", "unknown study"),
    ],
)
def test_what_is_no_study_is_answered_in_one_line(project, name, message):
    error = diff("first", name).exception
    assert isinstance(error, UserError)
    assert message in str(error) and "\n" not in str(error)


def test_a_revision_without_a_folder_is_answered_with_how_to_name_one(project):
    for words in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "a study"]):
        author = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
        subprocess.run(["git", *author, *words], cwd=project, check=True)
    done = diff("HEAD", "first")
    assert str(done.exception) == (
        "HEAD is a revision of git: name a folder in it, as HEAD:results/NAME"
    )


def test_a_folder_below_the_root_of_the_system_has_no_runs_beside_it():
    with pytest.raises(UserError, match="/usr holds no results"):
        StudyRecord.open(Path("/usr"))


def test_an_empty_folder_is_refused(project):
    (project / "empty").mkdir()
    assert "holds no results" in str(diff("first", "empty").exception)
