"""What the data are stands on every file of a figure, and is cut off where a slide says it."""

import re

import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image

from h2a_lib.files import read_json
from h2a_lib.report.staging import _without_tier
from h2a_lib.study.results import Drawing, Results


def height_of(file):
    if file.suffix == ".png":
        return Image.open(file).height
    return float(re.search(r'viewBox="(?:\S+ ){3}([\d.]+)"', file.read_text(encoding="utf-8"))[1])


@pytest.mark.parametrize("is_raster", [False, True])
def test_the_name_of_the_data_is_on_the_file_and_below_the_part_that_slides_show(
    tmp_path, is_raster
):
    figure, axes = plt.subplots(figsize=(4, 3), facecolor="white")
    axes.plot([0, 1])
    (tmp_path / "slides").mkdir()
    results = Results(tmp_path, tmp_path, "synthetic hands")
    drawing = Drawing(figure, "line", "a line that rises steadily", "a line", is_raster=is_raster)
    file = results.save(drawing, [])
    share = read_json(file.with_suffix(".json"))["above_tier"]
    cut = _without_tier(file, tmp_path / "slides", share)
    assert 0.85 < share < 1
    assert height_of(cut) == pytest.approx(share * height_of(file), abs=0.5)
    assert "synthetic hands" in [text.get_text() for text in figure.texts]
    if is_raster:
        below = np.asarray(Image.open(file).convert("L"))[Image.open(cut).height :]
        assert below.min() < 200
