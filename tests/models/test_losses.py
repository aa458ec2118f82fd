"""Quantiles cover what they promise; a self-supervised network orders images by what is in them."""

import numpy as np
import pytest
import torch
from squares import SETTINGS, squares

from h2a_lib.models import networks
from h2a_lib.models.losses import pinball, vicreg
from h2a_lib.models.trained import save_run
from h2a_lib.models.training import train
from h2a_lib.study import runs
from h2a_lib.study.config import RunConfig

AUGMENT = {"rotation_degrees": 5, "scale": 0.05, "shift": 0.1, "brightness": 0.2, "flip": True}


def test_the_pinball_loss_is_least_at_the_quantile():
    values = torch.arange(1.0, 101.0)
    for quantile in (0.05, 0.5, 0.95):
        losses = [pinball(torch.full_like(values, c), values, quantile) for c in values]
        assert float(values[int(torch.stack(losses).argmin())]) == pytest.approx(
            100 * quantile, abs=1
        )


def test_vicreg_is_zero_for_equal_spread_and_uncorrelated_views_and_rises_with_each_fault():
    random = torch.Generator().manual_seed(0)
    whitened = torch.linalg.qr(torch.randn(64, 8, generator=random) - 0)[0]
    whitened = torch.linalg.qr(whitened - whitened.mean(dim=0))[0] * 63**0.5 * 1.01
    best = vicreg(whitened, whitened)
    assert best < 0.05
    other = whitened[torch.randperm(64, generator=random)]
    assert vicreg(whitened, other) > best + 10, "views that differ"
    assert vicreg(torch.zeros(64, 8), torch.zeros(64, 8)) > best + 10, "collapse to a point"
    repeated = whitened[:, :1].expand(-1, 8)
    assert vicreg(repeated, repeated) > best + 1, "features that repeat one another"


def noisy_squares(n: int, n_validation: int):
    """Return squares whose age is known to 5 % from the picture: the larger, the less certain."""
    hands = squares(n, n_validation)
    noise = np.random.default_rng(1).normal(0, 0.15, n)
    hands.labels["age_months"] *= 1 + noise
    return hands


@pytest.mark.slow
def test_quantiles_hold_about_nine_tenths_and_widen_where_labels_are_noisy(tmp_path):
    hands = noisy_squares(360, n_validation=60)
    settings = SETTINGS | {"loss": "quantile", "epochs": 12, "batch_size": 16, "lr": 2e-3}
    trained = train(RunConfig(**settings), hands, tmp_path / "checkpoint.pt")
    predictions = trained.predictions
    low, age, high = (predictions[f"predicted_age_{name}months"] for name in ("low_", "", "high_"))
    assert (low <= age).all() and (age <= high).all()
    assert 0.75 < predictions["age_months"].between(low, high).mean() < 1
    is_old = age > age.median()
    assert (high - low)[is_old].mean() > 1.3 * (high - low)[~is_old].mean()


def explained(features: np.ndarray, target: np.ndarray, is_test: np.ndarray) -> float:
    """Return the R^2 of a linear probe on hands that it was not fitted to."""
    from sklearn.linear_model import RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    probe = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-2, 4, 13)))
    return probe.fit(features[~is_test], target[~is_test]).score(features[is_test], target[is_test])


@pytest.mark.slow
def test_self_supervised_features_know_the_size_better_than_an_untrained_network(tmp_path):
    from h2a_lib.models.inference import predictor_of

    hands = squares(150, n_validation=50)
    settings = SETTINGS | {
        "task": "ssl",
        "augment": AUGMENT,
        "epochs": 6,
        "batch_size": 25,
        "width": 1.0,
    }
    config = RunConfig(**settings)
    trained = train(config, hands, tmp_path / runs.CHECKPOINT)
    save_run(tmp_path, config, trained, hands.fingerprint, "made-up squares")
    run = runs.load(tmp_path)
    assert list(run.predictions) == ["id", "age_months", "male", "split"]
    assert {"train_ssl_loss", "selection_ssl_loss"} <= set(run.history)
    assert run.metrics["best_epoch"] == run.history["selection_ssl_loss"].idxmin() + 1
    assert run.metrics["selection"]["ssl_loss"] == pytest.approx(
        run.history["selection_ssl_loss"].min(), abs=1e-5
    )
    is_test, size = hands.labels["split"].ne("train").to_numpy(), hands.labels["age_months"]
    predictor = predictor_of(run)
    training_rows = explained(predictor.features(hands.images), size.to_numpy(), is_test)
    torch.manual_seed(0)
    untrained = networks.build("resnet18").eval()
    with torch.no_grad():
        initial = untrained.features(predictor.normalise(hands.images)).numpy()
    assert 1 - training_rows < 0.7 * (1 - explained(initial, size.to_numpy(), is_test))


def test_self_supervised_training_uses_no_label(tmp_path):
    settings = SETTINGS | {"task": "ssl", "augment": AUGMENT, "epochs": 1}
    hands = squares(40, n_validation=10)
    first = train(RunConfig(**settings), hands, tmp_path / "first.pt")
    hands.labels["age_months"] = 7.0 + 13 * np.arange(40) % 11
    hands.labels["male"] = False
    second = train(RunConfig(**settings), hands, tmp_path / "second.pt")
    assert all(torch.equal(w, second.best_weights[k]) for k, w in first.best_weights.items())
