"""`h2a report`: run a study and render its deck, article and notebooks."""

from typing import Annotated

import typer

from h2a_lib.commands.shared import (
    AgeUnitOption,
    ColumnsOption,
    CoresOption,
    DataOption,
    ExecutorOption,
    ProfileOption,
    RendererOption,
    WorkflowProfileOption,
    check_renderer,
    short,
)


def command(
    profile: ProfileOption = "demo",
    data: DataOption = None,
    age_unit: AgeUnitOption = None,
    columns: ColumnsOption = "",
    cores: CoresOption = None,
    renderer: RendererOption = "auto",
    executor: ExecutorOption = None,
    workflow_profile: WorkflowProfileOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List the steps that would run, why and for how long.")
    ] = False,
) -> None:
    """Run a study and render its report. Steps that are up to date are skipped.

    Exit code: 0 if the report is complete; 2 if something is missing from it.
    """
    from h2a_lib.data.labels import TableFormat
    from h2a_lib.pipeline import graph, prepare
    from h2a_lib.study.workspace import REPORT_FILES, locate

    check_renderer(renderer)
    form = TableFormat.parse(columns, age_unit)
    study = locate(profile, data)
    study.check_experiments()
    cluster = graph.Cluster.named(executor, workflow_profile, study.root)
    decks = [study.deck_folder / name for name in REPORT_FILES]
    before = [deck.stat().st_mtime_ns if deck.exists() else 0 for deck in decks]
    with graph.alone(study):
        if dry_run:
            typer.echo(graph.plan(study, renderer=renderer, at_most=cores, form=form))
            return
        prepare.prepare_data(study, form=form)
        graph.make_report(study, at_most=cores, renderer=renderer, cluster=cluster)
    if before == [deck.stat().st_mtime_ns for deck in decks]:
        typer.echo(f"Nothing to do: the report of {study.name!r} is up to date.")
    for deck in decks:
        typer.echo(short(deck))
    if (index := study.deck_folder / "index.html").exists():
        typer.echo(f"{short(index)} links to all of them, the notebooks and the runs")
