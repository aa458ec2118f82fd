"""Kills, full disks and failed calls at every point of every write: nothing half is ever accepted.

`H2A_CAMPAIGN=1` in the environment injects all faults, without it every eighth is; with
`H2A_INJECTIONS=1` (and -s) it is printed how many of which kind were.
"""

import errno
import itertools
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import cv2
import matplotlib as mpl
import pytest
from artefacts import ARTEFACTS, prepare
from injection import Fault, in_child

# Bytes at which a file ends for the kernel: at once, in headers, in the middle, near the end.
SHARES = (0.0, 0.002, 0.05, 0.2, 0.4, 0.5, 0.6, 0.8, 0.9, 0.97, 0.999)
CODES = (errno.ENOSPC, errno.EIO)
# All take 4 minutes on one core; by the stride no kind of fault is left out.
EACH = 1 if "H2A_CAMPAIGN" in os.environ else 8


@pytest.fixture(scope="module")
def workshop():
    """Return a folder with what the artefacts are made from, in memory where there is room."""
    mpl.use("Agg")
    cv2.setNumThreads(1)
    shared_memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared_memory if shared_memory.is_dir() else None) as name:
        prepare(Path(name))
        yield Path(name)


@pytest.fixture(params=ARTEFACTS)
def artefact(request):
    return request.param, ARTEFACTS[request.param]


def renew(folder: Path, like: Path | None = None) -> None:
    """Empty a folder, or make it a copy of another."""
    shutil.rmtree(folder, ignore_errors=True)
    if like is None:
        folder.mkdir()
    else:
        shutil.copytree(like, folder)


def faults(n_calls: int, largest: int) -> Iterator[Fault]:
    """Yield a kill and each error at each call, and both at some bytes of the largest file."""
    for at in range(1, n_calls + 1):
        yield Fault("kill at call", at)
        yield from (Fault("error at call", at, code) for code in CODES)
    for kind, share in itertools.product(("kill at byte", "error at byte"), SHARES):
        yield Fault(kind, int(share * largest))


@pytest.mark.slow
def test_no_fault_in_any_write_leaves_what_is_half_and_accepted(workshop, artefact):
    name, made = artefact
    folder, first = workshop / name, workshop / f"{name}-1"
    renew(first)
    made.write(first, 1)  # in this process, so that no child need import anything
    renew(folder, first)
    old = made.read(folder)
    renew(folder)
    assert in_child(lambda: made.write(folder, 2), folder, None)[0].how == "done"
    new = made.read(folder)
    assert old is not None and new is not None and old != new
    largest = max(file.stat().st_size for file in folder.rglob("*") if file.is_file())

    injected = Counter()
    for earlier in (None, first) if made.replaces else (None,):
        renew(folder, earlier)
        _, n_calls = in_child(lambda: made.write(folder, 2), folder, None)
        for fault in list(faults(n_calls, largest))[::EACH]:
            renew(folder, earlier)
            outcome, _ = in_child(lambda: made.write(folder, 2), folder, fault)
            result = made.read(folder)
            allowed = [new] if outcome.how == "done" else [None, new, *([old] if earlier else [])]
            assert result in allowed, f"{name}: {fault}, {outcome}: neither old nor new"
            if outcome.how not in ("done", "killed"):
                assert outcome.how == "UserError", f"{name}: {fault}: {outcome}"
                assert "cannot be written" in outcome.message
            # The same command mends it.
            assert in_child(lambda: made.write(folder, 2), folder, None)[0].how == "done"
            assert made.read(folder) == new, f"{name}: not mended after {fault}"
            kinds = {"killed": "killed", "done": "harmless"}
            injected[kinds.get(outcome.how, "failed")] += 1
    if os.environ.get("H2A_INJECTIONS"):
        print(f"\n{name}: {n_calls} calls; {dict(injected)}")
    assert injected["killed"] > 30 / EACH and injected["failed"] > 30 / EACH
