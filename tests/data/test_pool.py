"""As many processes as this one may use, whatever the machine has."""

import io
import os
from pathlib import Path

import pytest
from joblib.externals.loky.backend import context

from h2a_lib.commands.doctor import machine_findings
from h2a_lib.data import pool
from h2a_lib.data.pool import cores
from h2a_lib.study.provenance import machine

V2 = "/sys/fs/cgroup/cpu.max"
V1 = "/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "/sys/fs/cgroup/cpu/cpu.cfs_period_us"


@pytest.mark.parametrize(
    ("files", "affinity", "n"),
    [
        ({}, 64, 64),
        ({}, 3, 3),
        ({V2: "max 100000"}, 64, 64),
        ({V2: "400000 100000"}, 64, 4),
        ({V2: "50000 100000"}, 64, 1),
        # As some kernels show it inside a container.
        ({V2: ""}, 64, 64),
        (dict(zip(V1, ("200000", "100000"), strict=True)), 64, 2),
        (dict(zip(V1, ("-1", "100000"), strict=True)), 64, 64),
    ],
)
def test_a_containers_limits_are_respected(monkeypatch, files, affinity, n):
    monkeypatch.delenv("LOKY_MAX_CPU_COUNT", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(affinity)))
    monkeypatch.setattr(os.path, "exists", files.__contains__)
    monkeypatch.setattr(context, "open", lambda name: io.StringIO(files[name]), raising=False)
    assert cores() == machine()["cores"] == n


@pytest.mark.parametrize(
    ("files", "gigabytes"),
    [
        ({}, 64),
        ({"memory.max": "max\n"}, 64),
        ({"memory.max": ""}, 64),
        ({"memory.max": f"{2 * 2**30}\n"}, 2),
        ({"memory.limit_in_bytes": f"{3 * 2**30}\n"}, 3),
        ({"memory.limit_in_bytes": f"{2**63 - 4096}\n"}, 64),
    ],
)
def test_a_containers_memory_is_respected(monkeypatch, tmp_path, files, gigabytes):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    limits = [tmp_path / Path(file).name for file in pool.MEMORY_LIMITS]
    monkeypatch.setattr(pool, "MEMORY_LIMITS", limits)
    pages = {"SC_PHYS_PAGES": 64 * 2**18, "SC_PAGE_SIZE": 4096}
    monkeypatch.setattr(os, "sysconf", pages.__getitem__)
    assert pool.memory() == gigabytes * 2**30
    (finding,) = (x for x in machine_findings(tmp_path) if x.what == "memory")
    assert (finding.state, finding.good) == (f"{gigabytes} GB", gigabytes >= 4)
