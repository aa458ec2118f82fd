"""`h2a prepare`, hidden: make what a notebook needs before it can run."""

from typing import Annotated

import typer

from h2a_lib.commands.shared import DataOption, ProfileOption


def command(
    profile: ProfileOption = "demo",
    data: DataOption = None,
    until: Annotated[str, typer.Option(help="data or runs")] = "data",
) -> None:
    """Prepare what a notebook needs: the data, or all runs of the profile too."""
    from h2a_lib.pipeline import graph, prepare
    from h2a_lib.study.workspace import locate

    study = locate(profile, data)
    with graph.alone(study):
        prepare.prepare_data(study)
        if until == "runs":
            graph.build(study, ["runs"])
