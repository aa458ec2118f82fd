"""The GPUs of this machine, and how many runs at a time each has room for."""

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from h2a_lib.pipeline.environment import temporary_parent

VISIBLE = "CUDA_VISIBLE_DEVICES"
SECONDS_BETWEEN_TRIES = 0.5
# Of a GPU's memory, for each run: ResNet-34 with batches of 64 at 224 px took less than half.
GB_A_RUN = 24
# What one leaves idle while it starts and evaluates, others use; how many more pay is not measured.
MOST_RUNS = 4


def listed() -> list[str]:
    """Return the GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    if VISIBLE in os.environ:
        return [name for name in os.environ[VISIBLE].split(",") if name not in ("", "-1")]
    lines = [line for line in _nvidia_smi("-L") if line.startswith("GPU ")]
    return [str(number) for number in range(len(lines))]


def _nvidia_smi(*options: str) -> list[str]:
    """Return the lines of nvidia-smi's answer; none where it is not there, or fails."""
    try:
        command = ["nvidia-smi", *options]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return []
    return done.stdout.splitlines()


def places() -> list[tuple[str, int]]:
    """Return where runs can be at a time: (GPU, number of the place on it), each GPU's first first.

    A large GPU takes several: one by one they would leave it idle while they start.
    """
    gigabytes = _memory_gb()
    room = {
        name: min(MOST_RUNS, max(1, int(gigabytes.get(name, 0) // GB_A_RUN))) for name in listed()
    }
    return [(name, place) for place in range(MOST_RUNS) for name in room if place < room[name]]


def _memory_gb() -> dict[str, float]:
    """Return each GPU's memory by its number and by its UUID."""
    memory: dict[str, float] = {}
    query = ("--query-gpu=index,uuid,memory.total", "--format=csv,noheader,nounits")
    for line in _nvidia_smi(*query):
        number, uuid, mebibytes = (part.strip() for part in line.split(","))
        memory |= dict.fromkeys((number, uuid), float(mebibytes) * 2**20 / 1e9)
    return memory


@contextlib.contextmanager
def one_gpu() -> Iterator[str | None]:
    """Take a place on a GPU, waiting for one if need be; None where there is no GPU.

    The lock is the kernel's: it goes with the process, however that ends. Runs of several studies,
    and those started by hand, take turns too.
    """
    from filelock import FileLock, Timeout

    free = places()
    if not free:
        yield None
        return
    # Slurm gives a GPU to one job alone, and may number those of each job from 0: only the steps of
    # one job take turns then. Another user's lock could not be opened.
    own = f"h2a-gpus-{os.getuid()}"
    folder = Path(temporary_parent(), own, os.environ.get("SLURM_JOB_ID", ""))
    folder.mkdir(parents=True, exist_ok=True)
    before = os.environ.get(VISIBLE)
    while True:
        for name, place in free:
            lock = FileLock(folder / f"{name}.{place}.lock")
            try:
                lock.acquire(timeout=0)
            except Timeout:
                continue
            os.environ[VISIBLE] = name
            try:
                yield name
            finally:
                if before is None:
                    del os.environ[VISIBLE]
                else:
                    os.environ[VISIBLE] = before
                lock.release()
            return
        time.sleep(SECONDS_BETWEEN_TRIES)
