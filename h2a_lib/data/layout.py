"""How a folder of radiographs is laid out: which label table belongs to which images."""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from h2a_lib.data import dicom
from h2a_lib.data import labels as label_tables
from h2a_lib.data.labels import AS_HEADED, TableFormat
from h2a_lib.errors import UserError

SETS = ("train", "validation", "test")
# As whole words: there are contests, intervals, and the latest labels, validated.
SET_WORDS = {
    **dict.fromkeys(("validation", "valid", "val"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
    **dict.fromkeys(("train", "training"), "train"),
}
OFFICIAL_HEADINGS = {"case id": "test", "image id": "validation"}
OFFICIAL_NAMES = {"ground truth": "test", "validation dataset": "validation"}
# The folders that the official archives and Kaggle's copy make, nested in each other.
DEEPEST_FOLDER = 5
JUNK = re.compile(r"^\.|^__MACOSX$|^Thumbs\.db$|^desktop\.ini$|^DICOMDIR$", re.IGNORECASE)

EXPECTED_LAYOUTS = """looked for
  a label table (CSV with id, boneage and male; or the official validation and test headings), e.g.
    boneage-training-dataset.csv, train.csv, Validation Dataset.csv, Bone age ground truth.csv
  and its folder of images named <id>.png (or .jpg, .webp, .tif, .jp2, .dcm), e.g.
    boneage-training-dataset/, boneage-validation-dataset-1/, Test Set Images/"""
MOST_NAMED = 8
TABLES = (".csv", ".tsv", ".xlsx")
OTHER_TABLES = (".xls", ".ods", ".txt", ".tab")


@dataclass(frozen=True)
class ImageSet:
    """One set of radiographs: its label table, and the folders of its images.

    `name` is "train", "validation" or "test": which of the official sets it is; "train" for any
    other. The official validation images come in two folders.
    """

    name: str
    table: Path
    folders: tuple[Path, ...]


def locate(folder: Path, form: TableFormat = AS_HEADED) -> tuple[list[ImageSet], list[str]]:
    """Find the image sets in a folder, and note what names decided and what was left aside.

    The official archives and their copies name and nest tables and folders in several ways; they
    are told apart by the words train, validation and test in their names, then by their headings.
    A single table that has ages is a set named train, unless headings and folder name another.
    Folders are followed to a depth of five.

    Returns at least one set, in the order train, validation, test, and the notes. A UserError if
    nothing fits, saying what was looked for and what was there; or if two tables could be the same
    set's.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder")
    tables, unreadable, others, image_folders = _tables_and_image_folders(folder, form)
    if not tables:
        there = f": {'; '.join(others[:MOST_NAMED])}" if others else ""
        why = [*map(str, unreadable[:MOST_NAMED]), f"no label table in {folder}{there}"]
        raise UserError("\n".join([*why, EXPECTED_LAYOUTS]))
    if not image_folders:
        raise UserError(f"no images in {folder}, only {_names(tables, folder)}\n{EXPECTED_LAYOUTS}")
    notes = [f"{error}: left aside" for error in unreadable]
    if len(tables) == 1:
        (table,) = tables
        name = _official_set(table, form) or "train"
        own = [one for one in image_folders if _set_named_in(one.relative_to(folder)) == name]
        if not own and has_age(table, form):
            name = "train"
        sets = [ImageSet(name, table, tuple(own or _only(image_folders, table, folder)))]
    else:
        sets = _paired(tables, image_folders, folder, form)
    for one in sets:
        if one.name != "train":
            notes.append(f"{one.table.relative_to(folder)} is the {one.name} set")
    used = {path for one in sets for path in one.folders}
    if aside := [path for path in image_folders if path not in used]:
        notes.append(f"images left aside, without a label table: {_names(aside, folder)}")
    if aside := [table for table in tables if table not in {one.table for one in sets}]:
        notes.append(f"label tables left aside: {_names(aside, folder)}")
    return sets, notes


def _names(paths: Sequence[Path], folder: Path) -> str:
    names = [str(path.relative_to(folder)) for path in paths]
    rest = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return ", ".join(names[:MOST_NAMED]) + rest


def _leads_back(folder: Path) -> bool:
    """Return whether a folder is a link to one that it lies in."""
    return folder.is_symlink() and folder.parent.resolve().is_relative_to(folder.resolve())


def _walk(folder: Path) -> Iterator[tuple[Path, list[str]]]:
    """Yield a folder and those in it, each with the names of its files."""
    # Links are followed: large data are often linked into place. The depth ends any circle.
    for root, folders, files in os.walk(folder, followlinks=True):
        here = Path(root)
        deep = len(here.relative_to(folder).parts) >= DEEPEST_FOLDER
        folders[:] = [] if deep else sorted(name for name in folders if not JUNK.match(name))
        folders[:] = [name for name in folders if not _leads_back(here / name)]
        yield here, sorted(name for name in files if not JUNK.match(name))


def _tables_and_image_folders(
    folder: Path, form: TableFormat
) -> tuple[list[Path], list[UserError], list[str], list[Path]]:
    """Return the label tables, why others are unreadable or are none, and the image folders."""
    tables, unreadable, others, image_folders = [], [], [], []
    for here, files in _walk(folder):
        if any(_is_image(here / name) for name in files):
            image_folders.append(here)
        for name in files:
            if name.lower().endswith(OTHER_TABLES):
                other = (here / name).relative_to(folder)
                others.append(f"{other}: if this is the label table, save it as CSV")
            if not name.lower().endswith(TABLES):
                continue
            try:
                kinds = label_tables.heading_kinds(here / name, form)
            except UserError as error:
                unreadable.append(error)
                continue
            # At least two of id, age and sex: one may be missing by mistake.
            if len(kinds) >= 2:
                tables.append(here / name)
            else:
                which = " and ".join(kinds) or "neither an id, an age nor a sex"
                others.append(f"{(here / name).relative_to(folder)}: has {which} only")
    return tables, unreadable, others, image_folders


def _is_image(file: Path) -> bool:
    """Tell an image file by its name; one without a suffix, or a UID, by the mark of DICOM."""
    if file.name.lower().endswith(label_tables.IMAGE_SUFFIXES):
        return True
    if file.suffix and not file.suffix[1:].isdecimal():
        return False
    try:
        with file.open("rb") as opened:
            return dicom.is_dicom(opened.read(132))
    except OSError:
        return False


def _set_named_in(path: Path) -> str | None:
    """Return the set that a path's words name, the last part counting most."""
    for part in reversed(path.parts):
        words = re.findall(r"[a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", part).lower())
        for word in words:
            if word in SET_WORDS:
                return SET_WORDS[word]
    return None


def has_age(table: Path, form: TableFormat) -> bool:
    """Return whether a label table has ages."""
    return bool({"age_months", "age_years"} & label_tables.heading_kinds(table, form).keys())


def _official_set(table: Path, form: TableFormat) -> str | None:
    """Return the set whose official table has these headings, or this name."""
    heading = label_tables.heading_kinds(table, form).get("id", "")
    by_name = (which for name, which in OFFICIAL_NAMES.items() if name in table.name.lower())
    return OFFICIAL_HEADINGS.get(heading) or next(by_name, None)


def set_of(table: Path, folder: Path, form: TableFormat) -> str | None:
    """Return the set that a table's name or headings stand for."""
    return _set_named_in(table.relative_to(folder)) or _official_set(table, form)


def _only(image_folders: list[Path], table: Path, folder: Path) -> list[Path]:
    """Return the folders of the only table; folders of other sets are no part of it."""
    unnamed = [one for one in image_folders if _set_named_in(one.relative_to(folder)) is None]
    for choice in (image_folders, unnamed):
        if len(choice) == 1:
            return choice
    raise UserError(
        f"{folder} has one label table, {table.relative_to(folder)}, but several folders of "
        f"images: {_names(image_folders, folder)}"
    )


def _paired(
    tables: list[Path], image_folders: list[Path], folder: Path, form: TableFormat
) -> list[ImageSet]:
    named = [(set_of(table, folder, form) or "train", table) for table in tables]
    folders_of = [(_set_named_in(one.relative_to(folder)) or "train", one) for one in image_folders]
    sets, without = [], []
    for name in SETS:
        own_tables = [table for which, table in named if which == name]
        own_folders = tuple(one for which, one in folders_of if which == name)
        # The official name wins over a copy or an extract beside it.
        official = [t for t in own_tables if t.name.startswith("boneage-") and len(own_tables) > 1]
        chosen = official if len(official) == 1 else own_tables
        if len(chosen) > 1:
            raise UserError(
                f"{folder}: several label tables for the {name} set: {_names(chosen, folder)}; "
                "keep one"
            )
        if chosen and own_folders:
            sets.append(ImageSet(name, chosen[0], own_folders))
        elif chosen:
            without.append(chosen[0])
    if not sets:
        raise UserError(
            f"no folder of images for {_names(without, folder)} in {folder}\n{EXPECTED_LAYOUTS}"
        )
    return sets


def images_in(folder: Path) -> Iterator[Path]:
    """Yield the image files of one folder by name; what operating systems leave is none."""
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if entry.is_file() and not JUNK.match(entry.name) and _is_image(Path(entry.path)):
            yield Path(entry.path)


def find_images(folder: Path) -> Iterator[Path]:
    """Yield the image files of a folder, or of the folders in it where it has none itself."""
    images = list(images_in(folder))
    yield from images or (image for here, _ in _walk(folder) for image in images_in(here))
