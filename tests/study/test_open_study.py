"""What a notebook opens, and where what it makes goes."""

import dataclasses
import os
import shutil

import pytest
from squares import squares

from h2a_lib.data.hands import Hands
from h2a_lib.errors import UserError
from h2a_lib.files import write_json
from h2a_lib.models.fit import fit
from h2a_lib.study import workspace
from h2a_lib.study.notebook import open_study


@pytest.fixture
def root(tmp_path, monkeypatch):
    """Return a project's folder without any study, and go there."""
    shutil.copy(workspace.project_root() / "study.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def finish(root, profile: str, page: str, seconds: int) -> None:
    """Leave what a finished report leaves."""
    file = root / "report" / "_output" / profile / page
    file.parent.mkdir(parents=True)
    file.touch()
    os.utime(file, (seconds, seconds))


def test_the_newest_finished_study_is_opened(root):
    assert workspace.newest_profile() == "smoke"
    for profile, page, seconds in (("demo", "slides.html", 2000), ("smoke", "index.html", 1000)):
        finish(root, profile, page, seconds)
        (root / "runs" / profile).mkdir(parents=True)
    finish(root, "rsna", "index.html", 3000)  # rendered from published results: no runs
    assert workspace.newest_profile() == "demo"
    write_json(root / "results" / "demo" / "data.json", {})
    assert open_study("01_population", "", interactive=False).name == "demo"
    write_json(root / "results" / "smoke" / "data.json", {})
    assert open_study("01_population", "smoke", interactive=False).name == "smoke"


@pytest.fixture
def study(root):
    """Return a study of 60 squares that the pipeline works on."""
    study = workspace.locate("smoke", root=root)
    study.__dict__["data"] = {"fingerprint": squares(60, 20).fingerprint, "tier": "phantom"}
    return study


def explored(study):
    copy = dataclasses.replace(study, is_scratch=True)
    copy.__dict__["data"] = study.data
    return copy


def contents(folder) -> dict[str, bytes]:
    files = (file for file in folder.rglob("*") if file.is_file() and "scratch" not in file.parts)
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


def test_exploring_loads_a_finished_run_and_trains_only_in_scratch(study, root):
    hands: Hands = squares(60, n_validation=20)
    epochs = []

    def open_run(study, again=False, **changes):
        epochs.clear()
        settings = study.run_config("resnet18", 0, changes)
        return fit(study, settings, hands, again, lambda progress, config: epochs.append(progress))

    own = open_run(study, again=True)
    assert epochs
    assert own.folder == study.run_folder("resnet18")
    before = contents(root)

    live = explored(study)
    assert open_run(live).folder == own.folder
    assert not epochs
    for again, changes in ((True, {}), (False, {"lr": 3e-3})):
        run = open_run(live, again, **changes)
        assert epochs
        assert "scratch" in run.folder.parts
    assert open_run(live, lr=3e-3).folder == run.folder  # and is loaded the second time
    assert not epochs
    assert contents(root) == before


def test_results_of_exploring_go_to_scratch(study, root):
    study.variables("age", {"level": "90 %"})
    before = contents(root)
    explored(study).variables("age", {"level": "80 %"})
    assert contents(root) == before
    assert "80 %" in (study.results_folder / "scratch" / "variables" / "age.yml").read_text()


def test_folders_of_one_name_are_two_studies_and_none_is_a_published_one(root):
    """`results/rsna-100px` has a study's name: profile, a dash, the folder's name."""
    folders = [root / "a" / "hands", root / "b" / "hands", root / "a" / "100px"]
    for folder in folders:
        folder.mkdir(parents=True)
    first, second, pixels = (workspace.locate("rsna", folder, root=root) for folder in folders)
    assert first.name != second.name and first.results_folder != second.results_folder
    assert pixels.name.startswith("rsna-100px-")
    (root / "link").symlink_to(folders[0])
    assert workspace.locate("rsna", root / "link", root=root).name == first.name


def test_the_folder_of_a_profile_need_not_be_there_yet_and_another_must(root):
    own = root / "data" / "phantom" / "smoke"
    assert workspace.locate("smoke", own).name == "smoke"
    with pytest.raises(UserError, match="other is not a folder"):
        workspace.locate("smoke", root / "other")
