"""Verdicts on simulated studies whose truth is known."""

import numpy as np
import pytest

from h2a_lib.analysis.statistics.variance_components import difference, run_noise
from h2a_lib.analysis.statistics.verdicts import holm, verdicts

STUDIES, N = 200, 300
MARGIN = 1.0


def simulated(random, effects, seeds, run_sd=0.7, interaction_sd=3.0, residual_sd=5.0):
    """Simulate errors of children crossed with runs: one array (seeds, n) an experiment.

    `run_sd` is of all experiments, or one for each.
    """
    children = 15 + random.normal(0, 8, N)
    return [
        children
        + effect
        + random.normal(0, interaction_sd, N)
        + random.normal(0, sd, (k, 1))
        + random.normal(0, residual_sd, (k, N))
        for effect, k, sd in zip(effects, seeds, np.broadcast_to(run_sd, len(seeds)), strict=True)
    ]


def assessed(experiments):
    default, *others = experiments
    noise = run_noise(experiments)
    return verdicts([difference(errors, default, noise) for errors in others], MARGIN)


def share(effects, seeds, wanted, **noise):
    """Return in how many of the simulated studies any verdict, or the first, is as wanted."""
    random = np.random.default_rng(0)
    return np.mean(
        [wanted(assessed(simulated(random, effects, seeds, **noise))) for _ in range(STUDIES)]
    )


def is_decided(result):
    return bool({"better", "worse"} & set(result))


@pytest.mark.parametrize("seeds", [(5, 3), (5, 1), (2, 1), (5, 3, 3, 3), (3, 1, 1, 1)])
@pytest.mark.parametrize("run_sd", [0.0, 0.7, 1.5])
def test_trainings_that_differ_by_seed_alone_are_rarely_called_different(seeds, run_sd):
    no_effect = [0.0] * len(seeds)
    assert share(no_effect, seeds, is_decided, run_sd=run_sd) <= 0.05


# The last is of a contender alone that varies more: its three seeds hardly show by how much.
@pytest.mark.parametrize(
    ("run_sd", "at_most"),
    [
        ((1.0, 0.3, 0.3, 0.3, 0.3), 0.05),
        ((1.0, 0.05, 0.05, 0.05, 1.0), 0.05),
        ((0.3, 1.0, 0.3, 0.3, 0.3), 0.08),
    ],
)
def test_trainings_that_vary_unequally_are_rarely_called_different(run_sd, at_most):
    quiet = {"interaction_sd": 1.0, "residual_sd": 2.0}
    assert share([0.0] * 5, (5, 3, 3, 3, 3), is_decided, run_sd=run_sd, **quiet) <= at_most


def test_without_the_noise_of_training_most_of_them_would_be_called_different():
    random = np.random.default_rng(0)
    wrong = 0
    for _ in range(STUDIES):
        a, b = simulated(random, (0, 0), (1, 1), run_sd=1.5, interaction_sd=0, residual_sd=2)
        wrong += difference(a, b, run_noise([a, b])).estimate.excludes(0)
    assert wrong > STUDIES / 2


@pytest.mark.parametrize("sign", [-1, 1])
def test_a_planted_difference_of_three_months_is_found_nine_times_in_ten(sign):
    name = "better" if sign < 0 else "worse"
    power = share((0, 3 * sign, 0, 0), (5, 3, 3, 3), lambda result: result[0] == name)
    assert power >= 0.9


def test_an_equivalent_pair_is_called_so():
    quiet = {"run_sd": 0.2, "interaction_sd": 1.0, "residual_sd": 2.0}
    assert share((0, 0.1), (5, 5), lambda result: result == ["equivalent"], **quiet) >= 0.9


def test_a_pair_on_the_margin_is_rarely_called_equivalent():
    quiet = {"run_sd": 0.2, "interaction_sd": 1.0, "residual_sd": 2.0}
    assert share((0, MARGIN), (5, 5), lambda result: result == ["equivalent"], **quiet) <= 0.05


def test_the_interval_of_an_experiment_with_one_seed_holds_the_truth():
    random = np.random.default_rng(1)
    inside = 0
    for _ in range(STUDIES):
        a, b, c = simulated(random, (0, 2, 0), (5, 1, 3))
        inside += not difference(b, a, run_noise([a, b, c])).estimate.excludes(2)
    assert inside >= 0.94 * STUDIES


def test_the_noise_of_training_is_found_again():
    random = np.random.default_rng(2)
    experiments = simulated(random, [0] * 40, [5] * 40, run_sd=0.7, residual_sd=0.0)
    assert run_noise(experiments).sd == pytest.approx(0.7, rel=0.15)
    assert run_noise(experiments).degrees == 160
    assert not run_noise([errors[:1] for errors in experiments]).is_known


def test_holm_by_hand():
    assert holm([0.04, 0.01, 0.03]).tolist() == pytest.approx([0.06, 0.03, 0.06])
    assert holm([0.9, 0.8]).tolist() == [1, 1]
    assert holm([]).tolist() == []
