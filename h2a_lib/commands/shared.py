"""Options and small helpers that several commands share."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from h2a_lib.errors import UserError, require_file, suggestion, unknown

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table

    from h2a_lib.study.runs import Run
    from h2a_lib.study.workspace import Study

# Columns of a table that is read by a program or with a pager: none is ever so wide.
UNBOUNDED = 100_000

ProfileOption = Annotated[str, typer.Option(help="A profile of study.yaml.")]
DataOption = Annotated[
    Path | None,
    typer.Option(help="A folder of radiographs (CSV and images) instead of the profile's own."),
]
AgeUnitOption = Annotated[
    str | None, typer.Option(help="Unit of age: months or years, if the heading does not state it.")
]
ColumnsOption = Annotated[
    str, typer.Option(help="Your column headings: 'id=Patient,age_years=Age,sex=Gender'.")
]
CoresOption = Annotated[int | None, typer.Option(min=1, help="Processor cores; all by default.")]
RendererOption = Annotated[
    str, typer.Option(help="quarto, pandoc, or auto: Quarto where it is installed.")
]
ExecutorOption = Annotated[
    str | None,
    typer.Option(help="Run the steps as jobs of a cluster: slurm, or another with its profile."),
]
WorkflowProfileOption = Annotated[
    Path | None, typer.Option(help="A Snakemake profile; cluster/EXECUTOR by default.")
]


def open_finished(profile: str, data: Path | None) -> "Study":
    """Return a study whose data were prepared before, and whose results nobody has changed."""
    from h2a_lib.pipeline.staleness import check_results
    from h2a_lib.report.study_variables import report_command
    from h2a_lib.study.workspace import locate

    study = locate(profile, data)
    study.check_experiments()
    require_file(study.data_file, f"run `h2a report --profile {profile}` first")
    check_results(study.results_folder, study.root, f"`{report_command(study)}` makes them again")
    return study


def open_run(folder: Path) -> "Run":
    """Return a finished run; where only its seeds are, a UserError names the first."""
    from h2a_lib.study import runs

    if not folder.is_dir():
        # Of the first part of the path that does not exist.
        first = next((one for one in (*folder.parents[::-1], folder) if not one.is_dir()), folder)
        beside = first.parent.iterdir() if first.parent.is_dir() else ()
        hint = suggestion(first.name, (one.name for one in beside if one.is_dir()))
        raise UserError(f"{folder} is not a folder{hint}")
    seeds = sorted(file.parent for file in folder.glob("seed-*/metrics.json"))
    if seeds and not (folder / "metrics.json").exists():
        raise UserError(f"{folder} is not a finished run: did you mean {seeds[0]}?")
    return runs.load(folder)


def check_renderer(renderer: str) -> None:
    """Refuse a renderer that does not exist."""
    if renderer not in ("auto", "quarto", "pandoc"):
        raise unknown("renderer", renderer, ("auto", "quarto", "pandoc"))


def check_suffix(option: str, path: Path, suffix: str) -> None:
    """Refuse a file name that does not end in the suffix of what will be written there."""
    if path.suffix.lower() != suffix:
        raise UserError(f"{option} {path}: the file name must end in {suffix}")


def print_table(table: "Table") -> None:
    """Print a table: as wide as a terminal allows, and in a pipe or a file as wide as it is."""
    from rich.console import Console

    console = Console()
    # Whether Rich holds it for a terminal is another question: FORCE_COLOR says yes to it.
    if not console.file.isatty():
        console.width = UNBOUNDED
    console.print(table)


def print_frame(frame: "pd.DataFrame", title: str) -> None:
    """Print a table; brackets in names are shown as they are."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title))
    for name in frame.columns:
        # Folded, not cut off with dots: half a file's name is of no use.
        table.add_column(Text(str(name)), overflow="fold")
    for row in frame.astype(object).where(frame.notna(), "").itertuples(index=False):
        table.add_row(*(Text(str(cell)) for cell in row))
    print_table(table)


def short(path: Path, start: Path | None = None) -> str:
    """Return a path as seen from the working directory, if it is below it."""
    start = start or Path.cwd()
    return str(path.relative_to(start) if path.is_relative_to(start) else path)
