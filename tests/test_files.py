"""Files appear whole or not at all."""

import json

import numpy as np
import pandas as pd
import pytest

from h2a_lib import files


class BrokenError(Exception):
    pass


def names(folder) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_file_gets_its_name_only_when_it_is_whole(tmp_path):
    target = tmp_path / "deep" / "table.csv"
    with files.write_atomically(target) as temporary:
        temporary.write_text("half")
        assert not target.exists()
        assert temporary.suffix == ".csv"
        temporary.write_text("whole")
    assert target.read_text() == "whole"
    assert names(target.parent) == {"table.csv"}


def test_an_error_leaves_the_earlier_file_and_nothing_else(tmp_path):
    target = tmp_path / "table.csv"
    target.write_text("earlier")
    with pytest.raises(BrokenError), files.write_atomically(target) as temporary:
        temporary.write_text("half")
        raise BrokenError
    assert target.read_text() == "earlier"
    assert names(tmp_path) == {"table.csv"}


def test_a_folder_replaces_an_earlier_one_whole(tmp_path):
    target = tmp_path / "deck"
    for content in ("first", "second"):
        with files.write_folder_atomically(target) as folder:
            (folder / f"{content}.html").write_text(content)
    assert names(target) == {"second.html"}
    assert names(tmp_path) == {"deck"}


def test_an_error_leaves_the_earlier_folder(tmp_path):
    target = tmp_path / "deck"
    target.mkdir()
    (target / "slides.html").write_text("earlier")
    with pytest.raises(BrokenError), files.write_folder_atomically(target) as folder:
        (folder / "slides.html").write_text("half")
        raise BrokenError
    assert (target / "slides.html").read_text() == "earlier"
    assert names(tmp_path) == {"deck"}


def test_json_has_no_nan(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json(tmp_path / "metrics.json", {"auc": float("nan")})
    assert names(tmp_path) == set()


def test_floats_in_tables_read_back_the_same(tmp_path):
    values = np.random.default_rng(0).normal(size=100)
    files.write_csv(tmp_path / "t.csv", pd.DataFrame({"x": values}))
    assert (pd.read_csv(tmp_path / "t.csv", float_precision="round_trip")["x"] == values).all()


def test_yaml_and_json_come_back_as_they_were(tmp_path):
    content = {"b": [1, 2.5, None], "a": {"text": "Röntgen"}}
    files.write_yaml(tmp_path / "x.yaml", content)
    files.write_json(tmp_path / "x.json", content)
    assert files.read_yaml(tmp_path / "x.yaml") == files.read_json(tmp_path / "x.json") == content
    assert list(json.loads((tmp_path / "x.json").read_text())) == ["b", "a"]


def test_only_the_systems_own_word_means_a_full_disk(tmp_path):
    with pytest.raises(ValueError, match="whatever"), files.clear_errors(tmp_path / "file"):
        raise ValueError("whatever")
