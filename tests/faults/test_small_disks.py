"""A disk that is really full, and one that is really read-only, under each kind of write.

A small disk of its own (tmpfs) is mounted for each; where that is not allowed the test is skipped.
"""

import contextlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from artefacts import ARTEFACTS, prepare
from injection import in_child

from h2a_lib.data import fetch

pytestmark = pytest.mark.slow
MEGABYTES = 16
# Of what the artefact takes, so much is left free: nothing, or room for the first files of it.
SHARES = (0.0, 0.3, 0.7)
PAGE = 4096


@contextlib.contextmanager
def small_disk(folder: Path):
    """Mount a disk of some megabytes."""
    folder.mkdir(exist_ok=True)
    try:
        mount("-t", "tmpfs", "-o", f"size={MEGABYTES}m", "tmpfs", folder)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("mounting a disk is not allowed here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def mount(*words: str | Path) -> None:
    subprocess.run(["mount", *words], check=True, capture_output=True)


@pytest.fixture(scope="module")
def workshop():
    """Return a folder with what the artefacts are made from."""
    with tempfile.TemporaryDirectory() as name:
        prepare(Path(name))
        yield Path(name)


@pytest.fixture(params=ARTEFACTS)
def made(request, workshop, monkeypatch):
    """Return an artefact, an empty disk, and the size of its first version."""
    monkeypatch.setattr(fetch, "SPARE_BYTES", 0)  # half a gigabyte is more than the disk has
    artefact = ARTEFACTS[request.param]
    with small_disk(workshop / request.param) as folder:
        artefact.write(folder, 1)  # in this process, so that no child need import anything
        size = used(folder)
        empty(folder)
        yield artefact, folder, size


def used(folder: Path) -> int:
    """Return what the files of a folder take of a disk, in bytes."""
    return sum(-(-file.stat().st_size // PAGE) * PAGE for file in folder.rglob("*"))


def fill(disk: Path, leave: int) -> Path:
    """Fill a disk with one file, and leave so many bytes free, in whole pages."""
    ballast = disk / "ballast"
    with ballast.open("wb") as file:
        free = shutil.disk_usage(disk).free - leave
        os.posix_fallocate(file.fileno(), 0, -(-free // PAGE) * PAGE)
    return ballast


def empty(folder: Path) -> None:
    for one in folder.iterdir():
        shutil.rmtree(one) if one.is_dir() else one.unlink()


def check_error(outcome, *messages: str) -> None:
    assert outcome.how == "UserError", outcome
    assert any(words in outcome.message for words in messages), outcome.message
    assert "\n" not in outcome.message


def mends(artefact, folder: Path) -> None:
    """Check that the same command now makes the new version."""
    assert in_child(lambda: artefact.write(folder, 2), folder, None)[0].how == "done"
    assert artefact.read(folder) is not None


@pytest.mark.parametrize("earlier", [False, True], ids=["first", "again"])
def test_a_full_disk_is_one_line_and_nothing_half_has_a_final_name(made, earlier):
    artefact, folder, size = made
    if earlier and not artefact.replaces:
        pytest.skip("is never written over another")
    for share in SHARES:
        empty(folder)
        if earlier:
            artefact.write(folder, 1)
        old = artefact.read(folder)
        ballast = fill(folder, leave=int(share * size))
        outcome, _ = in_child(lambda: artefact.write(folder, 2), folder, None)
        result = artefact.read(folder)
        ballast.unlink()
        if outcome.how == "done" and (share or earlier):  # it fitted, in the place of the old one
            assert result not in (None, old)
            continue
        # The cache and a fetch ask before they begin.
        check_error(outcome, "cannot be written: No space left on device", "GB free", "GB are free")
        mends(artefact, folder)
        # A whole new one may lie there when what comes after it did not fit.
        assert result in (old, None, artefact.read(folder))


def test_a_read_only_folder_is_one_line_and_stays_as_it_was(made):
    artefact, folder, _ = made
    if artefact.replaces:
        artefact.write(folder, 1)
    old = artefact.read(folder)
    mount("-o", "remount,ro", folder)
    outcome, _ = in_child(lambda: artefact.write(folder, 2), folder, None)
    check_error(outcome, "cannot be written: Read-only file system")
    assert artefact.read(folder) == old
    mount("-o", "remount,rw", folder)
    mends(artefact, folder)
