"""Expressions that must not return, in prose and in names: the field has better ones."""

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# Each with what to write instead.
EXPRESSIONS = {
    r"by heart": "overfitting, or the gap between training and validation error",
    r"\berrs\b": "has an error of; performs worse by",
    r"(?:told|tells?|telling) the sex": "with sex input; classifies sex",
    r"\buntold\b": "without sex input",
    r"\bgiven away\b": "released, shareable",
    r"(?:without a|no) child in (?:it|them)": "without patient-level data",
    r"there already and is another": "already exists with different content",
    r"\bhonest(?:y|ly)?\b": "calibrated",
    r"the boy of a pair": "in same-age pairs the boy receives the higher score",
    r"\b(?:is|are) read (?:\S+ )?(?:months )?too (?:old|young)": "overestimated, underestimated",
    r"[Ss]ay how far a study": "show progress",
    r"script that was not kept": "measure it by a command that is kept, or leave it out",
    r"ties with the best": "equivalent to, or not distinguishable from, the default",
    r"\b[Tt]he rate itself\b": "the learning rate",
    r"\b[Tt]he real thing\b": "real radiographs",
    r"\bgoes from nothing\b": "installs everything and produces the report",
    r"\b[Ff]or whom it is wrong\b": "bias by sex",
}
# A sentence for each, as it stood in an earlier version.
EXAMPLES = (
    "4.6 months are learnt by heart.",
    "ResNet-50 errs 0.7 months more.",
    "A network that is told the sex as well.",
    "With the sex and untold.",
    "What may be given away of it.",
    "Results that are shareable: no child in them.",
    "The file is there already and is another.",
    "A group is called honest.",
    "Of a girl and a boy, the boy of a pair scores higher.",
    "Girls are read 5.4 months too old.",
    "Say how far a study is.",
    "Measured by a script that was not kept.",
    "ResNet-34 ties with the best.",
    "Schedules, and the rate itself.",
    "The real thing, reduced.",
    "This goes from nothing to the report.",
    "The age, and for whom it is wrong.",
)
# Parts of names, between underscores. A noun names a thing, a verb an action.
IN_NAMES = {
    *("told", "tells", "untold", "seen", "said", "learnt", "asked", "looked", "unlike"),
    *("judge", "judged", "quicken", "quickened", "truths", "sheet"),
}
# Whole names.
NAMES = {"found", "look", "in_words", "answers_to", "cross_conformal", "familiarity", "of_seeds"}
PROSE = ("*.md", "docs/*.md", "study.yaml", "Makefile", "Snakefile", "report/*.qmd")


def prose() -> list[Path]:
    files = [file for pattern in PROSE for file in sorted(ROOT.glob(pattern))]
    files = [file for file in files if file.name != "licences.md"]
    return [*files, *sorted(ROOT.glob("notebooks/*.ipynb")), *sorted(ROOT.glob("h2a_lib/**/*.py"))]


def code() -> list[Path]:
    ours = [ROOT / "h2a_lib", ROOT / "tests", ROOT / "benchmarks"]
    files = [file for folder in ours for file in sorted(folder.rglob("*.py"))]
    return [file for file in files if "node_modules" not in file.parts]


def text_of(file: Path) -> str:
    """Return the file's text with line breaks as spaces; of a notebook, that of its cells."""
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".ipynb":
        text = "\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"])
    # A sentence in a comment or in several strings goes on in the next line.
    return re.sub(r"\"?\s*\n\s*(?:# ?|f?\"|> )?", " ", text)


@pytest.mark.parametrize("file", prose(), ids=lambda file: str(file.relative_to(ROOT)))
def test_expressions_that_were_replaced_do_not_return(file):
    text = text_of(file)
    for expression, instead in EXPRESSIONS.items():
        match = re.search(expression, text)
        assert not match, (
            f"{match[0]!r} in …{text[match.start() - 60 : match.end() + 60]}…: {instead}"
        )


def names(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Yield the names that a module defines, with their lines."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name, node.lineno
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id, node.lineno
        elif isinstance(node, ast.arg):
            yield node.arg, node.lineno
        elif isinstance(node, ast.alias) and node.asname:
            yield node.asname, node.lineno


def problems(source: str) -> list[str]:
    return [
        f"line {line}: {name}"
        for name, line in names(ast.parse(source))
        if name.lower().strip("_") in NAMES or IN_NAMES & set(name.lower().split("_"))
    ]


@pytest.mark.parametrize("file", code(), ids=lambda file: str(file.relative_to(ROOT)))
def test_names_are_the_fields_terms(file):
    assert problems(file.read_text(encoding="utf-8")) == []


def test_the_checks_find_what_they_forbid():
    assert problems("def f(told, *, with_sex_input):\n    found = told\n    last_seen = found") == [
        "line 1: told",
        "line 2: found",
        "line 3: last_seen",
    ]


@pytest.mark.parametrize(("expression", "example"), zip(EXPRESSIONS, EXAMPLES, strict=True))
def test_each_expression_matches_what_it_is_for(expression, example):
    assert re.search(expression, example)
