"""The study as jobs of a real Slurm: the same numbers, one run on a GPU at a time, limits kept."""

import itertools
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from checkout import copy_checkout, h2a, metrics

from h2a_lib import workflow

pytestmark = [
    pytest.mark.slow,
    pytest.mark.slurm,
    pytest.mark.skipif("H2A_CAMPAIGN" not in os.environ, reason="a campaign: set H2A_CAMPAIGN=1"),
    pytest.mark.usefixtures("slurm"),
]


@pytest.fixture(scope="module")
def on_slurm(slurm, tmp_path_factory) -> tuple[Path, str]:
    """Return a checkout whose smoke study ran through Slurm, and what was said meanwhile."""
    folder = copy_checkout(tmp_path_factory.mktemp("on-slurm") / "h2a")
    done = h2a(folder, "report", "--profile", "smoke", "--executor", "slurm")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return folder, done.stdout + done.stderr


def test_every_step_was_a_job_with_cores_memory_time_and_for_training_a_gpu(slurm, on_slurm):
    wanted = {}
    for record in accounted(slurm):
        rule = re.match(r"rule_(\w+?)(?:_wildcards_|$)", record["Comment"])[1]
        wanted.setdefault(rule, []).append(record)
    assert len(wanted["train"]) == n_runs(on_slurm[0])
    assert {"cache", "train", "compare", "age_answer", "clusters", "deck"} <= set(wanted)
    for rule, jobs in wanted.items():
        for job in jobs:
            assert job["JobState"] == "COMPLETED", job
            assert "mem=" in job["TRES"] and "cpu=" in job["TRES"], job
            assert ("gres/gpu" in job["TRES"]) == (rule in ("train", "range_test")), job
    assert all(job["TimeLimit"] == "08:00:00" for job in wanted["train"])


def test_two_runs_were_never_on_the_one_gpu_at_once(slurm, on_slurm):
    spans = sorted(
        (job["StartTime"], job["EndTime"]) for job in accounted(slurm) if "gres/gpu" in job["TRES"]
    )
    assert len(spans) > n_runs(on_slurm[0])
    for (_, end), (start, _) in itertools.pairwise(spans):
        assert end <= start


def test_the_metrics_are_those_of_a_local_study(on_slurm, smoke):
    found, local = metrics(on_slurm[0]), metrics(smoke)
    assert len(found) == 2 * n_runs(on_slurm[0])
    assert found == local


def test_a_second_call_has_nothing_to_do(on_slurm):
    done = h2a(on_slurm[0], "report", "--profile", "smoke", "--executor", "slurm")
    assert done.returncode == 0 and "Nothing to do" in done.stdout


JOB = """#!/bin/sh
exec {python} -c '
import sys, time
sys.path.insert(0, "{tests}")
from pathlib import Path
from squares import SETTINGS, squares
from h2a_lib import runs, study
from h2a_lib.models.training import train

def tell(progress, _):
    print(progress.epoch, flush=True)
    time.sleep({pause})

config = study.RunConfig(**(SETTINGS | dict(epochs=6, augment=dict())))
hands = squares(40, n_validation=10)
trained = train(config, hands, Path("checkpoint.pt"), tell)
runs.write(Path("."), config, trained, hands.fingerprint, "made-up squares")
'
"""


def test_a_run_cut_off_by_its_time_limit_goes_on_and_ends_with_the_same_bytes(slurm, tmp_path):
    def submit(folder: Path, pause: float) -> str:
        folder.mkdir(exist_ok=True)
        job = folder / "job.sh"
        job.write_text(
            JOB.format(python=sys.executable, tests=Path(__file__).parents[1], pause=pause)
        )
        # One minute is the least that Slurm knows.
        words = ["--time=1", "--output=told.txt", "--open-mode=append", "--chdir", str(folder)]
        done = subprocess.run(
            ["sbatch", "--parsable", "--wait", *words, str(job)],
            text=True,
            capture_output=True,
            check=False,
        )
        return state_of(done.stdout.split()[0])

    assert submit(tmp_path / "whole", 0) == "COMPLETED"
    assert submit(tmp_path / "cut", 25) == "TIMEOUT"
    assert (tmp_path / "cut" / "checkpoint.pt").exists()
    assert submit(tmp_path / "cut", 0) == "COMPLETED"
    told = (tmp_path / "cut" / "told.txt").read_text().split()
    assert told.count("1") == 1 and "6" in told, "it went on, and did not begin again"
    for name in ("predictions.csv", "history.csv", "weights.safetensors"):
        whole, cut = ((tmp_path / run / name).read_bytes() for run in ("whole", "cut"))
        assert whole == cut, name


def state_of(job: str) -> str:
    told = subprocess.run(
        ["scontrol", "show", "job", job], capture_output=True, text=True, check=True
    )
    return re.search(r"JobState=(\w+)", told.stdout)[1]


def n_runs(folder: Path) -> int:
    return len(workflow.locate("smoke", root=folder).planned_runs())


def accounted(folder: Path) -> list[dict[str, str]]:
    """Return what slurmctld remembers of each job."""
    told = subprocess.run(
        ["scontrol", "--oneliner", "show", "job"], capture_output=True, text=True, check=True
    ).stdout
    jobs = [dict(re.findall(r"(\w+)=(\S*)", line)) for line in told.splitlines() if line.strip()]
    return [job for job in jobs if job.get("Comment", "").startswith("rule_")]
