"""Runs take turns on a GPU."""

import threading

import pytest

from h2a_lib import gpus


@pytest.fixture(autouse=True)
def machine(tmp_path, monkeypatch):
    """Give a machine of two GPUs, and locks of the test's own."""
    monkeypatch.setenv(gpus.VISIBLE, "0,1")
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    monkeypatch.setattr(gpus.tempfile, "gettempdir", lambda: str(tmp_path))
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


def test_where_there_is_no_gpu_nothing_is_taken(monkeypatch):
    monkeypatch.setenv(gpus.VISIBLE, "")
    with gpus.one_gpu() as name:
        assert name is None
