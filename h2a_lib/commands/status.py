"""`h2a status`: the progress of a study."""

from contextlib import suppress

import typer

from h2a_lib.commands.shared import DataOption, ProfileOption, print_table, short
from h2a_lib.errors import UserError

METRICS = {"mae_months": "months", "auc": "AUC"}


def command(profile: ProfileOption = "demo", data: DataOption = None) -> None:
    """Show the progress of a study: each run with its epochs and its error, and what is stale.

    Exit code: 0, finished or not; 2 if study.yaml or the data folder is wrong.
    """
    from rich.markup import escape
    from rich.table import Table

    from h2a_lib.pipeline import graph
    from h2a_lib.study import runs
    from h2a_lib.study.config import DEFAULT
    from h2a_lib.study.workspace import locate

    study = locate(profile, data)
    table = Table("experiment", "seed", "state", "epochs", "selection", title=escape(study.name))
    finished = 0
    planned = list(study.config.runs_of(profile))
    wrong = study.wrong_experiments()
    wanted = set(planned) if DEFAULT in wrong else graph.stale_runs(study)
    diverged = study.diverged_runs()
    for experiment, seed in planned:
        folder, run = study.run_folder(experiment, seed), None
        with suppress(UserError):
            run = None if experiment in wrong else runs.load(folder)
        if run is None:
            state = "interrupted" if (folder / runs.CHECKPOINT).exists() else "–"
            if (folder / "metrics.json").exists():  # which is written last
                state = "damaged"
            if experiment in wrong:
                state = f"wrong: {wrong[experiment]}"
            table.add_row(escape(experiment), str(seed), state, "", "")
            continue
        is_stale = (experiment, seed) in wanted
        finished += not is_stale
        metrics = run.metrics["selection"]
        errors = [f"{metrics[key]:.2f} {unit}" for key, unit in METRICS.items() if key in metrics]
        state = "stale" if is_stale else "done"
        if (experiment, seed) in diverged:
            state = "diverged"
        table.add_row(
            escape(experiment), str(seed), state, str(run.metrics["epochs"]), ", ".join(errors)
        )
    print_table(table)
    typer.echo(f"{finished} of {len(planned)} runs are done")
    for deck in sorted(study.deck_folder.glob("*.*")):
        typer.echo(short(deck))
    typer.echo(graph.report_state(study))
