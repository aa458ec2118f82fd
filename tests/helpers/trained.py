"""Runs trained on squares within seconds, for tests of what reads a run."""

from pathlib import Path

from squares import SETTINGS, squares

from h2a_lib.data.hands import Hands
from h2a_lib.models.trained import save_run
from h2a_lib.models.training import train
from h2a_lib.study import config as study
from h2a_lib.study import runs


def trained(folder: Path, n: int = 60, n_validation: int = 20, **differences) -> runs.Run:
    """Train for a few epochs on squares whose side is the age and whose brightness the sex."""
    config = study.RunConfig(**(SETTINGS | {"epochs": 4, "lr": 3e-3} | differences))
    hands = squares_for(config, n, n_validation)
    result = train(config, hands, folder / runs.CHECKPOINT)
    save_run(folder, config, result, hands.fingerprint, "made-up squares")
    return runs.load(folder)


def squares_for(config: study.Settings, n: int = 60, n_validation: int = 20) -> Hands:
    """Return the hands of `trained`."""
    return squares(n, n_validation, config.image_size_px)
