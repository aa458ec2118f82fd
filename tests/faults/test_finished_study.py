"""A finished study stays finished, wherever it is moved and whatever is changed that is no code."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from checkout import command, copy_checkout, environment, h2a

pytestmark = pytest.mark.slow
MADE = ("cache", "runs", "results", "data")
ODD = Path("My Projects", "häns & co (2)", "h2a")


@pytest.fixture
def finished(smoke, tmp_path) -> Path:
    """Return a copy of the finished smoke study (of hard links: nothing may be written into)."""
    folder = copy_checkout(tmp_path / "h2a")
    bring(smoke, folder)
    return folder


def bring(smoke: Path, folder: Path) -> None:
    """Bring into a fresh clone what a study has made, and neither .snakemake nor any time."""
    for name in (*MADE, "report/_output"):
        for source in sorted((smoke / name).glob("**/smoke")):
            if ".snakemake" not in source.parts and source.is_dir():
                target = folder / source.relative_to(smoke)
                shutil.copytree(source, target, copy_function=os.link, dirs_exist_ok=True)


def moved(folder: Path) -> Path:
    return folder.rename(folder.with_name("elsewhere"))


def moved_to_an_odd_place(folder: Path) -> Path:
    (folder.parent / ODD).parent.mkdir(parents=True)
    return folder.rename(folder.parent / ODD)


def copied(folder: Path) -> Path:
    return Path(shutil.copytree(folder, folder.with_name("copy"), copy_function=os.link))


def touched(folder: Path) -> Path:
    for file in folder.rglob("*"):
        if file.is_file():
            content = file.read_bytes() if file.suffix in (".py", ".ipynb", ".yaml") else None
            if content is not None:  # a new file, as git makes it
                file.unlink()
                file.write_bytes(content)
            else:
                file.touch()
    return folder


def branch_and_back(folder: Path) -> Path:
    file = folder / "h2a_lib/models/training.py"
    text = file.read_text()
    file.write_text(f"{text}\nOTHER = 1\n")
    assert "code of h2a_lib/models/training.py changed" in plan(folder)
    file.unlink()
    file.write_text(text)
    return folder


def commented(folder: Path) -> Path:
    for file in (folder / "h2a_lib").rglob("*.py"):
        file.write_text(f"# A comment.\n\n{file.read_text()}\n")
    return folder


def saved_in_jupyterlab(folder: Path) -> Path:
    for file in (folder / "notebooks").glob("*.ipynb"):
        notebook = json.loads(file.read_text())
        for cell in notebook["cells"]:
            if cell["cell_type"] == "markdown":
                cell["source"] = [*cell["source"], "\n", "*Formatted.*"]
            else:
                cell["execution_count"] = 3
                cell["outputs"] = [{"output_type": "stream", "name": "stdout", "text": ["!"]}]
            if "parameters" in cell["metadata"].get("tags", ()):
                text = "".join(cell["source"])
                cell["source"] = text.replace("100", "20").replace("0.9", "0.8")
        notebook["metadata"]["language_info"] = {"name": "python", "version": "3.99"}
        file.write_text(json.dumps(notebook, indent=4))
    return folder


def data_linked(folder: Path) -> Path:
    data = folder / "data"
    elsewhere = data.rename(folder.parent / "radiographs & co")
    data.symlink_to(elsewhere, target_is_directory=True)
    return folder


CHANGES: tuple[Callable[[Path], Path], ...] = (
    moved,
    moved_to_an_odd_place,
    copied,
    touched,
    branch_and_back,
    commented,
    saved_in_jupyterlab,
    data_linked,
)


def plan(folder: Path, *words: str, python: str = sys.executable) -> str:
    done = subprocess.run(
        [python, *command("report", "--profile", "smoke", "--dry-run", *words)[1:]],
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_fresh_clone_with_what_was_made_is_up_to_date(finished):
    assert "Nothing to do" in plan(finished)
    done = h2a(finished, "report", "--profile", "smoke")
    assert "Nothing to do" in done.stdout, done.stdout + done.stderr
    assert not (finished / ".snakemake").exists(), "nor was Snakemake asked"


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_finished_study_stays_finished_when(finished, change):
    assert "Nothing to do" in plan(change(finished))


def test_another_path_of_python_makes_nothing_stale(finished, tmp_path):
    (tmp_path / "bin").mkdir()
    python = tmp_path / "bin" / "python3"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    assert "Nothing to do" in plan(finished, python=str(python))


def test_the_profiles_own_data_may_be_named_by_a_link(finished, tmp_path):
    (tmp_path / "link").symlink_to(finished / "data" / "phantom" / "smoke")
    assert "Nothing to do" in plan(finished, "--data", str(tmp_path / "link"))


def test_a_notebook_executed_by_hand_does_not_reach_the_report(finished):
    file = finished / "results" / "smoke" / "variables" / "preprocessing.yml"
    before = file.read_bytes()
    values = {"profile": "smoke", "interactive": False, "size_px": 64}
    notebook = finished / "notebooks" / "03_preprocessing.ipynb"
    words = [str(notebook), str(finished.parent / "out.ipynb"), json.dumps(values)]
    module = [sys.executable, "-m", "h2a_lib.pipeline.notebooks", *words]
    subprocess.run(module, cwd=finished, env=environment(finished), check=True)
    assert file.read_bytes() != before
    text = plan(finished)
    assert "2 of " in text and "03_preprocessing" in text and "changed since" in text
    done = h2a(finished, "render", "--profile", "smoke")
    assert done.returncode == 2
    assert "`h2a report --profile smoke` makes them again" in done.stderr
    assert "results/smoke/variables/preprocessing.yml" in done.stderr


def test_in_an_odd_place_the_study_is_made_again(finished):
    folder = moved_to_an_odd_place(finished)
    file = folder / "notebooks" / "01_population.ipynb"
    notebook = json.loads(file.read_text())
    notebook["cells"][-1]["source"] = ["1 + 1"]
    notebook["cells"][-1] |= {"cell_type": "code", "outputs": [], "execution_count": None}
    file.unlink()
    file.write_text(json.dumps(notebook))
    assert "2 of " in plan(folder)
    done = h2a(folder, "report", "--profile", "smoke")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert "Nothing to do" in plan(folder)
