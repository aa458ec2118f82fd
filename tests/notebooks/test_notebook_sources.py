"""What the notebooks look like before they run: short cells, one idea each, no outputs."""

import ast
from pathlib import Path

import nbformat
import pytest

from h2a_lib.pipeline.steps import NOTEBOOKS as STEPS
from h2a_lib.pipeline.steps import TRAINING

FOLDER = Path(__file__).parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("0[1-9]_*.ipynb"))
# Gets a study to run, and is none of its steps.
START = FOLDER / "00_start.ipynb"
every_notebook = pytest.mark.parametrize(
    "notebook", [START, *NOTEBOOKS], ids=lambda file: file.stem
)
MOST_LINES = 10


def cells(notebook: Path, kind: str = "code"):
    content = nbformat.read(notebook, as_version=4)
    return [cell for cell in content.cells if cell.cell_type == kind]


def statements(cell) -> list[ast.stmt]:
    return ast.parse(cell.source).body


def calls(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.Call) and ast.unparse(node.func) == name


def test_there_are_nine_and_the_start():
    assert len(NOTEBOOKS) == 9
    assert sorted(FOLDER.glob("*.ipynb")) == [START, *NOTEBOOKS]


def test_the_start_is_no_step_of_a_study():
    assert START.stem not in {TRAINING, *(notebook.name for notebook in STEPS)}
    assert "open_study" not in "\n".join(cell.source for cell in cells(START))


def test_the_start_shows_nothing_of_the_installation():
    """Its calls of pip and of the command line have names: it displays the report alone."""
    displayed = [ast.unparse(statements(cell)[-1]) for cell in cells(START)]
    displayed = [text for text in displayed if isinstance(ast.parse(text).body[0], ast.Expr)]
    assert [text.partition("(")[0] for text in displayed] == ["show_page", "show_notebooks"]


@every_notebook
def test_cells_are_short_and_hold_no_program(notebook):
    for cell in cells(notebook):
        assert len(cell.source.splitlines()) <= MOST_LINES, cell.source
        kinds = (ast.FunctionDef, ast.ClassDef, ast.If, ast.For, ast.While, ast.Try, ast.With)
        assert not [node for node in statements(cell) if isinstance(node, kinds)], cell.source
        assert not cell.outputs and cell.execution_count is None


@every_notebook
def test_what_shows_something_is_the_last_expression_of_its_cell(notebook):
    for cell in cells(notebook):
        for node in statements(cell)[:-1]:
            for name in ("study.show", "study.table", "study.variables", "display"):
                assert not any(calls(part, name) for part in ast.walk(node)), cell.source
        names = {ast.unparse(n.func) for n in ast.walk(ast.parse(cell.source)) if calls_any(n)}
        assert not names & {"print", "plt.subplots", "plt.show"}, cell.source


def calls_any(node: ast.AST) -> bool:
    return isinstance(node, ast.Call)


@every_notebook
def test_words_stand_between_the_outputs(notebook):
    kinds = [cell.cell_type for cell in nbformat.read(notebook, as_version=4).cells]
    assert kinds[0] == "markdown"
    runs = "".join("c" if kind == "code" else "m" for kind in kinds).split("m")
    assert max(map(len, runs)) <= 3, "more than three cells of code without a word"


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda file: file.stem)
def test_the_parameters_come_first_and_are_the_same_everywhere(notebook):
    (parameters,) = [c for c in cells(notebook) if "parameters" in c.metadata.get("tags", [])]
    assert cells(notebook)[0] is parameters or cells(notebook)[0].source == parameters.source
    names = [node.targets[0].id for node in statements(parameters)]
    assert names[:3] == ["profile", "data", "interactive"]
    assert f'open_study("{notebook.stem}"' in "\n".join(c.source for c in cells(notebook))
