"""Small data that every test may use."""

import pytest
import torch
from squares import SETTINGS, squares

from h2a_lib import study
from h2a_lib.data.hands import Hands

torch.set_num_threads(1)


@pytest.fixture
def config():
    """Return a function that gives a run's settings, small ones where nothing else is said."""

    def make(**differences) -> study.RunConfig:
        return study.RunConfig(**(SETTINGS | differences))

    return make


@pytest.fixture
def hands() -> Hands:
    """Return 40 squares whose side tells the age: 30 to train on, 10 to validate."""
    return squares(40, n_validation=10)
