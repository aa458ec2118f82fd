"""One study on one data set: where its files are, and how they come to be."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from h2a_lib import graph, provenance, runs, study
from h2a_lib.errors import UserError, require_file
from h2a_lib.files import is_same_csv, read_json, remove, write_csv, write_json
from h2a_lib.results import Results
from h2a_lib.study import Phantoms, Profile, RunConfig, Settings

if TYPE_CHECKING:
    from h2a_lib.data.hands import Hands

SHEET = "study.yaml"
# Of one hand alone, batch normalisation has no variance to learn from.
LEAST_HANDS = 2
TIER_LABELS = {
    "phantom": "Synthetic radiographs (phantoms), not patients",
    "rsna": "RSNA Pediatric Bone Age radiographs",
    "folder": "Radiographs from the folder {folder}",
}


@dataclass(frozen=True)
class Workspace:
    """One profile of the study on one data set.

    Attributes
    ----------
    root : Path
        The project's folder.
    study : study.Study
        The sheet.
    profile_name : str
    data_folder : Path
        The radiographs.
    name : str
        The profile's, and the data folder's where the user named one: "smoke",
        "smoke-half-resolution". All paths follow from it.
    """

    root: Path
    study: study.Study
    profile_name: str
    data_folder: Path
    name: str

    @property
    def profile(self) -> Profile:
        """The profile's entry of study.yaml."""
        return self.study.profile(self.profile_name)

    # --- data ---

    @property
    def labels_file(self) -> Path:
        """One row a hand: id, age_months, male, split, path, width and height."""
        return self.results_folder / "labels.csv"

    @property
    def data_file(self) -> Path:
        """The data set's fingerprint and tier."""
        return self.results_folder / "data.json"

    @cached_property
    def labels(self) -> pd.DataFrame:
        """One row a hand, from `labels_file`."""
        return pd.read_csv(self.labels_file, dtype={"id": str})

    @cached_property
    def data(self) -> dict[str, str]:
        """Fingerprint and tier of the data set."""
        return read_json(self.data_file)

    @property
    def fingerprint(self) -> str:
        """Of labels and image files."""
        return self.data["fingerprint"]

    @property
    def tier(self) -> str:
        """Return phantom, rsna or folder."""
        return self.data["tier"]

    @property
    def tier_label(self) -> str:
        """The tier in words, for every figure and slide."""
        return TIER_LABELS[self.tier].format(folder=self.data_folder.resolve().name)

    def cache_folder(self, config: Settings) -> Path:
        """Return where the images of a run's size, geometry and contrast are kept."""
        name = f"{config.image_size_px}px-{config.geometry}-{config.contrast}"
        return self.root / "cache" / self.name / name

    def hands(self, config: Settings, progress: bool = True) -> "Hands":
        """Return a run's images and labels; the image cache is built if it is not there."""
        from h2a_lib.data import cache
        from h2a_lib.data.hands import Hands

        cached = cache.build(
            self.labels,
            self.data_folder,
            self.cache_folder(config),
            size_px=config.image_size_px,
            geometry=config.geometry,
            contrast=config.contrast,
            fingerprint=self.fingerprint,
            progress=progress,
        )
        return Hands.join(cached, self.labels, self.fingerprint)

    # --- runs ---

    def config(self, experiment: str, seed: int = 0) -> RunConfig:
        """Return a run's settings."""
        return self.study.config(self.profile_name, experiment, seed)

    def run_folder(self, experiment: str, seed: int = 0) -> Path:
        """Return where a run is kept."""
        return self.root / "runs" / self.name / experiment / f"seed-{seed}"

    @property
    def missing_file(self) -> Path:
        """The runs that failed while this report was made, if any did."""
        return self.results_folder / "missing.json"

    def planned_runs(self) -> list[tuple[str, int]]:
        """Return every (experiment, seed) of the profile that did not fail in this report."""
        failed = read_json(self.missing_file) if self.missing_file.exists() else []
        return [run for run in self.study.runs_of(self.profile_name) if list(run) not in failed]

    def unfinished_runs(self) -> list[tuple[str, int]]:
        """Return the (experiment, seed) of the profile that have no run of today's settings."""
        return [run for run in self.study.runs_of(self.profile_name) if not self._is_finished(*run)]

    def _is_finished(self, experiment: str, seed: int) -> bool:
        try:
            self._finished_run(experiment, seed)
        except UserError:
            return False
        return True

    def _finished_run(self, experiment: str, seed: int) -> runs.Run:
        run = runs.load(self.run_folder(experiment, seed))
        if run.config != self.config(experiment, seed):
            raise UserError(f"{run.folder}: made with other settings than study.yaml has now")
        if run.model["data_fingerprint"] != self.fingerprint:
            raise UserError(f"{run.folder}: made from other data than {self.data_folder}")
        return run

    def finished_runs(self) -> list[runs.Run]:
        """Return the planned runs, all of which must be finished and of today's settings.

        Raises
        ------
        UserError
            If one is missing, unfinished, or was made with other settings or data.
        """
        return [self._finished_run(experiment, seed) for experiment, seed in self.planned_runs()]

    # --- results ---

    @property
    def results_folder(self) -> Path:
        """Where figures, tables and variables are kept."""
        return self.root / "results" / self.name

    @property
    def results(self) -> Results:
        """Figures, tables and variables."""
        return Results(self.results_folder, self.root, self.tier_label)

    def write_variables(self) -> None:
        """Write what the deck says of the study as a whole: tier, runs, machine, time."""
        found = self.finished_runs()
        in_time = sorted((run.made_by for run in found), key=lambda made: made["finished"])
        first, latest = in_time[0], in_time[-1]
        missing = read_json(self.missing_file) if self.missing_file.exists() else []
        config = found[0].config
        data = f" --data {self.data_folder.name}" if self.name != self.profile_name else ""
        self.results.variables(
            "study",
            {
                "title": self.study.title,
                "profile": self.profile_name,
                "about": self.profile.about,
                "tier": self.tier,
                "tier_label": self.tier_label,
                "command": f"h2a report --profile {self.profile_name}{data}",
                "date": latest["finished"][:10],
                "commit": provenance.commit_in_words(latest),
                "first_date": first["finished"][:10],
                "first_commit": provenance.commit_in_words(first),
                "fingerprint": self.fingerprint[:12],
                "n_runs": len(found),
                "n_experiments": len({run.config.experiment for run in found}),
                "image_size_px": config.image_size_px,
                "epochs": config.epochs,
                "machine": _each(provenance.machine_in_words(r.made_by["machine"]) for r in found),
                "training_time": provenance.duration(sum(r.made_by["seconds"] for r in found)),
                "torch": _each(run.made_by["packages"]["torch"] for run in found),
                "lock": _each((run.made_by["lock_sha256"] or "none")[:12] for run in found),
                **({"missing_runs": in_words(missing)} if missing else {}),
            },
        )

    @property
    def deck_folder(self) -> Path:
        """Return where slides.html and slides.pdf go."""
        return self.root / "report" / "_output" / self.name


def _each(of_runs: Iterable[str]) -> str:
    """Return what all runs have, or "this (35 runs); that (1 run)" where they differ."""
    counted = Counter(of_runs).most_common()
    if len(counted) == 1:
        return counted[0][0]
    return "; ".join(f"{what} ({n} run{'s' if n > 1 else ''})" for what, n in counted)


def in_words(runs: Iterable[Iterable[str | int]]) -> str:
    """Return "resnet50 (seed 0), sex (seed 0)" for some (experiment, seed)."""
    return ", ".join(f"{experiment} (seed {seed})" for experiment, seed in runs)


def project_root() -> Path:
    """Return the nearest folder, from the working directory upwards, that holds study.yaml."""
    start = Path.cwd()
    for folder in (start, *start.parents):
        if (folder / SHEET).is_file():
            return folder
    raise UserError(f"no {SHEET} in {start} or above: go to the project's folder")


def locate(profile: str, data: str | Path | None = None, root: Path | None = None) -> Workspace:
    """Return the workspace of a profile, touching nothing.

    Parameters
    ----------
    profile : str
        A profile of study.yaml.
    data : str or Path, optional
        A folder of radiographs instead of the profile's own, relative to the working directory.
    root : Path, optional
        The project's folder; found from the working directory by default.
    """
    root = root or project_root()
    sheet = study.load(root / SHEET)
    chosen = sheet.profile(profile)
    own = root / (chosen.data or Path("data", "phantom", profile))
    folder = Path(data).expanduser().resolve() if data else own
    if data and not folder.is_dir():
        raise UserError(f"{folder} is not a folder")
    name = profile if folder == own.resolve() or not data else f"{profile}-{_slug(folder)}"
    return Workspace(root, sheet, profile, folder, name)


def open_study(
    profile: str,
    data: str | Path | None = None,
    prepare: bool = True,
    needs: str | None = None,
) -> Workspace:
    """Open a study: the first call of every notebook.

    Parameters
    ----------
    profile : str
        A profile of study.yaml.
    data : str or Path, optional
        A folder of radiographs instead of the profile's own.
    prepare : bool
        Make what is missing: draw phantoms, verify the data, and run the steps that lead to
        `needs`. The graph's own jobs pass False, since the graph has made it.
    needs : {None, "runs"}
        "runs": all runs of the profile.

    Returns
    -------
    Workspace
    """
    space = locate(profile, data)
    if prepare:
        prepare_data(space)
        if needs == "runs":
            graph.build(space, ["runs"])
    require_file(space.data_file, f"run `h2a report --profile {profile}` first")
    return space


def prepare_data(space: Workspace, progress: bool = True) -> None:
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
    from h2a_lib.data import sources

    remove(space.missing_file)
    if space.profile.phantoms is not None and space.name == space.profile_name:
        _draw_phantoms(space.data_folder, space.profile.phantoms, progress)
    elif not space.data_folder.is_dir():
        raise UserError(
            f"no radiographs in {space.data_folder}: get them with "
            f"`h2a data fetch --source kaggle --out {space.data_folder}`, or name a folder with "
            "--data"
        )
    memory = space.root / "cache" / space.name / "hashes.json"
    inspection = sources.inspect(space.data_folder, memory=memory, progress=progress)
    inspection.raise_if_unsound()
    labels = inspection.labels
    train, validation = ((labels["split"] == name).sum() for name in ("train", "validation"))
    if min(train, validation) < LEAST_HANDS:
        raise UserError(
            f"{space.data_folder} has {train} hands to train on and {validation} to validate: a "
            f"network needs at least {LEAST_HANDS} of each (eight in all, in a set to train on)"
        )
    data = {"fingerprint": inspection.fingerprint, "tier": inspection.tier}
    if space.data_file.exists() and space.data == data and is_same_csv(space.labels_file, labels):
        return
    # First: labels never lie beside the fingerprint of other data.
    remove(space.data_file)
    write_csv(space.labels_file, labels)
    write_json(space.data_file, data)
    for name in ("labels", "data"):
        space.__dict__.pop(name, None)  # read before they were written


def _draw_phantoms(folder: Path, wanted: Phantoms, progress: bool) -> None:
    from h2a_lib.data import phantom

    companion = folder / "phantom.json"
    spec = wanted.model_dump()
    if companion.is_file():
        have = read_json(companion)
        if {key: have.get(key) for key in spec} == spec and have.get("version") == phantom.VERSION:
            return
    phantom.write(folder, **spec, progress=progress, overwrite=companion.is_file())


def _slug(folder: Path) -> str:
    """Return a folder's name in letters that every file system takes."""
    name = "".join(c if c.isalnum() or c in "-_." else "-" for c in folder.name)
    return name.strip("-.") or "data"
