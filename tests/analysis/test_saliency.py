import numpy as np
import pandas as pd
import pytest
import torch
from squares import SETTINGS
from torch import nn

from h2a_lib.analysis.saliency import maps as saliency
from h2a_lib.analysis.saliency.maps import (
    STAGES,
    attention,
    grad_cam,
    layer_for,
    occlusion,
    passes,
    randomised,
    sanity,
    sanity_sentence,
    similarity,
)
from h2a_lib.data.hands import Hands
from h2a_lib.models import networks
from h2a_lib.models.inference import predictor_of
from h2a_lib.models.trained import save_run
from h2a_lib.models.training import train
from h2a_lib.study import config as study
from h2a_lib.study import runs

SIDE = 64


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return networks.build("resnet18", "both").eval()


@pytest.fixture(scope="module")
def pixels():
    return torch.randn(6, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


class Spot(nn.Module):
    """A network that looks at one quarter of the picture and nowhere else."""

    record_maps = networks.HandNet.record_maps

    def __init__(self):
        super().__init__()
        self.stages = {"layer2": nn.AvgPool2d(8)}

    def forward(self, images, male=None):
        grid = self.stages["layer2"](images)
        return {"age": grid[:, 0, :4, :4].sum(dim=(1, 2)), "sex": grid[:, 0, :4, :4].sum((1, 2))}


def quarter(n=3):
    images = np.full((n, SIDE, SIDE), 50, np.uint8)
    images[:, : SIDE // 2, : SIDE // 2] = 200
    return images


@pytest.mark.parametrize("answer", ["age", "sex"])
@pytest.mark.parametrize("name", ["resnet18", "resnet34", "resnet50"])
def test_every_network_gets_maps_that_sum_to_one(name, answer, pixels):
    torch.manual_seed(0)
    maps = grad_cam(networks.build(name, "both").eval(), pixels, answer)
    assert maps.shape == (6, SIDE, SIDE)
    assert (maps >= 0).all()
    total = maps.sum(axis=(1, 2))
    assert np.all(np.isclose(total, 1, atol=1e-4) | (total == 0))
    if answer == "age":
        assert np.allclose(total, 1, atol=1e-4)


def test_a_map_is_gradient_times_activation_over_channels(network, pixels):
    # The oracle: one picture, one channel at a time.
    layer = layer_for(SIDE)
    for i in range(2):
        kept = {}
        block = getattr(network.trunk, layer)
        hook = block.register_forward_hook(lambda m, x, y, kept=kept: kept.update(a=y))
        value = network(pixels[i : i + 1])["age"]
        hook.remove()
        (g,) = torch.autograd.grad(value.sum(), kept["a"])
        cam = sum(
            g[0, k] * kept["a"][0, k] for k in range(g.shape[1])
        ).abs().detach()[None, None]  # fmt: skip
        cam = nn.functional.interpolate(cam, (SIDE, SIDE), mode="bilinear")[0, 0].numpy()
        assert grad_cam(network, pixels, "age")[i] == pytest.approx(cam / cam.sum(), rel=1e-3)


@pytest.mark.parametrize("answer", ["age", "sex"])
def test_at_the_last_block_a_map_is_that_of_grad_cam(network, pixels, answer):
    kept = {}
    hook = network.trunk.layer4.register_forward_hook(lambda m, x, y: kept.update(a=y))
    value = network(pixels)[answer]
    hook.remove()
    (g,) = torch.autograd.grad(value.sum(), kept["a"])
    cam = (g.mean(dim=(2, 3), keepdim=True) * kept["a"]).sum(dim=1, keepdim=True).detach()
    if answer == "sex":
        cam = (cam * value.detach().sign().view(-1, 1, 1, 1)).relu()
    cam = nn.functional.interpolate(cam.abs(), (SIDE, SIDE), mode="bilinear")[:, 0].numpy()
    result = grad_cam(network, pixels, answer, layer="layer4")
    total = cam.sum(axis=(1, 2), keepdims=True)
    assert result == pytest.approx(np.divide(cam, total, where=total > 0, out=cam * 0), rel=1e-3)


def test_maps_do_not_depend_on_the_other_hands_of_the_batch(network, pixels):
    together = grad_cam(network, pixels, "age")
    alone = grad_cam(network, pixels[2:3], "age")
    assert together[2] == pytest.approx(alone[0], rel=1e-3, abs=1e-9)


def test_grad_cam_leaves_no_gradient_and_no_hook_behind(network, pixels):
    grad_cam(network, pixels, "age")
    assert all(p.grad is None for p in network.parameters())
    assert not getattr(network.trunk, layer_for(SIDE))._forward_hooks


def test_grad_cam_works_where_weights_are_frozen_and_gradients_off(network, pixels):
    import copy

    frozen = copy.deepcopy(network).requires_grad_(False)
    with torch.no_grad():
        assert np.allclose(grad_cam(frozen, pixels, "age"), grad_cam(network, pixels, "age"))


def test_a_network_with_the_sex_input_is_explained_too(pixels):
    torch.manual_seed(0)
    network = networks.build("resnet18", "age", sex_input=True).eval()
    maps = grad_cam(network, pixels, "age", torch.ones(6))
    assert np.allclose(maps.sum(axis=(1, 2)), 1, atol=1e-4)


def test_the_grid_is_at_least_7_where_the_picture_allows_it():
    assert [layer_for(s) for s in (224, 192, 100, 96, 64, 32, 16)] == [
        "layer4", "layer3", "layer3", "layer2", "layer2", "layer1", "layer1",
    ]  # fmt: skip


@pytest.mark.parametrize("size", [97, 100, 112])
def test_the_grid_is_that_of_the_block(network, size):
    kept = []
    hook = getattr(network.trunk, layer_for(size)).register_forward_hook(
        lambda m, x, y: kept.append(y.shape[-1])
    )
    network(torch.zeros(1, 1, size, size))
    hook.remove()
    assert kept == [7]


def test_occlusion_finds_the_quarter_that_the_network_uses():
    spot = Spot()

    def predict(images):
        return spot(torch.from_numpy(images)[:, None].float())["age"].detach().numpy()

    maps = occlusion(predict, quarter())
    assert maps.sum(axis=(1, 2)) == pytest.approx([1, 1, 1])
    assert maps[:, : SIDE // 2, : SIDE // 2].sum(axis=(1, 2)) == pytest.approx([1, 1, 1])


def test_occlusion_of_a_constant_answer_is_a_zero_map():
    maps = occlusion(lambda images: np.zeros(len(images)), quarter())
    assert not maps.any()
    assert attention(maps, np.ones(maps.shape)).share.n == 0


def test_attention_is_the_share_of_the_map_on_the_region():
    maps = np.zeros((2, 4, 4), np.float32)
    maps[:, 0, 0], maps[:, 3, 3] = 0.75, 0.25
    region = np.zeros((2, 4, 4))
    region[0, 0, 0] = 1
    region[0, 3, 3] = 0.5
    result = attention(maps, region)
    assert (result.share.value, result.share.n) == (0.875, 1)
    assert result.area == 1.5 / 16


def test_a_map_is_similar_to_itself_and_opposite_to_its_negative():
    maps = np.random.default_rng(0).random((3, 8, 8)).astype(np.float32)
    assert similarity(maps, maps) == pytest.approx([1, 1, 1])
    assert similarity(maps, 1 - maps) == pytest.approx([-1, -1, -1])
    assert np.isnan(similarity(maps, np.zeros_like(maps))).all()


def test_randomising_goes_from_the_answer_down_and_leaves_the_rest_and_the_original(network):
    before = {k: v.clone() for k, v in network.state_dict().items()}
    copied = randomised(network, "layer3").state_dict()
    for name, value in before.items():
        if "num_batches" in name:
            continue
        top = name.startswith(("age_head", "sex_head", "read_sex", "trunk.layer4", "trunk.layer3"))
        if top and "weight" in name and value.ndim > 1:
            assert not torch.equal(copied[name], value), name
        elif not top:
            assert torch.equal(copied[name], value), name
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())


def test_a_random_network_is_drawn_as_a_new_one_and_measured_on_the_pictures(network, pixels):
    copied = randomised(network, "conv1", pixels)
    torch.manual_seed(5)
    fresh = networks.build("resnet18", "both")
    for stage in ("conv1", "layer4"):
        a, b = (getattr(n.trunk, stage) for n in (copied, fresh))
        a, b = (m if stage == "conv1" else m[0].conv1 for m in (a, b))
        assert a.weight.std().item() == pytest.approx(b.weight.std().item(), rel=0.05)
    with torch.no_grad():
        before = copied.trunk.bn1(copied.trunk.conv1(pixels))
    assert before.mean().item() == pytest.approx(0, abs=0.01)
    assert before.std().item() == pytest.approx(1, abs=0.05)


def test_randomising_leaves_the_global_generator_alone(network):
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    randomised(network, "head")
    assert torch.rand(1) == expected


def test_the_sanity_check_lists_every_stage(network, pixels):
    table = sanity(network, pixels, "age", draws=1)
    assert table["stage"].tolist() == ["other hands", *STAGES]
    assert table["similarity"].between(-1, 1).all()
    assert sanity_sentence(table).startswith("Sanity check: with all weights random")


def test_maps_of_another_training_are_compared_too(network, pixels):
    table = sanity(network, pixels, "age", retrained=[network], draws=1)
    assert table.set_index("stage").loc["other seeds", "similarity"] == 1
    assert "trained with another seed 1.00" in sanity_sentence(table)


@pytest.mark.slow
def test_a_trained_network_passes_and_its_map_is_not_of_the_brightest_thing(tmp_path, monkeypatch):
    # A bright square in the lower half says nothing; the grey of a small one in the upper half is
    # the age.
    monkeypatch.setattr("h2a_lib.analysis.saliency.maps.LEAST_GRID", 4)
    random = np.random.default_rng(0)
    n, side = 240, 32
    age = random.uniform(12, 216, n)
    images = random.integers(0, 30, (n, side, side)).astype(np.uint8)
    for image, months in zip(images, age, strict=True):
        y, x = random.integers(17, 23), random.integers(1, 23)
        image[y : y + 8, x : x + 8] = 230
        y, x = random.integers(2, 10), random.integers(2, 26)
        image[y : y + 5, x : x + 5] = 40 + months / 216 * 120
    labels = pd.DataFrame({"id": np.arange(n).astype(str), "age_months": age, "male": age > 100})
    labels["split"] = np.select(
        [np.arange(n) < 40, np.arange(n) < 60], ["validation", "selection"], "train"
    )
    hands = Hands(images, labels, "decoys")
    config = study.RunConfig(
        **(SETTINGS | {"epochs": 8, "lr": 2e-3, "batch_size": 16, "width": 1.0})
    )
    save_run(tmp_path, config, train(config, hands, tmp_path / "c.pt"), "decoys", "decoys")
    run = runs.load(tmp_path)
    assert run.metrics["validation"]["mae_months"] < 25
    maps = grad_cam(predictor_of(run).network, predictor_of(run).normalise(images[:40]), "age")
    assert (
        attention(maps, np.broadcast_to(np.arange(side)[:, None] < 16, maps.shape)).share.low > 0.4
    )
    assert passes(
        sanity(predictor_of(run).network, predictor_of(run).normalise(images[:40]), "age")
    )


def test_maps_that_ignore_the_weights_fail_the_sanity_check(network, pixels, monkeypatch):
    fixed = np.random.default_rng(0).random((6, SIDE, SIDE)).astype(np.float32)
    monkeypatch.setattr(saliency, "grad_cam", lambda *arguments: fixed)
    table = sanity(network, pixels, "age", draws=1)
    assert not passes(table)
    assert "failed" in sanity_sentence(table)


def test_maps_without_contrast_pass_nothing(network, pixels, monkeypatch):
    monkeypatch.setattr(saliency, "grad_cam", lambda *a: np.zeros((6, SIDE, SIDE), np.float32))
    table = sanity(network, pixels, "age", draws=1)
    assert not passes(table)
    assert "explain nothing" in sanity_sentence(table)


def test_the_sanity_check_takes_50_hands_and_draws_again_only_where_the_verdict_is(
    network, monkeypatch
):
    drawn = []

    def fake(network, stage, pixels, seed):
        drawn.append((stage, seed, len(pixels)))
        return network

    monkeypatch.setattr(saliency, "randomised", fake)
    many = torch.randn(60, 1, 32, 32, generator=torch.Generator().manual_seed(2))
    table = sanity(network, many, "age")
    assert table["n"].max() == 50
    assert drawn == [(s, 0, 50) for s in STAGES] + [("conv1", 1, 50), ("conv1", 2, 50)]
