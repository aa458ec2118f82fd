"""As many processes as this one may use, whatever the machine has."""

import io
import os

import pytest
from joblib.externals.loky.backend import context

from h2a_lib.data.pool import cores

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
    assert cores() == n
