"""Make a study's data ready: draw the phantoms, check every label and image."""

from pathlib import Path

from h2a_lib import phantoms
from h2a_lib.data import sources
from h2a_lib.errors import UserError
from h2a_lib.files import is_same_csv, read_json, remove, write_csv, write_json
from h2a_lib.study.config import Phantoms
from h2a_lib.study.workspace import Study

# Batch normalisation cannot estimate a variance from a single hand.
MIN_HANDS = 2


def prepare_data(study: Study, progress: bool = True) -> None:
    """Draw the phantoms if that is what the profile asks for, and verify the data.

    From here on every run of the profile is wanted again, those that failed before as well.

    An unchanged data set costs a look at each file's size and time. `labels.csv` and `data.json`
    are written only if they change, so that an unchanged data set makes nothing stale.

    Raises
    ------
    DataError
        With every problem of the data at once.
    UserError
        If there are no data, or too few hands.
    """
    remove(study.missing_file)
    if study.profile.phantoms is not None and study.name == study.profile_name:
        _draw_phantoms(study.data_folder, study.profile.phantoms, progress)
    elif not study.data_folder.is_dir():
        raise UserError(
            f"no radiographs in {study.data_folder}: get them with "
            f"`h2a data fetch --source kaggle --out {study.data_folder}`, or name a folder with "
            "--data"
        )
    memory = study.cache_root / "hashes.json"
    inspection = sources.inspect(study.data_folder, memory=memory, progress=progress)
    inspection.raise_if_unsound()
    labels = inspection.labels
    train, selection, validation = (
        (labels["split"] == name).sum() for name in ("train", "selection", "validation")
    )
    if min(train, selection, validation) < MIN_HANDS:
        raise UserError(
            f"{study.data_folder} has {train} hands to train on, {selection} to choose by and "
            f"{validation} to report on: {MIN_HANDS} of each are needed (19 in all)"
        )
    data = {"fingerprint": inspection.fingerprint, "tier": inspection.tier}
    if study.data_file.exists() and study.data == data and is_same_csv(study.labels_file, labels):
        return
    # First: labels never lie beside the fingerprint of other data.
    remove(study.data_file)
    write_csv(study.labels_file, labels)
    write_json(study.data_file, data)
    for name in ("labels", "data"):
        study.__dict__.pop(name, None)  # read before they were written


def _draw_phantoms(folder: Path, wanted: Phantoms, progress: bool) -> None:
    companion = folder / "phantom.json"
    spec = wanted.model_dump()
    if companion.is_file():
        have = read_json(companion)
        if {key: have.get(key) for key in spec} == spec and have.get("version") == phantoms.VERSION:
            return
    phantoms.write(folder, **spec, progress=progress, overwrite=companion.is_file())
