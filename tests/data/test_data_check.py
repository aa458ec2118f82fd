import json
import shutil

import numpy as np
import pytest
from data_folders import picture, write_image, write_set
from PIL import Image

from h2a_lib.data import check

IDS = [str(k) for k in range(100, 124)]


@pytest.fixture
def data(tmp_path):
    return write_set(tmp_path / "data", IDS)


def test_a_sound_folder_is_sound(data):
    result = check.check(data)
    assert result.is_sound and result.problem_table().empty
    row = result.counts.iloc[0]
    assert (row["set"], row["n"], row["male"], row["female"]) == ("train", 24, 12, 12)
    assert row["as_published"].startswith("n 24 instead of 12,611; male 12 instead of 6,833")


def test_what_was_measured_is_in_the_same_table_as_all_else(data):
    images = data / "boneage-training-dataset"
    shutil.copy(images / "100.png", images / "101.png")
    write_image(images / "102.png", np.zeros((50, 40), np.uint8))
    write_image(images / "103.png", np.full((50, 40), 77, np.uint8))
    Image.fromarray(picture(9) > 90).save(images / "104.png")
    (images / "105.png").write_bytes(b"nothing")
    (images / "106.png").unlink()
    table = check.check(data).problem_table()
    result = dict(zip(table["file"].str.split("/").str[-1], table["what"], strict=True))
    assert result == {
        "101.png": "the same pixels as boneage-training-dataset/100.png",
        "102.png": "all black",
        "103.png": "blank: every pixel is 77",
        "104.png": "1 bit a sample: no radiograph's greys",
        "105.png": "not an image of a known kind",
        "boneage-training-dataset.csv": "id '106' has no image file",
    }
    assert table["row"].dropna().tolist() == [8]


def test_files_of_several_kinds_are_a_warning_and_no_problem(data):
    deep = (picture(50).astype(np.uint16) * 16) + 7
    Image.fromarray(deep).save(data / "boneage-training-dataset" / "100.png")
    result = check.check(data)
    assert result.is_sound
    assert "23 PNG of 8 bits, 1 PNG of 16 bits" in result.warnings[0]


def test_machines_get_all_of_it_as_json(data):
    (data / "boneage-training-dataset" / "100.png").unlink()
    message = json.loads(json.dumps(check.check(data).to_json(), allow_nan=False))
    assert (
        message["sound"] is False
        and message["tier"] == "folder"
        and len(message["fingerprint"]) == 64
    )
    assert message["problems"] == [
        {"file": "boneage-training-dataset.csv", "row": 2, "what": "id '100' has no image file"}
    ]
    assert message["sets"][0]["n"] == 23


def test_a_label_table_alone_is_checked_against_the_published_counts(data):
    result = check.check(data / "boneage-training-dataset.csv")
    assert result.is_sound
    table = result.counts_table().set_index("")
    assert table.loc["hands"].tolist() == ["24", "12,611"]
    assert table.loc["width, median (pixels)"].tolist() == ["", ""]
    json.dumps(result.to_json(), allow_nan=False)


def test_one_hand_has_no_spread_and_is_checked_all_the_same(tmp_path):
    result = check.check(write_set(tmp_path, IDS[:1]))
    assert "age_sd not known instead of 41.18" in result.counts["as_published"].iloc[0]


def test_a_folder_in_which_nothing_is_usable_is_reported_and_not_a_crash(data):
    for file in (data / "boneage-training-dataset").iterdir():
        file.write_bytes(b"nothing")
    result = check.check(data)
    assert len(result.problems) == 24 and result.counts.empty
    json.dumps(result.to_json(), allow_nan=False)


@pytest.mark.parametrize(("n", "is_sound"), [(1, False), (9, False), (21, False), (22, True)])
def test_fewer_hands_than_a_report_takes_are_a_problem(tmp_path, n, is_sound):
    result = check.check(write_set(tmp_path, IDS[:n]))
    assert result.is_sound == is_sound
    if not is_sound:
        (problem,) = result.problems
        assert "too few hands" in problem.what and "22 hands" in problem.what


def test_a_set_that_is_all_test_has_nothing_to_train_on(tmp_path):
    write_set(tmp_path, IDS, table="labels.csv", images="test", header="Case ID,boneage,sex")
    table = tmp_path / "labels.csv"
    table.write_text(table.read_text().replace("True", "M").replace("False", "F"))
    (problem,) = check.check(tmp_path).problems
    assert "0 hands to train on" in problem.what
