"""Published results hold no patient-level data."""

import shlex
import subprocess
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import pytest
from squares import SETTINGS
from trained import trained

from h2a_lib.commands.publish import PER_CHILD, RECORD, publish, withdraw
from h2a_lib.errors import UserError
from h2a_lib.files import read_json, read_yaml, write_json
from h2a_lib.report.staging import is_published
from h2a_lib.report.study_variables import report_command, write_study_variables
from h2a_lib.study import provenance
from h2a_lib.study.config import Profile, StudyConfig
from h2a_lib.study.results import LEAST_AVERAGED, Drawing
from h2a_lib.study.workspace import Study

ROOT = Path(__file__).parents[2]
IMAGES = {".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".dcm"}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Return a finished study of one run, a figure, a radiograph and a table."""
    root = tmp_path_factory.mktemp("project")
    study_file = StudyConfig(
        title="made up",
        defaults={k: v for k, v in SETTINGS.items() if k not in ("experiment", "seed")},
        profiles={"tiny": Profile(about="Tiny.", data="data", experiments=["resnet18"])},
        experiments={"resnet18": {}},
    )
    study = Study(root, study_file, "tiny", root / "data", "tiny", notebook="05_train")
    run = trained(study.run_folder("resnet18"), **SETTINGS | {"experiment": "resnet18"})
    fingerprint = run.model["data_fingerprint"]
    write_json(study.data_file, {"fingerprint": fingerprint, "tier": "rsna"})
    alt = "A made-up figure of four words."
    for name, is_raster, n in (
        ("curve", False, 1),
        ("raw_grid", True, 1),
        ("cloud", False, 1),
        ("mean_of_few", True, 29),
        ("mean_of_many", True, 30),
    ):
        figure, axes = plt.subplots(figsize=(1, 1))
        axes.plot([0, 1], rasterized=name == "cloud")
        study.results.save(Drawing(figure, name, alt, f"The {name}", "", is_raster, n), [])
    study.results.table(pd.DataFrame({"n": [3]}), "counts")
    study.results.variables("sex", {"answer": "The image tells the sexes apart."})
    write_study_variables(replace(study, notebook=""))
    return study


def test_runs_are_published_without_predictions_and_weights(finished):
    readme = publish(finished)
    run = readme.parent / "runs" / "resnet18" / "seed-0"
    assert {path.name for path in run.iterdir()} == set(RECORD)


def test_the_readme_names_every_published_file_with_its_maker_and_no_radiograph(finished):
    text = publish(finished).read_text()
    assert "| figures/curve.svg | The curve | 05_train |" in text
    assert "raw_grid" not in text and "cloud" not in text and "mean_of_few" not in text
    assert "| figures/mean_of_many.png | The mean_of_many | 05_train |" in text
    assert "| tables/: counts.csv | tables of the report | 05_train |" in text
    assert "| variables/: sex.yml | its numbers | 05_train |" in text
    assert "| variables/: study.yml | its numbers | h2a report |" in text
    assert "| runs/*/history.csv |" in text and "The runs: `resnet18/seed-0`." in text


def test_results_of_a_study_that_goes_on_are_its_own_again(finished):
    publish(finished)
    assert is_published(finished.results_folder)
    withdraw(finished.results_folder)
    assert not is_published(finished.results_folder)


def test_the_readme_has_the_results(finished):
    text = publish(finished, "Two runs were repeated.").read_text()
    assert "\n**Can sex be classified?** The image tells the sexes apart.\n" in text
    assert " Two runs were repeated.\n" in text


@pytest.mark.parametrize(("tier", "message"), [("rsna", True), ("folder", False)])
def test_the_rsna_data_are_cited_where_the_data_are_theirs(finished, tier, message):
    theirs = read_json(finished.data_file)
    write_json(finished.data_file, theirs | {"tier": tier})
    of_tier = replace(finished, name=finished.name)  # that has not read the file yet
    try:
        assert ("RSNA Pediatric Bone Age Machine" in publish(of_tier).read_text()) == message
    finally:
        write_json(finished.data_file, theirs)


def test_a_study_that_was_never_made_says_how_to_make_it(finished, tmp_path):
    with pytest.raises(UserError, match="not complete: run `h2a report --profile tiny` first"):
        publish(replace(finished, root=tmp_path))


def test_pictures_are_named_as_withheld(finished):
    published = publish(finished).parent / "published.json"
    assert read_json(published)["withheld"] == ["cloud", "mean_of_few", "raw_grid"]


def test_a_table_of_single_children_is_refused(finished):
    finished.results.table(pd.DataFrame({"id": [1377], "error": [3.0]}), "worst")
    try:
        with pytest.raises(UserError, match=r"worst\.csv has a row for each child"):
            publish(finished)
    finally:
        (finished.results_folder / "tables" / "worst.csv").unlink()


def test_git_keeps_no_radiograph_and_no_row_of_a_child_of_the_real_study():
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "results"]
    done = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("not in a checkout")
    kept = [ROOT / line for line in done.stdout.splitlines()]
    assert not [file for file in kept if file.suffix == ".ipynb"]
    for file in kept:
        if file.suffix in IMAGES:
            assert read_json(file.with_suffix(".json"))["averaged_over"] >= LEAST_AVERAGED, file
        if file.suffix == ".csv":
            assert not PER_CHILD & set(pd.read_csv(file, nrows=0).columns), file


@pytest.mark.parametrize(
    "name", ["labels.csv", "figures/raw_grid.png", "notebooks/02_images.ipynb", "predictions.csv"]
)
def test_git_ignores_what_shows_children(name):
    path = f"results/rsna-100px/{name}"
    done = subprocess.run(["git", "check-ignore", "-q", path], cwd=ROOT, check=False)
    if done.returncode == 128:
        pytest.skip("not in a checkout")
    assert done.returncode == 0


def test_runs_of_several_machines_are_listed_with_how_many_each_made(finished):
    tiny = finished.profile.model_copy(update={"seeds": 3})
    study_file = finished.config.model_copy(update={"profiles": {"tiny": tiny}})
    of_three = replace(finished, config=study_file)
    for seed in (1, 2):
        folder = finished.run_folder("resnet18", seed)
        trained(folder, **SETTINGS | {"experiment": "resnet18", "seed": seed})
    made = read_json(folder / "provenance.json")
    elsewhere = {"cores": 16, "cpu": "made up", "gpu": "Made up"}
    write_json(folder / "provenance.json", made | {"machine": elsewhere})
    write_study_variables(of_three)
    variables = read_yaml(finished.results_folder / "variables" / "study.yml")
    here = provenance.describe_machine(made["machine"])
    assert variables["machine"] == f"{here} (2 runs); 16 cores (made up), Made up (1 run)"
    assert variables["torch"] == made["packages"]["torch"]


@pytest.mark.parametrize(
    ("folder", "words"),
    [
        ("data", []),
        ("data/my hands", ["--data", "data/my hands"]),
        ("../elsewhere/it's $HOME", ["--data", "{}/elsewhere/it's $HOME"]),
    ],
)
def test_the_command_that_reproduces_a_study_survives_a_shell(tmp_path, finished, folder, words):
    root = tmp_path / "h2a"
    (root / folder).mkdir(parents=True)
    name = "tiny" if not words else "tiny-hands"
    study = replace(finished, root=root, data_folder=root / folder, name=name)
    expected = [word.format(tmp_path) for word in words]
    assert shlex.split(report_command(study)) == ["h2a", "report", "--profile", "tiny", *expected]
