"""Each notebook in a real JupyterLab: run from top to bottom, its sliders moved."""

import os
import shutil

import pytest
from executed_notebooks import problems_of
from jupyterlab import CHROMIUM, PICTURE, SLIDER, browser, move, run_all, saved, server

pytestmark = [pytest.mark.slow, pytest.mark.browser]
# All nine take five minutes: `H2A_CAMPAIGN=1`.
WITH_SLIDERS = ("02_images", "07_age_answer", "08_sex_answer", "09_clusters")
WITHOUT = ("01_population", "03_preprocessing", "04_lr_range_test", "05_train", "06_compare_runs")
ALL = (*WITH_SLIDERS, *WITHOUT)
NAMES = ALL if "H2A_CAMPAIGN" in os.environ else ("02_images", "05_train")


@pytest.fixture(scope="module")
def folder(smoke, tmp_path_factory):
    """Return a copy of a finished study, whose large files are shared with it."""
    copy = tmp_path_factory.mktemp("lab") / "h2a"
    left_out = shutil.ignore_patterns(".git", ".venv", ".snakemake", "node_modules", "tests")
    shutil.copytree(smoke, copy, ignore=left_out, copy_function=os.link)
    shutil.rmtree(copy / "notebooks")
    shutil.copytree(smoke / "notebooks", copy / "notebooks")
    return copy


@pytest.fixture(scope="module")
def lab(folder):
    if CHROMIUM is None:
        pytest.skip("chromium is not installed")
    with server(folder, PYTHONPATH=str(folder)) as address, browser() as page:
        yield address, page


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_runs_in_jupyterlab_and_its_sliders_move_its_pictures(lab, folder, name):
    address, page = lab
    notebook = f"notebooks/{name}.ipynb"
    run_all(page, address, notebook)
    cells = saved(page, folder, notebook)
    assert all(cell["execution_count"] for cell in cells)
    assert problems_of(cells) == []
    sliders = page.locator(SLIDER)
    assert sliders.count() or name in WITHOUT
    moved = [changes_its_picture(page, sliders.nth(k)) for k in range(sliders.count())]
    # A slider may stand at its end, or choose among hands that look alike.
    assert any(moved) or name in WITHOUT


def changes_its_picture(page, slider) -> bool:
    """Move a slider, and say whether the picture below it is drawn anew."""
    output = slider.locator("xpath=ancestor::*[contains(@class, 'jp-OutputArea')][1]")
    picture = output.locator(PICTURE.split()[-1]).first.element_handle()
    before = picture.get_attribute("src")
    move(page, slider)
    for _ in range(20):
        page.wait_for_timeout(250)
        if picture.get_attribute("src") != before:
            return True
    return False
