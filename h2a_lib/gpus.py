"""The GPUs of this machine, and one run on each at a time."""

import contextlib
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

VISIBLE = "CUDA_VISIBLE_DEVICES"
SECONDS_BETWEEN_TRIES = 0.5


def listed() -> list[str]:
    """Return the GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    if VISIBLE in os.environ:
        return [name for name in os.environ[VISIBLE].split(",") if name not in ("", "-1")]
    try:
        told = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return []
    lines = [line for line in told.stdout.splitlines() if line.startswith("GPU ")]
    return [str(number) for number in range(len(lines))]


@contextlib.contextmanager
def one_gpu() -> Iterator[str | None]:
    """Take a GPU that no other run has, waiting for one if need be; None where there is no GPU.

    The lock is the kernel's: it goes with the process, however that ends. Runs of several studies,
    and those started by hand, take turns too.
    """
    from filelock import FileLock, Timeout

    names = listed()
    if not names:
        yield None
        return
    # Slurm gives a GPU to one job alone, and may number those of each job from 0: only the steps of
    # one job take turns then.
    folder = Path(tempfile.gettempdir(), "h2a-gpus", os.environ.get("SLURM_JOB_ID", ""))
    folder.mkdir(parents=True, exist_ok=True)
    before = os.environ.get(VISIBLE)
    while True:
        for name in names:
            lock = FileLock(folder / f"{name}.lock")
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
