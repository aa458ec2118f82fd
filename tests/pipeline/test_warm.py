"""Warm processes: a fork of the server behaves as a process of one's own."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from h2a_lib.pipeline import forkserver as warm
from h2a_lib.pipeline.kernels import StudyKernelManager

# What a job can see of where it runs, and how it ends.
JOB = """
import json, os, sys
print(json.dumps([sys.argv[1:], os.getcwd(), os.environ.get("COLOUR"), __name__]))
print("trouble", file=sys.stderr)
print(os.getppid(), "wave" in sys.modules, file=open("seen.txt", "w"))
sys.exit(int(sys.argv[1]))
"""
# One that does not end by itself, and says when it has begun and that it was asked to end.
LONG = """
import os, signal, sys, time
def asked(number, _):
    sys.exit(number)
signal.signal(signal.SIGTERM, asked)
open("pid.txt.new", "w").write(str(os.getpid()))
os.rename("pid.txt.new", "pid.txt")
try:
    time.sleep(60)
except KeyboardInterrupt:
    sys.exit(77)
"""


@pytest.fixture
def start(tmp_path):
    """Return a function that starts a job of a test's own in its folder."""
    (tmp_path / "job.py").write_text(JOB)
    (tmp_path / "long.py").write_text(LONG)

    def start(address: dict[str, str], *command: str) -> subprocess.Popen:
        return subprocess.Popen(
            [sys.executable, "-m", "h2a_lib.pipeline.forkserver", *command],
            cwd=tmp_path,
            env=os.environ | address | {"COLOUR": "blue"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


def wait_for(condition, seconds: float = 20):
    end = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)
    return result


def pid_in(folder: Path) -> int:
    file = folder / "pid.txt"
    return int(wait_for(lambda: file.exists() and file.read_text()))


def is_alive(pid: int) -> bool:
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rsplit(")", 1)[1].split()[0] != "Z"


def test_an_import_of_a_minute_on_a_cold_disk_is_not_a_fault(start, tmp_path, monkeypatch, capfd):
    (tmp_path / "cold.py").write_text(
        "import os, signal\nfor _ in range(600): os.kill(os.getpid(), signal.SIGALRM)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with warm.server(("cold",)) as address:
        job = start(address, "job", "3")
        assert job.communicate(timeout=60) == (
            f'[["3"], "{tmp_path}", "blue", "__main__"]\n',
            "trouble\n",
        )
    assert capfd.readouterr().err == ""


def test_a_job_sees_and_does_the_same_with_a_server_and_without(start, tmp_path):
    with warm.server(("wave",)) as address:
        observed = []
        for where in (address, {}):
            job = start(where, "job", "3", "a b")
            out, err = job.communicate(timeout=60)
            parent, has_module = (tmp_path / "seen.txt").read_text().split()
            observed.append((out, err, job.returncode))
            warm_one = bool(where) and sys.platform == "linux"
            assert (has_module == "True") == warm_one, "what was imported once is there"
            assert (int(parent) != os.getpid()) == warm_one
    assert observed[0] == observed[1]
    assert json.loads(observed[0][0]) == [["3", "a b"], str(tmp_path), "blue", "__main__"]
    assert observed[0][1:] == ("trouble\n", 3)


def test_without_an_answer_the_job_runs_by_itself(start):
    job = start({warm.ADDRESS: "/tmp/nobody-listens-here"}, "job", "0")
    assert json.loads(job.communicate(timeout=60)[0])[0] == ["0"]
    assert job.returncode == 0


linux = pytest.mark.skipif(sys.platform != "linux", reason="without a server nothing is forked")


@linux
def test_many_jobs_at_once_do_not_mix_their_output(start):
    with warm.server(()) as address:
        jobs = [start(address, "job", str(i)) for i in range(8)]
        for i, job in enumerate(jobs):
            assert json.loads(job.communicate(timeout=60)[0])[0] == [str(i)]
            assert job.returncode == i


@linux
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 15), (signal.SIGINT, 77)])
def test_a_job_hears_the_signals_that_its_client_gets(start, tmp_path, number, code):
    with warm.server(()) as address:
        job = start(address, "long")
        pid_in(tmp_path)
        job.send_signal(number)
        assert job.wait(timeout=20) == code


@linux
def test_a_job_ends_with_its_client_and_the_others_do_not(start, tmp_path):
    with warm.server(()) as address:
        job = start(address, "long")
        pid = pid_in(tmp_path)
        job.kill()
        wait_for(lambda: not is_alive(pid))
        other = start(address, "job", "5")
        assert other.wait(timeout=20) == 5


@linux
@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        ("raise ValueError('no such hand')", 1, "ValueError: no such hand"),
        ("import sys; sys.exit('no such hand')", 1, "no such hand"),
        ("import atexit; atexit.register(print, 'last', flush=True)", 0, ""),
        ("import threading, time\n"
         "threading.Thread(target=lambda: (time.sleep(0.2), print('last'))).start()", 0, ""),
    ],
    ids=["error", "exit with words", "at exit", "thread"],
)  # fmt: skip
def test_a_job_ends_as_a_process_of_its_own_would(start, tmp_path, body, code, message):
    (tmp_path / "ending.py").write_text(body)
    with warm.server(()) as address:
        ended = [start(where, "ending") for where in (address, {})]
        for job in ended:
            out, err = job.communicate(timeout=60)
            assert job.returncode == code
            assert message in err
            assert ("last" in body) == (out == "last\n")


@linux
def test_a_job_that_is_killed_is_reported_as_failed(start, tmp_path):
    with warm.server(()) as address:
        job = start(address, "long")
        os.kill(pid_in(tmp_path), signal.SIGKILL)
        assert job.wait(timeout=20) == 128 + signal.SIGKILL


@linux
def test_a_server_that_nobody_asks_does_not_finish_its_imports(tmp_path, monkeypatch):
    (tmp_path / "slow.py").write_text("import time; time.sleep(20)")
    monkeypatch.chdir(tmp_path)
    began = time.monotonic()
    with warm.server(("slow",)):
        pass
    assert time.monotonic() - began < 10


@linux
def test_nothing_outlives_whoever_started_the_server(start, tmp_path):
    owner = (
        "import sys, time\nfrom h2a_lib.pipeline import forkserver as warm\n"
        "with warm.server(()) as address:\n"
        "    print(address[warm.ADDRESS], flush=True)\n    time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", owner], stdout=subprocess.PIPE, text=True)
    job = start({warm.ADDRESS: process.stdout.readline().strip()}, "long")
    pid = pid_in(tmp_path)
    process.kill()
    process.wait()
    wait_for(lambda: not is_alive(pid))
    assert job.wait(timeout=20) == 1


def test_a_kernel_is_interrupted_but_not_on_its_way_out():
    kernel = StudyKernelManager()
    with pytest.raises(RuntimeError, match="No kernel is running"):
        asyncio.run(kernel._async_interrupt_kernel())
    kernel.shutting_down = True
    asyncio.run(kernel._async_interrupt_kernel())


def test_a_client_whose_server_breaks_off_ends_without_a_traceback(tmp_path):
    """As after an interrupt of the whole study: the request is not even read."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "warm"))
    listener.listen()
    client = subprocess.Popen(
        [sys.executable, "-m", warm.__name__, "json.tool"],
        env=os.environ | {warm.ADDRESS: str(tmp_path / "warm")},
        stderr=subprocess.PIPE,
        text=True,
    )
    connection, _ = listener.accept()
    time.sleep(0.5)
    connection.close()
    _, message = client.communicate(timeout=30)
    assert (client.returncode, message) == (1, "")
