"""The run of some settings: loaded where it is finished, trained where it is not."""

from collections.abc import Callable

from h2a_lib.data.hands import Hands
from h2a_lib.errors import UserError
from h2a_lib.models.trained import Progress, save_run
from h2a_lib.models.training import train
from h2a_lib.study import runs
from h2a_lib.study.config import RunConfig
from h2a_lib.study.runs import Run
from h2a_lib.study.workspace import Study


def fit(
    study: Study,
    config: RunConfig,
    hands: Hands,
    again: bool,
    on_epoch: Callable[[Progress, RunConfig], None],
) -> Run:
    """Return the run of these settings, training it if it is missing, or `again`.

    Settings other than study.yaml's are kept in the study's `scratch/`. A training that was
    interrupted goes on from its checkpoint.
    """
    folder = study.training_folder(config)
    if not again and (run := _finished(study, config)):
        return run
    trained = train(config, hands, folder / runs.CHECKPOINT, on_epoch=on_epoch)
    save_run(folder, config, trained, hands.fingerprint, study.tier_label)
    return runs.load(folder)


def _finished(study: Study, config: RunConfig) -> Run | None:
    own = study.run_folder(config.experiment, config.seed)
    for folder in (own, study.scratch_run_folder(config)):
        try:
            run = runs.load(folder)
        except UserError:
            continue
        if run.config == config and run.model["data_fingerprint"] == study.fingerprint:
            return run
    return None
