"""kill -9 of a whole study, again and again: the same command ends it as if nothing had been.

The kills fall at random moments from the first image cache to the rendering of the deck; every
other one ends the command alone, which takes its steps with it, the others all its processes at
once. A campaign of 20 kills: set H2A_CAMPAIGN=1. With -s it is printed what was at work at each.
"""

import contextlib
import itertools
import json
import os
import random
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from checkout import command, copy_checkout, environment, h2a, metrics, shown

from h2a_lib.study import workspace

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif("H2A_CAMPAIGN" not in os.environ, reason="a campaign: set H2A_CAMPAIGN=1"),
]
N_KILLS = 20
RECORDS = (
    "cache/smoke/*/step.json",
    "runs/smoke/*/*/step.json",
    "results/smoke/steps/*.json",
)
SECONDS = 900  # a call that takes longer hangs


def test_a_study_killed_again_and_again_ends_as_if_nothing_had_been(smoke, tmp_path):
    folder = copy_checkout(tmp_path / "h2a")
    chance = random.Random(20)
    n_steps = len(workspace.locate("smoke", root=folder).planned_runs()) + 9 + n_caches(folder)
    # So many steps are done at each kill: none at the first, all but the deck at the last.
    moments = [0, *sorted(chance.choices(range(1, n_steps - 1), k=N_KILLS - 2)), n_steps - 1]
    made: dict[Path, tuple[int, int]] = {}
    hit = []
    for k, n_done in enumerate(moments):
        study = Study(folder, n_cores=1 + k % 2, log=tmp_path / f"{k + 1}.log")
        kind = {0: "cache", n_steps - 1: "deck"}.get(n_done)
        study.wait_until(
            lambda n=n_done, kind=kind, study=study: (
                len(steps_done(folder)) >= n
                and (kind is None or kind in kinds_at_work(study.process))
            )
        )
        if kind is None:  # else it may be over
            time.sleep(chance.uniform(0, 3))
        hit.append(sorted(kinds_at_work(study.process)))
        study.kill(all_at_once=bool(k % 2))
        now = files_made(folder)
        redone = {file for file in made if now.get(file) != made[file]}
        assert not redone, f"kill {k}: what had been done was done again"
        made = now
        print(f"kill {k + 1}: {len(steps_done(folder))} of {n_steps} steps done, hit: {hit[-1]}")
    done = h2a(folder, "report", "--profile", "smoke")
    assert done.returncode == 0, done.stderr[-3000:]
    assert {file for file in made if files_made(folder).get(file) != made[file]} == set()

    assert len(metrics(folder)) == 2 * len(workspace.locate("smoke", root=folder).planned_runs())
    assert metrics(folder) == metrics(smoke) and shown(folder) == shown(smoke)
    kinds = set(itertools.chain(*hit))
    assert {"cache", "training", "notebook", "deck"} <= kinds
    assert "Nothing to do" in h2a(folder, "report", "--profile", "smoke").stdout


class Study:
    """A command that makes the study, and all that it has started."""

    def __init__(self, folder: Path, n_cores: int, log: Path):
        self.log = log
        with log.open("w") as reply:
            self.process = psutil.Popen(
                command("report", "--profile", "smoke", "--cores", str(n_cores)),
                cwd=folder,
                env=environment(folder),
                stdout=reply,
                stderr=subprocess.STDOUT,
            )

    def wait_until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + SECONDS
        while not condition():
            self.assert_at_work()
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def assert_at_work(self) -> None:
        code = self.process.poll()
        assert code is None, f"it ended with code {code}: {self.log.read_text()[-5000:]}"

    def kill(self, all_at_once: bool) -> None:
        """Kill the command, alone or with all that it has started, until nothing is left of it."""
        self.assert_at_work()
        everything = self.process.children(recursive=True)
        self.process.kill()
        for one in everything if all_at_once else ():
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()
        self.process.wait()
        deadline = time.monotonic() + 60
        while any(is_at_work(one) for one in everything):
            assert time.monotonic() < deadline, "a step outlived its command"
            time.sleep(0.05)


def n_caches(folder: Path) -> int:
    study = workspace.locate("smoke", root=folder)
    return len({study.cache_folder(study.run_config(name)) for name, _ in study.planned_runs()})


def kinds_at_work(process: psutil.Process) -> set[str]:
    """Return the kinds of step that processes of a study perform."""
    kinds = set()
    for one in process.children(recursive=True):
        with contextlib.suppress(psutil.Error):
            words = one.cmdline()
            if "h2a_lib.pipeline.perform" in words:
                name = words[-1].split("/")[0]
                kinds.add(
                    {"cache": "cache", "train": "training", "deck": "deck"}.get(name, "notebook")
                )
    return kinds


def steps_done(folder: Path) -> list[Path]:
    """Return the records of the steps that are done."""
    return sorted({record for pattern in RECORDS for record in folder.glob(pattern)})


def files_made(folder: Path) -> dict[Path, tuple[int, int]]:
    """Return the files of all steps that are done, each with what changes if it is made anew."""
    outputs = {
        folder / name
        for record in steps_done(folder)
        for name in json.loads(record.read_text())["outputs"]
    }
    return {file: (file.stat().st_ino, file.stat().st_mtime_ns) for file in outputs}


def is_at_work(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
