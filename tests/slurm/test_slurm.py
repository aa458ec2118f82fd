"""The study as jobs of a real Slurm: the same numbers, a GPU for each run, limits kept."""

import re
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml
from checkout import copy_checkout, h2a, metrics, shown
from squares import SETTINGS, squares

from h2a_lib.models.trained import save_run
from h2a_lib.models.training import train
from h2a_lib.study import config as study
from h2a_lib.study import runs, workspace

pytestmark = [pytest.mark.slow, pytest.mark.slurm]
# A run that is slow at first, and fast when Slurm starts it again.
JOB = """#!/bin/sh
exec "{python}" -c '
import os, sys, time
sys.path[:0] = ["{tests}"]
from test_slurm import train_squares
train_squares(".", seconds_an_epoch=0 if "SLURM_RESTART_COUNT" in os.environ else 25)
'
"""


class CutOff(NamedTuple):
    """A job that will meet its time limit, and the folder of its run."""

    job: str
    folder: Path


def train_squares(folder: str | Path, seconds_an_epoch: float = 0) -> None:
    def report(progress, _):
        print(progress.epoch, flush=True)
        time.sleep(seconds_an_epoch)

    config = study.RunConfig(**(SETTINGS | {"epochs": 6, "augment": {}}))
    hands = squares(40, n_validation=10)
    trained = train(config, hands, Path(folder) / runs.CHECKPOINT, report)
    save_run(Path(folder), config, trained, hands.fingerprint, "made-up squares")


@pytest.fixture(scope="module")
def cut_off(slurm, tmp_path_factory) -> CutOff:
    """Submit a run that takes longer than its job may: it sleeps while other tests work."""
    folder = tmp_path_factory.mktemp("cut-off")
    job = folder / "job.sh"
    tests = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "helpers")]
    job.write_text(JOB.format(python=sys.executable, tests='", "'.join(tests)))
    # One minute is the least that Slurm knows.
    words = ["--time=1", "--requeue", "--output=told.txt", "--open-mode=append"]
    done = run("sbatch", "--parsable", *words, "--chdir", str(folder), str(job))
    return CutOff(done.strip(), folder)


@pytest.fixture(scope="module")
def profile(slurm, tmp_path_factory) -> Path:
    """Return the profile for many short runs: that of cluster/, its `#:` taken away."""
    folder = tmp_path_factory.mktemp("profile")
    text = (Path(__file__).parents[2] / "cluster/slurm/config.yaml").read_text()
    settings = yaml.safe_load(re.sub("^#: ", "", text, flags=re.MULTILINE))
    # Nobody else's queue is asked too often.
    settings["slurm-init-seconds-before-status-checks"] = 3
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    return folder


@pytest.fixture(scope="module")
def one_run(cut_off, tmp_path_factory) -> Path:
    """Return a checkout of which one run was trained through Slurm, by the profile as it is."""
    folder = copy_checkout(tmp_path_factory.mktemp("on-slurm") / "h2a")
    on_slurm(folder, "train", "resnet18")
    return folder


@pytest.fixture(scope="module")
def whole(one_run, profile) -> Path:
    """Return that checkout when the other steps of the study went through Slurm, in groups."""
    on_slurm(one_run, "report", "--workflow-profile", str(profile))
    return one_run


def on_slurm(folder: Path, *words: str) -> str:
    done = h2a(folder, *words, "--profile", "smoke", "--executor", "slurm")
    assert done.returncode == 0, what_failed(folder, done.stderr)
    return done.stdout


def what_failed(folder: Path, messages: str) -> str:
    """Return the end of the log of each job that failed: Snakemake keeps those alone."""
    logs = sorted((folder / ".snakemake/slurm_logs").rglob("*.log"))
    ends = [f"{log.name}:\n{log.read_text()[-1500:]}" for log in logs]
    return "\n".join([*ends, *(str(job) for job in accounted()), messages[-500:]])


def test_a_run_is_a_job_with_the_cores_memory_time_and_gpu_of_the_profile(one_run):
    jobs = {re.match(r"rule_([a-z]+)", job["Comment"])[1]: job for job in accounted()}
    cache, run = jobs["cache"], jobs["train"]
    assert cache["JobState"] == run["JobState"] == "COMPLETED"
    assert {"cpu=2", "mem=8000M"} <= set(cache["TRES"].split(",")) and not has_gpu(cache)
    assert {"cpu=1", "mem=16000M"} <= set(run["TRES"].split(",")) and has_gpu(run)
    assert (cache["TimeLimit"], run["TimeLimit"]) == ("01:00:00", "08:00:00")


def test_the_whole_study_is_a_few_jobs_and_each_that_trains_has_a_gpu(whole):
    jobs = [job for job in accounted() if job["Comment"].startswith("rule_")]
    assert all(job["JobState"] == "COMPLETED" for job in jobs)
    # A job for each run alone would be more than forty.
    assert len(jobs) <= 2 + 8
    for job in jobs:
        assert has_gpu(job) == bool(re.search("train|range_test", job["Comment"])), job["Comment"]
    at_once = max(
        sum(other["StartTime"] <= job["StartTime"] < other["EndTime"] for other in jobs)
        for job in jobs
        if has_gpu(job)
    )
    assert at_once == 2, "there are two GPUs"


def test_metrics_figures_and_tables_are_those_of_a_local_study(whole, smoke):
    assert len(metrics(whole)) == 2 * len(workspace.locate("smoke", root=whole).planned_runs())
    assert metrics(whole) == metrics(smoke)
    assert shown(whole) == shown(smoke)


def test_a_second_call_has_nothing_to_do(whole, profile):
    assert "Nothing to do" in on_slurm(whole, "report", "--workflow-profile", str(profile))


def test_a_run_cut_off_by_its_time_limit_is_requeued_and_ends_with_the_same_bytes(
    cut_off, tmp_path
):
    assert ended(cut_off.job) == "TIMEOUT"
    assert (cut_off.folder / runs.CHECKPOINT).exists()
    run("scontrol", "requeue", cut_off.job)
    # Slurm would wait for two minutes.
    run("scontrol", "update", f"JobId={cut_off.job}", "StartTime=now", "TimeLimit=10")
    assert ended(cut_off.job) == "COMPLETED"
    lines = (cut_off.folder / "told.txt").read_text().splitlines()
    epochs = [int(line) for line in lines if line.isdigit()]
    assert epochs.count(1) == 1 and epochs[-1] == 6, "it went on, and did not begin again"
    train_squares(tmp_path)
    for name in ("predictions.csv", "history.csv", "weights.safetensors"):
        assert (cut_off.folder / name).read_bytes() == (tmp_path / name).read_bytes(), name


def ended(job: str) -> str:
    """Wait until a job has ended, and return how."""
    for _ in range(600):
        state = re.search(r"JobState=(\w+)", run("scontrol", "show", "job", job))[1]
        if state not in ("PENDING", "RUNNING", "CONFIGURING", "COMPLETING", "REQUEUED"):
            return state
        time.sleep(0.5)
    raise AssertionError(f"job {job} is still {state}")


def has_gpu(job: dict[str, str]) -> bool:
    return any("gpu" in value for key, value in job.items() if key.startswith("TresPer"))


def accounted() -> list[dict[str, str]]:
    """Return what slurmctld remembers of each job of the study."""
    reply = run("scontrol", "--oneliner", "show", "job")
    jobs = [dict(re.findall(r"(\w+)=(\S*)", line)) for line in reply.splitlines() if line.strip()]
    return [job for job in jobs if job.get("Comment", "").startswith("rule_")]


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout
