import numpy as np
import pandas as pd
import pytest

from h2a_lib.analysis.age.robustness import (
    CHANGES,
    affine,
    augmented,
    changed,
    covered,
    jpeg,
    robustness,
    sentence,
)

SIDE = 48


def pictures(n=12, seed=0):
    """Pictures whose mean grey is half the age in months, brighter on the left."""
    rng = np.random.default_rng(seed)
    age = rng.uniform(60, 200, n)
    across = np.linspace(30, -30, SIDE)[None, None, :]
    images = np.rint(age[:, None, None] / 2 + across + np.zeros((1, SIDE, 1)))
    frame = pd.DataFrame({"age_months": age, "male": rng.random(n) < 0.5})
    return images.astype(np.uint8), frame


def by_brightness(images, male):
    return images.mean(axis=(1, 2)) * 2.0


def by_name(table):
    return table.set_index(["family", "strength"])


def test_at_least_30_changes_of_the_requested_kinds():
    assert len(CHANGES) >= 30
    assert len({(change.family, change.strength) for change in CHANGES}) == len(CHANGES)
    assert {change.family for change in CHANGES} >= {
        "rotation", "mirroring", "brightness", "contrast", "inversion", "blur", "noise",
        "resolution", "JPEG", "cropping", "marker",
    }  # fmt: skip


@pytest.mark.parametrize(
    "change", CHANGES, ids=lambda change: f"{change.family}, {change.strength}"
)
@pytest.mark.parametrize("side", [16, SIDE])
def test_every_change_gives_a_picture_of_the_same_kind_and_leaves_the_original(change, side):
    images = np.random.default_rng(0).integers(0, 256, (2, side, side)).astype(np.uint8)
    before = images.copy()
    after = changed(images, change.apply)
    assert (after.shape, after.dtype) == (images.shape, np.uint8)
    assert np.array_equal(images, before)
    # On the smallest pictures the weakest blur may round to nothing.
    assert side == 16 or not np.array_equal(after, before)


def test_a_predictor_by_brightness_is_hurt_by_brightness_and_not_by_mirroring():
    images, frame = pictures()
    table = by_name(robustness(by_brightness, images, frame))
    mirrored = table.loc[("mirroring", "left and right")]
    assert mirrored["mae_change_months"] == mirrored["mae_change_months_high"] == 0
    brighter = table.loc[("brightness", "+30 levels")]
    assert brighter["mae_change_months"] == pytest.approx(60, abs=2)
    assert brighter["mae_change_months_low"] > 0
    assert brighter["beyond_12_change"] == 1


def test_a_constant_predictor_is_hurt_by_nothing():
    images, frame = pictures()
    table = robustness(lambda images, male: np.full(len(images), 100.0), images, frame)
    assert (table["mae_change_months"] == 0).all()
    assert sentence(table).startswith(f"0 of {len(CHANGES)} image perturbations")


def test_a_predictor_of_the_marker_is_exposed_by_covering_it():
    images, frame = pictures()
    marker = np.zeros(images.shape)
    marker[:, 20:24, 20:24] = 1
    images[:, 20:24, 20:24] = frame["age_months"].to_numpy().astype(np.uint8)[:, None, None]

    def by_marker(images, male):
        return images[:, 22, 22].astype(float)

    changes = robustness(by_marker, images, frame, marker)
    assert by_name(changes).loc[("marker covered", "exactly"), "mae_change_months_low"] > 30
    assert " Covering the marker raises the error by " in sentence(changes)
    blind = robustness(lambda images, male: np.full(len(images), 100.0), images, frame, marker)
    assert sentence(blind).endswith("the marker does not demonstrably change the error.")


def test_covering_changes_the_region_alone():
    images, _ = pictures(2)
    region = np.zeros(images.shape)
    region[:, :5] = 0.5
    after = covered(images, region)
    assert np.array_equal(after[:, 5:], images[:, 5:])
    assert len(np.unique(after[0, :5])) == 1


def test_turning_is_counter_clockwise_and_comes_back():
    image = np.zeros((SIDE, SIDE), np.uint8)
    image[:, -8:] = 255
    turned = affine(degrees=90)(image, None)
    assert turned[:7].mean() > 250
    assert np.array_equal(affine(degrees=-90)(turned, None)[8:-8], image[8:-8])


def test_low_quality_jpeg_loses_more():
    image = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE)).astype(np.uint8)
    errors = [np.abs(jpeg(q)(image, None).astype(int) - image).mean() for q in (90, 50, 5)]
    assert errors == sorted(errors)


def test_noise_is_the_same_for_the_same_seed():
    images, _ = pictures(3)
    noise = next(change for change in CHANGES if change.family == "noise")
    assert np.array_equal(changed(images, noise.apply, 4), changed(images, noise.apply, 4))
    assert not np.array_equal(changed(images, noise.apply, 4), changed(images, noise.apply, 5))


def test_augmentation_averages_and_its_spread_is_zero_where_nothing_depends_on_it():
    images, frame = pictures()
    even = np.full_like(images, 80)
    constant = augmented(lambda images, male: images[:, 24, 24] * 1.0, even, frame)
    assert (constant["predicted_age_months"] == 80).all()
    assert (constant["spread_months"] == 0).all()
    lopsided = augmented(lambda images, male: images[:, 24, 5] * 1.0, images, frame)
    assert (lopsided["spread_months"] > 0).all()


def test_one_hand_has_a_change_without_an_interval():
    images, frame = pictures(1)
    table = robustness(by_brightness, images, frame)
    assert np.isnan(table["mae_change_months_low"]).all()
    assert sentence(table)
