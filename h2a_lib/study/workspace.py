"""One profile of the study on one data set: where its files are and what is in them."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from h2a_lib.errors import UserError, expand_user
from h2a_lib.files import read_csv, read_json
from h2a_lib.study import config, runs
from h2a_lib.study.config import Profile, RunConfig, Settings, StudyConfig
from h2a_lib.study.results import Drawing, Results, display_drawing
from h2a_lib.study.tables import Table

if TYPE_CHECKING:
    from h2a_lib.study.runs import Run

CONFIG_FILE = "study.yaml"
TIER_LABELS = {
    "phantom": "Synthetic radiographs (phantoms), not patients",
    "rsna": "RSNA Pediatric Bone Age radiographs",
    "folder": "Radiographs from the folder {folder}",
}
# Of a folder's name, in the corner of every figure and on the title slide.
MOST_LETTERS = 40
# The report: the deck and the article, each as a page and as a PDF.
REPORT_FILES = ("slides.html", "slides.pdf", "paper.html", "paper.pdf")
# Of which at least one is there when a report is finished.
REPORT_PAGES = ("index.html", "slides.html")


@dataclass(frozen=True)
class Study:
    """One profile of the study on one data set.

    The name is the profile's, and the data folder's where the user named one: "smoke",
    "smoke-half-resolution"; all paths follow from it. `notebook` opened the study, "05_train" for
    example, and is recorded with its results. Those go to `scratch/`, which the report does not
    read, if `is_scratch`.
    """

    root: Path
    config: StudyConfig
    profile_name: str
    data_folder: Path
    name: str
    notebook: str = ""
    is_scratch: bool = False

    @property
    def profile(self) -> Profile:
        """The profile's entry of study.yaml."""
        return self.config.profile(self.profile_name)

    # --- data ---

    @property
    def labels_file(self) -> Path:
        """One row a hand: id, age_months, male, split, path, width and height."""
        return self.results_folder / "labels.csv"

    @property
    def data_file(self) -> Path:
        """The data set's fingerprint and tier."""
        return self.results_folder / "data.json"

    @property
    def external_folder(self) -> Path | None:
        """External radiographs, if the profile names them and they are here."""
        folder = self.profile.external
        # Other data than the profile's own may be of that very source.
        if folder is None or self.name != self.profile_name:
            return None
        return self.root / folder if (self.root / folder).is_dir() else None

    @property
    def external_source(self) -> tuple[str, str]:
        """What the external images are called in a title, and a sentence on their source, or "".

        Both are in a text file beside the folder, `<folder>.txt`, the name in its first line.
        """
        folder = self.external_folder
        file = folder.with_name(f"{folder.name}.txt") if folder else None
        if file is None or not file.is_file():
            return "External images", ""
        name, *sentence = file.read_text(encoding="utf-8").split("\n", 1)
        return name.strip(), " ".join(" ".join(sentence).split())

    @property
    def external_file(self) -> Path:
        """The same as `labels_file`, of the external radiographs."""
        return self.results_folder / "external.csv"

    @property
    def is_prepared(self) -> bool:
        """Whether the labels and the fingerprint of the data have been written."""
        return self.labels_file.exists() and self.data_file.exists()

    @cached_property
    def all_hands(self) -> pd.DataFrame:
        """One row a hand, from `labels_file`; those without an age have the split "unlabelled"."""
        return read_csv(self.labels_file)

    @cached_property
    def labels(self) -> pd.DataFrame:
        """One row a hand that has an age."""
        hands = self.all_hands
        return hands[hands["split"] != "unlabelled"].reset_index(drop=True)

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
        name = self.data_folder.resolve().name
        if len(name) > MOST_LETTERS:
            name = f"{name[: MOST_LETTERS - 1]}…"
        return TIER_LABELS[self.tier].format(folder=name)

    @property
    def cache_root(self) -> Path:
        """Where everything is kept that can be computed from the data again."""
        return self.root / "cache" / self.name

    def cache_folder(self, settings: Settings) -> Path:
        """Return where the images of a run's size, geometry and contrast are kept."""
        name = f"{settings.image_size_px}px-{settings.geometry}-{settings.contrast}"
        return self.cache_root / name

    # --- runs ---

    def run_config(
        self, experiment: str, seed: int = 0, changes: Mapping[str, Any] | None = None
    ) -> RunConfig:
        """Return a run's settings, with other values for some of them."""
        return self.config.run_config(self.profile_name, experiment, seed, changes)

    def run_folder(self, experiment: str, seed: int = 0) -> Path:
        """Return where a run is kept."""
        return self.root / "runs" / self.name / experiment / f"seed-{seed}"

    def scratch_run_folder(self, settings: RunConfig) -> Path:
        """Return where a run of these settings is kept that the report does not use."""
        return self.run_folder(f"scratch/{settings.experiment}-{settings.digest}", settings.seed)

    def training_folder(self, settings: RunConfig) -> Path:
        """Return where a run of these settings is trained.

        Only the pipeline, with study.yaml's settings, trains what the report uses.
        """
        experiment, seed = settings.experiment, settings.seed
        if self.is_scratch or settings != self.run_config(experiment, seed):
            return self.scratch_run_folder(settings)
        return self.run_folder(experiment, seed)

    @property
    def missing_file(self) -> Path:
        """The runs that failed while this report was made, if any did."""
        return self.results_folder / "missing.json"

    def missing_runs(self) -> list[list[str | int]]:
        """Return each [experiment, seed] that failed while this report was made, or diverged."""
        failed = read_json(self.missing_file) if self.missing_file.exists() else []
        return failed + [list(run) for run in self.diverged_runs() if list(run) not in failed]

    def diverged_runs(self) -> list[tuple[str, int]]:
        """Return each (experiment, seed) that diverged with the settings of today."""
        wrong = self.wrong_experiments()
        return [
            (experiment, seed)
            for experiment, seed in self.config.runs_of(self.profile_name)
            if experiment not in wrong
            and runs.has_diverged(
                self.run_folder(experiment, seed), self.run_config(experiment, seed).digest
            )
        ]

    def planned_runs(self) -> list[tuple[str, int]]:
        """Return every (experiment, seed) of the profile that is not missing in this report.

        Those whose settings are wrong are left out: a report begins with `check_experiments`.
        """
        missing, wrong = self.missing_runs(), self.wrong_experiments()
        planned = self.config.runs_of(self.profile_name)
        return [run for run in planned if list(run) not in missing and run[0] not in wrong]

    def wrong_experiments(self) -> dict[str, str]:
        """Return what is wrong with each experiment of the profile that cannot be run."""
        return self.config.wrong_experiments(self.profile_name)

    def check_experiments(self) -> None:
        """Raise a UserError for the first experiment of the profile that cannot be run."""
        for message in self.wrong_experiments().values():
            raise UserError(message)

    def run(self, experiment: str, seed: int = 0) -> "Run":
        """Return a run; a UserError if it is unfinished or was made with other settings or data."""
        run = runs.load(self.run_folder(experiment, seed))
        if run.config != self.run_config(experiment, seed):
            raise UserError(f"{run.folder}: made with other settings than study.yaml has now")
        if run.model["data_fingerprint"] != self.fingerprint:
            raise UserError(f"{run.folder}: made from other data than {self.data_folder}")
        return run

    def finished_runs(self) -> "list[Run]":
        """Return the planned runs, all of which must be finished and of today's settings.

        Those that diverged are left out; `missing_runs` lists them. A UserError is as of `run`.
        """
        return [self.run(experiment, seed) for experiment, seed in self.planned_runs()]

    # --- results ---

    @property
    def results_folder(self) -> Path:
        """Where the report's figures, tables and variables are kept."""
        return self.root / "results" / self.name

    @property
    def results(self) -> Results:
        """Figures, tables and variables, written by `notebook`."""
        folder = self.results_folder / "scratch" if self.is_scratch else self.results_folder
        return Results(folder, self.root, self.tier_label, self.notebook)

    def show(self, drawing: Drawing | None, *shown: "Run") -> None:
        """Display and save a figure: the last line of a notebook's cell.

        `drawing` is None where this profile has nothing to draw; `shown` are the runs whose
        predictions it shows, by default the data set.
        """
        if drawing is None:
            from IPython.display import Markdown, display

            display(Markdown(f"*The profile `{self.profile_name}` has nothing to show here.*"))
            return
        inputs = [run.folder / "predictions.csv" for run in shown] or [self.data_file]
        self.results.save(drawing, inputs)
        display_drawing(drawing)

    def display(self, shown: Drawing | pd.DataFrame) -> Table | None:
        """Display a figure or a table that the report does not have."""
        if isinstance(shown, pd.DataFrame):
            return Table(shown)
        self.results.display(shown)
        return None

    def table(self, frame: pd.DataFrame, name: str, shown: pd.DataFrame | None = None) -> Table:
        """Save a table and return it, or only some of it, to be displayed."""
        return self.results.table(frame, name, shown)

    def variables(self, group: str, values: Mapping[str, str | int]) -> Table:
        """Save ready-to-print values for the slides and return them as a table."""
        return self.results.variables(group, values)

    @property
    def deck_folder(self) -> Path:
        """Where the report goes."""
        return self.root / "report" / "_output" / self.name


def format_runs(runs: Iterable[Iterable[str | int]]) -> str:
    """Return "resnet50 (seed 0), sex (seed 0)" for some (experiment, seed)."""
    return ", ".join(f"{experiment} (seed {seed})" for experiment, seed in runs)


def project_root() -> Path:
    """Return the nearest folder, from the working directory upwards, that holds study.yaml."""
    start = Path.cwd()
    for folder in (start, *start.parents):
        if (folder / CONFIG_FILE).is_file():
            return folder
    raise UserError(
        f"no {CONFIG_FILE} in {start} or above: go to the project's folder; if you have only the "
        "installed package, which holds no study, clone the repository that it was built from, or "
        "let its notebooks/00_start.ipynb do that (docs/kaggle-colab.md)"
    )


def newest_profile() -> str:
    """Return the profile whose report was made last; smoke where there is none."""
    root = project_root()
    made = {}
    for name in config.load(root / CONFIG_FILE).profiles:
        pages = [root / "report" / "_output" / name / page for page in REPORT_PAGES]
        times = [page.stat().st_mtime for page in pages if page.is_file()]
        # A report of published results has no runs here.
        if times and (root / "runs" / name).is_dir():
            made[name] = max(times)
    return max(made, key=made.__getitem__, default="smoke")


def locate(
    profile: str, data: str | Path | None = None, root: Path | None = None, notebook: str = ""
) -> Study:
    """Return a profile's study, touching nothing.

    `data` is a folder of radiographs instead of the profile's own, relative to the working
    directory, from which the project's root is found by default. `notebook` is who asks.
    """
    root = root or project_root()
    parsed = config.load(root / CONFIG_FILE)
    chosen = parsed.profile(profile)
    own = root / (chosen.data or Path("data", "phantom", profile))
    folder = expand_user(Path(data)).resolve() if data else own
    is_own = folder in (own, own.resolve())
    if not (is_own or folder.is_dir()):
        raise UserError(f"{folder} is not a folder")
    name = profile if is_own else f"{profile}-{_slug(folder)}"
    return Study(root, parsed, profile, folder, name, notebook)


def _slug(folder: Path) -> str:
    """Return a folder's name in letters that every file system takes, and a digest of its path.

    Without the digest `a/hands` and `b/hands` would be one study.
    """
    name = "".join(c if c.isalnum() or c in "-_." else "-" for c in folder.name)
    digest = hashlib.sha256(str(folder).encode(errors="surrogateescape")).hexdigest()[:6]
    return f"{name.strip('-.')[:40] or 'data'}-{digest}"
