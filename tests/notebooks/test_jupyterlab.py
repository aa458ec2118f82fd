"""Each notebook in a real JupyterLab: run from top to bottom, its sliders moved."""

import os
import shutil

import pytest
from executed_notebooks import problems_of
from jupyterlab import CHROMIUM, PICTURE, SLIDER, browser, move, run_all, saved, server

pytestmark = [pytest.mark.slow, pytest.mark.browser]
# All nine take five minutes: `H2A_CAMPAIGN=1`.
WITH_SLIDERS = ("02_images", "03_preprocessing", "07_age_answer", "08_sex_answer", "09_clusters")
WITHOUT = ("01_population", "04_lr_range_test", "05_train", "06_compare_runs")
NAMES = (*WITH_SLIDERS, *WITHOUT) if "H2A_CAMPAIGN" in os.environ else WITH_SLIDERS[1:2]


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
    for number in range(sliders.count()):
        slider = sliders.nth(number)
        pictures = slider.locator("xpath=ancestor::*[contains(@class, 'jp-OutputArea')][1]")
        picture = pictures.locator(PICTURE.split()[-1]).first
        before = picture.get_attribute("src")
        move(page, slider)
        page.wait_for_function(
            "([image, src]) => image.src !== src", arg=[picture.element_handle(), before]
        )
