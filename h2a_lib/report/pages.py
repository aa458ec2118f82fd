"""The executed notebooks as pages, and the page that lists all of a report."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from h2a_lib.files import read_json, read_yaml, write_text

if TYPE_CHECKING:
    from h2a_lib.report.staging import Staged

FOLDER = "notebooks"
# pandas writes its own look beside each table.
STYLE = re.compile(r"<style.*?</style>|\sstyle=\"text-align: right;\"|\sborder=\"1\"", re.DOTALL)
RUN_COLUMNS = ("differs_in", "epochs", "train_mae_months", "mae_months", "auc")
TRAINING = "05_train"


@dataclass(frozen=True)
class Page:
    """The page of an executed notebook, by whose first heading it is called.

    The name is that of its file, "07_age_answer" or "05_train-best-seed-0"; `figures` are the names
    of the figures that each cell shows.
    """

    notebook: Path
    name: str
    title: str
    figures: list[list[str]]

    @property
    def address(self) -> str:
        """Relative to the deck."""
        return f"{FOLDER}/{self.name}.html"


def find_pages(results: Path, root: Path) -> list[Page]:
    """Return the notebooks that were executed for these results, in the order of their names.

    Published results have none. Of the trainings, the best and the default have a page; the runs
    are found below the root.
    """
    descriptions = map(read_json, sorted(results.glob("figures/[!.]*.json")))
    saved = {(figure["made_by"], figure["name"]) for figure in descriptions}
    notebooks = {file: file.stem for file in sorted(results.glob("notebooks/[!.]*.ipynb"))}
    for run in _shown_runs(results):
        file = root / "runs" / results.name / run / "notebook.ipynb"
        if notebooks and file.is_file():
            notebooks[file] = f"{TRAINING}-{run.replace('/', '-')}"
    pages = [_page(file, name, saved) for file, name in notebooks.items()]
    return sorted(pages, key=lambda page: page.name)


def figure_addresses(pages: list[Page]) -> dict[str, str]:
    """Return where each figure is drawn: its page, and the cell's anchor on it."""
    return {
        figure: f"{page.address}#figure-{figure}"
        for page in pages
        for names in page.figures
        for figure in names
    }


def write_pages(pages: list[Page], project: Path, output: Path, tier: str) -> list[Path]:
    """Write the page of each notebook into the deck's folder, with the tier of its data."""
    if not pages:
        return []
    import nbformat
    from nbconvert import HTMLExporter
    from nbconvert.preprocessors import CoalesceStreamsPreprocessor

    exporter = HTMLExporter(
        template_name="notebook",
        extra_template_basedirs=[str(project / "templates")],
        exclude_anchor_links=True,
        filters={"without_style": lambda html: STYLE.sub("", html)},
    )
    # A training prints a line after each epoch: one block, not twenty.
    exporter.register_preprocessor(CoalesceStreamsPreprocessor, enabled=True)
    links = {"Report": "../index.html", "Slides": "../slides.html", "Article": "../paper.html"}
    css = (project / "notebook.css").read_text(encoding="utf-8")
    written = []
    for page in pages:
        notebook = nbformat.read(page.notebook, as_version=4)
        for cell, names in zip(notebook.cells, page.figures, strict=True):
            cell.metadata["figures"] = names
        notebook.cells = _merged(notebook.cells)
        about = {"title": f"{page.name}: {page.title}", "css": css, "links": links, "tier": tier}
        html, _ = exporter.from_notebook_node(notebook, resources={"page": about})
        written.append(output / page.address)
        write_text(written[-1], html)
    return written


def write_index(staged: "Staged", pages: list[Page], project: Path, output: Path) -> Path:
    """Write the page that links deck, article, notebooks and runs."""
    import jinja2

    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(project / "templates"))
    table = staged.tables.get("runs", {"names": [], "header": [], "rows": []})
    columns = [table["names"].index(name) for name in RUN_COLUMNS if name in table["names"]]
    by_name = {page.name: page.address for page in pages}
    runs = []
    for row in table["rows"]:
        cells = dict(zip(table["names"], row, strict=True))
        name = f"{cells['experiment']}/seed-{cells['seed']}"
        address = by_name.get(f"{TRAINING}-{name.replace('/', '-')}")
        runs.append({"name": name, "address": address, "cells": [row[at] for at in columns]})
    index = output / "index.html"
    html = environment.get_template("index.html.j2").render(
        study=staged.variables["study"],
        css=(project / "notebook.css").read_text(encoding="utf-8"),
        notebooks=pages,
        runs=runs,
        run_columns=[table["header"][at] for at in columns],
    )
    write_text(index, html)
    return index


def _page(file: Path, name: str, saved: set[tuple[str, str]]) -> Page:
    cells = read_json(file)["cells"]
    prose = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"]
    headings = re.findall(r"^# (.+)$", "\n".join(prose), re.M)
    figures = []
    for cell in cells:
        outputs = cell.get("outputs", [])  # prose has none
        names = [output.get("metadata", {}).get("h2a", {}).get("figure") for output in outputs]
        figures.append([figure for figure in names if (file.stem, figure) in saved])
    return Page(file, name, headings[0] if headings else name, figures)


def _merged(cells: list[Any]) -> list[Any]:
    """Join neighbouring cells of code that show nothing: parameters and imports fold as one."""
    merged: list[Any] = []
    for cell in cells:
        is_silent = cell.cell_type == "code" and not cell.outputs
        before = merged[-1] if merged else None
        if is_silent and before and before.cell_type == "code" and not before.outputs:
            before.source += f"\n\n{cell.source}"
        else:
            merged.append(cell)
    return merged


def _shown_runs(results: Path) -> list[str]:
    """Return the default's run and the best one, as "experiment/seed-0"."""
    import pandas as pd

    table, variables = results / "tables" / "runs.csv", results / "variables" / "runs.yml"
    chosen = []
    if table.is_file():
        runs = pd.read_csv(table, dtype=str, keep_default_na=False)
        chosen += runs.loc[runs["differs_in"].str.contains("default"), "experiment"].tolist()
    if variables.is_file():
        chosen.append(read_yaml(variables)["best_experiment"])
    return list(dict.fromkeys(f"{experiment}/seed-0" for experiment in chosen))
