"""The strict papermill wrapper, and how the notebooks are kept."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
import pytest

from h2a_lib.errors import UserError
from h2a_lib.pipeline import forkserver as warm
from h2a_lib.pipeline import notebooks
from h2a_lib.pipeline.dependencies import files_used_by
from h2a_lib.pipeline.steps import NOTEBOOKS

ROOT = Path(__file__).parents[2]
STUDY_PARAMETERS = {"profile", "data", "interactive"}
ALL = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.fixture
def notebook(tmp_path):
    """Return a function that writes a notebook of a parameters cell and one more cell."""

    def write(code: str, parameters: str | None = "n = 1\nname = 'a'") -> Path:
        cells = [nbformat.v4.new_code_cell(code)]
        if parameters is not None:
            tagged = nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]})
            cells.insert(0, tagged)
        path = tmp_path / "source.ipynb"
        kernel = {"kernelspec": {"name": "python3", "display_name": "", "language": "python"}}
        nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), path)
        return path

    return write


def test_a_notebook_runs_with_its_parameters_and_beside_its_source(notebook, tmp_path):
    source = notebook("from pathlib import Path\nPath('made.txt').write_text(f'{n} {name}')")
    notebooks.execute(source, tmp_path / "out" / "done.ipynb", {"n": 7})
    assert (tmp_path / "made.txt").read_text() == "7 a"
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["done.ipynb"]


@pytest.mark.parametrize("value", ['a"b', "a\\'b\\", "a\nb {x} $HOME", "häns & co", "None"])
def test_a_parameter_of_any_letters_arrives_as_it_is(notebook, tmp_path, value):
    source = notebook("from pathlib import Path\nPath('made.txt').write_text(repr(name))")
    notebooks.execute(source, tmp_path / "done.ipynb", {"name": value})
    assert (tmp_path / "made.txt").read_text() == repr(value)


def test_a_brace_in_a_path_is_no_parameter(notebook, tmp_path):
    folder = tmp_path / "{n} {x}"
    folder.mkdir()
    source = notebook("n").rename(folder / "source.ipynb")
    notebooks.execute(source, folder / "done.ipynb", {"n": 7})
    assert (folder / "done.ipynb").is_file()


def test_an_undeclared_parameter_is_an_error_that_lists_the_declared_ones(notebook, tmp_path):
    with pytest.raises(UserError, match=r"parameter of source.ipynb 'm'; known: n, name"):
        notebooks.execute(notebook("n"), tmp_path / "out.ipynb", {"m": 7})
    assert not (tmp_path / "out.ipynb").exists()


def test_a_notebook_without_parameters_takes_none(notebook, tmp_path):
    with pytest.raises(UserError, match="unknown parameter"):
        notebooks.execute(notebook("1", parameters=None), tmp_path / "out.ipynb", {"n": 7})


def test_a_crash_leaves_no_notebook_that_counts_as_done(notebook, tmp_path):
    output = tmp_path / "out.ipynb"
    with pytest.raises(notebooks.NotebookError, match=r"cell 2: ZeroDivisionError"):
        notebooks.execute(notebook("print('before')\n1 / 0"), output, {})
    assert not output.exists()
    failed = json.loads((tmp_path / "out.failed.ipynb").read_text())
    assert "ZeroDivisionError" in json.dumps(failed), "what happened can be read"


def test_a_users_mistake_inside_a_notebook_is_reported_without_traceback(notebook, tmp_path):
    source = notebook("from h2a_lib.errors import UserError\nraise UserError('no such hand')")
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "h2a_lib.pipeline.notebooks",
            str(source),
            str(tmp_path / "o.ipynb"),
            "{}",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.strip().splitlines()[-1] == "source.ipynb: no such hand"
    assert "Traceback" not in done.stderr


def test_a_missing_notebook_is_named(tmp_path):
    with pytest.raises(UserError, match=r"nowhere.ipynb does not exist"):
        notebooks.execute(tmp_path / "nowhere.ipynb", tmp_path / "out.ipynb", {})


@pytest.mark.slow
def test_many_notebooks_at_once_all_succeed(notebook, tmp_path):
    source = notebook("n * 2")
    command = [sys.executable, "-m", "h2a_lib.pipeline.notebooks", str(source)]
    started = [
        subprocess.Popen(
            [*command, str(tmp_path / f"{i}.ipynb"), json.dumps({"n": i})], env=os.environ
        )
        for i in range(4)
    ]
    assert [process.wait() for process in started] == [0] * 4


@pytest.mark.slow
def test_of_many_notebooks_eight_at_a_time_none_fails(notebook, tmp_path):
    """`H2A_CAMPAIGN=1` executes 200; all as the study's steps are, in warm processes."""
    n = 200 if "H2A_CAMPAIGN" in os.environ else 24
    command = [
        sys.executable,
        "-m",
        "h2a_lib.pipeline.forkserver",
        "h2a_lib.pipeline.notebooks",
        str(notebook("n * 2")),
    ]

    def execute(i: int) -> tuple[int, str]:
        output = tmp_path / f"{i}.ipynb"
        words = [*command, str(output), json.dumps({"n": i})]
        code = subprocess.run(words, env=environment, check=False).returncode
        return code, nbformat.read(output, as_version=4).cells[-1].outputs[0].data["text/plain"]

    with warm.server() as environment, ThreadPoolExecutor(8) as eight:
        assert list(eight.map(execute, range(n))) == [(0, str(2 * i)) for i in range(n)]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda notebook: notebook.name)
def test_the_report_passes_every_parameter_that_a_notebook_declares(notebook):
    cells = nbformat.read(ROOT / "notebooks" / f"{notebook.name}.ipynb", as_version=4).cells
    (cell,) = (cell for cell in cells if "parameters" in cell.metadata.get("tags", []))
    defaults: dict = {}
    exec(cell.source, defaults)
    del defaults["__builtins__"]
    own = {name: value for name, value in defaults.items() if name not in STUDY_PARAMETERS}
    assert own == dict(notebook.parameters)


def test_a_notebook_depends_on_what_it_imports_through_others_too():
    used = {
        file.relative_to(ROOT).as_posix()
        for file in files_used_by(ALL[0].with_name("05_train.ipynb"))
    }
    assert {"h2a_lib/models/training.py", "h2a_lib/models/dataset.py", "h2a_lib/files.py"} <= used
    assert not {"h2a_lib/commands/app.py", "h2a_lib/report/__init__.py"} & used
    assert not any(name.startswith("h2a_lib/analysis/clusters") for name in used)


def test_imports_are_found_in_functions_packages_and_names(tmp_path):
    source = tmp_path / "x.py"
    source.write_text(
        "import h2a_lib.files\ndef f():\n    from h2a_lib.models import schedules\nimport os\n"
    )
    used = {file.relative_to(ROOT).as_posix() for file in files_used_by(source)}
    assert {
        "h2a_lib/__init__.py",
        "h2a_lib/files.py",
        "h2a_lib/models/__init__.py",
        "h2a_lib/models/schedules.py",
        "h2a_lib/study/config.py",
    } <= used
    assert "h2a_lib/models/networks.py" not in used
