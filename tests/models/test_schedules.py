"""Schedules: the published shapes, and every optimiser with every schedule."""

import itertools

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from pydantic import TypeAdapter

from h2a_lib.figures import schedules as draw
from h2a_lib.models.schedules import build_optimizer, build_schedule
from h2a_lib.study import config as study

SCHEDULES = {
    "constant": "constant",
    "step": {"name": "step", "gamma": 0.1, "step_size": 2},
    "exponential": {"name": "exponential", "gamma": 0.7},
    "plateau": {"name": "plateau", "factor": 0.5, "patience": 1},
    "triangular": {"name": "cyclic", "mode": "triangular", "step_size": 1},
    "triangular2": {"name": "cyclic", "mode": "triangular2", "step_size": 1},
    "exp_range": {"name": "cyclic", "mode": "exp_range", "step_size": 1, "gamma": 0.5},
    "one_cycle": "one_cycle",
    "cosine": "cosine",
}
OPTIMIZERS = ("sgd", "adam", "adamw", {"name": "sgd", "momentum": 0, "nesterov": True})
STEPS = 10


def rates(schedule, errors, optimizer="adam", lr=0.1) -> np.ndarray:
    """Learning rate of every step, (epochs, STEPS)."""
    network = torch.nn.Linear(1, 1)
    chosen = TypeAdapter(study.Optimizer).validate_python(optimizer)
    optimizer = build_optimizer(chosen, network, lr, weight_decay=1e-4)
    config = TypeAdapter(study.Schedule).validate_python(schedule)
    rate = build_schedule(config, optimizer, len(errors), STEPS)
    observed = np.zeros((len(errors), STEPS))
    for epoch, error in enumerate(errors):
        for step in range(STEPS):
            network(torch.ones(1, 1)).sum().backward()
            observed[epoch, step] = optimizer.param_groups[0]["lr"]
            optimizer.step()
            rate.after_step()
        rate.after_epoch(error)
    return observed


@pytest.mark.parametrize(
    ("schedule", "optimizer"), itertools.product(SCHEDULES.values(), OPTIMIZERS), ids=str
)
def test_every_optimiser_works_with_every_schedule(schedule, optimizer):
    observed = rates(schedule, [5.0, 4.0, 4.0, 4.0], optimizer)
    assert (observed > 0).all() and observed.max() <= 0.1 + 1e-12


def test_step_multiplies_every_step_size_epochs():
    first = rates(SCHEDULES["step"], [1] * 5)[:, 0]
    np.testing.assert_allclose(first, [0.1, 0.1, 0.01, 0.01, 0.001])


def test_exponential_multiplies_every_epoch():
    observed = rates(SCHEDULES["exponential"], [1] * 4)
    np.testing.assert_allclose(observed[:, 0], 0.1 * 0.7 ** np.arange(4))
    assert (observed == observed[:, :1]).all()


def test_plateau_waits_for_the_error_to_stop_falling():
    observed = rates(SCHEDULES["plateau"], [5, 4, 3, 3, 3, 3, 3])[:, 0]
    np.testing.assert_allclose(observed, [0.1, 0.1, 0.1, 0.1, 0.1, 0.05, 0.05])


def test_triangular_rises_from_a_tenth_to_the_rate_and_back():
    observed = rates(SCHEDULES["triangular"], [1] * 4).ravel()
    assert observed[0] == pytest.approx(0.01) and observed[STEPS] == pytest.approx(0.1)
    assert observed[2 * STEPS] == pytest.approx(0.01) and observed[3 * STEPS] == pytest.approx(0.1)


def test_triangular2_halves_its_peak_each_cycle():
    observed = rates(SCHEDULES["triangular2"], [1] * 4).ravel()
    assert observed[3 * STEPS] - 0.01 == pytest.approx((observed[STEPS] - 0.01) / 2)


def test_exp_range_lets_its_peak_decay_by_gamma_an_epoch():
    observed = rates(SCHEDULES["exp_range"], [1] * 4).ravel()
    assert (observed[3 * STEPS] - 0.01) / (observed[STEPS] - 0.01) == pytest.approx(0.5**2)


def test_one_cycle_rises_to_the_rate_and_ends_far_below_its_start():
    observed = rates(SCHEDULES["one_cycle"], [1] * 10).ravel()
    assert observed.argmax() == pytest.approx(0.3 * 100, abs=1)
    assert observed.max() == pytest.approx(0.1)
    assert observed[0] == pytest.approx(0.1 / 25)
    assert observed[-1] < observed[0] / 100


def test_cosine_falls_to_nearly_nothing():
    observed = rates("cosine", [1] * 10).ravel()
    assert (np.diff(observed) < 0).all()
    assert observed[50] == pytest.approx(0.05) and observed[-1] < 1e-4


def test_weight_decay_reaches_the_optimiser():
    network = torch.nn.Linear(1, 1)
    for name in ("sgd", "adam", "adamw"):
        chosen = TypeAdapter(study.Optimizer).validate_python(name)
        optimizer = build_optimizer(chosen, network, 0.1, weight_decay=0.25)
        assert optimizer.param_groups[0]["weight_decay"] == 0.25


def test_rates_close_to_one_another_are_written_without_their_last_binary_digits():
    figure, axes = plt.subplots()
    draw.rates({"plateau": pd.DataFrame({"epoch": [0, 1, 2], "lr": [1e-3, 7e-4, 4.9e-4]})}, axes)
    figure.canvas.draw()
    written = [label.get_text() for label in axes.get_yticklabels()]
    assert {"0.0009", "0.0006"} <= set(written) and max(map(len, written)) <= len("0.0009")
    plt.close(figure)
