"""Kills, full disks and failed calls at every point of every write: nothing half is ever accepted.

`H2A_INJECTIONS=1` in the environment prints how many faults of which kind were injected.
"""

import errno
import itertools
import os
import shutil
import tempfile
from pathlib import Path

import cv2
import matplotlib as mpl
import pytest
from artefacts import ARTEFACTS, prepare
from injection import Fault, in_child

from h2a_lib import runs  # noqa: F401 (what the children use is imported once, before the fork)

# Bytes at which a file ends for the kernel: at once, in headers, in the middle, near the end.
SHARES = (0.0, 0.002, 0.05, 0.2, 0.4, 0.5, 0.6, 0.8, 0.9, 0.97, 0.999)
CODES = (errno.ENOSPC, errno.EIO)


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


@pytest.mark.slow
@pytest.mark.skipif("H2A_CAMPAIGN" not in os.environ, reason="a campaign: set H2A_CAMPAIGN=1")
def test_no_fault_in_any_write_leaves_what_is_half_and_accepted(workshop, artefact):
    name, made = artefact
    folder = workshop / name
    contents = {}
    for version in (1, 2):
        renew(folder)
        outcome, n_calls = in_child(lambda v=version: made.write(folder, v), folder, None)
        assert outcome.how == "done", outcome
        contents[version] = made.read(folder)
        shutil.copytree(folder, folder.with_name(f"{name}-{version}"))
    assert contents[1] is not None and contents[2] is not None and contents[1] != contents[2]
    largest = max(file.stat().st_size for file in folder.rglob("*") if file.is_file())

    injected = dict.fromkeys(("killed", "failed", "passed"), 0)
    faults = [
        *(Fault("kill at call", at) for at in range(1, n_calls + 1)),
        *(Fault("error at call", at, code) for at in range(1, n_calls + 1) for code in CODES),
        *(
            Fault(kind, int(share * largest))
            for kind, share in itertools.product(("kill at byte", "error at byte"), SHARES)
        ),
    ]
    for fault, earlier in itertools.product(faults, (None, 1)):
        renew(folder, folder.with_name(f"{name}-1") if earlier else None)
        outcome, _ = in_child(lambda: made.write(folder, 2), folder, fault)
        found = made.read(folder)
        allowed = [None, contents[2]] + ([contents[1]] if earlier else [])
        assert found in allowed, f"{name}: {fault} left something that is neither old nor new"
        if outcome.how == "done":
            assert found == contents[2], f"{name}: {fault} passed unnoticed"
        full = fault.kind == "error at byte" or fault.code == errno.ENOSPC
        if full and outcome.how not in ("done", "killed"):
            assert outcome.how == "UserError", f"{name}: {fault}: {outcome}"
            assert "cannot be written" in outcome.said
        # The same command mends it.
        assert in_child(lambda: made.write(folder, 2), folder, None)[0].how == "done"
        assert made.read(folder) == contents[2], f"{name}: not mended after {fault}"
        kind = {"killed": "killed", "done": "passed"}.get(outcome.how, "failed")
        injected[kind] += 1
    if os.environ.get("H2A_INJECTIONS"):
        print(f"\n{name}: {n_calls} calls; {injected}")
    assert injected["killed"] > 10 and injected["failed"] > 10
