"""Figures of question 3, for few and many hands, and the plane that is explored."""

import itertools

import numpy as np
import pandas as pd
import pytest
from slides import check_on_its_slide

from h2a_lib.analysis.bands import band_of
from h2a_lib.analysis.clusters import groups
from h2a_lib.analysis.clusters.groups import Representation
from h2a_lib.figures import clusters as draw
from h2a_lib.figures.explore import clusters as explore

pytestmark = pytest.mark.usefixtures("without_umap", "style")


def study(n, trained_on="sex"):
    rng = np.random.default_rng(0)
    hands = pd.DataFrame(
        {
            "id": np.arange(n).astype(str),
            "age_months": rng.uniform(5, 225, n),
            "male": np.arange(n) % 2 == 0,
        }
    )
    features = rng.normal(size=(n, 6)).astype(np.float32) + 9 * hands[["male"]].to_numpy()
    classes = groups.known_classes(hands, {"exposure": rng.random(n)})
    clusterings = [
        groups.cluster(r, classes, (0, 1), (15,), permutations=20)
        for r in (
            Representation("pixels", features),
            Representation("trained for sex", features, trained_on),
        )
    ]
    table = groups.compare(clusterings, classes, hands["age_months"], permutations=50)
    images = np.arange(n, dtype=np.uint8)[:, None, None] * np.ones((1, 9, 9), np.uint8)
    return clusterings, table, groups.age_baseline(hands, hands), hands, images


@pytest.mark.parametrize("n", [2, 9, 10, 40])
def test_every_figure_is_drawn_or_says_that_hands_are_too_few(n):
    clusterings, table, baseline, hands, images = study(n)
    shown = draw.label_free(clusterings)
    drawings = (
        draw.umap(shown, "features", "detector type", hands, {"detector type": hands["male"]}),
        draw.cluster_hands(shown, "features", hands, images),
        draw.agreement(table, baseline, n),
    )
    for drawing in drawings:
        check_on_its_slide(drawing)
        assert f"n = {n}" in drawing.caption and not drawing.caption.endswith(".")
        assert drawing.finding.endswith(".")
        assert ("Too few hands" in drawing.finding) == (n < groups.MIN_HANDS)
    check_on_its_slide(draw.mean_hands(shown, "features", hands, images, "phantom"))
    hands["id"] = [f"$\\frac{{${k}" for k in range(n)]  # a letter, not the start of a formula
    explore.point_and_hand(shown, hands, images, n - 1, "age").canvas.draw()


def test_a_label_free_representation_is_shown_and_trained_ones_are_marked():
    clusterings, table, baseline, hands, _ = study(40)
    shown = draw.label_free(clusterings)
    assert shown.representation.name == "pixels"
    axes = draw.agreement(table, baseline, 40).figure.axes[0]
    names = [text.get_text() for text in axes.get_yticklabels()]
    assert names == ["pixels", "trained for sex\n(for comparison)"]
    detector = {"detector type": hands["male"]}
    finding = draw.umap(shown, "features", "detector type", hands, detector).finding
    assert "have an ARI of 1.000 with sex" in finding


def test_hands_of_a_group_are_hands_of_that_group():
    clusterings, _, _, hands, images = study(40)
    drawing = draw.cluster_hands(clusterings[0], "features", hands, images)
    of_group = clusterings[0].groups["features", 2]
    for i, axes in enumerate(drawing.figure.axes):
        hand = int(axes.images[0].get_array()[0, 0])
        assert of_group[hand] == i // draw.HANDS_PER_GROUP
    assert drawing.is_raster and "100 % male" in drawing.finding and "0 % male" in drawing.finding


@pytest.mark.parametrize(("tier", "n_empty", "least"), [("phantom", 0, 1), ("rsna", 10, 30)])
def test_an_average_is_of_its_hands_and_fewer_than_thirty_patients_have_none(tier, n_empty, least):
    clusterings, _, _, hands, images = study(80)
    drawing = draw.mean_hands(clusterings[0], "UMAP", hands, images, tier)
    assert drawing.averaged_over == least and "n = 80" in drawing.caption
    places = itertools.product((0, 1), range(7))
    band, male = band_of(hands["age_months"]), hands["male"]
    of_group = clusterings[0].groups["UMAP", 2]
    assert "K-means on the UMAP plane" in drawing.caption
    empty = 0
    for (row, column), axes in zip(places, drawing.figure.axes, strict=True):
        if column == 5:
            continue  # the gap before the groups
        members = (of_group == row) if column == 6 else (male == row) & (band == column)
        assert axes.get_xlabel() == f"n = {members.sum()}"
        if axes.images:
            mean = axes.images[0].get_array()
            assert np.allclose(mean, images[np.asarray(members)].mean(axis=0), atol=0.01)
        else:
            empty += 1
    assert empty == n_empty


def test_moving_along_the_plane_shows_another_hand(is_live):
    clusterings, _, _, hands, images = study(20)
    view = explore.browse(clusterings[0], hands, images)
    (point, colour), picture = view.children[0].children, view.children[1]
    first = bytes(picture.value)
    point.value = 7
    second = bytes(picture.value)
    colour.value = "age"
    assert len({first, second, bytes(picture.value)}) == 3
    order = np.argsort(clusterings[0].embeddings[0][:, 0], kind="stable")
    figure = explore.point_and_hand(clusterings[0], hands, images, 7, "sex")
    assert hands["id"][order[7]] in figure.axes[1].get_title()
    assert figure.axes[1].images[0].get_array()[0, 0] == images[order[7], 0, 0]


def test_the_plane_is_coloured_by_what_clusters_agree_with_most():
    clusterings, table, _, hands, _ = study(40)
    shown = draw.label_free(clusterings)
    nuisances = {"exposure": np.arange(40.0), "background brightness": np.arange(40) % 2 == 0}
    strongest = table["truth"] == "exposure"
    agreed = table.assign(p_best=table["p_best"].where(~strongest, 0.001), ari=table["ari"])
    space, nuisance = draw.shown_groups(shown, nuisances, agreed)
    drawing = draw.umap(shown, space, nuisance, hands, nuisances)
    assert drawing.figure.axes[1].get_title() == "By exposure"
    assert ("UMAP plane" in drawing.finding) == (space == "UMAP")
    last = draw.shown_groups(shown, nuisances, table[~strongest])
    assert last == ("features", "background brightness")
    # Age band is no property of the acquisition, however well clusters agree with it.
    by_age = table["truth"] == "age band"
    aged = table.assign(p_best=table["p_best"].where(~by_age, 0.001))
    assert draw.shown_groups(shown, nuisances, aged[~strongest]) == last
