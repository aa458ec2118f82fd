"""The two networks that come with the library."""

import json

import cv2
import pytest
from data_folders import picture
from typer.testing import CliRunner

from h2a_lib.commands import app as cli
from h2a_lib.commands.predict import IMAGE_ALONE, PRETRAINED, SEX_GIVEN
from h2a_lib.study import runs

both = pytest.mark.parametrize("folder", [IMAGE_ALONE, SEX_GIVEN], ids=lambda path: path.name)


@pytest.fixture
def hand(tmp_path):
    path = tmp_path / "hand.png"
    cv2.imwrite(str(path), picture(1, 900, 700))
    return path


def predict(*words) -> dict:
    done = CliRunner().invoke(cli.app, ["predict", *map(str, words), "--json"])
    return json.loads(done.stdout)


def test_a_hand_is_estimated_without_naming_a_run(hand):
    answer = predict(hand)
    (estimate,) = answer["predictions"]
    assert answer["run"] == "age_and_sex/seed-0"
    assert answer["trained_on"] == "RSNA Pediatric Bone Age radiographs"
    assert estimate["low_months"] <= estimate["age_months"] <= estimate["high_months"]
    assert estimate["sex"] in ("female", "male")
    assert estimate["out_of_distribution"] is True, "it is a blob"


def test_a_known_sex_selects_the_network_that_takes_it(hand):
    ages = {}
    for sex in ("female", "male"):
        answer = predict(hand, "--sex", sex)
        assert answer["run"] == "age_given_sex/seed-0"
        ages[sex] = answer["predictions"][0]["age_months"]
    assert ages["female"] != ages["male"]


def test_predictions_state_the_terms_of_the_data(hand):
    output = CliRunner().invoke(cli.app, ["predict", str(hand)]).output
    assert "non-commercial use" in output and "Halabi" in output
    assert "Research, not for diagnosis." in output


@both
def test_a_network_samples_a_file_as_its_training_images_were_sampled(folder):
    assert runs.load(folder).config.geometry == "squash_nearest"


@both
def test_a_card_has_what_a_user_must_know(folder):
    card = (folder / "README.md").read_text(encoding="utf-8")
    for words in (
        *("Not a medical device", "non-commercial use", "Halabi"),
        *("## Age, validation", "## Age, additional images", "conformal intervals"),
    ):
        assert words in card
    assert "## Out of scope" in card or "## What it is not for" in card
    assert "nan" not in card.lower().split()


def test_both_are_small_and_have_no_row_of_a_child():
    files = [file for file in PRETRAINED.rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) < 20e6
    assert not [file.name for file in files if file.suffix == ".csv"]
