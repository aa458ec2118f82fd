"""`h2a train`: one training run."""

import json
from typing import Annotated

import typer

from h2a_lib.commands.shared import (
    DataOption,
    ExecutorOption,
    ProfileOption,
    WorkflowProfileOption,
    short,
)
from h2a_lib.files import read_json

# The validation hands are for reporting, when all choices are made.
SHOWN = ("epochs", "best_epoch", "diverged", "n_train", "selection")


def command(
    experiment: Annotated[str, typer.Argument(help="An experiment of study.yaml.")],
    profile: ProfileOption = "demo",
    data: DataOption = None,
    seed: Annotated[
        int, typer.Option(min=0, help="Fixes the initial weights and every random draw.")
    ] = 0,
    executor: ExecutorOption = None,
    workflow_profile: WorkflowProfileOption = None,
) -> None:
    """Train one network, or resume its training, and print its error on the selection hands."""
    from h2a_lib.pipeline import graph, prepare
    from h2a_lib.study.workspace import locate

    study = locate(profile, data)
    folder = study.run_folder(experiment, seed)
    study.run_config(experiment, seed)
    cluster = graph.Cluster.named(executor, workflow_profile, study.root)
    with graph.alone(study):
        prepare.prepare_data(study)
        graph.build(study, [short(folder / "metrics.json", study.root)], cluster=cluster)
    metrics = read_json(folder / "metrics.json")
    typer.echo(json.dumps({name: metrics[name] for name in SHOWN}, indent=2))
    typer.echo(short(folder))
