"""The sources of the deck and the article: what they name is made, and no result is typed."""

import ast
import json
import re
from functools import cache
from pathlib import Path

import pytest
from report_results import REPORT, figures_named, tables_named, variables_named

from h2a_lib.pipeline.steps import NOTEBOOKS

ROOT = Path(__file__).parents[2]

# What the original talk and the design fix, and no run can change.
GIVEN = {
    "10,000 and 2,611 hands from": "the original's split",
    "0.37 years in African girls": "Alshamrani et al. 2019, abstract",
    "0.8 to 1.35 years lower at the ages of 6 to 9": "Alshamrani et al. 2019, abstract",
    "0.5 years higher at 17": "Alshamrani et al. 2019, abstract",
    "multiples of 6 months": "the question the audit asks",
    "within 6 months": "a measure of error",
    "within 12 months": "a measure of error",
    "Within 12 months": "a measure of error",
    "where 0.5 is a coin toss": "the scale of an AUC",
    "8-bit": "how images are decoded",
    "95 % bootstrap interval": "the method",
    "γ 0.7": "the original's schedule",
    "γ 0.1 and 0.5": "the original's schedules",
    "224 × 224": "the original's image size",
    "1 month to 19 years (228 months)": "the original's ages",
}
# A number that looks measured: a decimal, a count with a comma, or one with a unit.
RESULT = re.compile(
    r"\d+\.\d+|\d{1,3},\d{3}|\d+(?:\s|\u00a0)*(?:%|months?|years?|images|runs|pixels|seconds|minutes)"
)


@cache
def producers():
    """The Python that makes results: file name -> its text, notebooks as their code."""
    texts = {
        str(file.relative_to(ROOT)): file.read_text(encoding="utf-8")
        for file in (ROOT / "h2a_lib").rglob("*.py")
    }
    for file in (ROOT / "notebooks").glob("*.ipynb"):
        cells = json.loads(file.read_text(encoding="utf-8"))["cells"]
        code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
        texts[str(file.relative_to(ROOT))] = "\n\n".join(code)
    return texts


@cache
def literals_of(text):
    """All string literals of some Python, and a pattern of each f-string, its fields left open."""
    literals, patterns = set(), set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            literals.add(node.value)
        elif isinstance(node, ast.JoinedStr):
            parts = [
                re.escape(part.value) if isinstance(part, ast.Constant) else "[a-z0-9_]+"
                for part in node.values
            ]
            # An f-string that is one open field would match anything.
            if any(isinstance(part, ast.Constant) for part in node.values):
                patterns.add(re.compile("".join(parts)))
    return literals, patterns


def message(name, where=""):
    """Whether a file whose path begins so says a name, as a literal or through an f-string."""
    written = [literals_of(text) for path, text in producers().items() if path.startswith(where)]
    return any(
        name in literals or any(pattern.fullmatch(name) for pattern in patterns)
        for literals, patterns in written
    )


def drawn_always():
    """Return the file names of the figures that the table of steps demands of its notebooks."""
    outputs = [name for notebook in NOTEBOOKS for name in notebook.outputs]
    return {Path(name).name for name in outputs if name.startswith("figures/")}


@pytest.mark.parametrize(("figure", "suffix"), figures_named())
def test_every_figure_is_drawn_by_a_notebook(figure, suffix):
    known = {Path(name).stem: name for name in drawn_always()}
    if figure in known:
        assert known[figure] == f"{figure}.{suffix}"
    else:  # drawn where the study has the runs
        assert message(figure, "h2a_lib/figures")


def test_every_figure_that_a_notebook_must_draw_has_a_place():
    assert drawn_always() <= {f"{figure}.{suffix}" for figure, suffix in figures_named()}


@pytest.mark.parametrize("table", tables_named())
def test_every_table_is_written_by_a_notebook(table):
    assert message(table, "notebooks")


@pytest.mark.parametrize("group", sorted({group for group, _ in variables_named()}))
def test_every_group_of_variables_is_written(group):
    assert message(group, "notebooks") or message(group, "h2a_lib/report/study_variables.py")


@pytest.mark.parametrize("variable", [".".join(pair) for pair in variables_named()])
def test_every_variable_has_a_producer(variable):
    assert message(variable.split(".")[1])


def prose(document):
    """Its lines of prose with their numbers; front matter, code, checklist and shortcodes gone."""
    text = (REPORT / document).read_text(encoding="utf-8")
    text = re.sub(r"^---\n.*?^---\n", "", text, count=1, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"\{\{<.*?>\}\}|\{[.#].*?\}|`[^`]*`|@\w+", "", text)
    return text.split("{#checklist}")[0]


def typed_results(text):
    for given in GIVEN:
        text = text.replace(given, "")
    return RESULT.findall(text)


@pytest.mark.parametrize("document", ["slides.qmd", "paper.qmd"])
def test_no_result_is_typed(document):
    text = re.sub(r"^::: notes\n.*?^:::\n", "", prose(document), flags=re.DOTALL | re.MULTILINE)
    assert typed_results(text) == []


@pytest.mark.parametrize("text", ["an error of 6.1 months", "n = 2,611", "80 % of them", "38 runs"])
def test_a_typed_result_is_found(text):
    assert typed_results(text)
