"""The executed notebooks of a finished study show every figure and table, and no path."""

import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from executed_notebooks import has_image, problems_of

pytestmark = pytest.mark.slow
NAMES = [file.stem for file in sorted((Path(__file__).parents[2] / "notebooks").glob("0*.ipynb"))]
NINE = [name for name in NAMES if name[1] != "0"]


def executed(smoke: Path, name: str) -> list:
    """Return the code cells of a notebook that the study's pipeline executed."""
    file = smoke / "results" / "smoke" / "notebooks" / f"{name}.ipynb"
    if name == "05_train":
        file = smoke / "runs" / "smoke" / "resnet18" / "seed-0" / "notebook.ipynb"
    return [c for c in nbformat.read(file, as_version=4).cells if c.cell_type == "code"]


@pytest.mark.parametrize("name", NINE)
def test_every_figure_and_table_is_on_the_screen(smoke, name):
    cells = executed(smoke, name)
    assert any(has_image(cell["outputs"]) for cell in cells)
    assert problems_of(cells) == []


def test_a_figure_that_is_not_displayed_a_table_a_path_and_a_warning_are_found():
    def cell(source, *outputs):
        return nbformat.v4.new_code_cell(source, outputs=list(outputs))

    def text(words):
        return nbformat.v4.new_output("execute_result", {"text/plain": words})

    warning = nbformat.v4.new_output("stream", name="stderr", text="a.py:3: UserWarning: odd")
    assert problems_of([cell("study.show(draw.ages(labels))", text("None"))])
    assert problems_of([cell("study.table(counts, 'counts')", text("n 3"))])
    assert problems_of([cell("x", text("PosixPath('a.svg')"))])
    assert problems_of([cell("x", text("runs/smoke/best/seed-0"))])
    assert problems_of([cell("x", warning)])
    assert not problems_of([cell("x", text("3 and/or 4 of 10 hands, 95 % CI 1/2"))])


@pytest.mark.parametrize(("name", "folder"), [(NINE[0], "."), *((n, "notebooks") for n in NINE)])
def test_plain_papermill_runs_each_from_either_folder(smoke, tmp_path, name, folder):
    command = [sys.executable, "-m", "papermill", str(smoke / "notebooks" / f"{name}.ipynb")]
    out = tmp_path / "out.ipynb"
    done = subprocess.run(
        [*command, str(out), "-p", "profile", "smoke", "--no-progress-bar"],
        cwd=smoke / folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    code = [c for c in nbformat.read(out, as_version=4).cells if c.cell_type == "code"]
    assert problems_of(code) == []
