"""Label tables: one row a hand, read with whatever headings the official files use."""

import codecs
import csv
import hashlib
import io
import itertools
import math
import re
import shlex
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from h2a_lib.errors import DataError, Problem, UserError, unknown

# The headings of the three official tables (train: id, boneage, male; validation: Image ID,
# Bone Age (months), male; test: Case ID, Ground truth bone age (months), Sex) and our own,
# in lower case.
HEADINGS = {
    "id": ("id", "case id", "image id", "caseid", "imageid"),
    "age_months": (
        "boneage",
        "bone age",
        "bone age (months)",
        "boneage (months)",
        "ground truth bone age (months)",
        "age_months",
    ),
    "age_years": ("age_years", "age (years)", "bone age (years)", "boneage (years)"),
    "male": ("male", "sex", "gender"),
}
SEXES = {"m": True, "male": True, "f": False, "female": False}
# Under the heading "male" alone: a 1 says nothing at all under "Sex".
YES_OR_NO = {
    **dict.fromkeys(("true", "1", "1.0", "yes"), True),
    **dict.fromkeys(("false", "0", "0.0", "no"), False),
}
OLDEST_MONTHS = 240
MOST_BYTES = 200_000_000  # about ten million hands
IMAGE_SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".tif", ".tiff", ".bmp"),
    *(".dcm", ".dicom", ".ima", ".jp2", ".j2k", ".j2c", ".jpx"),
)

# The original study's split: 10,000 to train and 2,611 to validate.
TRAIN_SHARE = 10_000 / 12_611
# Of the training hands, these choose: epoch, experiment, threshold, temperature, intervals.
SELECTION_SHARE = 0.1


@dataclass(frozen=True)
class TableFormat:
    """How a user says a table is to be read, where its headings do not.

    `columns` has the heading of any of id, age_months, age_years and male; `age_unit` is "months"
    or "years", by default as the heading of the ages says, else months.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    age_unit: str | None = None

    @classmethod
    def parse(cls, columns: str = "", age_unit: str | None = None) -> "TableFormat":
        """Read 'id=Patient,age_years="Age (years)",sex=Gender'."""
        lexer = shlex.shlex(columns, posix=True, punctuation_chars=False)
        lexer.whitespace, lexer.whitespace_split, lexer.commenters = ",", True, ""
        mistake = UserError(
            f"--columns {columns!r}: name columns as id=HEADING,age_months=HEADING,"
            "sex=HEADING (or age_years)"
        )
        try:
            words = list(lexer)
        except ValueError:  # a quotation mark without its partner
            raise mistake from None
        pairs = {}
        for word in words:
            what, equals, heading = word.partition("=")
            what = {"sex": "male", "boneage": "age_months"}.get(what.strip(), what.strip())
            if not equals or what not in HEADINGS:
                raise mistake
            pairs[what] = heading.strip()
        if age_unit not in (None, "months", "years"):
            raise unknown("age unit", age_unit, ("months", "years"))
        return cls(pairs, age_unit)

    @property
    def options(self) -> list[str]:
        """The words of the command line that give this format."""
        words = ["--age-unit", self.age_unit] if self.age_unit else []
        pairs = [f"{what}={shlex.quote(heading)}" for what, heading in self.columns.items()]
        return words + (["--columns", ",".join(pairs)] if pairs else [])


AS_HEADED = TableFormat()


def read_labels(table: Path, form: TableFormat = AS_HEADED) -> pd.DataFrame:
    """Read a label table: CSV (comma, semicolon or tab), or Excel, as the test ages are published.

    Returns id (str), age_months (float), male (bool) and row (int, line in the file), in the file's
    order. A DataError has every problem of the table: a missing column, an id that is empty or
    occurs twice, an age that is no number or outside 0-240 months, a sex that is neither.
    """
    labels, problems, _ = parse(table, str(table), form)
    if problems:
        raise DataError(problems)
    return labels


def parse(
    table: Path, name: str, form: TableFormat = AS_HEADED, needs_age: bool = True
) -> tuple[pd.DataFrame, list[Problem], set[str]]:
    """Return the labels of a table's sound rows, as `read_labels`; all problems; all rows' ids.

    `name` is what the problems call the file. Without `needs_age`, ages are missing in the labels.
    A missing column makes all rows unsound.
    """
    rows = _rows(table)
    columns, problems = _columns(rows[0][1] if rows else [], name, form, needs_age)
    if problems:
        return _frame([]), problems, set()
    months = 12.0 if "age_years" in columns or form.age_unit == "years" else 1.0
    age_column = "age_years" if "age_years" in columns else "age_months"
    unit, oldest = ("years", OLDEST_MONTHS // 12) if months > 1 else ("months", OLDEST_MONTHS)
    sexes = SEXES | YES_OR_NO if columns["male"][1] == "male" else SEXES
    sound: list[tuple[str, float, bool, int]] = []
    first_row: dict[str, int] = {}
    for line, row in rows[1:]:
        text = {what: row[k].strip() if k < len(row) else "" for what, (k, _) in columns.items()}
        key = id_of(text["id"])
        age = _age(text[age_column], months) if needs_age else math.nan
        male = sexes.get(text["male"].lower())
        wrong = []
        if not key:
            wrong.append("the id is empty")
        elif key in first_row:
            wrong.append(f"id {key!r} again, first seen in line {first_row[key]}")
        if age is None:
            wrong.append(f"age {text[age_column]!r} is not a number of {unit} in 0-{oldest}")
        if male is None:
            wrong.append(f"sex {text['male']!r} is neither male nor female")
        first_row.setdefault(key, line)
        problems += [Problem(name, line, what) for what in wrong]
        if not wrong and age is not None and male is not None:
            sound.append((key, age, male, line))
    if len(rows) == 1:
        problems.append(Problem(name, None, "has headings but no rows"))
    return _frame(sound), problems, set(first_row)


def heading_kinds(table: Path, form: TableFormat = AS_HEADED) -> dict[str, str]:
    """Return which of id, age_months, age_years and male a table has, and under which heading."""
    rows = _rows(table, most=1)
    columns = _headings(rows[0][1], form) if rows else {}
    return {what: matches[0][1] for what, matches in columns.items() if matches}


def id_order(ids: Iterable[str]) -> np.ndarray:
    """Return a sort key for ids that looks random, yet follows from the id: its SHA-256 in hex."""
    return np.array([hashlib.sha256(key.encode()).hexdigest() for key in ids], dtype="U64")


def assign_split(ids: Iterable[str], n_train: int | None = None) -> pd.Series:
    """Split ids into train, selection and validation, alike on every machine and in any order.

    `n_train` are for training; by default in the original study's proportion of 10,000 to 2,611,
    which for its 12,611 ids is exactly that. A tenth of them is set aside as "selection": what is
    chosen is chosen on these, and the validation hands only report. Returns the names of the splits
    by id, in the order given. A UserError if an id occurs twice, or fewer than n_train are given.
    """
    index = pd.Index(list(ids), dtype=object, name="id")
    if not index.is_unique:
        raise UserError(f"id {index[index.duplicated()][0]!r} occurs twice")
    n = len(index)
    if n_train is None:
        n_train = min(round(n * TRAIN_SHARE), max(n - 1, 0))  # one to validate on, always
    elif not 0 <= n_train <= n:
        raise UserError(f"cannot train on {n_train} of {n} ids")
    split = np.full(n, "validation", dtype=object)
    order = np.argsort(id_order(index))
    n_selection = round(n_train * SELECTION_SHARE)
    split[order[: n_train - n_selection]] = "train"
    split[order[n_train - n_selection : n_train]] = "selection"
    return pd.Series(split, index=index, name="split")


# --- one row -------------------------------------------------------------------------------------


def id_of(text: str) -> str:
    """Return the id without an image file's ending, in Unicode's composed form (NFC)."""
    stem, dot, suffix = text.rpartition(".")
    is_image = bool(stem) and f"{dot}{suffix}".lower() in IMAGE_SUFFIXES
    return unicodedata.normalize("NFC", stem if is_image else text)


def bare_id(key: str) -> str:
    """Return an id without what programs add: a folder, leading zeros, the ".0" of a float."""
    bare = re.split(r"[/\\]", key)[-1]
    bare = re.sub(r"^(\d+)\.0$", r"\1", bare)
    return bare.lstrip("0") or "0" if bare.isdecimal() else bare


def _age(text: str, months: float) -> float | None:
    if re.fullmatch(r"\d+,\d+", text):  # a decimal comma
        text = text.replace(",", ".")
    try:
        age = round(float(text) * months, 6) if months > 1 else float(text)
    except (ValueError, OverflowError):
        return None
    # float() also reads "1_0", "nan" and "inf".
    usable = "_" not in text and math.isfinite(age) and 0 <= age <= OLDEST_MONTHS
    return age if usable else None


# --- the file ------------------------------------------------------------------------------------


def _frame(rows: list[tuple[str, float, bool, int]]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["id", "age_months", "male", "row"])
    return frame.astype({"id": str, "age_months": float, "male": bool, "row": int})


def _rows(table: Path, most: int | None = None) -> list[tuple[int, list[str]]]:
    """Return the rows that are not blank, each with its line number; the headings come first."""
    if table.suffix.lower() in (".xls", ".ods"):
        raise UserError(f"{table}: cannot be read as a table: save it as CSV")
    rows = _excel_rows(table) if table.suffix.lower() == ".xlsx" else _csv_rows(table, most)
    return [(line, row) for line, row in rows if any(cell.strip() for cell in row)][:most]


def _csv_rows(table: Path, most: int | None) -> list[tuple[int, list[str]]]:
    try:
        if (size := table.stat().st_size) > MOST_BYTES:
            raise UserError(f"{table}: {size / 1e6:,.0f} MB, more than any label table has")
        with table.open("rb") as file:
            content = file.read() if most is None else file.read(_HEAD_BYTES)
    except OSError as error:
        raise UserError(f"{table}: cannot be read as a table: {error.strerror}") from None
    text = re.sub(r"\r\n?", "\n", _text(content, table))
    head = text.partition("\n")[0]
    named = re.fullmatch(r"sep=(.)\s*", head)  # Excel's way to name the delimiter
    delimiter = named[1] if named else max(",;\t", key=head.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    rows = ((reader.line_num, row) for row in reader if row)
    try:
        if named:
            next(rows)
        return list(itertools.islice(rows, most))
    except csv.Error as error:
        raise UserError(f"{table}, line {reader.line_num}: not a CSV table: {error}") from None


_HEAD_BYTES = 1 << 16


def _text(content: bytes, table: Path) -> str:
    """Decode a table: UTF-8, UTF-16 if a byte order mark says so, else Excel's Windows-1252."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        content = content[: len(content) // 2 * 2]
        return content.decode("utf-16", errors="replace")
    if b"\0" in content:
        raise UserError(f"{table}: cannot be read as a table: it holds bytes that are no text")
    try:
        # Without the rest of a letter, where only the head was read.
        return codecs.getincrementaldecoder("utf-8-sig")().decode(content)
    except UnicodeDecodeError:
        return content.decode("cp1252", errors="replace")


def _excel_rows(table: Path) -> list[tuple[int, list[str]]]:
    try:
        frame = pd.read_excel(table, header=None, dtype=str, keep_default_na=False)
    except ImportError:
        raise UserError(f"{table}: save it as CSV (reading Excel files needs openpyxl)") from None
    except Exception as error:  # whatever a broken zip or XML raises
        raise UserError(f"{table}: cannot be read as an Excel table: {error}") from None
    return [(k + 1, list(row)) for k, row in enumerate(frame.itertuples(index=False))]


def _headings(row: list[str], form: TableFormat) -> dict[str, list[tuple[int, str]]]:
    """Return the columns (position, heading) that could be each of `HEADINGS`."""
    names = [" ".join(cell.lower().split()) for cell in row]
    named: dict[str, tuple[str, ...]] = {
        what: (" ".join(h.lower().split()),) for what, h in form.columns.items()
    }
    if {"age_months", "age_years"} & named.keys():
        named = {"age_months": (), "age_years": ()} | named
    known = HEADINGS | named
    return {
        what: [(k, name) for k, name in enumerate(names) if name in known[what]]
        for what in HEADINGS
    }


def _columns(
    row: list[str], name: str, form: TableFormat, needs_age: bool
) -> tuple[dict[str, tuple[int, str]], list[Problem]]:
    problems = []
    headings = _headings(row, form)
    ages = headings.pop("age_months") + headings.pop("age_years")
    if needs_age:
        headings["age_months"] = ages
    for what, matches in headings.items():
        if not matches:
            known = ", ".join(HEADINGS[what] + (HEADINGS["age_years"] if "age" in what else ()))
            there = shorten(", ".join(row)) or "nothing"
            problems.append(
                Problem(
                    name,
                    1,
                    f"no column {what} (known headings: {known}; the file has {there}); name it "
                    f'with --columns {what}="HEADING"',
                )
            )
        elif len(matches) > 1:
            both = " and ".join(repr(row[k]) for k, _ in matches)
            problems.append(Problem(name, 1, f"both {both} could be {what}: keep one"))
    columns = {what: matches[0] for what, matches in headings.items() if matches}
    if "age_months" in columns and columns["age_months"] in _headings(row, form)["age_years"]:
        columns["age_years"] = columns.pop("age_months")
    return columns, problems


def shorten(text: str, most: int = 300) -> str:
    """Cut what would fill a screen."""
    return text if len(text) <= most else f"{text[:most]} …"
