"""Before rendering: see that everything the deck names is there, whole, and of this study.

Quarto only warns of an unknown variable, a missing picture or an unknown citation and ends well;
Pandoc shows an unknown variable as it stands. So we look ourselves, and report all at once.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from h2a_lib.files import sha256
from h2a_lib.report.outline import VARIABLE, Outline, Slide
from h2a_lib.report.staging import Staged

BIB_ENTRY = re.compile(r"^\s*@\w+\{\s*([^,\s]+)\s*,", re.MULTILINE)
SPLITS = ("train", "selection", "validation", "test")
COUNTS = {f"n_{part}" for part in ("total", *SPLITS, "female", "male")}
FIGURE = re.compile(r"figures/([a-z0-9_]+)\.(?:svg|png)")


def check_source(outline: Outline, staged: Staged, project: Path, root: Path) -> list[str]:
    """All that is wrong with a document for this study, each with the slide that has it.

    Pictures and the bibliography are relative to the project, the inputs of figures to the root.
    """
    known = set(BIB_ENTRY.findall((project / "references.bib").read_text(encoding="utf-8")))
    problems = []
    for slide in outline.slides:
        missing = [
            *_variables(slide, staged),
            *_pictures(slide, staged, project, root),
            *(f"unknown table {name!r}" for name in slide.tables if name not in staged.tables),
            *(f"unknown citation @{key}" for key in slide.citations if key not in known),
        ]
        problems += [f"{outline.unit} {slide.title!r}: {what}" for what in missing]
    return problems


def check_numbers(staged: Staged) -> list[str]:
    """All numbers of a study that should agree and do not: counts, runs, the data's fingerprint."""
    problems = []

    def agree(what: str, *values: object) -> None:
        if len(set(map(str, values))) > 1:
            problems.append(f"{what}: {' is not '.join(map(str, values))}")

    study, population = staged.variables["study"], staged.variables.get("population", {})
    if population:
        count = {
            key: int(text.replace(",", "")) for key, text in population.items() if key in COUNTS
        }
        parts = sum(count.get(f"n_{part}", 0) for part in SPLITS)
        agree("training, validation and test hands, and all hands", parts, count["n_total"])
        sexes = count["n_female"] + count["n_male"]
        agree("girls and boys, and all hands", sexes, count["n_total"])
        agree("fingerprint of the data", population["fingerprint"], study["fingerprint"])
    if runs := staged.tables.get("runs"):
        at = runs["names"].index("experiment")
        agree("rows of the table of runs, and runs", len(runs["rows"]), study["n_runs"])
        experiments = {row[at] for row in runs["rows"]}
        what = "experiments in the table of runs, and experiments"
        agree(what, len(experiments), study["n_experiments"])
    return problems


def _variables(slide: Slide, staged: Staged) -> Iterator[str]:
    for code in slide.shortcodes:
        match = VARIABLE.fullmatch(code)
        if not match:
            yield f"{{{{< {code} >}}}} is not understood: write {{{{< var group.key >}}}}"
        elif match[1] not in staged.variables:
            groups = ", ".join(staged.variables)
            yield f"unknown variable {match[1]}.{match[2]}: the groups are {groups}"
        elif match[2] not in staged.variables[match[1]]:
            keys = ", ".join(staged.variables[match[1]])
            yield f"unknown variable {match[1]}.{match[2]}; {match[1]} has {keys}"


def _pictures(slide: Slide, staged: Staged, project: Path, root: Path) -> Iterator[str]:
    for path, alt in slide.images:
        match = FIGURE.fullmatch(path)
        if match is None:
            if not (project / path).is_file():
                yield f"missing picture {path}"
            elif len(alt.split()) < 4:
                yield f"picture {path} has no alt text"
            continue
        figure = staged.figures.get(match[1])
        if figure is None:
            yield f"missing figure {match[1]}: no notebook of this study drew it"
        elif figure["file"] != Path(path).name:
            yield f"missing figure {path}: the study has {figure['file']}"
        else:
            if len(figure["alt"].split()) < 4:
                yield f"figure {match[1]} has no alt text"
            if not figure["tier"].strip():
                yield f"figure {match[1]} does not say what its data are"
            yield from _stale(figure, root, staged.published)


def _stale(figure: dict[str, Any], root: Path, published: bool) -> Iterator[str]:
    """Name the inputs that are not what they were when the figure was drawn.

    Of published results only what is published with them: the project's files have moved on since.
    """
    name, notebook = figure["name"], figure["made_by"]
    for source in figure["inputs"]:
        if published and not source["path"].startswith("results/"):
            continue
        file = root / source["path"]
        if file.is_file():
            if sha256(file) != source["sha256"]:
                what = f"{source['path']}, which it shows"
                yield f"figure {name} is older than {what}: run {notebook}"
        elif not published:
            yield f"figure {name} was drawn from {source['path']}, which is gone: run {notebook}"
