"""How long training runs not timed before will take, estimated from this machine's speed."""

import subprocess
import sys
from collections.abc import Iterable

from h2a_lib.data.labels import AS_HEADED, TableFormat
from h2a_lib.data.layout import locate
from h2a_lib.pipeline import gpus
from h2a_lib.pipeline.environment import step_environment
from h2a_lib.study.config import RunConfig
from h2a_lib.study.provenance import duration
from h2a_lib.study.workspace import Study

# After each epoch the selection hands and as many training hands are evaluated, a forward pass of
# three, and batch norm is measured anew.
EVALUATION = 1.1


def estimate(
    study: Study, configs: Iterable[RunConfig], parallel: int, form: TableFormat = AS_HEADED
) -> str:
    """Return "33 training runs not timed before: about 5 h 10 min, estimated from …".

    The speed is that of the costliest of them, measured for seconds in as many processes as will
    train side by side; the others are scaled by their arithmetic (`relative_cost`).
    """
    configs = list(configs)
    costliest = max(configs, key=lambda config: config.relative_cost)
    measured = costliest.model_copy(update={"pretrained": False})  # needs no download
    parallel = min(parallel, len(configs), len(gpus.places()) or parallel)
    command = [sys.executable, "-m", "h2a_lib.models.rate", measured.model_dump_json()]
    processes = [
        subprocess.Popen(command, env=step_environment(study.root), stdout=subprocess.PIPE)
        for _ in range(parallel)
    ]
    rates = [process.communicate()[0] for process in processes]
    trainings = "1 training run" if len(configs) == 1 else f"{len(configs)} training runs"
    if not all(rates):
        return f"{trainings} not timed before: the speed of this machine could not be measured"
    images = training_hands(study, form) * costliest.epochs * costliest.train_fraction
    whole = sum(config.relative_cost for config in configs) / costliest.relative_cost
    time = duration(EVALUATION * images * whole / sum(map(float, rates)))
    return (
        f"{trainings} not timed before: about {time}, estimated from this machine's speed; "
        "notebooks and slides take additional time"
    )


def training_hands(study: Study, form: TableFormat) -> int:
    """Return how many hands are trained on; before the data are prepared, at most how many."""
    if study.is_prepared:
        return int((study.labels["split"] == "train").sum())
    if study.profile.phantoms is not None and study.name == study.profile_name:
        return study.profile.phantoms.n
    sets, _ = locate(study.data_folder, form)
    folders = [folder for one in sets if one.name == "train" for folder in one.folders]
    return sum(1 for folder in folders for _ in folder.iterdir())
