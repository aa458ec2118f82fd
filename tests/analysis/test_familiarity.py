import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from trained import squares_for, trained

from h2a_lib.analysis import out_of_distribution as familiarity
from h2a_lib.analysis.out_of_distribution import Familiarity, Views, spectrum
from h2a_lib.models.inference import predictor_of


def cloud(n, d=64, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(n, 8)) @ np.random.default_rng(99).normal(size=(8, d)) * 3
            + rng.normal(size=(n, d))).astype(np.float32)  # fmt: skip


def test_hands_like_those_of_the_training_are_about_1_away():
    found = Familiarity.fit(cloud(900), cloud(300, seed=1))
    assert np.mean(found.distances(cloud(300, seed=2))) == pytest.approx(1, abs=0.1)


def test_one_in_twenty_new_hands_is_beyond_the_threshold():
    found = Familiarity.fit(cloud(1500), cloud(1500, seed=1))
    beyond = (found.distances(cloud(6000, seed=2)) > found.threshold).mean()
    assert beyond == pytest.approx(0.05, abs=0.02)


@pytest.mark.parametrize("direction", ["inside", "outside"])
def test_a_hand_far_off_is_beyond_it_in_any_direction(direction):
    found = Familiarity.fit(cloud(900), cloud(300, seed=1))
    if direction == "inside":  # along what varies in training, but far too much
        off = found.mean + 12 * np.sqrt(found.variances[0]) * found.directions[0]
    else:
        across = np.random.default_rng(0).normal(size=found.mean.size)
        across -= found.directions.T @ (found.directions @ across)
        off = found.mean + 40 * across / np.linalg.norm(across)
    assert found.distances(off[None]) > found.threshold


def test_the_distance_is_mahalanobis_of_the_full_covariance_it_stands_for():
    found = Familiarity.fit(cloud(500, d=20), cloud(50, d=20, seed=1))
    along = found.directions.T @ np.diag(found.variances) @ found.directions
    covariance = along + found.rest * (np.eye(20) - found.directions.T @ found.directions)
    x = cloud(5, d=20, seed=3) - found.mean
    literal = np.sqrt(np.einsum("nd,de,ne->n", x, np.linalg.inv(covariance), x) / 20)
    assert found.distances(cloud(5, d=20, seed=3)) == pytest.approx(literal)


@pytest.mark.parametrize("n", [2, 3, 7])
def test_a_handful_of_training_hands_and_features_that_never_vary_are_no_error(n):
    features = np.concatenate([cloud(n), np.zeros((n, 3), np.float32)], axis=1)
    found = Familiarity.fit(features, features)
    assert np.isfinite(found.distances(features)).all()


def test_the_farthest_view_decides():
    like = {"layer1": cloud(900), "layer4": cloud(900, seed=7)}
    found = Views.fit(like, {"layer1": cloud(800, seed=1), "layer4": cloud(800, seed=2)})
    new = {"layer1": cloud(4000, seed=3), "layer4": cloud(4000, seed=4)}
    assert (found.distances(new) > found.threshold).mean() == pytest.approx(0.05, abs=0.02)
    off = new | {"layer1": new["layer1"] + 30 * np.random.default_rng(0).normal(size=64)}
    assert (found.distances(off) > found.threshold).all()


def test_a_set_is_told_from_the_validation_hands_where_single_hands_are_not():
    of = {"layer1": cloud(900)}
    found = Views.fit(of, {"layer1": cloud(800, seed=1)})
    near = found.distances({"layer1": cloud(100, seed=3)})
    assert found.compare(near)[0] == pytest.approx(0.5, abs=0.1)
    assert found.compare(near)[1] > 0.01
    farther = near * 1.05
    assert (farther > found.threshold).mean() < 0.3
    share, p = found.compare(farther)
    assert share > 0.6 and p < 0.01


def test_a_block_is_described_by_mean_and_spread_of_its_channels(tmp_path):
    run = trained(tmp_path, n=24, n_validation=8, epochs=1)
    images = squares_for(run.config, 24, 8).images
    found = familiarity.views(run, images, batch_size=7)
    assert [found[b].shape for b in familiarity.BLOCKS] == [
        (24, 128), (24, 256), (24, 512), (24, 1024),
    ]  # fmt: skip
    # The network's own features are the means of its last block.
    assert found["layer4"][:, :512] == pytest.approx(predictor_of(run).features(images), abs=1e-4)
    assert not predictor_of(run).network.trunk.layer1._forward_hooks


def pictures(n, seed=0, sharp=1.0):
    """Smooth pictures of any brightness and contrast, (n, 64, 64), uint8."""
    rng = np.random.default_rng(seed)
    smooth = [gaussian_filter(rng.normal(size=(64, 64)), sharp * rng.uniform(1.4, 1.6))
              for _ in range(n)]  # fmt: skip
    grey = [rng.uniform(80, 160) + rng.uniform(8, 20) * one / one.std() for one in smooth]
    return np.clip(grey, 0, 255).round().astype(np.uint8)


def test_the_spectrum_knows_sharpness_and_grain_and_neither_place_nor_exposure():
    found = Familiarity.fit(spectrum(pictures(400)), spectrum(pictures(200, seed=1)))
    new = pictures(400, seed=2)
    grain = np.random.default_rng(3).normal(0, 3, new.shape)

    def unlike(changed):
        return (found.distances(spectrum(changed.astype(np.uint8))) > found.threshold).mean()

    for same in (
        new,
        new[:, ::-1],
        np.rot90(new, axes=(1, 2)),
        255 - new,
        np.minimum(new, 225) + 30,
    ):
        assert unlike(same) < 0.15
    for other in (pictures(100, sharp=1.5), np.clip(new + grain, 0, 255), np.zeros_like(new)):
        assert unlike(other) > 0.9


def test_what_is_learnt_is_recalled_until_the_weights_change(tmp_path):
    run = trained(tmp_path, n=24, n_validation=8, epochs=1)
    hands = squares_for(run.config, 24, 8)
    found = familiarity.learn(run, hands)
    again = familiarity.recall(tmp_path)
    assert again.threshold == found.threshold
    features = familiarity.views(run, hands.images[:5])
    assert again.distances(features) == pytest.approx(found.distances(features), rel=1e-4)
    assert [(one.n_train, one.n_validation) for one in again.of.values()] == [(16, 8)] * 5
    weights = tmp_path / "weights.safetensors"
    weights.write_bytes(weights.read_bytes() + b" ")
    assert familiarity.recall(tmp_path) is None


def test_a_run_without_a_description_has_none(tmp_path):
    assert familiarity.recall(tmp_path) is None
