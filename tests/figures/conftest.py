"""What tests of figures share: the report's style, a folder of hands, and whether one watches."""

import matplotlib.pyplot as plt
import pytest
from data_folders import write_set

from h2a_lib.data import sources
from h2a_lib.figures.explore import live
from h2a_lib.figures.style import use_style


@pytest.fixture
def style():
    use_style()
    yield
    plt.close("all")


@pytest.fixture
def is_live(monkeypatch):
    monkeypatch.setenv("JPY_SESSION_NAME", "notebook.ipynb")


@pytest.fixture
def is_batch(monkeypatch):
    for name in live.LIVE:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return write_set(tmp_path_factory.mktemp("hands"), [str(k) for k in range(100, 120)])


@pytest.fixture(scope="session")
def labels(folder):
    return sources.inspect(folder).labels
