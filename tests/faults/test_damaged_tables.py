"""Label tables in other encodings, with other separators, NULs, formulas, or cut: read or refused.

Each example runs in a fork with limits (`damage.py`).
"""

import numpy as np
import pytest
from damage import attempt, examples
from hypothesis import given
from hypothesis import strategies as st

from h2a_lib.data import labels

pytestmark = pytest.mark.slow
often = examples(400)
ROWS = [(f"{1000 + k}", str(12 + 7 * k), ("True", "False")[k % 2]) for k in range(12)]
FORMULAS = ("=1+1", "=cmd|' /C calc'!A0", "@SUM(1+9)", "+12", "-12", '=HYPERLINK("http://x","y")')
CELLS = st.one_of(
    st.sampled_from(FORMULAS),
    st.sampled_from(
        ("", " ", "nan", "inf", "1e999", "-0", "1_0", "١٢", "NULL", "\ufeff", "\0", '"')
    ),
    st.text(max_size=20),
    st.integers(-(10**30), 10**30).map(str),
    st.just("x" * 140_000),  # more than Python's csv takes
)


def read(file):
    """Return what both ways of reading say, as plain values."""
    labels.heading_kinds(file)
    frame = labels.read_labels(file)
    assert frame["id"].is_unique and (frame["id"].str.len() > 0).all()
    assert frame["age_months"].between(0, labels.OLDEST_MONTHS).all()
    assert frame["male"].dtype == np.bool_
    return list(frame[["id", "age_months", "male"]].itertuples(index=False, name=None))


EXPECTED = [(key, float(age), male == "True") for key, age, male in ROWS]


@often
@given(
    separator=st.sampled_from((",", ";", "\t", "|", " ", ":")),
    newline=st.sampled_from(("\n", "\r\n", "\r", "\n\n", "\x0b", "\u2028")),
    encoding=st.sampled_from(
        ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "cp1252", "cp037", "utf-7")
    ),
    quoted=st.booleans(),
    header=st.sampled_from(("id", "Image ID", "Größe", "ÅÄÖ", "")),
)
def test_separators_line_ends_and_encodings_give_the_same_table_or_a_reason(
    tmp_path, separator, newline, encoding, quoted, header
):
    rows = [(header, "boneage", "male"), *ROWS]
    cell = '"{}"' if quoted else "{}"
    text = newline.join(separator.join(map(cell.format, row)) for row in rows) + newline
    file = tmp_path / "labels.csv"
    file.write_bytes(text.encode(encoding, errors="replace"))
    outcome = attempt(lambda: read(file), tmp_path)
    usual = (
        separator in ",;\t" and newline in ("\n", "\r\n", "\n\n") and header.lower().endswith("id")
    )
    if usual and encoding in ("utf-8", "utf-8-sig", "cp1252"):
        assert outcome.result == EXPECTED
    else:
        assert outcome.error or outcome.result == EXPECTED


@often
@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 2), CELLS), min_size=1, max_size=4))
def test_cells_of_any_kind_are_refused_by_line_or_read_as_they_stand(tmp_path, cells):
    rows = [["id", "boneage", "male"], *map(list, ROWS)]
    for row, column, content in cells:
        rows[row][column] = content
    file = tmp_path / "labels.csv"
    text = "\n".join(",".join(row) for row in rows)
    file.write_text(text, encoding="utf-8", errors="surrogatepass", newline="")
    outcome = attempt(lambda: read(file), tmp_path)
    if outcome.error is None:  # then every id and age stands there
        assert all(key in text for key, _, _ in outcome.result)
        assert len(outcome.result) <= len(rows)


@often
@given(
    at=st.integers(0, 250),
    length=st.integers(0, 250),
    noise=st.one_of(
        st.binary(max_size=60), st.just(b"\0" * 40), st.just(b'"'), st.just(b"\xff\xfe")
    ),
)
def test_any_bytes_anywhere_are_refused_or_read(tmp_path, at, length, noise):
    content = "\n".join(",".join(row) for row in [("id", "boneage", "male"), *ROWS]).encode()
    file = tmp_path / "labels.csv"
    file.write_bytes(content[:at] + noise + content[at + length :])
    outcome = attempt(lambda: read(file), tmp_path)
    assert outcome.error or outcome.result


ABSURD = {
    "a million columns": "id,boneage,male" + ",x" * 1_000_000 + "\n1,12,True\n",
    "a line of 50 MB": "id,boneage,male\n" + "1" * 50_000_000 + ",12,True\n",
    "300,000 rows": "id,boneage,male\n" + "".join(f"{k},12,True\n" for k in range(300_000)),
    "300,000 problems": "id,boneage,male\n" + "x,y,z\n" * 300_000,
    "a quote that never closes": 'id,boneage,male\n"1,12,True\n' + "2,12,True\n" * 100_000,
    "20 MB of blank lines": "id,boneage,male\n1,12,True\n" + "\n" * 20_000_000,
}


@pytest.mark.parametrize("what", ABSURD)
def test_absurd_sizes_stay_within_time_and_memory(what, tmp_path):
    file = tmp_path / "labels.csv"
    file.write_text(ABSURD[what])
    outcome = attempt(lambda: len(read(file)), tmp_path)
    assert outcome.error or outcome.result in (1, 300_000)
    assert outcome.error is None or len(outcome.error) < 20_000


def test_a_table_of_gigabytes_is_refused_unread(tmp_path):
    file = tmp_path / "labels.csv"
    with file.open("wb") as hole:
        hole.truncate(5 * 10**9)
    assert "more than any label table has" in attempt(lambda: read(file), tmp_path).error
