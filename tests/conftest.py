"""Small data that every test may use."""

import os
from pathlib import Path

import pytest
import torch
import wheels
from checkout import copy_checkout, h2a
from sklearn.decomposition import PCA
from squares import SETTINGS, squares

from h2a_lib.data.hands import Hands
from h2a_lib.study import config as study

torch.set_num_threads(1)
# To the bit on a processor alone; `make test-gpu` has the tests for a GPU, in a process of its own.
if "H2A_TEST_GPU" not in os.environ:
    os.environ["CUDA_VISIBLE_DEVICES"] = ""


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


@pytest.fixture(scope="session")
def smoke(tmp_path_factory) -> Path:
    """Return a checkout whose smoke study is finished, and must not be changed.

    H2A_SMOKE in the environment names one in which it is, so that it need not be made again.
    """
    if "H2A_SMOKE" in os.environ:
        return Path(os.environ["H2A_SMOKE"])
    folder = copy_checkout(tmp_path_factory.mktemp("smoke") / "h2a")
    done = h2a(folder, "report", "--profile", "smoke")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return folder


@pytest.fixture(scope="session")
def wheel(tmp_path_factory) -> Path:
    """Return the package as a wheel."""
    return wheels.build_wheel(tmp_path_factory.mktemp("build"))


@pytest.fixture
def without_umap(request, monkeypatch):
    """Embed by the first two principal components, but in slow tests: UMAP compiles for long."""
    if request.node.get_closest_marker("slow") is None:
        monkeypatch.setattr(
            "h2a_lib.analysis.clusters.groups.umap_embedding",
            lambda features, *_: PCA(2, random_state=0).fit_transform(features),
        )
