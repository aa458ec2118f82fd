"""The steps of a study: the one table of its notebooks, and what each step needs and makes.

The Snakefile, publishing and the tests read this table. To add a figure to a slide, name its file
in the outputs of its notebook; what a notebook makes beyond that is kept too.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from h2a_lib.errors import unknown
from h2a_lib.study import runs
from h2a_lib.study.config import DEFAULT, RunConfig
from h2a_lib.study.workspace import REPORT_FILES, Study


@dataclass(frozen=True)
class Notebook:
    """A notebook of the study, and the step that executes it.

    `needs` is what must be made before: the "data" alone, the default experiment's images
    ("cache"), or all "runs". `outputs`, relative to `results/<study>/`, are what slides or other
    steps read; they are checked when the notebook has run, and whenever it is asked whether it must
    run. What the report is made with stands in `parameters`, so a default that somebody has saved
    in the notebook's parameters cell does not reach the report. `reads` ("", "default", "default
    image_size_px", "external" or "study.yaml") is what its results depend on, besides the runs.
    """

    name: str
    step: str
    needs: str
    outputs: tuple[str, ...]
    parameters: Mapping[str, Any] = field(default_factory=dict)
    reads: str = ""


TRAINING = "05_train"
NOTEBOOKS = (
    Notebook(
        "01_population",
        "population",
        needs="data",
        outputs=(
            "figures/ages_by_sex.svg",
            "figures/label_audit.svg",
            "figures/split_balance.svg",
            "tables/counts.csv",
            "variables/population.yml",
            "variables/splits.yml",
        ),
    ),
    Notebook(
        "02_images",
        "images",
        needs="data",
        outputs=(
            "figures/raw_grid.png",
            "figures/resolutions.svg",
            "figures/contrast_exposure.svg",
            "figures/background.svg",
            "figures/extremes.png",
            "variables/images.yml",
        ),
        reads="default image_size_px",
    ),
    Notebook(
        "03_preprocessing",
        "preprocessing",
        needs="data",
        outputs=(
            "figures/geometry.png",
            "figures/pixel_normalisation.png",
            "figures/contrast.png",
            "variables/preprocessing.yml",
        ),
        parameters={"size_px": 224},
    ),
    Notebook(
        "04_lr_range_test",
        "range_test",
        needs="cache",
        outputs=("figures/range_test.svg", "tables/range_test.csv", "variables/range_test.yml"),
        parameters={"experiment": DEFAULT, "seed": 0},
        reads="default",
    ),
    Notebook(
        "06_compare_runs",
        "compare",
        needs="runs",
        outputs=(
            "figures/residual_block.svg",
            "tables/runs.csv",
            "tables/networks.csv",
            "tables/hyperparameters.csv",
            "variables/hyperparameters.yml",
            "variables/runs.yml",
        ),
        reads="study.yaml",
    ),
    Notebook(
        "07_age_answer",
        "age_answer",
        needs="runs",
        outputs=(
            "figures/age_scatter.svg",
            "figures/age_bland_altman.svg",
            "figures/age_by_band.svg",
            "figures/age_sex_gap.svg",
            "figures/worst_cases.png",
            "figures/age_conformal.svg",
            "figures/robustness.svg",
            "figures/saliency_age.png",
            "variables/age.yml",
            "variables/saliency.yml",
        ),
        parameters={"experiment": "", "nominal_coverage": 0.9, "max_hands": 150},
        reads="external",
    ),
    Notebook(
        "08_sex_answer",
        "sex_answer",
        needs="runs",
        outputs=(
            "figures/sex_roc.svg",
            "figures/sex_by_band.svg",
            "figures/sex_calibration.svg",
            "figures/sex_maturity.svg",
            "figures/saliency_sex.png",
            "variables/sex.yml",
        ),
        parameters={"experiment": "", "max_hands": 150},
    ),
    Notebook(
        "09_clusters",
        "clusters",
        needs="runs",
        outputs=(
            "figures/clusters_umap.svg",
            "figures/clusters_agreement.svg",
            "figures/cluster_hands.png",
            "figures/mean_hands.png",
            "variables/clusters.yml",
        ),
        parameters={"experiment": "", "permutations": 1000},
    ),
)
SEX_ANSWER = "sex_answer"
# What of the package does not determine a network's weights and predictions, or does so only by
# the arrays of the cache step, on which a training depends: how files are decoded and measured.
NOT_OF_A_TRAINING = (
    "data/decode.py",
    "data/dicom.py",
    "data/grey.py",
    "data/ingest.py",
    "data/measure.py",
    "figures/",
    "phantoms/",
    "study/results.py",
    "study/provenance.py",
    "study/tables.py",
    "study/workspace.py",
)
# What git keeps of report/: the sources of slides and article.
REPORT_SOURCES = ("*.yml", "*.qmd", "*.css", "*.bib", "filters/*", "templates/**/*")
RECORD = "step.json"
DATA = "data"
# Above the priority of any run.
FIRST = 10**9


@dataclass(frozen=True)
class Step:
    """One step of a study; all paths are relative to the project.

    `name` is "train/resnet18/seed-0"; `rule` is the Snakefile's, and so of `cluster/`; `label` is
    for messages. `record` is written last: it says that the step is done, and what it was made
    with. `needs` are the steps before it, or the prepared "data". Its result is determined by the
    code of its `sources` with all that they import, but for the parts of the package in `without`;
    by the content of `files`; and by `settings`. `python -m` executes `module` with `arguments`; a
    notebook is given the parameters `passed`. `folder` is a run's, which is set aside when the run
    is repeated.
    """

    name: str
    rule: str
    label: str
    record: Path
    needs: tuple[str, ...]
    sources: tuple[str, ...]
    settings: Mapping[str, Any]
    outputs: tuple[Path, ...]
    module: str
    arguments: tuple[str, ...]
    files: tuple[Path, ...] = ()
    passed: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    folder: Path | None = None
    threads: int = 1
    gpus: int = 0
    priority: int = 0


@dataclass(frozen=True)
class Steps:
    """All steps of a study; what determines their results only once its data are prepared."""

    study: Study
    renderer: str = "auto"

    @cached_property
    def by_name(self) -> dict[str, Step]:
        """The steps, each after those that it needs."""
        before = [self._of_notebook(one) for one in self.notebooks if one.needs != "runs"]
        answers = [self._of_notebook(one) for one in self.notebooks if one.needs == "runs"]
        steps = (*self._caches(), *before, *self._trainings(), *answers, self._deck())
        return {step.name: step for step in steps}

    @cached_property
    def notebooks(self) -> tuple[Notebook, ...]:
        """Those that are executed: without sex among the estimates, not the one about it."""
        return tuple(one for one in NOTEBOOKS if one.step != SEX_ANSWER or self.estimates_sex)

    @cached_property
    def trainings(self) -> tuple[str, ...]:
        """Names of the steps that train."""
        return tuple(f"train/{name}/seed-{seed}" for name, seed in self.study.planned_runs())

    @property
    def estimates_sex(self) -> bool:
        """Whether a run of the profile estimates sex."""
        names = dict(self.study.planned_runs())
        return any(self.study.run_config(name).estimates_sex for name in names)

    @cached_property
    def data_digest(self) -> str:
        """Of labels, splits and image contents."""
        content = self.study.labels_file.read_bytes() + self.study.fingerprint.encode()
        return hashlib.sha256(content).hexdigest()[:16]

    def leading_to(self, targets: tuple[str, ...]) -> list[Step]:
        """Return some steps, named by step, by output or as "runs", and all that they need."""
        wanted = self.named(targets)
        for step in reversed(self.by_name.values()):
            if step.name in wanted:
                wanted |= set(step.needs)
        return [step for step in self.by_name.values() if step.name in wanted]

    def named(self, targets: tuple[str, ...]) -> set[str]:
        """Return the names of the steps that targets stand for, see `leading_to`."""
        steps = self.by_name.values()
        names = {str(path): {step.name} for step in steps for path in step.outputs}
        names |= {name: {name} for name in self.by_name} | {"runs": set(self.trainings)}
        for target in targets:
            if target not in names:
                raise unknown("step", target, [*self.by_name, "runs"])
        return {name for target in targets for name in names[target]}

    # --- the steps, kind by kind ---

    def _relative(self, path: Path) -> Path:
        return path.relative_to(self.study.root)

    @property
    def _results(self) -> Path:
        return self._relative(self.study.results_folder)

    def _cache_name(self, config: RunConfig) -> str:
        return f"cache/{self.study.cache_folder(config).name}"

    def _caches(self) -> Iterator[Step]:
        experiments = dict.fromkeys([*dict(self.study.planned_runs()), DEFAULT])
        configs = [self.study.run_config(name) for name in experiments]
        for name, config in {self._cache_name(config): config for config in configs}.items():
            folder = self.study.cache_folder(config)
            study = (self.study.profile_name, str(self.study.data_folder))
            yield Step(
                name,
                "cache",
                label=f"images, {folder.name}",
                record=self._relative(folder) / RECORD,
                needs=(DATA,),
                sources=("h2a_lib/data/cache.py",),
                settings={},
                outputs=(self._relative(folder) / "cache.json",),
                module="h2a_lib.pipeline.cache_images",
                arguments=(*study, config.experiment),
                threads=0,  # as many as there are
                # Behind a long run it would wait for all cores, and other runs for its images.
                priority=FIRST,
            )

    def _of_notebook(self, notebook: Notebook) -> Step:
        default = self.study.run_config(DEFAULT)
        needs = {
            "data": (DATA,),
            "cache": (DATA, self._cache_name(default)),
            "runs": (DATA, *self.trainings),
        }[notebook.needs]
        data = self.study.data if self.study.is_prepared else {}
        reads: dict[str, Any] = {
            "": {},
            "default": default.model_dump(mode="json"),
            "external": {
                "external data": data.get("external", "none")[:12],
                "external source": self.study.external_source,
            },
            "default image_size_px": {"image_size_px": default.image_size_px},
            "study.yaml": {"study.yaml": self._config_digest},
        }[notebook.reads]
        gpus = 1 if notebook.needs == "cache" else 0
        output = self._results / "notebooks" / f"{notebook.name}.ipynb"
        return Step(
            notebook.step,
            notebook.step,
            label=notebook.name,
            record=self._results / "steps" / f"{notebook.step}.json",
            needs=needs,
            settings=dict(notebook.parameters) | reads,
            outputs=(output, *(self._results / name for name in notebook.outputs)),
            gpus=gpus,
            **self._execution(notebook.name, output, notebook.parameters, gpus),
        )

    def _trainings(self) -> Iterator[Step]:
        for experiment, seed in self.study.planned_runs():
            config = self.study.run_config(experiment, seed)
            folder = self._relative(self.study.run_folder(experiment, seed))
            yield Step(
                f"train/{experiment}/seed-{seed}",
                "train",
                label=f"{experiment} (seed {seed})",
                record=folder / RECORD,
                needs=(DATA, self._cache_name(config)),
                settings=config.model_dump(mode="json"),
                outputs=tuple(folder / name for name in (*runs.FILES, "notebook.ipynb")),
                without=NOT_OF_A_TRAINING,
                folder=folder,
                threads=config.threads,
                gpus=1,
                # A long run that begins late would end alone.
                priority=round(1000 * config.relative_cost),
                **self._execution(
                    TRAINING, folder / "notebook.ipynb", {"experiment": experiment, "seed": seed}, 1
                ),
            )

    def _execution(
        self, notebook: str, output: Path, parameters: Mapping[str, Any], gpus: int
    ) -> dict[str, Any]:
        """Return how a notebook is executed, and what it depends on."""
        passed = {
            "profile": self.study.profile_name,
            "data": str(self.study.data_folder),
            "interactive": False,
            **parameters,
        }
        source = f"notebooks/{notebook}.ipynb"
        # A run on one GPU takes a place on it; one on several takes no place, but all of them.
        place = ("--gpu",) if gpus == 1 else ()
        return {
            "module": "h2a_lib.pipeline.notebooks",
            "arguments": (*place, source, str(output), json.dumps(passed)),
            "sources": (source,),
            "passed": tuple(passed),
        }

    @cached_property
    def _config_digest(self) -> str:
        content = self.study.config.model_dump_json() + self.study.profile_name
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    def _deck(self) -> Step:
        deck = self._relative(self.study.deck_folder)
        report = self.study.root / "report"
        sources = [file for pattern in REPORT_SOURCES for file in report.glob(pattern)]
        study = ("--profile", self.study.profile_name, "--data", str(self.study.data_folder))
        return Step(
            "deck",
            "deck",
            label="slides and article",
            record=self._results / "steps" / "deck.json",
            needs=(DATA, *self.trainings, *(notebook.step for notebook in self.notebooks)),
            sources=("h2a_lib/report/__init__.py", "h2a_lib/report/study_variables.py"),
            files=tuple(
                self._relative(file)
                for file in sorted(sources)
                if file.is_file() and not file.name.startswith("_variables")
            ),
            settings={
                "renderer": self.renderer,
                "title": self.study.config.title,
                "about": self.study.profile.about,
            },
            outputs=(
                *(deck / name for name in REPORT_FILES),
                self._results / "variables" / "study.yml",
            ),
            module="h2a_lib.commands",
            arguments=("render", "--renderer", self.renderer, *study),
        )


def remove_results_of_other_studies(steps: Steps) -> None:
    """Remove what an earlier study said of sex, if the present one cannot say it."""
    if steps.estimates_sex:
        return
    (notebook,) = (notebook for notebook in NOTEBOOKS if notebook.step == SEX_ANSWER)
    for name in notebook.outputs:
        file = steps.study.results_folder / name
        file.unlink(missing_ok=True)
        file.with_suffix(".json").unlink(missing_ok=True)  # a figure's description
