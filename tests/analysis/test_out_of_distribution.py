import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from trained import squares_for, trained

from h2a_lib.analysis.out_of_distribution import (
    BLOCKS,
    Detector,
    FeatureDistribution,
    features_of,
    fit_detector,
    load_detector,
    spectrum,
    summary,
)
from h2a_lib.models.inference import predictor_of


def cloud(n, d=64, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(n, 8)) @ np.random.default_rng(99).normal(size=(8, d)) * 3
            + rng.normal(size=(n, d))).astype(np.float32)  # fmt: skip


def test_hands_like_those_of_the_training_are_about_1_away():
    fitted = FeatureDistribution.fit(cloud(900), cloud(300, seed=1))
    assert np.mean(fitted.distances(cloud(300, seed=2))) == pytest.approx(1, abs=0.1)


def test_one_in_twenty_new_hands_is_beyond_the_threshold():
    fitted = FeatureDistribution.fit(cloud(1500), cloud(1500, seed=1))
    beyond = (fitted.distances(cloud(6000, seed=2)) > fitted.threshold).mean()
    assert beyond == pytest.approx(0.05, abs=0.02)


@pytest.mark.parametrize("direction", ["inside", "outside"])
def test_a_hand_far_off_is_beyond_it_in_any_direction(direction):
    fitted = FeatureDistribution.fit(cloud(900), cloud(300, seed=1))
    if direction == "inside":  # along what varies in training, but far too much
        off = fitted.mean + 12 * np.sqrt(fitted.variances[0]) * fitted.directions[0]
    else:
        across = np.random.default_rng(0).normal(size=fitted.mean.size)
        across -= fitted.directions.T @ (fitted.directions @ across)
        off = fitted.mean + 40 * across / np.linalg.norm(across)
    assert fitted.distances(off[None]) > fitted.threshold


def test_the_distance_is_mahalanobis_of_the_full_covariance_it_stands_for():
    fitted = FeatureDistribution.fit(cloud(500, d=20), cloud(50, d=20, seed=1))
    along = fitted.directions.T @ np.diag(fitted.variances) @ fitted.directions
    covariance = along + fitted.rest * (np.eye(20) - fitted.directions.T @ fitted.directions)
    x = cloud(5, d=20, seed=3) - fitted.mean
    literal = np.sqrt(np.einsum("nd,de,ne->n", x, np.linalg.inv(covariance), x) / 20)
    assert fitted.distances(cloud(5, d=20, seed=3)) == pytest.approx(literal)


@pytest.mark.parametrize("n", [2, 3, 7])
def test_a_handful_of_training_hands_and_features_that_never_vary_are_no_error(n):
    features = np.concatenate([cloud(n), np.zeros((n, 3), np.float32)], axis=1)
    fitted = FeatureDistribution.fit(features, features)
    assert np.isfinite(fitted.distances(features)).all()


def test_the_farthest_set_of_features_decides():
    like = {"layer1": cloud(900), "layer4": cloud(900, seed=7)}
    fitted = Detector.fit(like, {"layer1": cloud(800, seed=1), "layer4": cloud(800, seed=2)})
    new = {"layer1": cloud(4000, seed=3), "layer4": cloud(4000, seed=4)}
    assert (fitted.distances(new) > fitted.threshold).mean() == pytest.approx(0.05, abs=0.02)
    off = new | {"layer1": new["layer1"] + 30 * np.random.default_rng(0).normal(size=64)}
    assert (fitted.distances(off) > fitted.threshold).all()


def test_a_set_is_distinguished_from_the_selection_hands_where_single_hands_are_not():
    of = {"layer1": cloud(900)}
    fitted = Detector.fit(of, {"layer1": cloud(800, seed=1)})
    near = fitted.distances({"layer1": cloud(100, seed=3)})
    assert fitted.compare(near)[0] == pytest.approx(0.5, abs=0.1)
    assert fitted.compare(near)[1] > 0.01
    farther = near * 1.05
    assert (farther > fitted.threshold).mean() < 0.3
    share, p = fitted.compare(farther)
    assert share > 0.6 and p < 0.01


def test_a_block_is_described_by_mean_and_spread_of_its_channels(tmp_path):
    run = trained(tmp_path, n=24, n_validation=8, epochs=1)
    images = squares_for(run.config, 24, 8).images
    fitted = features_of(run, images, batch_size=7)
    assert [fitted[b].shape for b in BLOCKS] == [
        (24, 32), (24, 64), (24, 128), (24, 256),
    ]  # fmt: skip
    # The network's own features are the means of its last block.
    assert fitted["layer4"][:, :128] == pytest.approx(predictor_of(run).features(images), abs=1e-4)
    assert not predictor_of(run).network.trunk.layer1._forward_hooks


def pictures(n, seed=0, sharp=1.0):
    """Smooth pictures of any brightness and contrast, (n, 64, 64), uint8."""
    rng = np.random.default_rng(seed)
    smooth = [gaussian_filter(rng.normal(size=(64, 64)), sharp * rng.uniform(1.4, 1.6))
              for _ in range(n)]  # fmt: skip
    grey = [rng.uniform(80, 160) + rng.uniform(8, 20) * one / one.std() for one in smooth]
    return np.clip(grey, 0, 255).round().astype(np.uint8)


def test_the_spectrum_measures_sharpness_and_grain_and_neither_place_nor_exposure():
    fitted = FeatureDistribution.fit(spectrum(pictures(400)), spectrum(pictures(200, seed=1)))
    new = pictures(400, seed=2)
    grain = np.random.default_rng(3).normal(0, 3, new.shape)

    def different(changed):
        return (fitted.distances(spectrum(changed.astype(np.uint8))) > fitted.threshold).mean()

    for same in (
        new,
        new[:, ::-1],
        np.rot90(new, axes=(1, 2)),
        255 - new,
        np.minimum(new, 225) + 30,
    ):
        assert different(same) < 0.15
    for other in (pictures(100, sharp=1.5), np.clip(new + grain, 0, 255), np.zeros_like(new)):
        assert different(other) > 0.9


def test_a_detector_is_loaded_until_the_weights_change(tmp_path):
    run = trained(tmp_path, n=24, n_validation=8, epochs=1)
    hands = squares_for(run.config, 24, 8)
    fitted = fit_detector(run, hands)
    again = load_detector(tmp_path)
    assert again.threshold == fitted.threshold
    features = features_of(run, hands.images[:5])
    assert again.distances(features) == pytest.approx(fitted.distances(features), rel=1e-4)
    assert [(f.n_train, f.n_selection) for f in again.distributions.values()] == [(8, 8)] * 5
    weights = tmp_path / "weights.safetensors"
    weights.write_bytes(weights.read_bytes() + b" ")
    assert load_detector(tmp_path) is None


def test_a_run_without_a_detector_has_none(tmp_path):
    assert load_detector(tmp_path) is None


def test_a_detector_is_summed_up_with_its_hands_and_what_it_flags(tmp_path):
    run = trained(tmp_path, n=24, n_validation=8, epochs=1)
    hands = squares_for(run.config, 24, 8)
    noise = np.random.default_rng(0).integers(0, 256, (6, 32, 32)).astype(np.uint8)
    (row,) = summary([run], [fit_detector(run, hands)], noise).to_dict("records")
    assert (row["run"], row["n_train"], row["n_selection"], row["n"]) == (run.name, 8, 8, 6)
    assert row["flagged"] == 1 and row["flagged_low"] < 1
