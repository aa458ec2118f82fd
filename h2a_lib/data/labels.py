"""Label tables: one row a hand, read with whatever headings the official files use."""

import csv
import hashlib
import io
import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from h2a_lib.errors import DataError, Problem, UserError

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
    "male": ("male", "sex", "gender"),
}
MALE = {"male": ("true", "1", "1.0", "yes", "m", "male"), "sex": ("m", "male")}
FEMALE = {"male": ("false", "0", "0.0", "no", "f", "female"), "sex": ("f", "female")}
OLDEST_MONTHS = 240
MOST_BYTES = 200_000_000  # about ten million hands
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".dcm", ".dicom", ".bmp")

# The original study's split: 10,000 to train and 2,611 to validate.
TRAIN_SHARE = 10_000 / 12_611
# Of the training hands, these choose: epoch, experiment, threshold, temperature, intervals.
SELECTION_SHARE = 0.1


def read_labels(table: Path) -> pd.DataFrame:
    """Read a label table.

    Parameters
    ----------
    table : Path
        CSV (comma, semicolon or tab), or the Excel file in which the test ages are published.

    Returns
    -------
    DataFrame
        id (str), age_months (float), male (bool), row (int, line in the file), in the file's order.

    Raises
    ------
    DataError
        With every problem of the table: a missing column, an id that is empty or occurs twice,
        an age that is no number or outside 0-240 months, a sex that is neither.
    """
    labels, problems, _ = parse(table, str(table))
    if problems:
        raise DataError(problems)
    return labels


def parse(table: Path, name: str) -> tuple[pd.DataFrame, list[Problem], set[str]]:
    """Read a label table, with its problems beside it.

    Parameters
    ----------
    table : Path
        As in `read_labels`.
    name : str
        What the problems call the file.

    Returns
    -------
    labels : DataFrame
        As in `read_labels`, of the sound rows.
    problems : list of Problem
        Of the others; a missing column makes all rows unsound.
    ids : set of str
        Of all rows, sound or not.
    """
    rows = _rows(table)
    columns, problems = _columns(rows[0][1] if rows else [], name)
    if problems:
        return _frame([]), problems, set()
    sound: list[tuple[str, float, bool, int]] = []
    first_row: dict[str, int] = {}
    for line, row in rows[1:]:
        text = {what: row[k].strip() if k < len(row) else "" for what, (k, _) in columns.items()}
        key = _id(text["id"])
        age, male = _age(text["age_months"]), _male(text["male"], columns["male"][1])
        found = []
        if not key:
            found.append("the id is empty")
        elif key in first_row:
            found.append(f"id {key!r} again, first seen in line {first_row[key]}")
        if age is None:
            found.append(
                f"age {text['age_months']!r} is not a number of months in 0-{OLDEST_MONTHS}"
            )
        if male is None:
            found.append(f"sex {text['male']!r} is neither male nor female")
        first_row.setdefault(key, line)
        problems += [Problem(name, line, what) for what in found]
        if not found and age is not None and male is not None:
            sound.append((key, age, male, line))
    if len(rows) == 1:
        problems.append(Problem(name, None, "has headings but no rows"))
    return _frame(sound), problems, set(first_row)


def heading_kinds(table: Path) -> dict[str, str]:
    """Return which of id, age_months and male a table has, and under which heading.

    Empty for a file that is no label table, or cannot be read as one.
    """
    try:
        columns = _headings(_rows(table, most=1)[0][1])
    except (UserError, IndexError):
        return {}
    return {what: found[0][1] for what, found in columns.items() if found}


def id_order(ids: Iterable[str]) -> np.ndarray:
    """Return a sort key for ids that looks random, yet follows from the id alone.

    Parameters
    ----------
    ids : iterable of str
        n ids.

    Returns
    -------
    ndarray
        (n,), the SHA-256 of each id in hex.
    """
    return np.array([hashlib.sha256(key.encode()).hexdigest() for key in ids], dtype="U64")


def assign_split(ids: Iterable[str], n_train: int | None = None) -> pd.Series:
    """Split ids into train, selection and validation, alike on every machine and in any order.

    Parameters
    ----------
    ids : iterable of str
        n different ids.
    n_train : int, optional
        How many are for training; by default in the original study's proportion of 10,000 to
        2,611, which for its 12,611 ids is exactly that. A tenth of them is set aside as
        "selection": what is chosen is chosen on these, and the validation hands only report.

    Returns
    -------
    Series
        "train", "selection" or "validation" by id, in the order given.

    Raises
    ------
    UserError
        If an id occurs twice, or fewer than n_train are given.
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


def _id(text: str) -> str:
    """Return the id without an image file's ending: some tables name the file."""
    stem, dot, suffix = text.rpartition(".")
    return stem if f"{dot}{suffix}".lower() in IMAGE_SUFFIXES else text


def _age(text: str) -> float | None:
    try:
        age = float(text)
    except ValueError:
        return None
    # float() also reads "1_0", "nan" and "inf".
    usable = "_" not in text and math.isfinite(age) and 0 <= age <= OLDEST_MONTHS
    return age if usable else None


def _male(text: str, heading: str) -> bool | None:
    # A 1 says male under "male" and nothing at all under "Sex".
    kind = "male" if heading == "male" else "sex"
    if text.lower() in MALE[kind]:
        return True
    return False if text.lower() in FEMALE[kind] else None


# --- the file ------------------------------------------------------------------------------------


def _frame(rows: list[tuple[str, float, bool, int]]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["id", "age_months", "male", "row"])
    return frame.astype({"id": str, "age_months": float, "male": bool, "row": int})


def _rows(table: Path, most: int | None = None) -> list[tuple[int, list[str]]]:
    """Return the rows that are not blank, each with its line number; the headings come first."""
    rows = _excel_rows(table) if table.suffix.lower() == ".xlsx" else _csv_rows(table, most)
    return [(line, row) for line, row in rows if any(cell.strip() for cell in row)][:most]


def _csv_rows(table: Path, most: int | None) -> list[tuple[int, list[str]]]:
    if table.is_file() and (size := table.stat().st_size) > MOST_BYTES:
        raise UserError(f"{table}: {size / 1e6:,.0f} MB, more than any label table has")
    try:
        # utf-8-sig: Excel begins its CSV files with a byte order mark.
        with table.open(encoding="utf-8-sig", newline="") as file:
            text = file.read() if most is None else "".join(file.readline() for _ in range(5))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{table}: cannot be read as a table: {error}") from None
    head = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=head.count)
    reader = csv.reader(io.StringIO(text), delimiter=delimiter)
    try:
        return [(reader.line_num, row) for row in reader if row]
    except csv.Error as error:
        raise UserError(f"{table}, line {reader.line_num}: not a CSV table: {error}") from None


def _excel_rows(table: Path) -> list[tuple[int, list[str]]]:
    try:
        frame = pd.read_excel(table, header=None, dtype=str, keep_default_na=False)
    except ImportError:
        raise UserError(f"{table}: save it as CSV (reading Excel files needs openpyxl)") from None
    except Exception as error:  # whatever a broken zip or XML raises
        raise UserError(f"{table}: cannot be read as an Excel table: {error}") from None
    return [(k + 1, list(row)) for k, row in enumerate(frame.itertuples(index=False))]


def _headings(row: list[str]) -> dict[str, list[tuple[int, str]]]:
    """Return the columns (position, heading) that could be each of id, age_months and male."""
    names = [" ".join(cell.lower().split()) for cell in row]
    return {
        what: [(k, name) for k, name in enumerate(names) if name in known]
        for what, known in HEADINGS.items()
    }


def _columns(row: list[str], name: str) -> tuple[dict[str, tuple[int, str]], list[Problem]]:
    problems = []
    headings = _headings(row)
    for what, found in headings.items():
        if not found:
            known = ", ".join(HEADINGS[what])
            there = ", ".join(row) or "nothing"
            problems.append(
                Problem(
                    name, 1, f"no column {what} (known headings: {known}; the file has {there})"
                )
            )
        elif len(found) > 1:
            both = " and ".join(repr(row[k]) for k, _ in found)
            problems.append(Problem(name, 1, f"both {both} could be {what}: keep one"))
    return {what: found[0] for what, found in headings.items() if found}, problems
