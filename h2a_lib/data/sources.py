"""Where the radiographs are: the image sets found in a folder, and whether they are sound."""

import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from h2a_lib.data import labels as label_tables
from h2a_lib.data import scan
from h2a_lib.errors import DataError, Problem, UserError

SETS = ("train", "validation", "test")
# "val" as a word alone: there are intervals and evaluations.
SET_WORDS = {"validation": r"valid|(?<![a-z])val(?![a-z])", "test": "test", "train": "train"}
# SHA-256 over the sorted "id,months,male" lines of the 12,611 official training labels.
OFFICIAL_TRAIN_LABELS = "335629119d7063420f0ace1bd4a9785b8e3bc4c8ed3cacef6cfafbe4e5ee3f1f"
LABEL_COLUMNS = ["id", "age_months", "male", "split", "path", "width_px", "height_px", "set"]
PHANTOM_COMPANION = "phantom.json"
# The folders that the official archives and Kaggle's copy make, nested in each other.
DEEPEST_FOLDER = 5
JUNK = re.compile(r"^\.|^__MACOSX$|^Thumbs\.db$|^desktop\.ini$", re.IGNORECASE)

LOOKED_FOR = """looked for
  a label table (CSV with id, boneage and male; or the official validation and test headings), e.g.
    boneage-training-dataset.csv, train.csv, Validation Dataset.csv, Bone age ground truth.csv
  and its folder of images named <id>.png (or .jpg, .webp, .tif, .dcm), e.g.
    boneage-training-dataset/, boneage-validation-dataset-1/, Test Set Images/"""


@dataclass(frozen=True)
class ImageSet:
    """One set of radiographs with its labels.

    Attributes
    ----------
    name : str
        "train", "validation" or "test": which of the official sets it is; "train" for any other.
    table : Path
        The label table.
    folders : tuple of Path
        Where its images are (the official validation images come in two folders).
    """

    name: str
    table: Path
    folders: tuple[Path, ...]


@dataclass(frozen=True)
class Inspection:
    """What a folder of radiographs holds.

    Attributes
    ----------
    labels : DataFrame
        One row for each label that has its image: id, age_months, male, split, path (relative to
        the folder, with slashes), width_px, height_px, set (the official set it is from). `split`
        is "train" or "validation" for the set named train, "test" for the official test set and
        "official_validation" for the official validation set, which is kept apart.
    problems : list of Problem
        All that is wrong.
    notes : list of str
        What was left aside, and why.
    fingerprint : str
        Hex digest over labels and image content, whatever the names of the folders.
    tier : str
        "phantom", "rsna" or "folder".
    files : DataFrame
        What `scan` found in each image file, in the rows of `labels`' paths and beyond.
    """

    folder: Path
    labels: pd.DataFrame
    problems: list[Problem]
    fingerprint: str
    tier: str
    notes: list[str] = field(default_factory=list)
    files: pd.DataFrame = field(default_factory=pd.DataFrame)

    @property
    def is_sound(self) -> bool:
        """Whether there is no problem."""
        return not self.problems

    def raise_if_unsound(self) -> None:
        """Raise a DataError with all problems, if there are any."""
        if self.problems:
            raise DataError(self.problems)


def locate(folder: Path) -> list[ImageSet]:
    """Find the image sets in a folder.

    The official archives and their copies name and nest tables and folders in several ways; they
    are told apart by the words train, valid and test in their names, then by their headings. Any
    folder with one label table and one folder of images is a set named train.

    Parameters
    ----------
    folder : Path
        Where to look, to a depth of five folders.

    Returns
    -------
    list of ImageSet
        In the order train, validation, test; at least one.

    Raises
    ------
    UserError
        If nothing fits, saying what was looked for; or if two tables could be the same set's.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder")
    tables, image_folders = _tables_and_image_folders(folder)
    if not tables:
        raise UserError(f"no label table in {folder}\n{LOOKED_FOR}")
    if not image_folders:
        found = ", ".join(str(table.relative_to(folder)) for table in tables)
        raise UserError(f"no images in {folder}, only {found}\n{LOOKED_FOR}")
    if len(tables) == 1:
        (table,) = tables
        name = _set_of(table, folder)
        own = [one for one in image_folders if _set_named_in(one.relative_to(folder)) == name]
        return [ImageSet(name or "train", table, tuple(own or _only(image_folders, folder)))]
    return list(_paired(tables, image_folders, folder))


def inspect(
    folder: Path,
    *,
    processes: int | None = None,
    progress: bool = True,
    memory: Path | None = None,
) -> Inspection:
    """Read every label and every image of a folder, and say all that is wrong at once.

    Parameters
    ----------
    folder : Path
        As for `locate`.
    processes : int, optional
        For decoding; by default as many as are worth it, up to all cores.
    progress : bool
        Show a progress bar where someone can see it.
    memory : Path, optional
        A JSON file in which what was found in each image is kept; an image whose name, size and
        time of change are as before is not read again.

    Returns
    -------
    Inspection

    Raises
    ------
    UserError
        If there is no image set at all, or none that has ages. Everything else is in the
        inspection's problems.
    """
    folder = Path(folder)
    sets = locate(folder)
    problems: list[Problem] = []
    notes: list[str] = []
    tables, images, ids = [], [], {}
    for image_set in sets:
        where = image_set.table.relative_to(folder).as_posix()
        kinds = label_tables.heading_kinds(image_set.table)
        if image_set.name == "test" and "age_months" not in kinds:
            notes.append(f"{where} has no ages (Kaggle's copy): its images are left aside")
            continue
        rows, found, ids[image_set.name] = label_tables.parse(image_set.table, where)
        problems += found
        tables.append(rows.assign(set=image_set.name, table=where))
        of_set = (file for one in image_set.folders for file in images_in(one))
        images += [(image_set.name, file) for file in of_set]
    if not tables:
        raise UserError(f"no bone ages in {folder}: {'; '.join(notes)}")
    labels = pd.concat(tables, ignore_index=True)
    problems += _twice_across_sets(labels)
    files = scan.scan(
        folder, [file for _, file in images], memory=memory, processes=processes, progress=progress
    ).assign(set=[name for name, _ in images])
    problems += [Problem(file.path, None, file.problem) for file in _bad(files)]
    joined, unmatched = _join(labels, files, ids)
    problems += unmatched
    return Inspection(
        folder=folder,
        labels=_with_split(joined),
        problems=problems,
        fingerprint=_fingerprint(joined),
        tier=_tier(folder, labels),
        notes=notes,
        files=files,
    )


def inspect_table(table: Path) -> Inspection:
    """Read a label table alone, as `inspect` does one with its images; paths and sizes are empty.

    Raises
    ------
    UserError
        If it cannot be read as a table.
    """
    rows, problems, _ = label_tables.parse(table, table.name)
    labels = rows.assign(set=_set_of(table, table.parent) or "train")
    return Inspection(
        folder=table.parent,
        labels=labels.reindex(columns=LABEL_COLUMNS),
        problems=problems,
        fingerprint=label_digest(labels),
        tier=_tier(table.parent, labels),
        files=pd.DataFrame(columns=scan.COLUMNS),
    )


# --- finding -------------------------------------------------------------------------------------


def _tables_and_image_folders(folder: Path) -> tuple[list[Path], list[Path]]:
    tables, image_folders = [], []
    # Links are followed: large data are often linked into place. The depth ends any circle.
    for root, folders, files in os.walk(folder, followlinks=True):
        here = Path(root)
        deep = len(here.relative_to(folder).parts) >= DEEPEST_FOLDER
        folders[:] = [] if deep else sorted(name for name in folders if not JUNK.match(name))
        files = sorted(name for name in files if not JUNK.match(name))
        if any(_is_image_name(name) for name in files):
            image_folders.append(here)
        tables += [
            here / name
            for name in files
            if name.lower().endswith((".csv", ".xlsx")) and _is_label_table(here / name)
        ]
    return tables, image_folders


def _is_image_name(name: str) -> bool:
    return name.lower().endswith(label_tables.IMAGE_SUFFIXES)


def _is_label_table(table: Path) -> bool:
    """Whether a table has at least two of id, age and sex: one may be missing by mistake."""
    return len(label_tables.heading_kinds(table)) >= 2


def _set_named_in(path: Path) -> str | None:
    """Return the set that a path's words name, the last part counting most."""
    for part in reversed(path.parts):
        for name, word in SET_WORDS.items():
            if re.search(word, part.lower()):
                return name
    return None


def _set_of(table: Path, folder: Path) -> str | None:
    if name := _set_named_in(table.relative_to(folder)):
        return name
    heading = label_tables.heading_kinds(table).get("id", "")
    by_heading = {"case id": "test", "image id": "validation"}
    return by_heading.get(heading) or ("test" if "ground truth" in table.name.lower() else None)


def _only(image_folders: list[Path], folder: Path) -> list[Path]:
    if len(image_folders) > 1:
        names = ", ".join(str(one.relative_to(folder)) for one in image_folders)
        raise UserError(f"{folder} has one label table, but several folders of images: {names}")
    return image_folders


def _paired(tables: list[Path], image_folders: list[Path], folder: Path) -> Iterator[ImageSet]:
    named = [(_set_of(table, folder) or "train", table) for table in tables]
    folders_of = [(_set_named_in(one.relative_to(folder)) or "train", one) for one in image_folders]
    without = []
    for name in SETS:
        own_tables = [table for which, table in named if which == name]
        own_folders = tuple(one for which, one in folders_of if which == name)
        # The official name wins over a copy or an extract beside it.
        official = [t for t in own_tables if t.name.startswith("boneage-") and len(own_tables) > 1]
        chosen = official if len(official) == 1 else own_tables
        if len(chosen) > 1:
            names = ", ".join(str(table.relative_to(folder)) for table in chosen)
            raise UserError(f"{folder}: several label tables for the {name} set: {names}; keep one")
        if chosen and own_folders:
            yield ImageSet(name, chosen[0], own_folders)
        elif chosen:
            without.append(str(chosen[0].relative_to(folder)))
    if len(without) == len(tables):
        raise UserError(f"no folder of images for {', '.join(without)} in {folder}\n{LOOKED_FOR}")


def images_in(folder: Path) -> Iterator[Path]:
    """Yield the image files of one folder by name; what operating systems leave is none."""
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if entry.is_file() and not JUNK.match(entry.name) and _is_image_name(entry.name):
            yield Path(entry.path)


# --- matching ------------------------------------------------------------------------------------


def _twice_across_sets(labels: pd.DataFrame) -> list[Problem]:
    """An id in two sets; within one set the table's own reading has found it."""
    again = labels[labels.duplicated("id")]
    return [
        Problem(row.table, row.row, f"id {row.id!r} is also in another set")
        for row in again.itertuples()
    ]


def _bad(files: pd.DataFrame) -> Iterator:
    return files[files["problem"] != ""].itertuples()


def _join(
    labels: pd.DataFrame, files: pd.DataFrame, ids: dict[str, set[str]]
) -> tuple[pd.DataFrame, list[Problem]]:
    """Match labels and files by id; what has no match, or two, is a problem.

    `ids` are those of each set's whole table: a file whose row is unsound is no orphan.
    """
    problems = []
    files = files.assign(id=[Path(path).stem for path in files["path"]])
    for name, own in files.groupby("set", sort=False):
        again = own[own.duplicated("id")]
        first = own.drop_duplicates("id").set_index("id")["path"]
        problems += [
            Problem(file.path, None, f"id {file.id!r} has another file, {first[file.id]}")
            for file in again.itertuples()
        ]
        table = labels.loc[labels["set"] == name, "table"]
        where = table.iloc[0] if len(table) else "the label table"
        problems += [
            Problem(file.path, None, f"no row with id {file.id!r} in {where}")
            for file in own.itertuples()
            if ids[name] and file.id not in ids[name]
        ]
    files = files.drop_duplicates(["set", "id"])
    joined = labels.merge(files, on=["set", "id"], how="left", validate="many_to_one")
    missing = joined[joined["path"].isna()]
    problems += [
        Problem(row.table, row.row, f"id {row.id!r} has no image file")
        for row in missing.itertuples()
    ]
    sound = joined["path"].notna() & (joined["problem"] == "")
    return joined[sound].drop_duplicates("id").reset_index(drop=True), problems


def _with_split(joined: pd.DataFrame) -> pd.DataFrame:
    train = joined["set"] == "train"
    names = {"test": "test", "validation": "official_validation", "train": "train"}
    split = joined["set"].map(names)
    if train.any():
        of_id = label_tables.assign_split(joined.loc[train, "id"])
        split[train] = of_id.loc[joined.loc[train, "id"]].to_numpy()
    frame = joined.assign(split=split)
    return frame[LABEL_COLUMNS].astype({"width_px": int, "height_px": int})


def _fingerprint(joined: pd.DataFrame) -> str:
    lines = sorted(
        f"{row.set},{row.id},{row.age_months:g},{row.male:d},{row.content}"
        for row in joined.itertuples()
    )
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def label_digest(labels: pd.DataFrame) -> str:
    """Return a digest of a whole label table: id, age_months and male, whatever the rows' order."""
    lines = sorted(f"{row.id},{row.age_months:g},{row.male:d}" for row in labels.itertuples())
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _tier(folder: Path, labels: pd.DataFrame) -> str:
    if (folder / PHANTOM_COMPANION).is_file():
        return "phantom"
    train = labels[labels["set"] == "train"]
    return "rsna" if label_digest(train) == OFFICIAL_TRAIN_LABELS else "folder"
