"""Networks: every combination reads a grey image and learns in every parameter."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from trained import squares_for, trained

from h2a_lib.errors import UserError
from h2a_lib.models import networks
from h2a_lib.models.inference import predictor_of
from h2a_lib.study.config import NETWORKS

COMBINATIONS = [
    *((name, "both", False) for name in networks.TRUNKS),
    *(("resnet18", task, False) for task in ("age", "sex")),
    ("resnet18", "age", True),
]


@pytest.mark.parametrize(("name", "task", "sex_input"), COMBINATIONS)
def test_answers_are_finite_and_every_parameter_gets_a_gradient(name, task, sex_input):
    torch.manual_seed(0)
    network = networks.build(name, task, sex_input)
    answers = network(torch.randn(3, 1, 64, 64), torch.tensor([0.0, 1.0, 1.0]))
    assert set(answers) == ({"age", "sex"} if task == "both" else {task})
    assert all(a.shape == (3,) and torch.isfinite(a).all() for a in answers.values())
    sum(a.abs().sum() for a in answers.values()).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


@pytest.mark.parametrize("sex_input", [False, True])
def test_sex_changes_the_answer_only_when_it_is_an_input(sex_input):
    torch.manual_seed(0)
    network = networks.build("resnet18", "age", sex_input).eval()
    image = torch.randn(1, 1, 64, 64)
    with torch.no_grad():
        girl, boy = (network(image, torch.tensor([s]))["age"] for s in (0.0, 1.0))
    assert (girl != boy).item() is sex_input


def test_a_network_that_needs_sex_says_so():
    network = networks.build("resnet18", "age", sex_input=True)
    with pytest.raises(ValueError, match="give `male`"):
        network(torch.randn(2, 1, 64, 64))


@pytest.mark.parametrize("quantiles", [False, True])
def test_months_of_unknown_sex_are_those_of_either_sex_weighted_by_its_probability(quantiles):
    torch.manual_seed(0)
    network = networks.build("resnet18", "both", quantiles=quantiles).eval()
    images = torch.randn(5, 1, 64, 64)
    with torch.no_grad():
        of_girls, of_boys = (network(images, torch.full((5,), s)) for s in (0.0, 1.0))
        unknown = network(images)
    p_male = unknown.pop("sex").sigmoid()
    assert p_male.std() > 0 and set(of_girls) == {*unknown, "sex"}
    for name, months in unknown.items():
        assert (of_girls[name] != of_boys[name]).all()
        expected = (1 - p_male) * of_girls[name] + p_male * of_boys[name]
        torch.testing.assert_close(months, expected)


@pytest.mark.parametrize("name", networks.TRUNKS)
def test_stages_halve_the_map_and_the_last_is_what_is_pooled(name):
    network = networks.build(name).eval()
    images = torch.randn(2, 1, 128, 128)
    with torch.no_grad(), network.record_maps() as maps:
        features = network.features(images)
    assert [maps[stage].shape[-1] for stage in networks.STAGES] == [32, 16, 8, 4]
    assert features.shape == (2, network.n_features)
    pooled = maps[networks.STAGES[-1]].mean(dim=(2, 3))
    if name == "convnext_tiny":  # normalises what is pooled
        pooled = network.trunk.classifier(pooled[:, :, None, None])
    torch.testing.assert_close(pooled, features, rtol=1e-3, atol=1e-4)
    assert not any(stage._forward_hooks for stage in network.stages.values())


@pytest.mark.parametrize("name", networks.TRUNKS)
def test_the_cost_in_the_settings_is_that_of_the_network(name):
    from torch.utils.flop_counter import FlopCounterMode

    with torch.device("meta"):
        network = networks.build(name)
        with FlopCounterMode(display=False) as counter:
            network(torch.randn(1, 1, 224, 224))
    assert counter.get_total_flops() / 2e9 == pytest.approx(NETWORKS[name].gflops, rel=0.05)


def test_every_network_of_the_settings_can_be_built():
    assert list(networks.TRUNKS) == list(NETWORKS)


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_width_multiplies_the_channels_and_a_small_stem_keeps_the_map_large(name):
    network = networks.build(name, width=0.5, stem="small").eval()
    whole = networks.build(name)
    assert network.n_features == whole.n_features / 2
    n, n_whole = (sum(p.numel() for p in built.parameters()) for built in (network, whole))
    assert 0.24 < n / n_whole < 0.27
    with torch.no_grad(), network.record_maps() as maps:
        network(torch.randn(1, 1, 100, 100))
    assert [maps[stage].shape[-1] for stage in networks.STAGES] == [50, 25, 13, 7]
    assert network.stride == 16


def test_quantiles_cannot_cross():
    torch.manual_seed(0)
    network = networks.build("resnet18", quantiles=True).eval()
    network.age_head.weight.data *= 100
    with torch.no_grad():
        ages = network(torch.randn(20, 1, 64, 64))
    assert (ages["age_low"] <= ages["age"]).all() and (ages["age"] <= ages["age_high"]).all()


def test_a_batch_of_one_is_answered():
    network = networks.build("resnet18", "both").eval()
    assert network(torch.randn(1, 1, 64, 64))["age"].shape == (1,)


@pytest.mark.parametrize(
    ("name", "published_millions", "n_features"),
    # torchvision's model cards, with three colour channels and 1,000 classes
    [("resnet18", 11.689512, 512), ("resnet34", 21.797672, 512), ("resnet50", 25.557032, 2048)],
)
def test_parameter_counts_follow_from_the_published_ones(name, published_millions, n_features):
    network = networks.build(name)
    n = sum(p.numel() for p in network.parameters())
    two_channels_less = 2 * 64 * 7 * 7
    classifier = n_features * 1000 + 1000
    head = n_features + 1
    assert n == round(published_millions * 1e6) - two_channels_less - classifier + head
    assert network.n_features == n_features


@pytest.mark.parametrize(
    ("name", "published_gflops"),
    # multiply-adds at 224 px, torchvision's model cards: 1.81, 3.66, 4.09
    [("resnet18", 1.814), ("resnet34", 3.664), ("resnet50", 4.089)],
)
def test_operations_are_the_published_ones_less_two_colour_channels(name, published_gflops):
    from torch.utils.flop_counter import FlopCounterMode

    with torch.device("meta"):
        network = networks.build(name)
        with FlopCounterMode(display=False) as counter:
            network(torch.randn(1, 1, 224, 224))
    multiply_adds = counter.get_total_flops() / 2
    two_channels = 2 * 64 * 49 * 112**2
    classifier = network.n_features * 999
    assert (multiply_adds + two_channels + classifier) / 1e9 == pytest.approx(
        published_gflops, rel=2e-3
    )


def test_pretrained_weights_read_grey_as_the_colour_network_reads_three_equal_channels(
    tmp_path, monkeypatch
):
    import torchvision

    torch.manual_seed(0)
    colour = torchvision.models.resnet18(weights=None)
    place = tmp_path / "checkpoints" / networks.imagenet_file("resnet18").name
    place.parent.mkdir()
    torch.save(colour.state_dict(), place)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    network = networks.build("resnet18", pretrained=True).eval()
    colour.fc = torch.nn.Identity()
    grey = torch.randn(2, 1, 64, 64)
    with torch.no_grad():
        expected = colour.eval()(grey.expand(-1, 3, -1, -1))
        torch.testing.assert_close(network.features(grey), expected, rtol=1e-3, atol=1e-4)


def test_pretrained_weights_that_hold_code_are_refused_and_the_code_does_not_run(
    tmp_path, monkeypatch
):
    class Hostile:
        def __reduce__(self):
            return Path.touch, (tmp_path / "ran",)

    place = tmp_path / "checkpoints" / networks.imagenet_file("resnet18").name
    place.parent.mkdir()
    torch.save({"conv1.weight": Hostile()}, place)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(UserError, match=r"resnet18.*\.pth holds no weights"):
        networks.build("resnet18", pretrained=True)
    assert not (tmp_path / "ran").exists()


def test_pretrained_without_network_or_file_says_what_to_do(tmp_path, monkeypatch):
    def unreachable(*_, **__):
        raise OSError("no route")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", unreachable)
    with pytest.raises(UserError, match=r"resnet18.*\.pth.*or set pretrained: false"):
        networks.build("resnet18", pretrained=True)


@pytest.mark.parametrize(("name", "task"), [("resnet19", "age"), ("resnet18", "height")])
def test_an_unknown_name_lists_the_known_ones(name, task):
    with pytest.raises(UserError, match="known: "):
        networks.build(name, task)


def test_a_run_for_both_tasks_is_not_given_its_own_answer(tmp_path):
    run = trained(tmp_path / "run", n=30, n_validation=10, epochs=1, task="both")
    predictor = predictor_of(run)
    images = squares_for(run.config, 30, 10).images[:6]
    blind, given = (predictor.predict(images, male) for male in (None, np.arange(6) % 2))
    assert all((blind[name] == given[name]).all() for name in blind)


@pytest.mark.slow
def test_importing_networks_does_not_import_the_compiler_which_works_when_it_is_called():
    code = """
import sys, torch
import h2a_lib.models.networks, torchvision
assert not {"torch._dynamo", "torch._dynamo.utils", "torch._inductor"} & set(sys.modules)
from torchvision.ops.roi_align import is_compile_supported
expected = is_compile_supported("cpu")
from torch._dynamo.utils import is_compile_supported
assert is_compile_supported("cpu") == expected
boxes = [torch.tensor([[0.0, 0.0, 4.0, 4.0]])]
assert torchvision.ops.roi_align(torch.ones(1, 3, 8, 8), boxes, 2).eq(1).all()
"""
    subprocess.run([sys.executable, "-c", code], check=True)
