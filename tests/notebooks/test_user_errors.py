"""A mistake of the user is one line in a notebook, not a page of traceback."""

import nbformat
import pytest
from nbclient import NotebookClient

from h2a_lib.study.workspace import project_root

OPEN = """
from h2a_lib.study.notebook import open_study
study = open_study("01_population", "")
"""
MISTAKES = {"profilse": ("profiles:", "profilse:"), "lr": ("lr: 1.0e-3", "lr: fast")}


@pytest.fixture(scope="module")
def errors(tmp_path_factory):
    """Return the error of the first cell of a notebook for each typo in study.yaml."""
    folder = tmp_path_factory.mktemp("typos")
    text = (project_root() / "study.yaml").read_text(encoding="utf-8")
    notebook = nbformat.v4.new_notebook()
    for name, mistake in MISTAKES.items():
        assert mistake[0] in text
        (folder / name).mkdir()
        (folder / name / "study.yaml").write_text(text.replace(*mistake, 1), encoding="utf-8")
        source = f"%cd -q {folder / name}\n{OPEN}"
        notebook.cells.append(nbformat.v4.new_code_cell(source, id=name))
    NotebookClient(notebook, kernel_name="python3", allow_errors=True).execute()
    return {
        cell["id"]: [output for output in cell["outputs"] if output.output_type == "error"]
        for cell in notebook.cells
    }


@pytest.mark.parametrize("name", MISTAKES)
def test_a_typo_in_the_study_is_one_line(errors, name):
    (error,) = errors[name]
    assert name in error.evalue
    lines = [line for part in error.traceback for line in part.splitlines()]
    assert len(lines) <= 2  # pydantic's reason may stand below ours
    assert error.ename == "UserError"
