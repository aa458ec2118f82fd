import cv2
import numpy as np
import pandas as pd
import pytest

from h2a_lib.analysis.population.splits import (
    MIN_CORRELATION,
    RECALL,
    auc_half_width,
    closest_pairs,
    duplicates,
    duplicates_sentence,
    expected_precision,
    flow_sentence,
    mae_half_width,
    precision_sentence,
    variables,
)
from h2a_lib.analysis.statistics.roc import auc
from h2a_lib.data.hands import Hands

SIDE = 64


def clouds(n, seed=0):
    """Different pictures of smooth noise."""
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


def turned(image, degrees=3):
    matrix = cv2.getRotationMatrix2D(((SIDE - 1) / 2, (SIDE - 1) / 2), degrees, 1)
    return cv2.warpAffine(image, matrix, (SIDE, SIDE))


def cropped(image):
    return cv2.resize(image[2:-2, 2:-2], (SIDE, SIDE), interpolation=cv2.INTER_AREA)


COPIES = {
    "the same": lambda image: image,
    "compressed": compressed,
    "resized": resized,
    "brighter": lambda image: (image * 0.9 + 25).astype(np.uint8),
    "turned": turned,
    "cropped": cropped,
    "mirrored": lambda image: image[:, ::-1],
    "all at once": lambda image: compressed(cropped(turned(image[:, ::-1].copy()))),
}


@pytest.mark.parametrize("kind", COPIES)
def test_a_copy_on_the_other_side_of_the_split_is_found(kind):
    images = clouds(20)
    images[17] = COPIES[kind](images[4])
    hands = hands_of(images, 15)
    pairs = closest_pairs(hands, chunk=3)
    near = pairs[pairs["correlation"] >= MIN_CORRELATION]
    assert near[["train", "held_out"]].to_numpy().tolist() == [[4, 17]]
    assert near["identical"].tolist() == [kind == "the same"]
    assert near["mirrored"].tolist() == [kind in ("mirrored", "all at once")]
    text = duplicates_sentence(duplicates(pairs, hands))
    assert text.startswith(
        "1 pair of images across the split reaches a correlation of 0.92 (possible copies), "
        f"{kind == 'the same':d} of them"
    )
    table = duplicates(pairs, hands)
    look_alike, copy = (table.assign(age_difference_months=months) for months in (7.0, 0.0))
    assert "ages differ by 7 months (median; " in duplicates_sentence(look_alike)
    assert "whereas copies would have equal ages" not in duplicates_sentence(copy)


def test_pictures_that_are_all_different_have_no_copy():
    hands = hands_of(clouds(60), 40)
    table = duplicates(closest_pairs(hands), hands)
    assert table["pairs"].tolist() == [20, 0, 0]
    highest = closest_pairs(hands)["correlation"].max()
    assert duplicates_sentence(table).startswith(
        f"No pair of images across the split reaches the correlation of {MIN_CORRELATION} that "
        f"counts as a copy; the closest pair has {highest:.3f}"
    )
    near = duplicates_sentence(table.assign(highest_correlation=MIN_CORRELATION - 0.001))
    assert "too near the threshold to be classified" in near
    assert "too near" not in duplicates_sentence(table)


def test_the_sentence_states_the_recall_of_each_kind_of_copy():
    hands = hands_of(clouds(12), 8)
    text = duplicates_sentence(duplicates(closest_pairs(hands), hands))
    assert all(f"{kind} {100 * share:.0f} %" in text for kind, share in RECALL.items())
    assert {"rotated by 3°", "cropped by 3 %", "mirrored"} <= set(RECALL)


def test_a_copy_within_the_training_split_crosses_nothing():
    images = clouds(20)
    images[3] = images[2]
    assert not closest_pairs(hands_of(images, 15))["identical"].any()


def test_a_single_split_has_no_pairs():
    hands = hands_of(clouds(5), 5)
    table = duplicates(closest_pairs(hands), hands)
    assert table["pairs"].tolist() == [0, 0, 0] and "nan" not in duplicates_sentence(table)


def test_blank_pictures_are_no_error():
    images = clouds(8)
    images[[1, 6]], images[7] = 0, 255
    pairs = closest_pairs(hands_of(images, 5))
    assert len(pairs) == 3 and pairs["correlation"].between(-1, 1).all()


def test_the_table_of_copies_shows_whether_their_labels_agree():
    images = clouds(20)
    images[14], images[15] = images[0], images[2]
    hands = hands_of(images, 12)
    row = duplicates(closest_pairs(hands), hands).iloc[-1]
    assert (row["pairs"], row["same_sex"]) == (2, 0.5)
    assert row["age_difference_months"] == pytest.approx(135)


def test_the_expected_half_width_of_an_mae_is_that_of_many_simulated_studies():
    rng = np.random.default_rng(0)
    mae = np.abs(rng.normal(0, 10 * np.sqrt(np.pi / 2), (4000, 300))).mean(axis=1)
    assert mae.mean() == pytest.approx(10, abs=0.1)
    assert mae_half_width(10, 300) == pytest.approx(1.96 * mae.std(), rel=0.05)


def test_the_expected_half_width_of_an_auc_is_near_delongs():
    rng = np.random.default_rng(0)
    male = np.arange(1600) < 900
    area = auc(male, rng.normal(male * 0.954, 1))
    assert area.value == pytest.approx(0.75, abs=0.02)
    assert auc_half_width(0.75, 900, 700) == pytest.approx((area.high - area.low) / 2, rel=0.05)


def test_the_report_gets_precision_copies_and_flow():
    hands = hands_of(clouds(30), 20)
    expected = expected_precision(hands.labels)
    assert expected["n"].eq(10).all()
    values = variables(hands.labels, expected, duplicates(closest_pairs(hands), hands))
    assert "at n = 10: MAE 5: ±2.34" in precision_sentence(expected)
    assert values["flow"] == flow_sentence(hands.labels)
    assert (
        "30 labelled hands, each with one readable image: train 20, validation 10" in values["flow"]
    )


def test_hands_of_one_sex_have_no_auc_to_expect():
    labels = hands_of(clouds(4), 2).labels.assign(male=True)
    assert (
        expected_precision(labels).set_index("measure").loc["AUC of sex", "half_width"].isna().all()
    )
