"""Moving a control changes the picture: browsing hands, growing a phantom, preprocessing."""

import io
import time

import matplotlib.pyplot as plt
import pytest
from IPython.display import Image
from PIL import Image as Picture

from h2a_lib.figures.explore import hands, live, phantom, preprocessing


@pytest.fixture
def titles(monkeypatch):
    """The titles of the pictures drawn, in order, each with the label below it."""
    drawn = []
    close = plt.close

    def record(figure=None):
        if hasattr(figure, "axes"):
            axes = figure.axes[0]
            texts = [axes.get_title(), axes.get_xlabel(), *(t.get_text() for t in axes.texts)]
            drawn.append(" | ".join(filter(None, texts)))
        close(figure)

    monkeypatch.setattr(live.plt, "close", record)
    return drawn


def controls_of(view):
    box, picture = view.children
    return *box.children, picture


def test_hands_are_browsed_by_age_and_sex(is_live, titles, folder, labels):
    sex, age, position, picture = controls_of(hands.browse(labels, folder))
    assert titles[-1] == "1 y, boy | id 100: 1 of 20"
    sex.value = "girls"
    assert titles[-1] == "2 y, girl | id 101: 1 of 10"
    position.value = 10
    assert titles[-1].endswith("10 of 10")
    before = picture.value
    age.value = (0, 30)
    assert titles[-1].startswith("2 y, girl") and titles[-1].endswith("of 2")
    assert picture.value != before and position.max == 2
    age.value = (0, 1)
    assert titles[-1] == "No hand of this age and sex"


def test_an_id_is_shown_as_it_is_and_never_parsed(is_live, titles, folder, labels):
    ids = [f"$\\frac{{${k}" for k in range(len(labels))]
    controls_of(hands.browse(labels.assign(id=ids), folder))
    assert titles[-1].endswith("id $\\frac{$0: 1 of 20")


def test_the_picture_keeps_its_own_size_and_fits_a_screen(is_live, folder, labels):
    view = hands.browse(labels, folder)
    picture = view.children[1]
    width, height = Picture.open(io.BytesIO(picture.value)).size
    assert width < 800 and height < 600
    assert (
        view.layout.align_items == "flex-start" and view.children[0].layout.flex_flow == "row wrap"
    )


def test_a_phantom_grows_with_the_sliders(is_live, titles):
    age, sex, seed, picture = controls_of(phantom.grow())
    observed = {bytes(picture.value)}
    for control, value in ((age, 30), (sex, "boy"), (seed, 7)):
        control.value = value
        observed.add(bytes(picture.value))
    assert len(observed) == 4
    assert titles[-1] == "2 y 6 mo, boy (synthetic)"
    for months in (age.min, age.max):
        age.value = months
    assert titles[-2:] == ["0 mo, boy (synthetic)", "19 y, boy (synthetic)"]


def test_a_phantom_is_redrawn_within_a_moment(is_live):
    age, *_ = controls_of(phantom.grow())
    start = time.process_time()
    for months in (60, 120, 180):
        age.value = months
    assert (time.process_time() - start) / 3 < 0.6  # 0.2 s on an idle core


def test_each_step_of_preprocessing_changes_the_picture(is_live, titles, folder, labels):
    view = preprocessing.preprocess(labels.head(6), folder, 48)
    *steps, picture = controls_of(view)
    observed = {bytes(picture.value)}
    for control, value in zip(steps, (2, "pad", "clahe", "instance"), strict=True):
        control.value = value
        observed.add(bytes(picture.value))
    assert len(observed) == 5
    assert titles[-1] == "3 y, boy"


def test_a_batch_run_shows_the_default_views_as_pictures(is_batch, folder, labels):
    views = (
        hands.browse(labels, folder),
        phantom.grow(),
        preprocessing.preprocess(labels.head(2), folder, 32),
    )
    assert all(isinstance(view, Image) and view.alt for view in views)
