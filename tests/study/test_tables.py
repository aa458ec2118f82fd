"""Tables as notebooks show them: readable at a glance, their files in full."""

import numpy as np
import pandas as pd
import pytest

from h2a_lib.study.results import Results
from h2a_lib.study.tables import NO_ROWS, Table


def shown(**columns) -> dict[str, list[str]]:
    return Table(pd.DataFrame(columns)).frame.to_dict("list")


def test_an_estimate_and_its_interval_share_a_column():
    assert shown(auc=[0.65625], auc_low=[0.40391], auc_high=[0.90859], n=[20]) == {
        "auc (95 % CI)": ["0.656 (0.404–0.909)"],
        "n": ["20"],
    }


@pytest.mark.parametrize(
    ("triple", "text"),
    [
        ((-17.49, -32.24, 2.36), "−17.5 (−32.2 to 2.4)"),
        ((551.2, 127.4, 1242.0), "551 (127–1242)"),
        ((63.4, np.nan, np.nan), "63.4"),
        ((np.nan, np.nan, np.nan), "–"),
        ((1.0, 0.5, np.inf), "1.00 (0.50–∞)"),
    ],
)
def test_an_estimate_has_the_digits_that_its_interval_allows(triple, text):
    estimate, low, high = triple
    assert shown(x=[estimate], x_low=[low], x_high=[high]) == {"x (95 % CI)": [text]}


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ([33.0, np.nan], ["33", "–"]),
        ([11.18, 0.94], ["11.2", "0.9"]),
        ([1e-6, 0.0933], ["1e-06", "0.0933"]),
        ([12611, -3], ["12,611", "−3"]),
        ([True, False], ["yes", "no"]),
        ([np.True_, None], ["yes", "–"]),
        (["0.50", "none"], ["0.50", "none"]),
        ([0.0, 0.0], ["0", "0"]),
    ],
)
def test_numbers_of_a_column_have_the_same_decimals(values, texts):
    assert shown(x=pd.Series(values, dtype=object)) == {"x": texts}


def test_a_bound_without_an_estimate_keeps_its_column():
    assert set(shown(low=[1], high=[2], x_low=[3])) == {"low", "high", "x_low"}


def test_a_named_index_is_shown_and_a_count_is_not():
    frame = pd.DataFrame({"n": [3, 4]}, index=["girls", "boys"])
    assert "girls" not in Table(frame)._repr_html_()
    assert "girls" in Table(frame.rename_axis("sex"))._repr_html_()
    assert "girls" in repr(Table(frame.rename_axis("sex")))


def test_an_empty_table_says_so():
    for text in (repr(Table(pd.DataFrame({"n": []}))), Table(pd.DataFrame())._repr_html_()):
        assert NO_ROWS in text


def test_headings_may_wrap_and_cells_are_escaped():
    html = Table(pd.DataFrame({"train_mae_months": [1], "label_of": ["<b>_x"]}))._repr_html_()
    assert "train_<wbr>mae_<wbr>months" in html
    assert "&lt;b&gt;_x" in html


def test_the_file_has_all_numbers_and_the_screen_a_part(tmp_path):
    results = Results(tmp_path, tmp_path, "Made-up tier", "01_population")
    frame = pd.DataFrame({"x": [0.123456789, 2.0]})
    assert len(results.table(frame, "numbers", frame.tail(1)).frame) == 1
    assert pd.read_csv(tmp_path / "tables" / "numbers.csv").equals(frame)


def test_an_id_is_shown_as_it_is_neither_as_html_nor_as_a_formula():
    html = Table(pd.DataFrame({"id": ["<b>1", "a$b$0", "[bold]"]}))._repr_html_()
    assert "&lt;b&gt;1" in html and "a$b$0" in html and "[bold]" in html
    assert "tex2jax_ignore" in html
