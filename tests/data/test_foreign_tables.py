"""Tables, names and folders as Excel, other tools and other languages leave them."""

import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from data_folders import picture, write_image, write_set
from dicoms import content, dicom

from h2a_lib.data import check, labels, layout, sources
from h2a_lib.data.labels import TableFormat
from h2a_lib.errors import UserError
from h2a_lib.files import read_csv, write_csv

FILES = Path(__file__).parent / "files"
IDS = [str(k) for k in range(1, 31)]
TABLE, IMAGES = "boneage-training-dataset.csv", "boneage-training-dataset"


def rows_of(name):
    frame = labels.read_labels(FILES / name)
    return frame[["id", "age_months", "male"]].to_numpy().tolist()


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("cp1252.csv", ["1", 120.0, True]),
        ("utf16.csv", ["1", 120.0, True]),
        ("mac_cr.csv", ["1", 120.0, True]),
        ("sep_line.csv", ["1", 120.0, True]),
        ("eu_decimal.csv", ["1", 127.5, True]),
    ],
)
def test_tables_of_excel_are_read(name, first):
    assert rows_of(name)[0] == first


def test_the_line_of_a_problem_counts_the_line_that_names_the_delimiter(tmp_path):
    (tmp_path / "t.csv").write_text("sep=;\r\nid;boneage;male\r\n1;999;TRUE\r\n")
    _, (problem,), _ = labels.parse(tmp_path / "t.csv", "t.csv")
    assert problem.row == 3


@pytest.mark.parametrize("name", ["labels_latest", "labels_validated", "contest", "trainers"])
def test_only_whole_words_name_a_set(tmp_path, name):
    write_set(tmp_path, IDS, table=f"{name}.csv", images="pictures")
    (one,) = layout.locate(tmp_path)[0]
    assert one.name == "train"
    assert sources.inspect_table(tmp_path / f"{name}.csv").labels["set"].unique() == ["train"]


def test_the_file_that_decided_is_named(tmp_path):
    write_set(tmp_path, IDS)
    write_set(tmp_path, ["900"], table="own-test.csv", images="test")
    write_image(tmp_path / "validation" / "5.png", picture())
    notes = sources.inspect(tmp_path).notes
    assert "own-test.csv is the test set" in notes
    assert "images left aside, without a label table: validation" in notes


@pytest.mark.parametrize("key", ["NA", "null", "None", "nan", "007", "1e3", ""])
def test_tables_of_ours_are_read_back_with_ids_as_they_are(tmp_path, key):
    write_set(tmp_path, [*IDS, key or "x"])
    table = sources.inspect(tmp_path).labels
    write_csv(tmp_path / "out.csv", table)
    again = read_csv(tmp_path / "out.csv")
    assert again["id"].tolist() == table["id"].tolist()
    assert (again["age_months"] == table["age_months"]).all()


@pytest.mark.parametrize(
    "write", ["{}", "{}.0", "images/{}.png", "0{}", "C:\\images\\{}.PNG"], ids=range(5)
)
def test_ids_that_mean_the_same_are_matched_and_noted_once(tmp_path, write):
    folder = write_set(tmp_path, [key.zfill(5) for key in IDS])
    text = "".join(f"{write.format(key)},60,True\n" for key in IDS)
    (folder / TABLE).write_text(f"id,boneage,male\n{text}")
    inspection = sources.inspect(folder)
    assert inspection.is_sound and len(inspection.labels) == 30
    assert len([note for note in inspection.notes if "match without" in note]) == 1


def test_ids_that_match_as_they_stand_are_never_bent(tmp_path):
    write_set(tmp_path, ["1", "01", "2"])
    inspection = sources.inspect(tmp_path)
    assert inspection.is_sound and inspection.labels["id"].tolist() == ["1", "01", "2"]
    (tmp_path / IMAGES / "2.png").rename(tmp_path / IMAGES / "02.png")
    assert not sources.inspect(tmp_path).is_sound


def test_composed_and_decomposed_names_are_one(tmp_path):
    name = "Zoë"
    write_set(tmp_path, [unicodedata.normalize("NFD", name), "b"])
    table = tmp_path / TABLE
    table.write_text(unicodedata.normalize("NFC", table.read_text()))
    inspection = sources.inspect(tmp_path)
    assert inspection.is_sound and name in set(inspection.labels["id"])


@pytest.mark.parametrize("suffix", [".jp2", ".j2k"])
def test_a_folder_of_jpeg_2000_files_is_not_empty(tmp_path, suffix):
    from PIL import Image

    write_set(tmp_path, IDS[:3])
    for file in list((tmp_path / IMAGES).iterdir()):
        with Image.open(file) as image:
            image.save(file.with_suffix(suffix), "JPEG2000")
        file.unlink()
    assert sources.inspect(tmp_path).is_sound


@pytest.mark.parametrize("name", ["IM000001", "1.2.840.113619.2"])
def test_dicom_files_without_a_suffix_are_images(tmp_path, name):
    (tmp_path / "scans").mkdir()
    pixels = (np.arange(400).reshape(20, 20) * 10).astype(np.uint16)
    (tmp_path / "scans" / name).write_bytes(content(dicom(pixels)))
    (tmp_path / "scans" / "README").write_text("about these")
    (tmp_path / "labels.csv").write_text(f"id,boneage,male\n{name},12,True\n")
    inspection = sources.inspect(tmp_path)
    assert inspection.is_sound and inspection.labels["id"].tolist() == [name]


def in_years(folder, heading="boneage"):
    write_set(folder, [str(k) for k in range(50)])
    rows = "".join(f"{k},{k % 18}.5,{k % 2 == 0}\n" for k in range(50))
    (folder / TABLE).write_text(f"id,{heading},male\n{rows}")
    return folder


def test_ages_in_years_are_warned_of_with_the_way_out(tmp_path):
    folder = in_years(tmp_path)
    (warning,) = (w for w in check.check(folder).warnings if "years" in w)
    assert "age_years" in warning and "--age-unit years" in warning
    by_option = sources.inspect(folder, form=TableFormat(age_unit="years"))
    assert by_option.labels["age_months"].max() == 17.5 * 12 and not by_option.warnings
    by_heading = sources.inspect(in_years(tmp_path, "age_years"))
    assert by_heading.labels["age_months"].max() == 17.5 * 12 and not by_heading.warnings


def test_headings_of_ones_own_are_listed_and_can_be_named(tmp_path):
    write_set(tmp_path, IDS)
    rows = "".join(f"{key};5,5;F\n" for key in IDS)
    (tmp_path / TABLE).write_text(f"Patient;Age (years);Gender\n{rows}")
    (problem,) = (p for p in sources.inspect(tmp_path).problems if "no column" in p.what)
    assert "Patient, Age (years), Gender" in problem.what and "--columns id=" in problem.what
    form = TableFormat.parse('id=Patient,age_years="Age (years)",sex=Gender')
    inspection = sources.inspect(tmp_path, form=form)
    assert inspection.is_sound and set(inspection.labels["age_months"]) == {66.0}
    for mistake in ("patient", "id=Bob's"):
        with pytest.raises(UserError, match="name columns as"):
            TableFormat.parse(mistake)


def test_the_official_test_ages_are_read_from_excel(tmp_path):
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    for row in (
        ["Case ID", "Ground truth bone age (months)", "Sex"],
        [4360, 168.93, "M"],
        [4361, 169, "F"],
    ):
        book.active.append(row)
    write_set(tmp_path, IDS)
    for key in ("4360", "4361"):
        write_image(tmp_path / "Test Set Images" / f"{key}.png", picture(int(key)))
    book.save(tmp_path / "Bone age ground truth.xlsx")
    inspection = sources.inspect(tmp_path)
    assert inspection.is_sound
    test = inspection.labels[inspection.labels["split"] == "test"]
    assert test[["id", "age_months"]].to_numpy().tolist() == [["4360", 168.93], ["4361", 169.0]]


def test_a_folder_of_many_tables_is_reported_in_a_short_line(tmp_path):
    write_set(tmp_path, IDS[:2])
    for k in range(80):
        shutil.copy(tmp_path / TABLE, tmp_path / f"copy-{k}.csv")
    (tmp_path / TABLE).unlink()
    with pytest.raises(UserError, match="and 72 more") as caught:
        layout.locate(tmp_path)
    assert len(str(caught.value)) < 600


def test_one_sex_one_age_and_few_hands_are_reported(tmp_path):
    write_set(tmp_path, IDS)
    (tmp_path / TABLE).write_text("id,boneage,male\n" + "".join(f"{k},60,F\n" for k in IDS))
    text = "\n".join(check.check(tmp_path).warnings)
    assert "few hands (30)" in text and "all hands are female" in text
    assert "all hands are 60 months old" in text
