"""`h2a render`: deck, article and notebook pages from results that are there."""

from pathlib import Path
from typing import Annotated

import typer

from h2a_lib.commands.shared import (
    DataOption,
    ProfileOption,
    RendererOption,
    check_renderer,
    open_finished,
    short,
)


def command(
    profile: ProfileOption = "demo",
    data: DataOption = None,
    renderer: RendererOption = "auto",
    results: Annotated[
        Path | None,
        typer.Option(
            exists=True, file_okay=False, help="A folder of published results instead of a profile."
        ),
    ] = None,
    stand_ins: Annotated[
        bool, typer.Option(help="Show phantoms in place of published results' radiographs.")
    ] = True,
) -> None:
    """Render the report from the results as they are."""
    from h2a_lib import report
    from h2a_lib.commands import publish
    from h2a_lib.pipeline.processes import end_with_leader
    from h2a_lib.pipeline.staleness import check_results
    from h2a_lib.report.study_variables import write_study_variables
    from h2a_lib.study.workspace import project_root

    check_renderer(renderer)
    end_with_leader()
    if results is None:
        study = open_finished(profile, data)
        write_study_variables(study)
        publish.withdraw(study.results_folder)
        root, results, folder = study.root, study.results_folder, study.deck_folder
    else:
        root, results = project_root(), results.resolve()
        check_results(results, root, "`h2a report` makes them again")
        folder = root / "report" / "_output" / results.name
    done = report.render(results, root / "report", folder, root, renderer, stand_ins)
    typer.echo(f"rendered with {done.renderer}: {short(done.index)} links to every file")
