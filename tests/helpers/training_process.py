"""A training in a process of its own, that a test can kill."""

import multiprocessing
import os
from multiprocessing.connection import Connection
from pathlib import Path

from squares import SETTINGS, squares

from h2a_lib.models.trained import save_run
from h2a_lib.models.training import train
from h2a_lib.study import runs
from h2a_lib.study.config import RunConfig

# Forks of a server that has imported torch once.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["h2a_lib.models.training"])  # the server has no other path


def start(folder: Path, seconds_between_checkpoints: float = 0):
    """Start a training of five epochs; return the process, and where it sends each epoch."""
    folder.mkdir(exist_ok=True)
    epochs, sender = PROCESSES.Pipe(duplex=False)
    arguments = (folder, seconds_between_checkpoints, sender)
    process = PROCESSES.Process(target=_train_and_save, args=arguments)
    process.start()
    sender.close()
    return process, epochs


def _train_and_save(folder: Path, seconds_between_checkpoints: float, sender: Connection) -> None:
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    config = RunConfig(**(SETTINGS | {"epochs": 5, "augment": {}, "ema_decay": 0.9, "width": 0.25}))
    hands = squares(40, n_validation=10)
    trained = train(
        config,
        hands,
        folder / runs.CHECKPOINT,
        lambda progress, _: sender.send(progress.epoch),
        seconds_between_checkpoints,
    )
    save_run(folder, config, trained, hands.fingerprint, "made-up squares")
