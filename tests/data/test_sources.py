import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from data_folders import picture, write_image, write_set
from dicoms import content as content_of
from dicoms import dicom

from h2a_lib.data import index, ingest, layout, sources
from h2a_lib.errors import DataError, UserError

IDS = [str(k) for k in range(100, 120)]


def names(sets, folder):
    return [
        (one.name, one.table.relative_to(folder).as_posix(), [f.name for f in one.folders])
        for one in sets
    ]


def problems_of(folder) -> list[str]:
    return [str(problem) for problem in sources.inspect(folder).problems]


# --- finding the sets ----------------------------------------------------------------------------


def test_the_rsna_layout_is_found(tmp_path):
    write_set(tmp_path, IDS)
    assert names(layout.locate(tmp_path)[0], tmp_path) == [
        ("train", "boneage-training-dataset.csv", ["boneage-training-dataset"])
    ]


def test_kaggles_nested_folders_are_found_and_its_test_set_without_ages_is_unlabelled(tmp_path):
    write_set(tmp_path, IDS, images="boneage-training-dataset/boneage-training-dataset")
    write_set(
        tmp_path,
        ["4360", "4361"],
        table="boneage-test-dataset.csv",
        images="boneage-test-dataset/boneage-test-dataset",
    )
    (tmp_path / "boneage-test-dataset.csv").write_text("Case ID,Sex\n4360,M\n4361,F\n")
    assert [one.name for one in layout.locate(tmp_path)[0]] == ["train", "test"]
    inspection = sources.inspect(tmp_path)
    assert inspection.is_sound
    labels = inspection.labels.set_index("id")
    assert set(labels.loc[["4360", "4361"], "split"]) == {"unlabelled"}
    assert labels.loc["4360", "age_months":"male"].isna().tolist() == [True, False]
    assert labels.loc[IDS, "age_months"].notna().all()
    assert any("has no ages" in note for note in inspection.notes)


def test_the_official_archives_are_found_with_validation_images_in_two_folders(tmp_path):
    write_set(tmp_path, IDS, table="train.csv")
    validation = tmp_path / "Bone Age Validation Set"
    heading = "Image ID,Bone Age (months),male"
    for k, ids in enumerate([["1386"], ["10018"]], 1):
        write_set(validation, ids, images=f"boneage-validation-dataset-{k}", header=heading)
        (validation / "boneage-training-dataset.csv").unlink()
    (validation / "Validation Dataset.csv").write_text(
        f"{heading}\n1386,30,FALSE\n10018,162,TRUE\n"
    )
    test = tmp_path / "Bone Age Test Set"
    write_set(test, ["4360"], table="Bone age ground truth.csv", images="Test Set Images")
    (test / "Bone age ground truth.csv").write_text(
        "Case ID,Ground truth bone age (months),Sex\n4360,168.93,M\n"
    )
    assert [one.name for one in layout.locate(tmp_path)[0]] == ["train", "validation", "test"]
    labels = sources.inspect(tmp_path).labels.set_index("id")
    assert labels.loc["4360", ["split", "age_months", "male"]].tolist() == ["test", 168.93, True]
    # Kept apart: the split that training uses is made of the training set alone.
    assert set(labels.loc[["1386", "10018"], "split"]) == {"official_validation"}
    assert set(labels.loc[IDS, "split"]) == {"train", "selection", "validation"}


def test_a_test_set_without_ages_is_not_enough(tmp_path):
    write_set(tmp_path, IDS, table="boneage-test-dataset.csv", images="boneage-test-dataset")
    table = tmp_path / "boneage-test-dataset.csv"
    table.write_text("Case ID,Sex\n" + "".join(f"{key},M\n" for key in IDS))
    with pytest.raises(UserError, match=r"no bone ages in .*boneage-test-dataset.csv has no"):
        sources.inspect(tmp_path)


@pytest.mark.parametrize("images", ["pictures", "."])
def test_any_folder_with_one_table_and_one_folder_of_images_will_do(tmp_path, images):
    write_set(tmp_path, IDS, table="mine.csv", images=images, suffix=".tif")
    inspection = sources.inspect(tmp_path)
    assert inspection.is_sound and inspection.tier == "folder" and len(inspection.labels) == 20


def test_what_operating_systems_leave_behind_is_ignored(tmp_path):
    write_set(tmp_path, IDS)
    images = tmp_path / "boneage-training-dataset"
    (images / ".DS_Store").write_bytes(b"x")
    (images / "._100.png").write_bytes(b"x")
    (images / "Thumbs.db").write_bytes(b"x")
    (images / "README.txt").write_text("about these images")
    write_image(tmp_path / "__MACOSX" / "100.png", picture())
    assert problems_of(tmp_path) == []


def test_images_may_be_linked_into_place(tmp_path):
    write_set(tmp_path / "elsewhere", IDS)
    here = tmp_path / "here"
    here.mkdir()
    shutil.copy(tmp_path / "elsewhere" / "boneage-training-dataset.csv", here)
    (here / "boneage-training-dataset").symlink_to(tmp_path / "elsewhere/boneage-training-dataset")
    (here / "circle").symlink_to(here)  # shows the same table again, and is not followed
    assert sources.inspect(here).is_sound


@pytest.mark.parametrize("what", ["nothing", "images", "table"])
def test_a_folder_that_does_not_fit_says_what_was_expected(tmp_path, what):
    write_set(tmp_path, IDS)
    if what != "images":
        shutil.rmtree(tmp_path / "boneage-training-dataset")
    if what != "table":
        (tmp_path / "boneage-training-dataset.csv").unlink()
    with pytest.raises(UserError, match=r"looked for\n"):
        layout.locate(tmp_path)


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match="absent is not a folder"):
        layout.locate(tmp_path / "absent")


def test_two_tables_for_one_set_are_refused_by_name(tmp_path):
    write_set(tmp_path, IDS, table="train.csv")
    shutil.copy(tmp_path / "train.csv", tmp_path / "train-copy.csv")
    with pytest.raises(UserError, match=r"several label tables for the train set: .*train-copy"):
        layout.locate(tmp_path)


# --- inspecting them -----------------------------------------------------------------------------


def test_a_sound_folder_gives_labels_with_split_path_and_size(tmp_path):
    write_set(tmp_path, IDS)
    labels = sources.inspect(tmp_path).labels
    assert labels.columns.tolist() == [
        *["id", "age_months", "male", "split", "path", "width_px", "height_px", "set"]
    ]
    first = labels.iloc[0].to_dict()
    assert first["path"] == "boneage-training-dataset/100.png"
    assert (first["width_px"], first["height_px"]) == (48, 60)
    assert (labels["split"] == "train").sum() == 14


def test_every_problem_is_reported_at_once_with_file_and_row(tmp_path):
    write_set(tmp_path, IDS)
    images = tmp_path / "boneage-training-dataset"
    (images / "100.png").unlink()
    write_image(images / "999.png", picture())
    whole = (images / "101.png").read_bytes()
    (images / "101.png").write_bytes(whole[: len(whole) // 2])
    write_image(images / "102.jpg", picture())
    with (tmp_path / "boneage-training-dataset.csv").open("a") as table:
        table.write("103,12,True\n200,300,nobody\n")
    with pytest.raises(DataError) as caught:
        sources.inspect(tmp_path).raise_if_unsound()
    text = str(caught.value)
    for line in (
        "7 problems in the data",
        "boneage-training-dataset.csv, line 2: id '100' has no image file",
        "boneage-training-dataset/999.png: no row with id '999' in boneage-training-dataset.csv",
        "boneage-training-dataset/101.png: truncated",
        "boneage-training-dataset/102.png: id '102' has another file, "
        "boneage-training-dataset/102.jpg",
        "boneage-training-dataset.csv, line 22: id '103' again, first seen in line 5",
        "boneage-training-dataset.csv, line 23: age '300' is not a number of months in 0-240",
        "boneage-training-dataset.csv, line 23: sex 'nobody' is neither male nor female",
    ):
        assert line in text


def test_a_missing_column_is_reported_together_with_the_images_problems(tmp_path):
    write_set(tmp_path, IDS)
    table = tmp_path / "boneage-training-dataset.csv"
    frame = pd.read_csv(table).drop(columns="male")
    frame.to_csv(table, index=False)
    (tmp_path / "boneage-training-dataset" / "100.png").write_bytes(b"not an image")
    text = "\n".join(problems_of(tmp_path))
    assert "line 1: no column male" in text
    assert "100.png: not an image of a known kind" in text
    assert "no row with id" not in text


def test_an_image_whose_row_is_unsound_is_no_orphan(tmp_path):
    write_set(tmp_path, IDS)
    table = tmp_path / "boneage-training-dataset.csv"
    frame = pd.read_csv(table)
    frame.loc[0, "boneage"] = 300
    frame.to_csv(table, index=False)
    (problem,) = problems_of(tmp_path)
    assert "line 2: age '300'" in problem


@pytest.mark.parametrize(
    ("name", "heading", "expected"),
    [
        ("rsna_val_1425.csv", "id,boneage,male", "validation"),
        ("intervals.csv", "id,boneage,male", "train"),
        ("labels.csv", "Case ID,Ground truth bone age (months),Sex", "test"),
    ],
)
def test_a_table_alone_is_known_by_its_name_or_headings(tmp_path, name, heading, expected):
    (tmp_path / name).write_text(f"{heading}\n7,30,M\n8,400,F\n")
    result = sources.inspect_table(tmp_path / name)
    assert result.labels[["id", "set"]].to_numpy().tolist() == [["7", expected]]
    assert [problem.row for problem in result.problems] == [3]


def test_an_id_in_two_sets_is_a_problem(tmp_path):
    write_set(tmp_path, IDS)
    write_set(tmp_path, ["100"], table="boneage-test-dataset.csv", images="boneage-test-dataset")
    assert problems_of(tmp_path) == [
        "boneage-test-dataset.csv, line 2: id '100' is also in another set"
    ]


def test_a_phantom_folder_is_known_by_its_companion_file(tmp_path):
    write_set(tmp_path, IDS)
    (tmp_path / "phantom.json").write_text("{}")
    assert sources.inspect(tmp_path).tier == "phantom"


def test_the_official_labels_are_known_by_their_digest_in_any_order(tmp_path, monkeypatch):
    write_set(tmp_path, IDS)
    table = tmp_path / "boneage-training-dataset.csv"
    labels = sources.label_tables.read_labels(table)
    monkeypatch.setattr(sources, "OFFICIAL_TRAIN_LABELS", sources.label_digest(labels))
    pd.read_csv(table).sample(frac=1, random_state=1).to_csv(table, index=False)
    assert sources.inspect(tmp_path).tier == "rsna"
    table.write_text(table.read_text().replace("100,12,", "100,13,"))
    assert sources.inspect(tmp_path).tier == "folder"


def test_the_fingerprint_follows_labels_and_content_and_not_names_or_order(tmp_path):
    one, other = write_set(tmp_path / "one", IDS), tmp_path / "other"
    fingerprint = sources.inspect(one).fingerprint
    write_set(other, IDS, table="mine.csv", images="pictures")
    table = other / "mine.csv"
    head, *rows = table.read_text().splitlines()
    table.write_text("\n".join([head, *reversed(rows)]))
    assert sources.inspect(other).fingerprint == fingerprint
    table.write_text(table.read_text().replace("100,12,", "100,13,"))
    relabelled = sources.inspect(other).fingerprint
    write_image(other / "pictures" / "100.png", picture(77))
    repictured = sources.inspect(other).fingerprint
    assert len({fingerprint, relabelled, repictured}) == 3


def test_an_unchanged_image_is_not_read_again(tmp_path, monkeypatch):
    write_set(tmp_path / "data", IDS)
    first = sources.inspect(tmp_path / "data", cache_root=tmp_path)
    read = []
    real = ingest.ingest
    monkeypatch.setattr(
        ingest,
        "ingest",
        lambda tasks, *rest: (read.extend(t.path for t in tasks), real(tasks, *rest))[1],
    )
    second = sources.inspect(tmp_path / "data", cache_root=tmp_path)
    assert read == [] and second.fingerprint == first.fingerprint
    pd.testing.assert_frame_equal(second.labels, first.labels)
    write_image(tmp_path / "data/boneage-training-dataset/103.png", picture(77, 99, 99))
    third = sources.inspect(tmp_path / "data", cache_root=tmp_path)
    assert read == ["boneage-training-dataset/103.png"]
    assert third.fingerprint != first.fingerprint


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"version": [0, 0], "files": {}}', '{"files": 1}']
)
def test_a_memory_that_cannot_be_used_is_forgotten(tmp_path, text):
    write_set(tmp_path / "data", IDS)
    memory = tmp_path / index.INDEX
    memory.write_text(text)
    assert sources.inspect(tmp_path / "data", cache_root=tmp_path).is_sound
    assert len(json.loads(memory.read_text())["files"]) == 20


def test_several_processes_find_what_one_does(tmp_path):
    write_set(tmp_path, [str(k) for k in range(100, 150)])
    one, two = (sources.inspect(tmp_path, processes=n, progress=False) for n in (1, 2))
    assert one.fingerprint == two.fingerprint
    pd.testing.assert_frame_equal(one.files, two.files)


def test_paths_are_relative_and_the_same_on_every_system(tmp_path):
    write_set(tmp_path, IDS)
    for path in sources.inspect(tmp_path).labels["path"]:
        assert not Path(path).is_absolute() and "\\" not in path


def test_a_link_back_to_a_folder_above_is_not_followed(tmp_path):
    write_set(tmp_path, [str(k) for k in range(100, 110)])
    (tmp_path / "boneage-training-dataset" / "loop").symlink_to(tmp_path)
    (result,) = layout.locate(tmp_path)[0]
    assert result.folders == (tmp_path / "boneage-training-dataset",)


@pytest.mark.parametrize(
    ("name", "header"),
    [
        ("mine.csv", "Case ID,boneage,male"),
        ("mine.csv", "Image ID,boneage,male"),
        ("my ground truth.csv", "id,boneage,male"),
        ("labels_latest.csv", "id,boneage,male"),
        ("test.csv", "id,boneage,male"),
    ],
)
def test_the_only_table_is_the_training_table_if_it_has_ages(tmp_path, name, header):
    write_set(tmp_path, IDS, table=name, images="hands", header=header)
    assert names(layout.locate(tmp_path)[0], tmp_path) == [("train", name, ["hands"])]


def test_a_table_that_cannot_be_read_is_named_first_with_its_reason(tmp_path):
    write_set(tmp_path, IDS, table="labels.csv")
    table = tmp_path / "labels.csv"
    table.write_bytes(table.read_bytes().replace(b",", b"\0"))
    with pytest.raises(UserError) as refused:
        sources.inspect(tmp_path)
    assert str(refused.value).startswith(f"{table}: cannot be read as a table: it holds bytes")


@pytest.mark.parametrize("suffix", [".xls", ".ods", ".txt", ".tab"])
def test_a_table_of_a_kind_that_is_not_read_is_named_with_the_way_out(tmp_path, suffix):
    write_set(tmp_path, IDS, table=f"labels{suffix}")
    with pytest.raises(UserError, match=f"labels{suffix}: .*save it as CSV"):
        sources.inspect(tmp_path)
    if suffix in (".xls", ".ods"):
        with pytest.raises(UserError, match="save it as CSV"):
            sources.inspect_table(tmp_path / f"labels{suffix}")


def test_images_have_any_of_their_usual_suffixes_or_that_of_no_dicom_file(tmp_path):
    write_set(tmp_path, IDS)
    images = tmp_path / "boneage-training-dataset"
    for key, suffix in (("100", ".jfif"), ("101", ".jpe"), ("102", ".JPEG")):
        (images / f"{key}.png").unlink()
        content = cv2.imencode(".jpg", picture(int(key)))[1].tobytes()
        (images / f"{key}{suffix}").write_bytes(content)
    for key, suffix, start in (("103", ".ima", 0), ("104", "", 0), ("105", "", 132)):
        (images / f"{key}.png").unlink()
        whole = content_of(dicom(picture(int(key)).astype(np.uint16)))
        (images / f"{key}{suffix}").write_bytes(whole[start:])
    (images / "LICENSE").write_text("of these images")
    assert problems_of(tmp_path) == []
