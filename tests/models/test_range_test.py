"""The range test: nothing is changed by looking, and the rule finds a planted answer."""

import copy
import itertools

import numpy as np
import pandas as pd
import pytest
import torch

from h2a_lib.models.range_test import range_test, suggest, sweep


def same(a, b) -> bool:
    """Whether two nested states are equal to the bit."""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


@pytest.mark.parametrize("optimizer_class", [torch.optim.Adam, torch.optim.SGD])
def test_network_optimiser_and_random_state_are_untouched_to_the_bit(optimizer_class):
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Dropout(), torch.nn.Flatten()
    )
    optimizer = optimizer_class(network.parameters(), lr=0.01)

    def loss(model, batch):
        return model(batch).square().mean()

    for _ in range(3):  # so that the optimiser has a state that could be lost
        optimizer.zero_grad()
        loss(network, torch.randn(4, 1, 8, 8)).backward()
        optimizer.step()
    network.eval()
    before = copy.deepcopy((network.state_dict(), optimizer.state_dict(), torch.get_rng_state()))
    gradients = [p.grad.clone() for p in network.parameters()]
    batches = itertools.repeat(torch.ones(4, 1, 8, 8))
    sweep(network, optimizer, loss, batches, 1e-5, 10, n_steps=30)
    after = (network.state_dict(), optimizer.state_dict(), torch.get_rng_state())
    assert same(before, after)
    assert all(torch.equal(p.grad, g) for p, g in zip(network.parameters(), gradients, strict=True))
    assert not network.training


def test_it_stops_when_the_loss_explodes():
    network = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.constant_(network.weight, 1.0)
    optimizer = torch.optim.SGD(network.parameters(), lr=1)
    result = sweep(
        network,
        optimizer,
        lambda model, batch: model(batch).square().mean(),
        itertools.repeat(torch.ones(4, 1)),
        1e-3,
        1e3,
        n_steps=200,
    )
    assert result.diverged
    # Gradient descent on w^2 with this input diverges above a rate of 1.
    assert 1 < result.curve["lr"].iloc[-1] < 100
    assert result.suggestion < result.curve["lr"].iloc[-1]


def test_the_suggestion_lies_where_the_loss_is_lowest_and_below_where_it_rises():
    rates = np.geomspace(1e-6, 1, 200)
    fall, rise = 1e-4, 1e-2
    loss = 1 / (1 + np.exp(3 * (np.log(rates) - np.log(fall))))
    loss[rates > rise] += 5 * np.log(rates[rates > rise] / rise)
    assert fall < suggest(pd.DataFrame({"lr": rates, "loss": loss})) < 2 * rise
    # A batch's loss is noisy, and the first one may well be the lowest.
    noise = np.random.default_rng(0).normal(0, 0.05, 200)
    noisy = pd.DataFrame({"lr": rates, "loss": loss + noise})
    noisy.loc[0, "loss"] = -1
    assert fall < suggest(noisy) < 2 * rise


def test_a_loss_that_never_falls_suggests_no_higher_rate_than_was_good():
    curve = pd.DataFrame({"lr": np.geomspace(1e-4, 1, 50), "loss": np.linspace(1, 2, 50)})
    assert suggest(curve) == pytest.approx(1e-4)


def test_a_run_s_own_network_is_tested_and_the_same_twice(config, hands):
    first, again = (range_test(config(augment={}), hands, n_steps=40) for _ in range(2))
    pd.testing.assert_frame_equal(first.curve, again.curve, check_exact=True)
    assert 1e-6 <= first.suggestion <= 1
    assert first.curve["lr"].is_monotonic_increasing
