"""Two commands on one study, and what a kill -9 leaves: one works at a time, none works unseen."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from checkout import copy_checkout, environment, h2a

from h2a_lib import files
from h2a_lib.errors import UserError
from h2a_lib.pipeline import graph
from h2a_lib.pipeline.processes import LEADER, as_leader, is_alive
from h2a_lib.study import workspace

HOLD = """
import sys, time
from h2a_lib.pipeline import prepare
from h2a_lib.study import workspace
from h2a_lib.pipeline import graph
with graph.alone(workspace.locate("smoke")):
    print("working", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def held(tmp_path):
    """Return a checkout in which another process works on the study smoke, and that process."""
    folder = copy_checkout(tmp_path / "h2a")
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD],
        cwd=folder,
        env=environment(folder),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "working\n"
    yield folder, process
    process.kill()
    process.wait()


def test_the_second_of_two_says_who_works_and_stops(held):
    folder, process = held
    done = h2a(folder, "report", "--profile", "smoke")
    assert done.returncode == 2
    assert f"process {process.pid} of " in done.stderr and "wait until it has ended" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (folder / "data").exists(), "it stopped before it touched anything"


def test_a_lock_goes_with_its_process_however_that_ends(held):
    folder, process = held
    study = workspace.locate("smoke", root=folder)
    with pytest.raises(UserError, match="is at work"), graph.alone(study):
        pass
    process.send_signal(signal.SIGKILL)
    process.wait()
    with graph.alone(study), graph.alone(study):  # and may be taken again by whoever holds it
        pass


STEP = """
import os, sys, time
from h2a_lib.pipeline.processes import end_with_leader
end_with_leader()
print(os.getpid(), flush=True)
time.sleep(600)
"""
COMMAND = """
import os, subprocess, sys, time
from h2a_lib.pipeline.processes import as_leader
subprocess.Popen([sys.executable, "-c", sys.argv[1]], env=os.environ | as_leader())
time.sleep(600)
"""


def test_a_step_ends_soon_after_its_command_was_killed():
    command = subprocess.Popen(
        [sys.executable, "-c", COMMAND, STEP], stdout=subprocess.PIPE, text=True
    )
    step = int(command.stdout.readline())
    assert is_alive(step)
    command.kill()
    command.wait()
    command.stdout.read()  # closes when the step, which has it too, is gone
    deadline = time.monotonic() + 60
    while is_alive(step) and not has_ended(step):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def has_ended(process: int) -> bool:
    """Whether a process waits only to be reaped, by an init that may never do it."""
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def test_a_step_of_another_machine_is_left_to_its_cluster(monkeypatch):
    monkeypatch.setenv(LEADER, "elsewhere:1")
    ended = subprocess.run(
        [sys.executable, "-c", STEP.replace("600", "1")], capture_output=True, check=False
    )
    assert ended.returncode == 0


def test_what_a_killed_writer_left_is_swept_and_a_living_ones_is_not(tmp_path):
    script = (
        "import os, sys, pathlib\nfrom h2a_lib.files import write_atomically, "
        "write_folder_atomically\n"
        "with write_atomically(pathlib.Path(sys.argv[1], 'x.csv')) as t:\n"
        "    with write_folder_atomically(pathlib.Path(sys.argv[1], 'deck')) as d:\n"
        "        (d / 'slides.html').write_text('half')\n        os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False)
    assert len(list(tmp_path.iterdir())) == 2
    with files.write_atomically(tmp_path / "y.csv") as living:
        files.sweep(tmp_path)
        assert list(tmp_path.iterdir()) == [living]


def test_a_process_names_itself_as_the_one_to_end_with():
    assert as_leader()[LEADER].endswith(f":{os.getpid()}")
