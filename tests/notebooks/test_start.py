"""From nothing to the report: 00_start where there is neither a clone nor the package."""

import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import wheels
from checkout import ROOT, copy_checkout, shrink_smoke

from h2a_lib.phantoms import write

START = ROOT / "notebooks" / "00_start.ipynb"
N = 30
TABLE, IMAGES = "boneage-training-dataset.csv", "boneage-training-dataset"


def environment() -> dict[str, str]:
    """Return Kaggle's environment, without what Jupyter has set here."""
    kept = {k: v for k, v in wheels.environment().items() if not k.startswith("JUPYTER")}
    return kept | {"KAGGLE_KERNEL_RUN_TYPE": "Batch"}


def papermill(python: Path | str, folder: Path, **parameters: str) -> subprocess.CompletedProcess:
    """Run the notebook alone in a folder; what it shows is in `out.ipynb`."""
    shutil.copy(START, folder / START.name)
    given = [word for name, value in parameters.items() for word in ("-r", name, value)]
    return subprocess.run(
        [
            python,
            "-m",
            "papermill",
            "--no-progress-bar",
            "--log-output",
            START.name,
            "out.ipynb",
            *given,
        ],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )


def mounted(folder: Path) -> Path:
    """Draw radiographs that lie as those of Kaggle's mount do, and forbid to write there."""
    drawn = folder.with_name("drawn")
    write(drawn, N, seed=3, height_px=96)
    shutil.copytree(drawn / IMAGES, folder / IMAGES / IMAGES)
    shutil.copy(drawn / TABLE, folder / TABLE)
    for path in [*folder.rglob("*"), folder]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    return folder


def contents(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*")}


@pytest.mark.slow
def test_a_wheel_and_a_mount_lead_to_the_report(wheel, tmp_path):
    python = wheels.plain_venv(tmp_path / "venv")
    source = copy_checkout(tmp_path / "input" / "hand-to-age")
    shrink_smoke(source)
    shutil.rmtree(source / "h2a_lib")  # only the wheel has it
    mount = mounted(tmp_path / "input" / "rsna-bone-age")
    before = contents(tmp_path / "input")
    work = tmp_path / "working"
    work.mkdir()

    places = {"source": str(source), "package": str(wheel), "mount": str(mount)}
    done = papermill(python, work, **places)
    assert done.returncode == 0, (done.stdout + done.stderr)[-9000:]

    (deck,) = (work / "Hand-To-Age" / "report" / "_output").glob("smoke-rsna-bone-age-*")
    assert {"index.html", "slides.html", "slides.pdf"} <= {path.name for path in deck.iterdir()}
    cells = nbformat.read(work / "out.ipynb", as_version=4).cells
    displayed = [
        output.data["text/html"]
        for cell in cells
        for output in cell.get("outputs", ())
        if output.output_type == "execute_result"
    ]
    assert len(displayed) == 2
    assert "srcdoc=" in displayed[0] and "Reveal.initialize" in displayed[0]
    for page in deck.glob("notebooks/*.html"):
        assert f"<summary>{page.stem}: " in displayed[1]
    assert displayed[1].count("<summary>") >= 9

    assert contents(tmp_path / "input") == before
    installed = {path.name for path in python.parents[1].glob("lib/python*/site-packages/*")}
    assert "h2a_lib" in installed and not {"torch", "torchvision"} & installed
    (labels,) = (work / "Hand-To-Age" / "results").glob("smoke-*/labels.csv")
    assert len(labels.read_text().splitlines()) == 1 + N


def test_without_a_clone_it_asks_for_the_repository(tmp_path):
    if any((folder / "study.yaml").is_file() for folder in tmp_path.parents):
        pytest.skip("temporary folders lie in a clone here")
    done = papermill(sys.executable, tmp_path)
    assert done.returncode == 1
    assert "name the repository in `source`: an address, or a folder" in done.stderr
    assert not (tmp_path / "Hand-To-Age").exists()
