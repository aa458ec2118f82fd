import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from h2a_lib.data import labels
from h2a_lib.errors import DataError, UserError


def table(tmp_path, text, name="labels.csv"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "text",
    [
        "id,boneage,male\n7,180,False\n8,12.5,True\n",
        "Image ID,male,Bone Age (months)\n7,FALSE,180\n8,TRUE,12.5\n",
        "Case ID,Ground truth bone age (months),Sex\n7,180,F\n8,12.5,M\n",
        "\ufeffid;boneage;male\r\n7;180;False\r\n8;12.5;True\r\n",
        "id\tboneage\tgender\n7.png\t180\tfemale\n8.png\t12.5\tmale\n",
        '"Case ID",Sex,"Ground truth  bone age (months)"\n 7 ,F, 180\n\n8,M,12.5\n',
    ],
)
def test_every_official_heading_is_understood(tmp_path, text):
    read = labels.read_labels(table(tmp_path, text))
    assert read["id"].tolist() == ["7", "8"]
    assert read["age_months"].tolist() == [180.0, 12.5]
    assert read["male"].tolist() == [False, True]
    assert read["male"].dtype == bool and read["age_months"].dtype == float


def test_the_row_is_the_line_an_editor_shows(tmp_path):
    read = labels.read_labels(table(tmp_path, "id,boneage,male\n\n7,180,False\n8,12,True\n"))
    assert read["row"].tolist() == [3, 4]


def test_all_problems_of_a_table_are_reported_at_once_with_file_and_line(tmp_path):
    text = (
        "id,boneage,male\n1,100,True\n1,100,True\n2,nan,True\n3,241,True\n4,-1,True\n5,inf,maybe\n"
        "6,1_0,False\n,12,False\n7,12\n"
    )
    path = table(tmp_path, text)
    with pytest.raises(DataError) as caught:
        labels.read_labels(path)
    result = {(p.row, p.what.split()[0]) for p in caught.value.problems}
    assert result == {
        *[(3, "id"), (4, "age"), (5, "age"), (6, "age"), (7, "age"), (7, "sex"), (8, "age")],
        *[(9, "the"), (10, "sex")],
    }
    assert {p.file for p in caught.value.problems} == {str(path)}


@pytest.mark.parametrize("age", ["0", "240", "0.0", "240.0"])
def test_the_limits_of_age_are_within(tmp_path, age):
    read = labels.read_labels(table(tmp_path, f"id,boneage,male\n1,{age},True\n"))
    assert read["age_months"].item() == float(age)


@pytest.mark.parametrize(
    ("header", "missing"),
    [("id,boneage", "male"), ("boneage,male", "id"), ("id,male", "age_months")],
)
def test_a_missing_column_is_named_with_the_headings_that_would_do(tmp_path, header, missing):
    with pytest.raises(DataError, match=f"line 1: no column {missing} .known headings: "):
        labels.read_labels(table(tmp_path, f"{header}\n1,2\n"))


def test_two_columns_of_one_meaning_are_refused(tmp_path):
    with pytest.raises(DataError, match="both 'male' and 'Sex' could be male"):
        labels.read_labels(table(tmp_path, "id,boneage,male,Sex\n1,12,True,F\n"))


def test_a_one_is_male_under_the_heading_male_and_a_problem_under_sex(tmp_path):
    assert labels.read_labels(table(tmp_path, "id,boneage,male\n1,12,1\n"))["male"].item()
    with pytest.raises(DataError, match="sex '1' is neither"):
        labels.read_labels(table(tmp_path, "id,boneage,Sex\n1,12,1\n"))


@pytest.mark.parametrize("text", ["", "\n\n", "id,boneage,male\n"])
def test_a_table_without_rows_is_a_problem(tmp_path, text):
    with pytest.raises(DataError):
        labels.read_labels(table(tmp_path, text))


def test_bytes_that_are_no_text_are_one_line_and_no_traceback(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_bytes(b"id,boneage,male\n\xff\xfe\x00\n")
    with pytest.raises(UserError, match=r"labels\.csv: cannot be read as a table"):
        labels.read_labels(path)


def test_the_12611_are_split_into_exactly_9000_1000_and_2611():
    split = labels.assign_split([str(k) for k in range(1377, 1377 + 12_611)])
    assert split.value_counts().to_dict() == {
        "train": 9_000,
        "selection": 1_000,
        "validation": 2_611,
    }


def test_the_split_is_the_same_on_every_machine():
    split = labels.assign_split(["1377", "1378", "1379", "1380", "1381"])
    assert split.tolist() == ["train", "train", "train", "validation", "train"]


ids = st.lists(st.text(min_size=1, max_size=8), unique=True, max_size=40)


@given(ids, st.randoms())
def test_the_split_follows_from_the_ids_and_not_from_their_order(some, random):
    shuffled = list(some)
    random.shuffle(shuffled)
    split = labels.assign_split(some)
    pd.testing.assert_series_equal(labels.assign_split(shuffled).loc[some], split)


@given(ids)
def test_the_split_is_in_proportion_and_always_leaves_one_to_validate_on(some):
    split = labels.assign_split(some)
    n_train = split.isin(["train", "selection"]).sum()
    assert set(split) <= {"train", "selection", "validation"}
    assert (split == "selection").sum() == round(n_train / 10)
    assert n_train == min(round(len(some) * 10_000 / 12_611), max(len(some) - 1, 0))


def test_the_number_to_train_on_can_be_given():
    assert (labels.assign_split(map(str, range(20)), n_train=5) == "train").sum() == 5
    with pytest.raises(UserError, match="cannot train on 21 of 20"):
        labels.assign_split(map(str, range(20)), n_train=21)


def test_an_id_that_occurs_twice_cannot_be_split():
    with pytest.raises(UserError, match="'b' occurs twice"):
        labels.assign_split(["a", "b", "b"])


def test_the_order_of_ids_has_nothing_to_do_with_their_size():
    keys = labels.id_order([str(k) for k in range(1000)])
    order = np.argsort(keys)
    assert abs(np.corrcoef(order, np.arange(1000))[0, 1]) < 0.1
