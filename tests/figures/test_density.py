"""Many hands in one figure: hexagons that show the density, and identify no child."""

import io

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from h2a_lib.figures import age as draw_age
from h2a_lib.figures import clusters as draw_clusters
from h2a_lib.figures import images as draw_images
from h2a_lib.figures.density import LEAST_AREA, MANY, SHARE_OF_BOYS, hexagons, key

MOST_BYTES = 300_000


@pytest.fixture
def figure():
    yield plt.figure()
    plt.close("all")


def area(path):
    x, y = path.vertices[:-1].T
    return 0.5 * abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1)))


def test_a_hexagon_has_the_mean_of_its_hands_as_colour_and_their_number_as_area(figure):
    # Three places: a girl alone; one boy and one girl; eight boys.
    x = np.repeat([0.0, 5.0, 10.0], [1, 2, 8])
    male = np.repeat([0, 1, 0, 1], [1, 1, 1, 8])
    drawn = hexagons(x, x, male, figure.subplots(), columns=10, cmap=SHARE_OF_BOYS, clim=(0, 1))
    order = np.argsort(drawn.get_array())
    assert drawn.get_array()[order].tolist() == [0, 0.5, 1]
    alone, two, most = (area(drawn.get_paths()[at]) for at in order)
    whole = np.quantile([1, 2, 8], 0.9)
    assert two / most == pytest.approx(2 / whole)
    assert alone / most == pytest.approx(max(LEAST_AREA, 1 / whole))


DRAWN = {
    "scatter": lambda hands, figure: draw_age.plot_scatter(hands, figure.subplots()),
    "agreement": lambda hands, _: draw_age.agreement(hands).figure,
    "contrast": lambda hands, _: draw_images.contrast_exposure(hands).figure,
    "sizes": lambda hands, _: draw_images.resolutions(hands, 64).figure,
    "planes": lambda hands, figure: draw_clusters.plane(
        hands[["mean_grey", "contrast_grey"]].to_numpy(),
        hands["male"].to_numpy(float),
        figure.subplots(),
        SHARE_OF_BOYS,
    ),
}


@pytest.mark.parametrize("n", [MANY, 12_611])
@pytest.mark.parametrize("what", DRAWN)
def test_figures_of_many_hands_hold_no_pixels_and_stay_small(figure, what, n):
    rng = np.random.default_rng(0)
    label = rng.integers(1, 228, n)
    frame = pd.DataFrame(
        {
            "age_months": label,
            "predicted_age_months": label + rng.normal(0, 15, n),
            "male": rng.random(n) < 0.5,
            "mean_grey": rng.normal(60, 20, n).clip(0, 255),
            "contrast_grey": rng.normal(150, 40, n).clip(0, 255),
            "air": rng.random(n) / 3,
            "border": rng.random(n) / 5,
            "marker": rng.random(n) < 0.5,
            "width_px": rng.normal(1500, 200, n).astype(int),
            "height_px": rng.normal(1900, 250, n).astype(int),
        }
    )
    drawn = DRAWN[what](frame, figure)
    written = io.BytesIO()
    (drawn if isinstance(drawn, Figure) else figure).savefig(written, format="svg")
    assert b"<image" not in written.getvalue()
    assert len(written.getvalue()) < MOST_BYTES


def test_a_caption_explains_hexagons_only_where_there_are_any():
    assert key(MANY - 1) == "" and "number of hands" in key(MANY)
