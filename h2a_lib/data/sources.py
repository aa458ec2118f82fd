"""Where the radiographs are: the image sets found in a folder, and whether they are sound."""

import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from h2a_lib.data import index
from h2a_lib.data import labels as label_tables
from h2a_lib.data.cache import ArraySettings, Builder, is_built
from h2a_lib.data.labels import AS_HEADED, TableFormat
from h2a_lib.errors import DataError, Problem, UserError

SETS = ("train", "validation", "test")
# As whole words: there are contests, intervals, and the latest labels, validated.
SET_WORDS = {
    **dict.fromkeys(("validation", "valid", "val"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
    **dict.fromkeys(("train", "training"), "train"),
}
OFFICIAL_HEADINGS = {"case id": "test", "image id": "validation"}
OFFICIAL_NAMES = {"ground truth": "test", "validation dataset": "validation"}
# SHA-256 over the sorted "id,months,male" lines of the 12,611 official training labels.
OFFICIAL_TRAIN_LABELS = "335629119d7063420f0ace1bd4a9785b8e3bc4c8ed3cacef6cfafbe4e5ee3f1f"
LABEL_COLUMNS = ["id", "age_months", "male", "split", "path", "width_px", "height_px", "set"]
PHANTOM_COMPANION = "phantom.json"
# No child of 50 or more whose eldest is below this age in months: the ages are years.
YEARS_BELOW, YEARS_FROM_HANDS = 21, 50
# The folders that the official archives and Kaggle's copy make, nested in each other.
DEEPEST_FOLDER = 5
JUNK = re.compile(r"^\.|^__MACOSX$|^Thumbs\.db$|^desktop\.ini$|^DICOMDIR$", re.IGNORECASE)

EXPECTED_LAYOUTS = """looked for
  a label table (CSV with id, boneage and male; or the official validation and test headings), e.g.
    boneage-training-dataset.csv, train.csv, Validation Dataset.csv, Bone age ground truth.csv
  and its folder of images named <id>.png (or .jpg, .webp, .tif, .jp2, .dcm), e.g.
    boneage-training-dataset/, boneage-validation-dataset-1/, Test Set Images/"""


@dataclass(frozen=True)
class ImageSet:
    """One set of radiographs: its label table, and the folders of its images.

    `name` is "train", "validation" or "test": which of the official sets it is; "train" for any
    other. The official validation images come in two folders.
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
        is "train", "selection" or "validation" for the set named train, "test" for the official
        test set, "official_validation" for the official validation set, which is kept apart, and
        "unlabelled" for hands without an age.
    problems : list of Problem
        All that is wrong.
    notes : list of str
        What was decided by a name, and what was left aside, and why.
    warnings : list of str
        What is probably a mistake.
    fingerprint : str
        Hex digest over labels and image content, whatever the names of the folders.
    tier : str
        "phantom", "rsna" or "folder".
    files : DataFrame
        The index of the image files, from `index.scan`.
    arrays : list of Builder
        The image arrays that were filled in the same pass; `finish_arrays` makes them caches.
    """

    folder: Path
    labels: pd.DataFrame
    problems: list[Problem]
    fingerprint: str
    tier: str
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    files: pd.DataFrame = field(default_factory=pd.DataFrame)
    arrays: list[Builder] = field(default_factory=list)

    @property
    def is_sound(self) -> bool:
        """Whether there is no problem."""
        return not self.problems

    def raise_if_unsound(self) -> None:
        """Raise a DataError with all problems, if there are any."""
        if self.problems:
            self.release()
            raise DataError(self.problems)

    def finish_arrays(self) -> None:
        """Make the arrays of a sound data set its image caches."""
        for array in self.arrays:
            array.finish(self.fingerprint)

    def release(self) -> None:
        """Let other processes build these arrays."""
        for array in self.arrays:
            array.release()


def locate(folder: Path, form: TableFormat = AS_HEADED) -> list[ImageSet]:
    """Find the image sets in a folder.

    The official archives and their copies name and nest tables and folders in several ways; they
    are told apart by the words train, validation and test in their names, then by their headings.
    A single table with other headings than the official sets' is a set named train. Folders are
    followed to a depth of five.

    Returns
    -------
    list of ImageSet
        In the order train, validation, test; at least one.

    Raises
    ------
    UserError
        If nothing fits, saying what was looked for and what was there; or if two tables could be
        the same set's.
    """
    return _locate(folder, form)[0]


def inspect(
    folder: Path,
    *,
    form: TableFormat = AS_HEADED,
    cache_root: Path | None = None,
    arrays: Sequence[ArraySettings] = (),
    processes: int | None = None,
    progress: bool = True,
) -> Inspection:
    """Read every label and every image of a folder in one pass, and say all that is wrong at once.

    Parameters
    ----------
    folder : Path
        As for `locate`.
    cache_root : Path, optional
        Holds the index of the images; one whose name, size and time of change are as before is not
        read again.
    arrays : sequence of ArraySettings
        Image arrays to fill in the same pass, unless they are there; in folders of their own.
    processes : int, optional
        For decoding; by default as many as are worth it, up to all cores.

    Raises
    ------
    UserError
        If there is no image set at all, or none that has ages. Everything else is in the
        inspection's problems.
    """
    sets, notes = _locate(folder, form)
    problems: list[Problem] = []
    warnings: list[str] = []
    tables, listed, ids = [], [], {}
    for image_set in sets:
        where = image_set.table.relative_to(folder).as_posix()
        has_age = _has_age(image_set.table, form)
        if not has_age and image_set.name == "test":
            notes.append(f"{where} has no ages: its hands are estimated, and not scored")
        rows, wrong, ids[image_set.name] = label_tables.parse(
            image_set.table, where, form, needs_age=has_age or image_set.name != "test"
        )
        problems += wrong
        warnings += _years(rows, where, form)
        tables.append(rows.assign(set=image_set.name, table=where))
        listed += [(image_set.name, path) for path in _paths(image_set, folder)]
    labels = pd.concat(tables, ignore_index=True)
    if len(labels) and labels["age_months"].isna().all():
        raise UserError(f"no bone ages in {folder}: {'; '.join(notes)}")
    problems += _twice_across_sets(labels)
    files = pd.DataFrame(listed, columns=["set", "path"])
    files["id"] = _match_ids(files, ids, notes)
    memory = None if cache_root is None else cache_root / index.INDEX
    builders = [] if problems else _begin(labels, files, arrays, memory, folder)
    try:
        facts = index.scan(
            folder,
            list(files["path"]),
            memory=memory,
            arrays=builders,
            processes=processes,
            progress=progress,
        )
    except BaseException:
        for builder in builders:
            builder.release()
        raise
    files = files.merge(facts, on="path", how="left", validate="many_to_one")
    joined, unmatched = _join(labels, files, ids)
    return Inspection(
        folder=folder,
        labels=_with_split(joined),
        problems=problems + index.problems_of(files) + unmatched,
        fingerprint=_fingerprint(joined),
        tier=_tier(folder, labels),
        notes=notes,
        warnings=warnings,
        files=files,
        arrays=builders,
    )


def inspect_table(table: Path, form: TableFormat = AS_HEADED) -> Inspection:
    """Read a label table alone, as `inspect` does one with images; paths and sizes are empty."""
    rows, problems, _ = label_tables.parse(table, table.name, form)
    labels = rows.assign(set=_set_of(table, table.parent, form) or "train")
    return Inspection(
        folder=table.parent,
        labels=labels.reindex(columns=LABEL_COLUMNS),
        problems=problems,
        fingerprint=label_digest(labels),
        tier=_tier(table.parent, labels),
        warnings=_years(rows, table.name, form),
        files=pd.DataFrame(columns=index.COLUMNS),
    )


# --- finding -------------------------------------------------------------------------------------


def _locate(folder: Path, form: TableFormat) -> tuple[list[ImageSet], list[str]]:
    """Return the sets, and notes on what names decided and what was left aside."""
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder")
    tables, others, image_folders = _tables_and_image_folders(folder, form)
    if not tables:
        there = f": {'; '.join(others[:MOST_NAMED])}" if others else ""
        raise UserError(f"no label table in {folder}{there}\n{EXPECTED_LAYOUTS}")
    if not image_folders:
        raise UserError(f"no images in {folder}, only {_names(tables, folder)}\n{EXPECTED_LAYOUTS}")
    notes = [f"{other}: left aside" for other in others if UNREADABLE in other]
    if len(tables) == 1:
        (table,) = tables
        name = _official_set(table, form) or "train"
        own = [one for one in image_folders if _set_named_in(one.relative_to(folder)) == name]
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


MOST_NAMED = 8
UNREADABLE = "cannot be read as"


def _names(paths: Sequence[Path], folder: Path) -> str:
    names = [str(path.relative_to(folder)) for path in paths]
    rest = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return ", ".join(names[:MOST_NAMED]) + rest


def _leads_back(folder: Path) -> bool:
    """Return whether a folder is a link to one that it lies in."""
    return folder.is_symlink() and folder.parent.resolve().is_relative_to(folder.resolve())


def _tables_and_image_folders(
    folder: Path, form: TableFormat
) -> tuple[list[Path], list[str], list[Path]]:
    """Return the label tables, what the other tables lack in words, and the folders of images."""
    tables, others, image_folders = [], [], []
    # Links are followed: large data are often linked into place. The depth ends any circle.
    for root, folders, files in os.walk(folder, followlinks=True):
        here = Path(root)
        deep = len(here.relative_to(folder).parts) >= DEEPEST_FOLDER
        folders[:] = [] if deep else sorted(name for name in folders if not JUNK.match(name))
        folders[:] = [name for name in folders if not _leads_back(here / name)]
        files = sorted(name for name in files if not JUNK.match(name))
        if any(_is_image(here / name) for name in files):
            image_folders.append(here)
        for name in files:
            if not name.lower().endswith((".csv", ".tsv", ".xlsx")):
                continue
            try:
                kinds = label_tables.heading_kinds(here / name, form)
            except UserError as error:
                why = str(error).removeprefix(f"{here / name}: ")
                others.append(f"{(here / name).relative_to(folder)}: {why}")
                continue
            # At least two of id, age and sex: one may be missing by mistake.
            if len(kinds) >= 2:
                tables.append(here / name)
            else:
                which = " and ".join(kinds) or "neither an id, an age nor a sex"
                others.append(f"{(here / name).relative_to(folder)}: has {which} only")
    return tables, others, image_folders


def _is_image(file: Path) -> bool:
    """Tell an image file by its name; one without a suffix, or a UID, by the mark of DICOM."""
    if file.name.lower().endswith(label_tables.IMAGE_SUFFIXES):
        return True
    if file.suffix and not file.suffix[1:].isdecimal():
        return False
    try:
        with file.open("rb") as opened:
            return opened.read(132)[128:] == b"DICM"
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


def _has_age(table: Path, form: TableFormat) -> bool:
    return bool({"age_months", "age_years"} & label_tables.heading_kinds(table, form).keys())


def _official_set(table: Path, form: TableFormat) -> str | None:
    """Return the set whose official table has these headings, or this name."""
    heading = label_tables.heading_kinds(table, form).get("id", "")
    by_name = (which for name, which in OFFICIAL_NAMES.items() if name in table.name.lower())
    return OFFICIAL_HEADINGS.get(heading) or next(by_name, None)


def _set_of(table: Path, folder: Path, form: TableFormat) -> str | None:
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
    named = [(_set_of(table, folder, form) or "train", table) for table in tables]
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


def _paths(image_set: ImageSet, folder: Path) -> Iterator[str]:
    for part in image_set.folders:
        for file in images_in(part):
            yield file.relative_to(folder).as_posix()


def _years(rows: pd.DataFrame, where: str, form: TableFormat) -> list[str]:
    """Warn of ages said to be in months that are in years by all appearance."""
    known, oldest = rows["age_months"].count(), rows["age_months"].max()
    if form.age_unit is not None or known < YEARS_FROM_HANDS or oldest >= YEARS_BELOW:
        return []
    return [
        f"{where}: the largest of {len(rows):,} ages is {oldest:g}: if these are "
        "years, name the column age_years, or say --age-unit years"
    ]


# --- matching ------------------------------------------------------------------------------------


def _twice_across_sets(labels: pd.DataFrame) -> list[Problem]:
    """An id in two sets; within one set the table's own reading has found it."""
    again = labels[labels.duplicated("id")]
    return [
        Problem(row.table, row.row, f"id {row.id!r} is also in another set")
        for row in again.itertuples()
    ]


def _match_ids(files: pd.DataFrame, ids: dict[str, set[str]], notes: list[str]) -> list[str]:
    """Return each file's id as its table writes it.

    Where no file of a set has its id in the table as it stands, and all ids of the table have a
    file once zeros, folders and ".0" are left out, these match.
    """
    result = files["path"].map(lambda path: label_tables.id_of(Path(path).name))
    for name, own in result.groupby(files["set"], sort=False):
        known = ids[name]
        bare = {label_tables.bare_id(key): key for key in known}
        of_file = own.map(label_tables.bare_id)
        is_clear = len(bare) == len(known) and of_file.is_unique
        if known and is_clear and known.isdisjoint(own) and bare.keys() <= set(of_file):
            result[own.index] = of_file.map(bare).fillna(own)
            first = own.index[of_file.isin(bare.keys())][0]
            notes.append(
                f"ids and file names of the {name} set match without leading zeros, folders and "
                f"'.0': {result[first]!r} is {files.loc[first, 'path']}"
            )
    return list(result)


def _begin(
    labels: pd.DataFrame,
    files: pd.DataFrame,
    arrays: Sequence[ArraySettings],
    memory: Path | None,
    folder: Path,
) -> list[Builder]:
    """Begin the arrays that are not there; none for labels and files that do not match."""
    if not arrays or memory is None or files.duplicated(["set", "id"]).any():
        return []
    matched = labels.merge(files, on=["set", "id"], how="left")
    if matched["path"].isna().any() or len(matched) != len(files):
        return []
    facts = index.known(memory, folder, list(matched["path"]))
    fingerprint = None
    if len(facts) == len(matched):
        contents = matched.assign(content=matched["path"].map(lambda p: facts[p]["content"]))
        fingerprint = _fingerprint(contents)
    paths = dict(zip(matched["id"], matched["path"], strict=True))
    builders = []
    for settings in sorted(arrays, key=str):  # in one order: two processes wait, never both
        target = settings.folder(memory.parent)
        if fingerprint is None or not is_built(target, settings, fingerprint):
            builders.append(Builder(paths, target, settings).begin())
    return builders


def _join(
    labels: pd.DataFrame, files: pd.DataFrame, ids: dict[str, set[str]]
) -> tuple[pd.DataFrame, list[Problem]]:
    """Match labels and files by id; what has no match, or two, is a problem.

    `ids` are those of each set's whole table: a file whose row is unsound is no orphan.
    """
    problems = []
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
    split[joined["age_months"].isna()] = "unlabelled"
    frame = joined.assign(split=split)
    return frame[LABEL_COLUMNS].astype({"width_px": int, "height_px": int})


def _fingerprint(joined: pd.DataFrame) -> str:
    return _digest(
        f"{row.set},{row.id},{row.age_months:g},{row.male:d},{row.content}"
        for row in joined.itertuples()
    )


def label_digest(labels: pd.DataFrame) -> str:
    """Return a digest of a whole label table: id, age_months and male, whatever the rows' order."""
    return _digest(f"{row.id},{row.age_months:g},{row.male:d}" for row in labels.itertuples())


def _digest(lines: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()


def _tier(folder: Path, labels: pd.DataFrame) -> str:
    if (folder / PHANTOM_COMPANION).is_file():
        return "phantom"
    train = labels[labels["set"] == "train"]
    return "rsna" if label_digest(train) == OFFICIAL_TRAIN_LABELS else "folder"
