"""Mixed precision where the processor has its arithmetic, and nowhere else."""

import pytest
import torch

from h2a_lib.models import precision


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("fpu avx512f avx512_bf16", "bf16-mixed"),
        ("fpu amx_tile amx_bf16", "bf16-mixed"),
        ("fpu avx2 avx512f", "32-true"),
    ],
)
def test_auto_follows_the_flags_of_the_processor(flags, expected, tmp_path, monkeypatch):
    info = tmp_path / "cpuinfo"
    info.write_text(f"processor\t: 0\nflags\t\t: {flags}\n\nprocessor\t: 1\nflags\t\t: {flags}\n")
    read = precision.cpu_flags(info)
    assert read == set(flags.split())
    monkeypatch.setattr(precision, "cpu_flags", lambda: read)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert precision.resolve("auto") == expected


def test_what_the_settings_say_is_used_and_a_machine_that_does_not_say_has_none(tmp_path):
    assert precision.resolve("32-true") == "32-true"
    assert precision.cpu_flags(tmp_path / "none") == set()
