"""study.yaml and the networks, as tables for the deck."""

from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
from torch import nn

from h2a_lib.analysis.comparison import hyperparameters as tables
from h2a_lib.figures import network
from h2a_lib.models import networks
from h2a_lib.study import config as study

STUDY_FILE = Path(__file__).parents[2] / "study.yaml"


@pytest.fixture
def listed():
    return study.load(STUDY_FILE)


def test_every_setting_that_an_experiment_changes_has_a_row_with_all_its_values(listed):
    table = tables.hyperparameters(listed, "smoke").set_index("setting")
    assert table.loc["depth", "default"] == "ResNet-18"
    assert table.loc["depth", "tried"] == "ResNet-34, ResNet-50"
    assert table.loc["learning-rate schedule", "default"] == "exponential (gamma 0.7)"
    assert "step (gamma 0.1, 0.5; step size 1, 4)" in table.loc["learning-rate schedule", "tried"]
    assert (
        "step (gamma 0.1, 0.5; step size 9, 16, 25)"
        in table.loc["learning-rate schedule", "not_tried"]
    )
    assert set(table.index) <= set(tables.SETTINGS.values())


def test_experiments_are_counted_in_the_profile_and_not_in_the_study(listed):
    def counts(experiments):
        profile = listed.profile("smoke").model_copy(update={"experiments": experiments})
        changed = listed.model_copy(update={"profiles": {"changed": profile}})
        return tables.hyperparameters(changed, "changed").set_index("setting")["experiments"]

    of_all, of_some = counts("all"), counts(["resnet18", "resnet34"])
    assert of_some["depth"] == 1
    assert of_all["depth"] > 1
    assert of_some.drop("depth").sum() == 0


@pytest.mark.parametrize(
    ("counts", "verdict"),
    [
        ([3, 1, 0], "the depth was varied most"),
        ([3, 3, 0], "2 of 3 were varied"),
        ([0, 0, 0], "none of 3 was varied"),
    ],
)
def test_a_title_says_which_setting_is_varied_most(counts, verdict):
    table = pd.DataFrame({"setting": ["depth", "loss", "task"], "experiments": counts})
    assert tables.varied_verdict(table) == verdict


def test_only_what_the_profile_trains_is_listed_as_trained(listed):
    smoke, demo = (tables.variables(listed, profile) for profile in ("smoke", "demo"))
    assert smoke["depths"] == "ResNet-18, ResNet-34, ResNet-50"
    assert demo["depths"] == "ResNet-18, ResNet-34"
    assert "every 4 epochs" in smoke["schedules"] and "every 4 epochs" not in demo["schedules"]
    assert "_" not in "".join((smoke["depths"], smoke["schedules"], smoke["others"]))
    assert demo["possibilities"].endswith(" million")


def test_possibilities_are_the_product_of_what_each_setting_may_be():
    settings = {
        "default": {},
        "a": {"lr": 0.1},
        "b": {"lr": 0.2},
        "c": {"optimizer": {"name": "sgd"}},
        "d": {"lr": 0.1, "task": "sex"},
    }
    configs = {
        name: SimpleNamespace(**dict.fromkeys(tables.SETTINGS, 0) | settings[name])
        for name in settings
    }
    made_up = SimpleNamespace(experiments=settings, run_configs=lambda *_: (configs, {}))
    assert tables.possibilities(made_up, "any") == 3 * 2


def test_an_unnamed_value_is_stated_plainly():
    assert tables.describe_values([None, 1e-4, True, {"rotation_degrees": 10.0}]) == (
        "none, 0.0001, yes, random rotation"
    )


@pytest.mark.parametrize(
    ("name", "layers", "macs"),
    [("resnet18", 18, 1.8), ("resnet34", 34, 3.6), ("resnet50", 50, 3.8)],
)
def test_networks_have_the_layers_of_their_name_and_the_operations_of_their_paper(
    name, layers, macs
):
    # He et al. 2016, table 1, counts multiply-adds, of three channels, not of one.
    assert tables.layers(networks.build(name)) == layers
    assert tables.operations(name) / 2e9 == pytest.approx(macs, rel=0.1)


def test_operations_are_counted_by_hand_on_a_small_convolution(monkeypatch):
    monkeypatch.setattr(networks, "build", lambda name: nn.Conv2d(1, 4, kernel_size=3, padding=1))
    assert tables.operations("any", size_px=8) == 2 * 4 * 9 * 8 * 8


def test_speed_is_that_of_the_fastest_run_of_one_image_size_and_empty_without_one():
    slow, fast, small = (
        SimpleNamespace(
            config=SimpleNamespace(
                network="resnet18", width=0.5, image_size_px=size_px, train_fraction=1.0
            ),
            predictions_train=range(300),
            metrics={"epochs": 4},
            provenance={"seconds": seconds},
        )
        for seconds, size_px in ((90.0, 64), (60.0, 64), (30.0, 32))
    )
    speed = tables.network_table([slow, fast, small]).set_index("network")["images_per_second"]
    assert speed.pop("ResNet-18") == 20
    assert len(speed) and speed.isna().all()


def test_blocks_are_drawn_with_the_kernels_and_channels_they_have():
    figure = network.blocks().figure
    left, right = ({text.get_text() for text in axes.texts} for axes in figure.axes)
    assert "3 × 3, 64" in left
    assert {"1 × 1, 64", "1 × 1, 256"} <= right


def test_what_changed_besides_the_intended_setting_is_stated(config):
    ours = config(sex_input=True, epochs=24)
    assert tables.changed_besides(ours, config(epochs=24), "sex_input") == ""
    message = tables.changed_besides(ours, config(epochs=40), "sex_input")
    assert message == "its epochs (24 instead of 40)"
    other = config(epochs=40, lr=0.5, network="resnet34")
    assert tables.changed_besides(ours, other, "sex_input") == "3 more settings"


def test_a_network_is_described_by_width_weights_size_and_training(listed):
    config = listed.run_config("rsna-100px", "age_and_sex")
    text = tables.described(config)
    assert text.startswith("ResNet-18 at half width (2.8 million weights), 100 × 100 px, 32 epochs")
    assert text.endswith(
        "AdamW, learning rate 0.002, one cycle, small stem, augmentation, EMA of the weights, "
        "age and sex (multi-task)"
    )


def test_random_changes_of_the_images_are_named():
    augment = {"rotation_degrees": 5.0, "scale": 0.1, "shift": 0.0, "flip": False, "contrast": 0.1}
    assert tables.describe_values([augment]) == "random rotation, scaling and contrast"


def test_values_that_are_lists_themselves_are_kept_apart():
    two = [{"rotation_degrees": 5.0, "flip": True}, {"rotation_degrees": 5.0, "scale": 0.1}]
    assert (
        tables.describe_values(two) == "random rotation and mirroring; random rotation and scaling"
    )
