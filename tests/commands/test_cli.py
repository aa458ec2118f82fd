"""The command line: what a slip says, and that it says it before anything runs."""

import csv
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import cv2
import numpy as np
import pytest
from data_folders import write_set
from in_process import h2a

from h2a_lib.errors import UserError
from h2a_lib.pipeline import graph, prepare
from h2a_lib.study import runs, workspace

ROOT = Path(__file__).parents[2]


@pytest.fixture
def project(tmp_path):
    """Return a copy of the project's study.yaml, notebooks and graph, with nothing made yet."""
    for name in ("study.yaml", "Snakefile"):
        shutil.copy(ROOT / name, tmp_path / name)
    shutil.copytree(ROOT / "notebooks", tmp_path / "notebooks")
    return tmp_path


def folder_of_hands(folder: Path, rows: list[tuple[str, str, str]]) -> Path:
    images = folder / "boneage-training-dataset"
    images.mkdir(parents=True)
    with (folder / "boneage-training-dataset.csv").open("w") as file:
        csv.writer(file).writerows([("id", "boneage", "male"), *rows])
    for name, _, _ in rows:
        pixels = np.random.default_rng(int(name)).integers(0, 256, (60, 50), dtype=np.uint8)
        cv2.imwrite(str(images / f"{name}.png"), pixels)
    return folder


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["report", "--profile", "huge"], "unknown profile 'huge'; known: smoke, demo, rsna"),
        (["predict", "a.png", "--run", "no/such"], "no/such is not a folder"),
        (["predict", "a.png", "--run", ".", "--json", "--csv"], "choose one of --json and --csv"),
        (["predict", "a.png", "--age-unit", "years"], "name it with --labels"),
        (["train", "Resnet18"], "'Resnet18' (did you mean 'resnet18'?); known: resnet18, resnet34"),
        (["report", "--renderer", "latex"], "unknown renderer 'latex'; known: auto, quarto"),
        (["report", "--data", "no/such/folder"], "no/such/folder is not a folder"),
        (
            ["report", "--executor", "slrum"],
            "'slrum' (did you mean 'slurm'?); known: slurm; for another",
        ),
        (["train", "sex", "--workflow-profile", "no/profile"], "no/profile does not exist"),
        (
            ["predict", "a.png", "--run", ".", "--explain", "b.pdf"],
            "b.pdf: the file name must end",
        ),
        (
            ["data", "phantom", "--growth-chart", "--out", "b.pdf"],
            "b.pdf: the file name must end",
        ),
    ],
)
def test_a_slip_is_one_line_with_exit_code_2(words, says):
    done = h2a(*words)
    assert done.returncode == 2
    assert says in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_help_is_answered_without_the_heavy_libraries():
    code = "import sys, h2a_lib.commands.app; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"numpy", "pandas", "torch", "matplotlib"} & set(done.stdout.split())


def test_every_command_has_its_module_and_its_help():
    listed = h2a("--help").stdout
    for name in ("report", "train", "predict", "export", "publish", "status", "doctor", "render"):
        assert name in listed
        assert (ROOT / "h2a_lib" / "commands" / f"{name}.py").is_file()
        assert f"h2a {name}" in (ROOT / "h2a_lib" / "commands" / f"{name}.py").read_text()


def test_the_version_is_that_of_the_package():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert h2a("--version").stdout == f"h2a {version}\n"


@pytest.mark.parametrize("words", [("report",), ("render",), ("data", "cache", "resnet18")])
def test_outside_a_project_it_says_where_to_go_and_how_to_get_one(tmp_path, words):
    done = h2a(*words, cwd=tmp_path)
    assert done.returncode == 2
    assert "no study.yaml in" in done.stderr and "go to the project's folder" in done.stderr
    assert "clone the repository" in done.stderr and "notebooks/00_start.ipynb" in done.stderr


def test_a_misspelt_command_is_never_answered_with_a_hidden_one():
    done = h2a("reprot")
    assert done.returncode == 2
    assert done.stderr.startswith("h2a: unknown command 'reprot' (did you mean 'report'?); known: ")
    assert "prepare" not in done.stderr
    assert h2a("prepare", "--help").returncode == 0


def test_a_misspelt_run_is_answered_with_the_folder_beside_it(project):
    (project / "runs" / "smoke" / "best" / "seed-0").mkdir(parents=True)
    for run in ("runs/smoke/bset", "runs/smoke/bset/seed-0"):
        done = h2a("predict", "a.png", "--run", run, cwd=project)
        assert done.stderr == f"h2a: {run} is not a folder (did you mean 'best'?)\n"


def test_a_misspelt_source_is_answered_with_kaggle(tmp_path):
    done = h2a("data", "fetch", "--source", "kagle", "--out", "out", cwd=tmp_path)
    assert "kagle does not exist (did you mean 'kaggle'?)" in done.stderr


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("pixel_norm: instance", "pixel_nrm: instance", "defaults.pixel_nrm: unknown key"),
        ("lr_3e-3: {lr: 3.0e-3}", "lr_3e-3: {lr: fast}", "experiments.lr_3e-3.lr: input should"),
    ],
)
def test_a_misspelt_experiment_stops_a_report_of_it_before_it_starts(project, old, new, says):
    text = (project / "study.yaml").read_text()
    assert old in text
    (project / "study.yaml").write_text(text.replace(old, new))
    for words in (("report",), ("report", "--dry-run")):
        done = h2a(*words, "--profile", "smoke", cwd=project)
        assert done.returncode == 2
        assert done.stderr.startswith(f"h2a: study.yaml: {says}")
        assert len(done.stderr.splitlines()) == 1
    assert not (project / "data").exists() and not (project / "results").exists()


def test_one_wrong_experiment_stops_neither_the_others_nor_what_shows_it(project, monkeypatch):
    monkeypatch.setattr(graph, "estimate", lambda *_: "not timed")
    text = (project / "study.yaml").read_text()
    (project / "study.yaml").write_text(text.replace("{lr: 3.0e-3}", "{lr: fast}"))
    planned = h2a("report", "--dry-run", cwd=project)  # the demo, which does not have it
    assert planned.returncode == 0, planned.stderr
    status = h2a("status", "--profile", "smoke", cwd=project)
    assert status.returncode == 0, status.stderr
    (row,) = (line for line in status.stdout.splitlines() if "lr_3e-3 " in line)
    assert "wrong: study.yaml: experiments.lr_3e-3.lr: input should" in row
    assert "no report can be made: study.yaml: experiments.lr_3e-3.lr" in status.stdout
    doctor = h2a("doctor", cwd=project)
    assert doctor.stdout.count("experiments.lr_3e-3.lr: input should") == 1
    assert "data of rsna" in doctor.stdout
    study = workspace.locate("smoke", root=project)
    assert "lr_3e-3" not in dict(study.planned_runs())


def test_the_doctor_reports_a_study_file_that_cannot_be_read(project):
    (project / "study.yaml").write_text("profiles: [")
    done = h2a("doctor", cwd=project)
    assert done.returncode == 1, done.stderr
    assert "study.yaml: not YAML" in done.stdout and "mend study.yaml" in done.stdout


@pytest.mark.parametrize(
    ("file", "content"),
    [("metrics.json", "{"), ("metrics.json", '{"format": 1}'), ("config.yaml", "a: [")],
)
def test_a_damaged_run_is_called_so(project, file, content):
    folder = project / "runs" / "smoke" / "sex" / "seed-0"
    folder.mkdir(parents=True)
    for name in runs.FILES:
        (folder / name).write_text('{"format": 1, "config_digest": ""}')
    (folder / file).write_text(content)
    done = h2a("status", "--profile", "smoke", cwd=project)
    assert done.returncode == 0, done.stderr
    (row,) = (line for line in done.stdout.splitlines() if re.search(r"\bsex\b", line))
    assert "damaged" in row


def test_bad_data_are_reported_all_at_once_and_leave_nothing(project, tmp_path):
    folder = folder_of_hands(
        tmp_path / "hands",
        [("1", "120", "True"), ("2", "300", "True"), ("3", "x", "maybe"), ("1", "60", "False")],
    )
    (folder / "boneage-training-dataset" / "2.png").unlink()
    (folder / "boneage-training-dataset" / "9.png").write_bytes(b"not a picture")
    done = h2a("report", "--profile", "smoke", "--data", str(folder), cwd=project)
    assert done.returncode == 2
    for message in ("line 3", "300", "line 4", "maybe", "line 5", "2", "9.png"):
        assert message in done.stderr, done.stderr
    assert "Traceback" not in done.stderr
    assert not list(project.glob("results/*/labels.csv"))
    assert not list(project.glob("cache/**/cache.json"))


def test_paths_follow_from_the_profile_and_the_data_folder(project, tmp_path):
    own = workspace.locate("smoke", root=project)
    assert own.name == "smoke"
    assert own.data_folder == project / "data" / "phantom" / "smoke"
    other = workspace.locate("smoke", folder_of_hands(tmp_path / "my hands", []), root=project)
    assert re.fullmatch("smoke-my-hands-[0-9a-f]{6}", other.name)
    assert other.run_folder("resnet18", 2) == (
        project / "runs" / other.name / "resnet18" / "seed-2"
    )
    # Two folders of one name are two studies, whatever the length of their name.
    for name in ("my hands", "x" * 252):
        twins = [folder_of_hands(tmp_path / part / name, []) for part in ("a", "b")]
        names = {workspace.locate("smoke", twin, root=project).name for twin in twins}
        assert len(names) == 2 and max(map(len, names)) < 80
    # The graph names the folder even where it is the profile's own: the same study.
    own.data_folder.mkdir(parents=True)
    assert workspace.locate("smoke", own.data_folder, root=project).name == "smoke"


def test_an_unchanged_data_set_makes_nothing_stale(project, tmp_path):
    folder = folder_of_hands(
        tmp_path / "hands", [(str(i), str(6 * i), str(i % 2 == 0)) for i in range(1, 31)]
    )
    study = workspace.locate("smoke", folder, root=project)
    prepare.prepare_data(study)
    before = study.labels_file.stat().st_mtime_ns, study.fingerprint
    prepare.prepare_data(study)
    assert (study.labels_file.stat().st_mtime_ns, study.fingerprint) == before
    image = folder / "boneage-training-dataset" / "3.png"
    pixels = cv2.imread(str(image), cv2.IMREAD_GRAYSCALE)
    pixels[0, 0] ^= 1
    cv2.imwrite(str(image), pixels)
    prepare.prepare_data(study)
    assert study.fingerprint != before[1]


def test_a_missing_data_folder_says_how_to_get_the_data(project):
    with pytest.raises(UserError, match="h2a data fetch --source kaggle"):
        prepare.prepare_data(workspace.locate("rsna", root=project))


def test_only_one_process_works_on_a_study(project):
    from filelock import FileLock

    study = workspace.locate("smoke", root=project)
    lock = project / "cache" / "smoke" / ".lock"
    lock.parent.mkdir(parents=True)
    with FileLock(lock), pytest.raises(UserError, match="is at work on the study 'smoke'"):
        graph.build(study, ["all"])


def test_the_doctor_says_what_is_lacking():
    done = h2a("doctor")
    assert done.returncode == 0
    for message in ("Python", "memory", "disk", "Quarto", "data of rsna"):
        assert message in done.stdout


def test_a_set_of_phantoms_is_drawn_anew_only_on_request(tmp_path):
    words = ("data", "phantom", "--height-px", "64", "--out", "hands", "--n")
    assert h2a(*words, "2", cwd=tmp_path).returncode == 0
    refused = h2a(*words, "1", cwd=tmp_path)
    assert refused.returncode == 2
    assert refused.stderr == (
        "h2a: hands holds a set of phantoms: name another folder, or replace it (--again)\n"
    )
    assert h2a(*words, "1", "--again", cwd=tmp_path).returncode == 0
    assert len(list((tmp_path / "hands" / "boneage-training-dataset").iterdir())) == 1


def test_a_growth_chart_replaces_a_file_only_on_request(tmp_path):
    chart = tmp_path / "chart.png"
    chart.write_bytes(b"a photograph")
    words = ("data", "phantom", "--growth-chart", "--out", "chart.png")
    refused = h2a(*words, cwd=tmp_path)
    assert refused.returncode == 2
    assert "chart.png exists: replace it with --again" in refused.stderr
    assert chart.read_bytes() == b"a photograph"


def test_fetch_says_how_to_check_a_table_with_headings_of_ones_own(tmp_path):
    hands = folder_of_hands(tmp_path / "own", [(str(k), "60", "M") for k in range(22)])
    table = hands / "boneage-training-dataset.csv"
    table.write_text(table.read_text().replace("id,boneage,male", "Patient #,Alter,Gender"))
    columns = ("--columns", "id='Patient #',age_months=Alter,sex=Gender", "--age-unit", "months")
    fetched = h2a("data", "fetch", "--source", "own", "--out", "out", *columns, cwd=tmp_path)
    assert fetched.returncode == 0, fetched.stderr
    verify = shlex.split(fetched.stdout.splitlines()[-1].removeprefix("verify with: "))
    assert h2a(*verify[1:], cwd=tmp_path).returncode == 0


def test_a_check_shows_names_as_they_are_and_never_as_markup(tmp_path):
    ids = ["[/b]0", "x[bold]0", "$\\frac{", "<b>1"]
    hands = folder_of_hands(tmp_path / "own [red]$x$", [("1", "60", "True")])
    table = hands / "boneage-training-dataset.csv"
    table.write_text("id,boneage,male\n" + "".join(f"{name},60,True\n" for name in ids))
    checked = h2a("data", "check", str(hands))
    assert checked.returncode == 2 and "Traceback" not in checked.stderr
    for name in ids:
        assert f"id {name!r} has no image file" in checked.stdout


def test_a_user_that_does_not_exist_is_one_line(project):
    for words in (
        ("report", "--dry-run", "--data", "~no-such-user/x"),
        ("data", "fetch", "--source", "~no-such-user/x", "--out", "out"),
    ):
        done = h2a(*words, cwd=project)
        assert (done.returncode, done.stderr) == (
            2,
            "h2a: ~no-such-user/x: there is no such user\n",
        )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_output_to_a_full_disk_is_one_line(tmp_path):
    hands = folder_of_hands(tmp_path / "own", [("1", "60", "True")])
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "h2a_lib.commands.app", "data", "check", str(hands), "--json"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.stderr == "h2a: the output cannot be written: No space left on device\n"
    assert done.returncode == 2


@pytest.fixture
def settings_of_the_user(tmp_path):
    """Return an environment as other programs want it."""
    (tmp_path / "matplotlibrc").write_text("text.usetex: True\nfigure.facecolor: black\n")
    return os.environ | {
        "MATPLOTLIBRC": str(tmp_path / "matplotlibrc"),
        "MPLBACKEND": "no such backend",
        "OPENCV_IO_MAX_IMAGE_PIXELS": "100",
        "LOKY_MAX_CPU_COUNT": "x",
    }


@pytest.mark.parametrize(
    "command", ["check", "predict", pytest.param("growth chart", marks=pytest.mark.slow)]
)
def test_a_command_does_not_follow_the_users_settings_of_other_programs(
    tmp_path, settings_of_the_user, command
):
    data = write_set(tmp_path / "hands", [str(k) for k in range(100, 130)])
    image = data / "boneage-training-dataset" / "100.png"
    words = {
        "check": ["data", "check", data],
        "predict": ["predict", image, "--explain", tmp_path / "out.png"],
        "growth chart": ["data", "phantom", "--growth-chart", "--out", tmp_path / "out.png"],
    }[command]
    done = subprocess.run(
        [sys.executable, "-m", "h2a_lib.commands", *map(str, words)],
        env=settings_of_the_user,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    if command != "check":
        assert cv2.imread(str(tmp_path / "out.png"))[0, 0].tolist() == [255, 255, 255]


def test_fetch_warns_of_ages_that_look_like_years(tmp_path):
    data = write_set(tmp_path / "own", [str(k) for k in range(100, 160)])
    rows = "".join(f"{key},{key % 18},{'MF'[key % 2]}\n" for key in range(100, 160))
    (data / "boneage-training-dataset.csv").write_text(f"id,boneage,sex\n{rows}")
    words = ("data", "fetch", "--source", "own", "--out")
    fetched = h2a(*words, "months", cwd=tmp_path)
    assert fetched.returncode == 0 and "say --age-unit years" in fetched.stderr
    assert "warning" not in h2a(*words, "years", "--age-unit", "years", cwd=tmp_path).stderr
