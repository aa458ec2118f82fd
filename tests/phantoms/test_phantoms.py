"""What a set of phantoms is like: layout, labels, seeds, proportions, and always a hand."""

import hashlib
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from h2a_lib import phantoms as phantom
from h2a_lib.errors import UserError
from h2a_lib.files import read_json
from h2a_lib.phantoms import population, scene
from h2a_lib.phantoms.growth import grow
from h2a_lib.phantoms.skeleton import Pose, build
from h2a_lib.phantoms.streams import Stream

NAME = "boneage-training-dataset"


def pixels(folder: Path) -> dict[str, bytes]:
    return {f.name: f.read_bytes() for f in sorted((folder / NAME).iterdir())}


@pytest.fixture(scope="module")
def small_set(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("phantoms") / "set"
    phantom.write(out, n=12, seed=3, height_px=96, processes=1)
    return out


def test_a_set_has_the_layout_of_the_rsna_data(small_set):
    labels = pd.read_csv(small_set / f"{NAME}.csv")
    assert list(labels.columns) == ["id", "boneage", "male"]
    assert labels["male"].dtype == bool
    assert {f"{i}.png" for i in labels["id"]} == set(pixels(small_set))


def test_a_phantom_says_in_its_file_and_in_its_folder_that_it_is_synthetic(small_set):
    with Image.open(small_set / NAME / "1.png") as image:
        assert image.mode == "L"
        assert image.text["Synthetic"] == "true"
        assert "no patient" in image.text["Description"]
    companion = read_json(small_set / "phantom.json")
    assert companion["synthetic"] is True
    assert (companion["n"], companion["seed"], companion["height_px"]) == (12, 3, 96)


def test_same_seed_gives_the_same_bytes_whatever_the_number_of_processes(small_set, tmp_path):
    phantom.write(tmp_path / "again", n=12, seed=3, height_px=96, processes=2)
    assert pixels(tmp_path / "again") == pixels(small_set)
    for name in (f"{NAME}.csv", "phantom-truth.csv", "phantom.json"):
        assert (tmp_path / "again" / name).read_bytes() == (small_set / name).read_bytes()


def test_an_id_is_the_same_hand_in_a_smaller_set(small_set, tmp_path):
    phantom.write(tmp_path / "few", n=3, seed=3, height_px=96, processes=1)
    few, all_ = pixels(tmp_path / "few"), pixels(small_set)
    assert few == {name: all_[name] for name in few}


def test_another_seed_gives_other_hands(small_set, tmp_path):
    phantom.write(tmp_path / "other", n=2, seed=4, height_px=96, processes=1)
    assert not set(pixels(tmp_path / "other").values()) & set(pixels(small_set).values())


def test_pixels_do_not_depend_on_the_number_of_threads():
    before = cv2.getNumThreads()
    try:
        cv2.setNumThreads(1)
        one = phantom.render(100, True, 5, height_px=300).image
        cv2.setNumThreads(4)
        four = phantom.render(100, True, 5, height_px=300).image
    finally:
        cv2.setNumThreads(before)
    assert np.array_equal(one, four)


def test_random_words_are_those_of_every_machine_and_numpy():
    """Fixed numbers: if they move, every phantom of every seed has changed."""
    stream = Stream(7, "check")
    drawn = [stream.uniform(), stream.normal(), stream.choice("abcdef")]
    digest = hashlib.sha256(stream.field((8, 8)).astype("<f8").tobytes()).hexdigest()
    assert drawn == [0.6606781370652273, pytest.approx(0.9862967223464965, rel=1e-12), "c"]
    assert digest[:12] == "5d82b5bd0027"


def write_set(folder: Path, n: int, **more) -> None:
    phantom.write(folder, n=n, seed=0, height_px=64, processes=1, **more)


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize(
    "name", ["notes.txt", "boneage-training-dataset/mine.png", "boneage-training-dataset.csv"]
)
def test_a_folder_of_something_else_is_not_replaced(tmp_path, name, overwrite):
    other = tmp_path / name
    other.parent.mkdir(exist_ok=True)
    other.write_text("mine")
    with pytest.raises(UserError, match=f"{name} is no part of a set of phantoms"):
        write_set(tmp_path, 1, overwrite=overwrite)
    assert other.read_text() == "mine"


def test_a_set_of_phantoms_is_replaced_on_request_and_nothing_that_lies_beside_it(tmp_path):
    write_set(tmp_path / "set", 2)
    (tmp_path / "set" / ".DS_Store").touch()
    with pytest.raises(UserError, match="--again"):
        write_set(tmp_path / "set", 1)
    assert len(pixels(tmp_path / "set")) == 2
    write_set(tmp_path / "set", 1, overwrite=True)
    assert len(pixels(tmp_path / "set")) == 1
    (tmp_path / "set" / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match=r"notes\.txt is no part of a set of phantoms"):
        write_set(tmp_path / "set", 2, overwrite=True)


def test_a_set_that_fails_midway_leaves_nothing(tmp_path, monkeypatch):
    from h2a_lib.phantoms import writing

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(writing, "save_png", fail)
    with pytest.raises(OSError, match="disk full"):
        phantom.write(tmp_path / "set", n=2, seed=0, height_px=64, processes=1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("wrong", [{"n": 0}, {"heaping": 1.5}, {"reader_noise_months": -1.0}])
def test_senseless_numbers_are_refused(tmp_path, wrong):
    with pytest.raises(UserError, match="phantoms need"):
        phantom.write(tmp_path / "set", **{"n": 1, "seed": 0, **wrong})


def test_ages_and_sexes_follow_the_rsna_population():
    children = [population.sample_child(Stream(0, i)) for i in range(4000)]
    ages = np.array([age for age, _ in children])
    assert ages.mean() == pytest.approx(127, abs=3)
    assert ages.std() == pytest.approx(41.5, abs=2)
    assert ages.min() >= 1 and ages.max() <= 228
    assert np.mean([male for _, male in children]) == pytest.approx(0.542, abs=0.03)


def test_heaped_labels_lie_on_atlas_plates_and_others_near_the_truth():
    stream = Stream(0, "labels")
    truth = [(20 + 0.4 * i, i % 2 == 0) for i in range(500)]
    heaped = [population.simulate_label(a, m, 1.0, 0.0, stream) for a, m in truth]
    plain = [population.simulate_label(a, m, 0.0, 0.0, stream) for a, m in truth]
    for (_, male), label in zip(truth, heaped, strict=True):
        assert label in population.PLATES["boys" if male else "girls"]
    assert max(abs(a - label) for (a, _), label in zip(truth, plain, strict=True)) <= 0.5


def test_reader_noise_has_the_requested_spread():
    stream = Stream(0, "noise")
    errors = [population.simulate_label(120, True, 0.0, 6.0, stream) - 120 for _ in range(3000)]
    assert np.std(errors) == pytest.approx(6.0, rel=0.08)
    assert np.mean(errors) == pytest.approx(0.0, abs=0.4)


def test_right_hands_borders_and_markers_come_in_their_proportions():
    frames, marked = [], 0
    growth = grow(120, True, Stream(0, "growth"))
    skeleton = build(growth, Pose.draw(Stream(0, "pose")), Stream(0, "bones"))
    for seed in range(600):
        frames.append(scene.compose(skeleton, growth.plumpness, 200, Stream(seed, "frame")))
    for seed in range(60):
        marked += "marker" in phantom.render(120, True, seed, height_px=64).boxes
    assert np.mean([f.right_hand for f in frames]) == pytest.approx(
        scene.SHARE_RIGHT_HANDS, abs=0.012
    )
    bordered = np.mean([f.field is not None for f in frames])
    assert bordered == pytest.approx(scene.SHARE_COLLIMATED, abs=0.06)
    assert marked > 40


def test_the_truth_marks_what_is_in_the_image():
    p = phantom.render(150, False, 4, height_px=400)
    hand = np.isin(p.regions, (phantom.SOFT_TISSUE, phantom.BONE))
    assert p.regions.shape == p.image.shape
    assert (
        p.image[p.regions == phantom.BONE].mean() > p.image[p.regions == phantom.SOFT_TISSUE].mean()
    )
    assert p.image[hand].mean() > p.image[p.regions == phantom.BACKGROUND].mean()
    x0, y0, x1, y1 = p.boxes["hand"]
    outside = hand.copy()
    outside[y0:y1, x0:x1] = False
    assert not outside.any()


def test_an_age_outside_the_model_is_an_error():
    for age in (-1, 229, float("nan")):
        with pytest.raises(ValueError, match="0 to 228"):
            phantom.render(age, True, 0)


@settings(max_examples=40, deadline=None)
@given(
    age=st.floats(0, 228),
    male=st.booleans(),
    seed=st.integers(0, 2**40),
    height=st.integers(64, 320),
)
def test_any_phantom_is_8_bit_never_blank_and_has_its_hand_inside(age, male, seed, height):
    p = phantom.render(age, male, seed, height_px=height)
    assert p.image.dtype == np.uint8 and p.image.ndim == 2
    assert p.image.std() > 1
    hand = np.isin(p.regions, (phantom.SOFT_TISSUE, phantom.BONE, phantom.MARKER))
    assert hand.mean() > 0.05
    h, w = p.image.shape
    # Every bone of the hand itself, from the wrist to the tips, lies inside the image.
    for name, (x0, y0, x1, y1) in p.boxes.items():
        if "phalanx" in name or "metacarpal" in name:
            assert 0 <= x0 < x1 <= w and 0 <= y0 < y1 <= h
    # The fingertips are not cut off: the upper edge shows no skin.
    assert not np.isin(p.regions[0], (phantom.SOFT_TISSUE, phantom.BONE)).any() or abs_turn(p)


def abs_turn(p) -> bool:
    """Return True where the hand is turned so far that another side than the tips is up."""
    tip, base = p.boxes["distal phalanx 3"], p.boxes["metacarpal 3"]
    return tip[1] > base[1]
