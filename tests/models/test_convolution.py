"""A small map is convolved by a matrix product, and comes out as torch would have it."""

import copy

import pytest
import torch
from torch import nn

from h2a_lib.models import convolution, networks


@pytest.fixture
def products(monkeypatch) -> list[torch.Size]:
    """Return the shapes that were convolved by a product, as they come."""
    used = []
    as_product = convolution.Conv2d._as_product

    def noted(self, images):
        used.append(images.shape)
        return as_product(self, images)

    monkeypatch.setattr(convolution.Conv2d, "_as_product", noted)
    return used


@pytest.mark.parametrize(("kernel", "padding"), [(1, 0), (3, 1), (3, 0), ((3, 1), (1, 0))])
@pytest.mark.parametrize("stride", [1, 2, (1, 2)])
@pytest.mark.parametrize("bias", [False, True])
def test_the_product_and_its_gradients_are_those_of_torch(
    kernel, padding, stride, bias, products, monkeypatch
):
    torch.manual_seed(0)
    theirs = nn.Conv2d(3, 5, kernel, stride, padding, bias=bias).double()
    ours = copy.deepcopy(theirs)
    convolution.use_matrix_products(nn.Sequential(ours))
    monkeypatch.setattr(convolution, "MOST_POSITIONS", 16)
    images = torch.randn(2, 3, 4, 3, dtype=torch.double, requires_grad=True)
    copied = images.detach().clone().requires_grad_()
    expected, found = theirs(images), ours(copied)
    assert len(products) == 1
    torch.testing.assert_close(found, expected)
    weights = torch.randn_like(expected)
    (expected * weights).sum().backward()
    (found * weights).sum().backward()
    torch.testing.assert_close(copied.grad, images.grad)
    torch.testing.assert_close(ours.weight.grad, theirs.weight.grad)


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "mobilenet_v3_small"])
def test_a_network_answers_as_without_it(name, products, monkeypatch):
    network = networks.build(name).eval()
    images = torch.randn(2, 1, 64, 64)
    with torch.no_grad():
        found = network(images)["age"]
        assert products
        monkeypatch.setattr(convolution, "MOST_POSITIONS", 0)
        torch.testing.assert_close(network(images)["age"], found)


def test_large_maps_are_left_to_torch(products):
    network = networks.build("resnet18")
    network(torch.randn(1, 1, 224, 224))
    assert not products


def test_what_the_product_cannot_do_is_left_to_torch():
    odd = nn.Sequential(
        nn.Conv2d(4, 4, 3, groups=2),
        nn.Conv2d(4, 4, 3, dilation=2),
        nn.Conv2d(4, 4, 3, padding="same"),
        nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"),
    )
    convolution.use_matrix_products(odd)
    assert all(type(module) is nn.Conv2d for module in odd)
