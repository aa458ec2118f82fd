import cv2
import numpy as np
import pandas as pd
import pytest

from h2a_lib.analysis.population.splits import (
    auc_half_width,
    crossing,
    duplicates,
    duplicates_sentence,
    flow_sentence,
    mae_half_width,
    perceptual_hash,
    precision,
    precision_sentence,
    variables,
)
from h2a_lib.analysis.statistics.roc import auc
from h2a_lib.data.hands import Hands

SIDE = 64


def clouds(n, seed=0):
    """Pictures of smooth noise, each another."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(0, 220, (n, 7, 7)).astype(np.float32)
    large = [cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC) for image in coarse]
    return np.clip(np.stack(large), 0, 220).astype(np.uint8)


def hands_of(images, n_train):
    n = len(images)
    labels = pd.DataFrame(
        {
            "id": [str(i) for i in range(n)],
            "age_months": np.linspace(10, 200, n),
            "male": np.arange(n) % 2 == 0,
            "split": ["train" if i < n_train else "validation" for i in range(n)],
        }
    )
    return Hands(images, labels, "clouds")


def compressed(image):
    return cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 30])[1], 0)


def resized(image):
    small = cv2.resize(image, (41, 41), interpolation=cv2.INTER_AREA)
    return cv2.resize(small, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)


COPIES = {
    "the same": lambda image: image,
    "compressed": compressed,
    "resized": resized,
    "brighter": lambda image: (image * 0.9 + 25).astype(np.uint8),
}


@pytest.mark.parametrize("how", COPIES)
def test_a_copy_on_the_other_side_of_the_split_is_found(how):
    images = clouds(40)
    images[33] = COPIES[how](images[4])
    pairs = crossing(hands_of(images, 30), chunk=3)
    near = pairs[pairs["correlation"] >= 0.99]
    assert near[["train", "other"]].to_numpy().tolist() == [[4, 33]]
    assert near["identical"].tolist() == [how == "the same"]
    said = duplicates_sentence(duplicates(pairs, hands_of(images, 30)))
    assert said.startswith(f"1 pairs across the split are near copies, {how == 'the same':d}")


def test_pictures_that_are_all_different_have_no_copy():
    hands = hands_of(clouds(60), 40)
    found = duplicates(crossing(hands), hands)
    assert found["pairs"].tolist()[1:] == [0, 0]
    assert duplicates_sentence(found).startswith("No picture of the training split is in another")


def test_a_copy_within_the_training_split_crosses_nothing():
    images = clouds(20)
    images[3] = images[2]
    assert not crossing(hands_of(images, 15))["identical"].any()


def test_a_single_split_has_nothing_to_cross():
    hands = hands_of(clouds(5), 5)
    assert duplicates(crossing(hands), hands)["pairs"].tolist() == [0, 0, 0]


def test_copies_are_told_with_whether_their_labels_agree():
    images = clouds(20)
    images[14], images[15] = images[0], images[2]
    hands = hands_of(images, 12)
    row = duplicates(crossing(hands), hands).iloc[-1]
    assert (row["pairs"], row["same_sex"]) == (2, 0.5)
    assert row["age_difference_months"] == pytest.approx(135)


def test_the_hash_is_of_the_picture_and_not_of_its_brightness():
    image = clouds(1)
    assert perceptual_hash(image) == perceptual_hash((image * 0.5 + 40).astype(np.uint8))
    assert len(set(perceptual_hash(clouds(50)).tolist())) == 50


def test_the_expected_half_width_of_an_mae_is_that_of_many_simulated_studies():
    rng = np.random.default_rng(0)
    found = np.abs(rng.normal(0, 10 * np.sqrt(np.pi / 2), (4000, 300))).mean(axis=1)
    assert found.mean() == pytest.approx(10, abs=0.1)
    assert mae_half_width(10, 300) == pytest.approx(1.96 * found.std(), rel=0.05)


def test_the_expected_half_width_of_an_auc_is_near_delongs():
    rng = np.random.default_rng(0)
    male = np.arange(1600) < 900
    found = auc(male, rng.normal(male * 0.954, 1))
    assert found.value == pytest.approx(0.75, abs=0.02)
    assert auc_half_width(0.75, 900, 700) == pytest.approx((found.high - found.low) / 2, rel=0.05)


def test_the_report_gets_precision_copies_and_flow_in_words():
    hands = hands_of(clouds(30), 20)
    expected = precision(hands.labels)
    assert expected["n"].eq(10).all()
    said = variables(hands.labels, expected, duplicates(crossing(hands), hands))
    assert "from n = 10 alone: MAE 5: ±2.34" in precision_sentence(expected)
    assert said["flow"] == flow_sentence(hands.labels)
    assert (
        "30 labelled hands, each with one readable image: train 20, validation 10" in said["flow"]
    )


def test_hands_of_one_sex_have_no_auc_to_expect():
    labels = hands_of(clouds(4), 2).labels.assign(male=True)
    assert precision(labels).set_index("measure").loc["AUC of sex", "half_width"].isna().all()
