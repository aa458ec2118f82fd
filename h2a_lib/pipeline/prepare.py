"""Make a study's data ready: draw the phantoms, check every label and image."""

import shlex
import sys
from dataclasses import asdict
from pathlib import Path

from h2a_lib import phantoms
from h2a_lib.data import sources
from h2a_lib.data.cache import ArraySettings
from h2a_lib.data.labels import AS_HEADED, TableFormat
from h2a_lib.errors import UserError
from h2a_lib.files import is_same_csv, read_json, remove, write_csv, write_json
from h2a_lib.study.config import DEFAULT, Phantoms
from h2a_lib.study.workspace import Study

# How the user said that the label table is to be read; absent where its headings say it all.
FORMAT_FILE = "table-format.json"


def prepare_data(study: Study, form: TableFormat = AS_HEADED) -> None:
    """Draw the phantoms if that is what the profile asks for; verify, index and resize the data.

    Each image file is read once: in the same pass the arrays of all planned runs are made. An
    unchanged data set costs a look at each file's size and time. `labels.csv` and `data.json` are
    written only if they change, so that an unchanged data set makes nothing stale.

    From here on every run of the profile is wanted again, those that failed before as well. The
    table's format is remembered with the study, and holds until another one is given. A DataError
    has every problem of the data at once; a UserError says that there are none, or too few hands.
    """
    remove(study.missing_file)
    wrong = study.wrong_experiments()
    if DEFAULT in wrong:  # every study needs its pictures
        raise UserError(wrong[DEFAULT])
    if form == AS_HEADED and (form := remembered_format(study)) != AS_HEADED:
        print(
            f"labels are read with {shlex.join(form.options)}, as before; to read them by their "
            f"headings, delete {study.results_folder / FORMAT_FILE}",
            file=sys.stderr,
        )
    if study.profile.phantoms is not None and study.name == study.profile_name:
        _draw_phantoms(study.data_folder, study.profile.phantoms)
    elif not study.data_folder.is_dir():
        raise UserError(
            f"no radiographs in {study.data_folder}: get them with "
            f"`h2a data fetch --source kaggle --out {study.data_folder}`, or name a folder with "
            "--data"
        )
    for message in wrong.values():
        print(f"warning: left out: {message}", file=sys.stderr)
    configs = [study.run_config(experiment, seed) for experiment, seed in study.planned_runs()]
    arrays = {ArraySettings(c.image_size_px, c.geometry, c.contrast) for c in configs}
    inspection = sources.inspect(
        study.data_folder, form=form, cache_root=study.cache_root, arrays=sorted(arrays)
    )
    try:
        inspection.raise_if_unsound()
        for warning in inspection.warnings:
            print(f"warning: {warning}", file=sys.stderr)
        if few := sources.too_few(inspection.labels):
            what = f"too few hands in {inspection.folder}: {few}"
            raise UserError("\n".join([what, *inspection.notes]))
        external = _inspect_external(study)
        if external is not None:
            _check_disjoint(inspection, external)
        if form != AS_HEADED:
            write_json(study.results_folder / FORMAT_FILE, asdict(form))
        _write(study, inspection, external)
        inspection.finish_arrays()  # after the labels: a cache is never older than they are
    finally:
        inspection.release()


def _inspect_external(study: Study) -> sources.Inspection | None:
    """Verify the external radiographs."""
    if study.external_folder is None:
        return None
    cache = study.cache_root / "external"
    inspection = sources.inspect(study.external_folder, cache_root=cache)
    inspection.raise_if_unsound()
    return inspection


def _check_disjoint(inspection: sources.Inspection, external: sources.Inspection) -> None:
    """Refuse an image of the study among the external ones."""
    own = dict(zip(inspection.files["pixels"], inspection.files["path"], strict=True))
    for pixels, path in zip(external.files["pixels"], external.files["path"], strict=True):
        if pixels in own:
            raise UserError(
                f"{external.folder / path} is the image {inspection.folder / own[pixels]} of the "
                "study: take it out of the external data"
            )


def remembered_format(study: Study) -> TableFormat:
    """Return the format that the user last gave for the study's label tables."""
    file = study.results_folder / FORMAT_FILE
    return TableFormat(**read_json(file)) if file.exists() else AS_HEADED


def _write(
    study: Study, inspection: sources.Inspection, external: sources.Inspection | None
) -> None:
    """Write labels and fingerprint, if they are other than before."""
    data = {"fingerprint": inspection.fingerprint, "tier": inspection.tier}
    labels = inspection.labels
    if external is None:
        remove(study.external_file)
    else:
        data["external"] = external.fingerprint
        if not is_same_csv(study.external_file, external.labels):
            write_csv(study.external_file, external.labels)
    if study.data_file.exists() and study.data == data and is_same_csv(study.labels_file, labels):
        return
    # First: labels never lie beside the fingerprint of other data.
    remove(study.data_file)
    write_csv(study.labels_file, labels)
    write_json(study.data_file, data)
    for name in ("labels", "all_hands", "data"):
        study.__dict__.pop(name, None)  # read before they were written


def _draw_phantoms(folder: Path, wanted: Phantoms) -> None:
    companion = folder / "phantom.json"
    spec = wanted.model_dump()
    if companion.is_file():
        have = read_json(companion)
        if {key: have.get(key) for key in spec} == spec and have.get("version") == phantoms.VERSION:
            return
    phantoms.write(folder, **spec, overwrite=True)
