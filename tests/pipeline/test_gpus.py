"""Runs take turns on a GPU."""

import threading

import pytest
from checkout import ROOT

from h2a_lib.commands import doctor
from h2a_lib.pipeline import gpus


@pytest.fixture(autouse=True)
def machine(tmp_path, monkeypatch):
    """Give a machine of two GPUs, and locks of the test's own."""
    monkeypatch.setenv(gpus.VISIBLE, "0,1")
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(gpus, "SECONDS_BETWEEN_TRIES", 0.01)


def test_each_of_two_runs_has_a_gpu_of_its_own(monkeypatch):
    with gpus.one_gpu() as first:
        monkeypatch.setenv(gpus.VISIBLE, "0,1")  # as another process sees it
        with gpus.one_gpu() as second:
            assert {first, second} == {"0", "1"}


def test_a_third_run_waits_until_a_gpu_is_free(monkeypatch):
    taken = []

    def third():
        with gpus.one_gpu() as name:
            taken.append(name)

    monkeypatch.setattr(gpus, "listed", lambda: ["0"])
    with gpus.one_gpu():
        waits = threading.Thread(target=third)
        waits.start()
        waits.join(timeout=0.2)
        assert waits.is_alive() and not taken
    waits.join(timeout=10)
    assert taken == ["0"]


def test_jobs_of_slurm_do_not_wait_for_one_another(monkeypatch):
    monkeypatch.setattr(gpus, "listed", lambda: ["0"])  # each sees its own as the first
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    with gpus.one_gpu() as one:
        monkeypatch.setenv("SLURM_JOB_ID", "8")
        with gpus.one_gpu() as other:
            assert one == other == "0"


def test_another_user_of_the_machine_opens_locks_of_their_own(monkeypatch, tmp_path):
    monkeypatch.setattr(gpus, "listed", lambda: ["0"])
    for user in (1000, 1001):
        monkeypatch.setattr("os.getuid", lambda user=user: user)
        with gpus.one_gpu():
            pass
    first, second = (list(folder.iterdir()) for folder in tmp_path.glob("h2a-gpus*"))
    assert first and second


def test_where_there_is_no_gpu_nothing_is_taken(monkeypatch):
    monkeypatch.setenv(gpus.VISIBLE, "")
    with gpus.one_gpu() as name:
        assert name is None


@pytest.fixture
def smi(tmp_path, monkeypatch):
    """Return a function that gives the machine GPUs of these sizes in MiB, as nvidia-smi says."""

    def give(*sizes: int) -> None:
        listed = "".join(f"GPU {i}: Made up (UUID: GPU-{i})\\n" for i in range(len(sizes)))
        sized = "".join(f"{i}, GPU-{i}, {size}\\n" for i, size in enumerate(sizes))
        program = tmp_path / "nvidia-smi"
        program.write_text(
            f'#!/bin/sh\nif [ "$1" = -L ]; then printf "{listed}"; else printf "{sized}"; fi\n'
        )
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
        monkeypatch.delenv(gpus.VISIBLE)

    return give


def test_a_large_gpu_has_places_for_several_runs_and_a_small_one_for_one(smi, monkeypatch):
    smi(143_771, 8_192, 49_140)
    assert gpus.places() == [
        *(("0", 0), ("1", 0), ("2", 0)),  # first one on each
        *(("0", 1), ("2", 1)),
        *(("0", 2), ("0", 3)),
    ]
    monkeypatch.setenv(gpus.VISIBLE, "GPU-2,1")
    assert gpus.places() == [("GPU-2", 0), ("1", 0), ("GPU-2", 1)]


def test_the_doctor_says_how_many_runs_the_gpus_have_room_for(smi):
    smi(143_771, 8_192)
    result = {finding.what: finding.state for finding in doctor.machine_findings(ROOT)}
    assert result["GPUs"] == "2, room for 5 runs at a time"


def test_as_many_runs_share_a_gpu_as_it_has_places(smi, monkeypatch):
    smi(49_140)
    monkeypatch.setattr(gpus, "listed", lambda: ["0"])  # whatever this process has taken
    taken = []

    def third():
        with gpus.one_gpu() as name:
            taken.append(name)

    with gpus.one_gpu() as first:
        with gpus.one_gpu() as second:
            waits = threading.Thread(target=third)
            waits.start()
            waits.join(timeout=0.3)
            assert (first, second) == ("0", "0")
            assert waits.is_alive() and not taken
        waits.join(timeout=10)
    assert taken == ["0"]


def test_a_gpu_of_unknown_size_has_one_place(monkeypatch):
    monkeypatch.setattr(gpus, "_memory_gb", dict)
    assert gpus.places() == [("0", 0), ("1", 0)]
