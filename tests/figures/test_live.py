"""A control redraws its picture; in a batch run the default view is drawn."""

import ipywidgets as widgets
import matplotlib.pyplot as plt
import pytest
from IPython.display import Image

from h2a_lib.figures.explore import live


@pytest.fixture
def drawn():
    return []


@pytest.fixture
def draw(drawn):
    def draw_line(n):
        drawn.append(n)
        figure, axes = plt.subplots(figsize=(1, 1))
        axes.plot(range(n))
        return figure

    return draw_line


def slider():
    return widgets.IntSlider(value=3, min=1, max=9)


def test_moving_a_control_redraws_the_picture(is_live, draw, drawn):
    control, left_open = slider(), plt.get_fignums()
    view = live.interact(draw, "a line", n=control)
    picture = view.children[1]
    before = picture.value
    control.value = 7
    assert drawn == [3, 7] and picture.value != before
    assert bytes(picture.value).startswith(b"\x89PNG") and plt.get_fignums() == left_open


def test_a_batch_run_has_the_default_view_as_a_picture(is_batch, draw, drawn):
    view = live.interact(draw, "a line", n=slider())
    assert isinstance(view, Image) and drawn == [3]


@pytest.mark.parametrize(("kind", "watched"), [("Interactive", True), ("Batch", False)])
def test_kaggle_says_whether_somebody_watches(monkeypatch, is_batch, kind, watched):
    monkeypatch.setenv("KAGGLE_KERNEL_RUN_TYPE", kind)
    assert live.is_live() is watched
