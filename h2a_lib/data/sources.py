"""What a folder of radiographs holds: its hands, matched to their images, and all that is wrong."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from h2a_lib.data import index, layout
from h2a_lib.data import labels as label_tables
from h2a_lib.data.cache import ArraySettings, Builder, is_built
from h2a_lib.data.labels import AS_HEADED, TableFormat
from h2a_lib.errors import DataError, Problem, UserError

# SHA-256 over the sorted "id,months,male" lines of the 12,611 official training labels.
OFFICIAL_TRAIN_LABELS = "335629119d7063420f0ace1bd4a9785b8e3bc4c8ed3cacef6cfafbe4e5ee3f1f"
LABEL_COLUMNS = ["id", "age_months", "male", "split", "path", "width_px", "height_px", "set"]
PHANTOM_COMPANION = "phantom.json"
# The least of each split: to normalise a batch, to choose an epoch, to embed and to report on.
LEAST_HANDS = {"train": 10, "selection": 2, "validation": 5}
LEAST_IN_ALL = 22
# No child of 50 or more whose eldest is below this age in months: the ages are years.
YEARS_BELOW, YEARS_FROM_HANDS = 21, 50


@dataclass(frozen=True)
class Inspection:
    """What a folder of radiographs holds.

    `labels` has one row for each label that has its image: id, age_months, male, split, path
    (relative to the folder, with slashes), width_px, height_px, set (the official set it is from).
    `split` is "train", "selection" or "validation" for the set named train, "test" for the official
    test set, "official_validation" for the official validation set, which is kept apart, and
    "unlabelled" for hands without an age. `fingerprint` is a digest over labels and image content,
    whatever the names of the folders; `tier` is "phantom", "rsna" or "folder". `notes` say what was
    decided by a name and what was left aside, `warnings` what is probably a mistake. `files` is the
    index from `index.scan`; `arrays` were filled in the same pass, see `finish_arrays`.
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

    `cache_root` holds the index of the images: one whose name, size and time of change are as
    before is not read again. `arrays` are filled in the same pass, unless they are there. By
    default as many `processes` decode as are worth it. A UserError if there is no image set at all,
    or none that has ages; everything else is in the inspection's problems.
    """
    sets, notes = layout.locate(folder, form)
    problems: list[Problem] = []
    warnings: list[str] = []
    tables, listed, ids = [], [], {}
    for image_set in sets:
        where = image_set.table.relative_to(folder).as_posix()
        has_age = layout.has_age(image_set.table, form)
        if not has_age and image_set.name == "test":
            notes.append(f"{where} has no ages: its hands are estimated, and not scored")
        rows, wrong, ids[image_set.name] = label_tables.parse(
            image_set.table, where, form, needs_age=has_age or image_set.name != "test"
        )
        problems += wrong
        warnings += suspected_years(rows, where, form)
        tables.append(rows.assign(set=image_set.name, table=where))
        images = (file for part in image_set.folders for file in layout.images_in(part))
        listed += [(image_set.name, file.relative_to(folder).as_posix()) for file in images]
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
    labels = rows.assign(set=layout.set_of(table, table.parent, form) or "train")
    return Inspection(
        folder=table.parent,
        labels=labels.reindex(columns=LABEL_COLUMNS),
        problems=problems,
        fingerprint=label_digest(labels),
        tier=_tier(table.parent, labels),
        warnings=suspected_years(rows, table.name, form),
        files=pd.DataFrame(columns=index.COLUMNS),
    )


def suspected_years(rows: pd.DataFrame, where: str, form: TableFormat) -> list[str]:
    """Warn of ages that are read as months but by all appearance are in years."""
    known, oldest = rows["age_months"].count(), rows["age_months"].max()
    if form.age_unit is not None or known < YEARS_FROM_HANDS or oldest >= YEARS_BELOW:
        return []
    return [
        f"{where}: the largest of {len(rows):,} ages is {oldest:g}: if these are "
        "years, name the column age_years, or say --age-unit years"
    ]


def too_few(labels: pd.DataFrame) -> str:
    """Return what a study lacks of hands, with labels as in `Inspection`; empty if nothing."""
    counts = labels["split"].value_counts()
    have = {split: counts.get(split, 0) for split in LEAST_HANDS}
    if all(have[split] >= least for split, least in LEAST_HANDS.items()):
        return ""
    there, needed = (
        f"{n['train']} hands to train on, {n['selection']} to choose by and {n['validation']} to "
        "report on"
        for n in (have, LEAST_HANDS)
    )
    return f"{there}; the least is {needed}, which a training set of {LEAST_IN_ALL} hands has"


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
