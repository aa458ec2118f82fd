"""A mistake of the user is one line in a notebook, not a page of traceback."""

import shutil

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from h2a_lib.study.workspace import project_root


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        (("profiles:", "profilse:"), "profilse"),
        (("lr: 1.0e-3", "lr: fast"), "lr"),
    ],
)
def test_a_typo_in_the_study_is_one_line(tmp_path, mistake, message):
    root = project_root()
    text = (root / "study.yaml").read_text(encoding="utf-8")
    assert mistake[0] in text
    (tmp_path / "study.yaml").write_text(text.replace(*mistake, 1), encoding="utf-8")
    (tmp_path / "notebooks").mkdir()
    copy = shutil.copy(root / "notebooks" / "01_population.ipynb", tmp_path / "notebooks")
    notebook = nbformat.read(copy, as_version=4)
    client = NotebookClient(
        notebook, kernel_name="python3", resources={"metadata": {"path": tmp_path / "notebooks"}}
    )
    with pytest.raises(CellExecutionError):
        client.execute()
    (error,) = [
        output
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if output.output_type == "error"
    ]
    assert message in error.evalue
    lines = [line for part in error.traceback for line in part.splitlines()]
    assert len(lines) <= 2  # pydantic's reason may stand below ours
    assert error.ename == "UserError"
