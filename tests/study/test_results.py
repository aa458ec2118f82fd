"""Results: figures carry what they were made from, numbers are ready to print."""

import dataclasses
import json
import re
import shutil

import matplotlib.pyplot as plt
import numpy as np
import pytest
from data_folders import write_set
from PIL import Image

from h2a_lib.figures.style import radiographs
from h2a_lib.files import sha256
from h2a_lib.study import results as results_module
from h2a_lib.study import workspace
from h2a_lib.study.results import Drawing, Results

WORDS = {"alt": "A line that rises from zero to one.", "caption": "A line, n = 2"}


@pytest.fixture
def results(tmp_path):
    return Results(tmp_path / "results" / "smoke", tmp_path, "Made-up tier", "01_population")


def line(name="curve", **words) -> Drawing:
    figure, axes = plt.subplots()
    axes.plot([0, 1])
    return Drawing(figure, name, **(WORDS | words))


def test_a_figure_carries_its_words_its_tier_and_the_hash_of_what_it_shows(results, tmp_path):
    source = tmp_path / "runs" / "history.csv"
    source.parent.mkdir()
    source.write_text("epoch\n1\n")
    path = results.save(line(), [source])
    assert "<svg" in path.read_text()
    sidecar = json.loads(path.with_suffix(".json").read_text())
    assert (
        sidecar.items()
        >= (
            WORDS
            | {
                "name": "curve",
                "file": "curve.svg",
                "tier": "Made-up tier",
                "made_by": "01_population",
                "inputs": {"runs/history.csv": sha256(source)},
            }
        ).items()
    )


def test_the_same_data_give_the_same_bytes(results):
    first, again = (results.save(line(), []).read_bytes() for _ in range(2))
    assert first == again


def test_radiographs_lie_on_a_dark_opaque_ground(results):
    figure, axes = plt.subplots()
    axes.imshow(np.zeros((4, 4)), cmap="gray")
    axes.set_title("7.83, female")
    path = results.save(radiographs(figure, "grid", **WORDS), [])
    corner = Image.open(path).convert("RGBA").getpixel((1, 1))
    assert max(corner[:3]) < 40 and corner[3] == 255
    assert axes.title.get_color() == "#E6E6E6"


@pytest.mark.parametrize(
    "slip", [{"alt": ""}, {"alt": "curve"}, {"caption": " "}, {"name": "Curve 1"}]
)
def test_a_figure_without_words_or_a_plain_name_is_refused(slip):
    with pytest.raises(ValueError, match=re.escape(slip.get("name", "curve"))):
        line(**slip)
    plt.close("all")


@pytest.mark.parametrize("value", [1.23456, True, "", "  "])
def test_a_number_that_is_not_ready_to_print_is_refused(results, value):
    with pytest.raises(ValueError, match=r"variable runs.mae: format"):
        results.variables("runs", {"mae": value})


def test_variables_are_text_under_their_group(results):
    shown = results.variables("runs", {"n": 3, "mae": "11.3 months"})
    path = results.folder / "variables" / "runs.yml"
    assert len(shown.frame) == 2
    assert path.read_text() == "n: '3'\nmae: 11.3 months\n"


@pytest.mark.parametrize("folder", ["$\\frac{$ x", "x[b]", "n" * 252])
def test_a_figure_shows_the_name_of_the_data_folder_as_it_is_and_is_no_wider_for_it(
    tmp_path, folder
):
    shutil.copy(workspace.project_root() / "study.yaml", tmp_path)
    write_set(tmp_path / folder, ["1"])
    study = workspace.locate("smoke", tmp_path / folder, root=tmp_path)
    study.__dict__["data"] = {"tier": "folder"}
    assert folder[:30] in study.tier_label
    svg = study.results.save(line(), []).read_text()
    assert float(re.search(r'width="([\d.]+)pt"', svg)[1]) < 800


def test_two_notebooks_remove_their_figures_at_the_same_time(results, monkeypatch):
    """The other's description vanishes between the listing of the folder and its reading."""
    other = dataclasses.replace(results, notebook="02_images")
    kept, _ = other.save(line("theirs"), []), results.save(line("ours"), [])
    read, vanishing = results_module.read_json, kept.with_suffix(".json")

    def read_late(path):
        if path == vanishing:
            path.unlink()
        return read(path)

    monkeypatch.setattr(results_module, "read_json", read_late)
    results.remove_figures()
    assert [file.name for file in kept.parent.iterdir()] == ["theirs.svg"]
