# The graph of the study: which notebook makes which files. `h2a report` runs it.
#
# A step is stale when its notebook, its parameters, its data, or a file of the library that it
# imports (found by reading the imports) has changed.
import atexit
import json
import os
import shlex
import sys
from contextlib import ExitStack
from pathlib import Path

from h2a_lib.study import runs
from h2a_lib.pipeline import forkserver as warm
from h2a_lib.analysis.comparison.runs import DEFAULT, comparisons
from h2a_lib.pipeline.dependencies import files_used_by
from h2a_lib.pipeline.graph import cores
from h2a_lib.pipeline.processes import end_with_leader
from h2a_lib.study.workspace import REPORT_FILES, locate

end_with_leader()

# On a cluster's node the steps of a job share what is imported; on this machine `h2a` sees to it.
if workflow.remote_exec and warm.ADDRESS not in os.environ:
    shared = ExitStack()
    atexit.register(shared.close)
    os.environ.update(shared.enter_context(warm.server()))

study = locate(config["asked"]["profile"], config["asked"]["data"])
RESULTS = study.results_folder.relative_to(study.root)
RUNS = f"runs/{study.name}"
DECK = study.deck_folder.relative_to(study.root)
REPORT = [DECK / name for name in REPORT_FILES]
DATA = [RESULTS / "labels.csv", RESULTS / "data.json"]
ALL_RUNS = [f"{RUNS}/{name}/seed-{seed}/metrics.json" for name, seed in study.planned_runs()]
COMMON = {"profile": study.profile_name, "data": str(study.data_folder), "interactive": False}
# Quoted for the shell, then for Snakemake, which fills in what stands in braces.
DATA_FOLDER = shlex.quote(str(study.data_folder)).replace("{", "{{").replace("}", "}}")
STUDY = f"--profile {study.profile_name} --data {DATA_FOLDER}"
WARM = f"{sys.executable} -m h2a_lib.pipeline.forkserver"
H2A = f"{WARM} h2a_lib.commands"
NOTEBOOK = "{input.notebook} {output.notebook} {params.parameters:q}"
EXECUTE = f"{WARM} h2a_lib.pipeline.notebooks {NOTEBOOK}"
EXECUTE_ON_GPU = f"{WARM} h2a_lib.pipeline.notebooks --gpu {NOTEBOOK}"


def parameters(**more):
    return json.dumps(COMMON | more)


def library(source):
    return [file.relative_to(study.root) for file in files_used_by(study.root / source)]


def config_of(wildcards):
    return study.run_config(wildcards.experiment, int(wildcards.seed))


def cache_folder_of(settings):
    return study.cache_folder(settings).relative_to(study.root) / "cache.json"


def cache_of(wildcards):
    return cache_folder_of(config_of(wildcards))


def age_configs():
    """Settings of the profile's experiments that estimate age."""
    names = dict(study.planned_runs())
    configs = {name: study.run_config(name) for name in names}
    return {name: config for name, config in configs.items() if config.estimates_age}


def longest_first(wildcards):
    """Priority of a run: a long one that begins late would end alone."""
    return round(1000 * config_of(wildcards).relative_cost)


def report_sources():
    """The deck's own files: what git would keep of report/."""
    kept = ("*.yml", "*.qmd", "*.css", "*.bib", "filters/*", "templates/*")
    return sorted(
        file.relative_to(study.root)
        for pattern in kept
        for file in (study.root / "report").glob(pattern)
        if not file.name.startswith("_variables")
    )


def tells_sex():
    names = dict(study.planned_runs())
    return any(study.run_config(name).estimates_sex for name in names)


def figures(*names):
    return [RESULTS / "figures" / f"{name}" for name in names]


wildcard_constraints:
    experiment="[^/]+",
    seed="[0-9]+",


rule all:
    input:
        REPORT,


rule runs:
    input:
        ALL_RUNS,


rule cache:
    input:
        DATA,
        library("h2a_lib/data/cache.py"),
    output:
        f"cache/{study.name}/{{size}}px-{{geometry}}-{{contrast}}/cache.json",
    threads: cores()
    shell:
        f"{WARM} h2a_lib.data.cache {RESULTS} {DATA_FOLDER} {{wildcards.size}} "
        "{wildcards.geometry} {wildcards.contrast} {output}"


rule population:
    input:
        DATA,
        library("notebooks/01_population.ipynb"),
        notebook="notebooks/01_population.ipynb",
    output:
        figures("ages_by_sex.svg", "label_audit.svg", "split_balance.svg"),
        RESULTS / "variables/population.yml",
        notebook=RESULTS / "notebooks/01_population.ipynb",
    params:
        parameters=parameters(),
    shell:
        EXECUTE


rule images:
    input:
        DATA,
        library("notebooks/02_images.ipynb"),
        notebook="notebooks/02_images.ipynb",
    output:
        figures(
            "raw_grid.png",
            "resolutions.svg",
            "contrast_exposure.svg",
            "scanned_digital.svg",
            "extremes.png",
        ),
        RESULTS / "variables/images.yml",
        notebook=RESULTS / "notebooks/02_images.ipynb",
    params:
        parameters=parameters(),
    shell:
        EXECUTE


rule preprocessing:
    input:
        DATA,
        library("notebooks/03_preprocessing.ipynb"),
        notebook="notebooks/03_preprocessing.ipynb",
    output:
        figures("geometry.png", "pixel_normalisation.png", "contrast.png"),
        RESULTS / "variables/preprocessing.yml",
        notebook=RESULTS / "notebooks/03_preprocessing.ipynb",
    params:
        parameters=parameters(),
    shell:
        EXECUTE


rule range_test:
    input:
        cache_folder_of(study.run_config(DEFAULT)),
        DATA,
        library("notebooks/04_lr_range_test.ipynb"),
        notebook="notebooks/04_lr_range_test.ipynb",
    output:
        figures("range_test.svg"),
        RESULTS / "tables/range_test.csv",
        RESULTS / "variables/range_test.yml",
        notebook=RESULTS / "notebooks/04_lr_range_test.ipynb",
    params:
        parameters=parameters(experiment=DEFAULT),
        digest=study.run_config(DEFAULT).digest,
    resources:
        gpu=1,
    shell:
        EXECUTE_ON_GPU


rule train:
    input:
        cache_of,
        DATA,
        library("notebooks/05_train.ipynb"),
        notebook="notebooks/05_train.ipynb",
    output:
        [f"{RUNS}/{{experiment}}/seed-{{seed}}/{name}" for name in runs.FILES],
        notebook=f"{RUNS}/{{experiment}}/seed-{{seed}}/notebook.ipynb",
    params:
        parameters=lambda wildcards: parameters(
            experiment=wildcards.experiment, seed=int(wildcards.seed)
        ),
        # Stale when a setting changes, wherever in study.yaml it stands.
        digest=lambda wildcards: config_of(wildcards).digest,
    threads: lambda wildcards: config_of(wildcards).threads
    priority: longest_first
    resources:
        gpu=1,
    shell:
        EXECUTE_ON_GPU


rule compare:
    input:
        ALL_RUNS,
        "study.yaml",
        library("notebooks/06_compare_runs.ipynb"),
        notebook="notebooks/06_compare_runs.ipynb",
    output:
        figures("residual_block.svg", *(f"{name}.svg" for name in comparisons(age_configs()))),
        [RESULTS / f"tables/{name}.csv" for name in ("runs", "networks", "hyperparameters")],
        RESULTS / "variables/sheet.yml",
        RESULTS / "variables/runs.yml",
        notebook=RESULTS / "notebooks/06_compare_runs.ipynb",
    params:
        parameters=parameters(),
    shell:
        EXECUTE


rule age_answer:
    input:
        ALL_RUNS,
        library("notebooks/07_age_answer.ipynb"),
        notebook="notebooks/07_age_answer.ipynb",
    output:
        figures(
            "age_scatter.svg",
            "age_bland_altman.svg",
            "age_by_band.svg",
            "worst_cases.png",
            "age_conformal.svg",
            "robustness.svg",
            "saliency_age.png",
        ),
        RESULTS / "variables/age.yml",
        RESULTS / "variables/saliency.yml",
        RESULTS / "variables/splits.yml",
        notebook=RESULTS / "notebooks/07_age_answer.ipynb",
    params:
        parameters=parameters(),
    shell:
        EXECUTE


rule sex_answer:
    input:
        ALL_RUNS,
        library("notebooks/08_sex_answer.ipynb"),
        notebook="notebooks/08_sex_answer.ipynb",
    output:
        figures("sex_roc.svg", "sex_by_band.svg", "sex_calibration.svg", "saliency_sex.png"),
        RESULTS / "variables/sex.yml",
        notebook=RESULTS / "notebooks/08_sex_answer.ipynb",
    params:
        parameters=parameters(),
    shell:
        EXECUTE


rule clusters:
    input:
        ALL_RUNS,
        library("notebooks/09_clusters.ipynb"),
        notebook="notebooks/09_clusters.ipynb",
    output:
        figures("clusters_umap.svg", "clusters_agreement.svg"),
        RESULTS / "variables/clusters.yml",
        notebook=RESULTS / "notebooks/09_clusters.ipynb",
    params:
        parameters=parameters(),
    shell:
        EXECUTE


# What the deck is made from: the sex answer only where a run of the profile tells sex.
ANSWERS = [
    rules.population.output,
    rules.images.output,
    rules.preprocessing.output,
    rules.range_test.output,
    rules.compare.output,
    rules.age_answer.output,
    rules.clusters.output,
    *([rules.sex_answer.output] if tells_sex() else []),
]


rule answers:
    input:
        ANSWERS,


onstart:
    # What an earlier study told of sex is not for the deck of one that cannot tell it.
    for file in () if tells_sex() else map(Path, rules.sex_answer.output):
        file.unlink(missing_ok=True)
        file.with_suffix(".json").unlink(missing_ok=True)  # a figure's description


rule deck:
    input:
        ALL_RUNS,
        ANSWERS,
        library("h2a_lib/report/__init__.py"),
        report_sources(),
    output:
        REPORT,
        RESULTS / "variables/study.yml",
    params:
        renderer=config["asked"]["renderer"],
        # What it says beside the results.
        title=study.config.title,
        about=study.profile.about,
    shell:
        f"{H2A} render --renderer {{params.renderer}} {STUDY}"
