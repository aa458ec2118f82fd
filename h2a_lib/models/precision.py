"""Which arithmetic a training uses: bfloat16 where the hardware has instructions for it."""

import re
from pathlib import Path
from typing import Any

import torch

# As Linux names them. Without one of them, bfloat16 is slower than float32 (docs/performance.md).
BF16_FLAGS = {"avx512_bf16", "amx_bf16"}


def resolve(precision: str) -> Any:
    """Return the precision of a training on this machine: `precision`, unless that is "auto"."""
    if precision != "auto":
        return precision
    has_bf16 = torch.cuda.is_available() or cpu_flags() & BF16_FLAGS
    return "bf16-mixed" if has_bf16 else "32-true"


def cpu_flags(info: Path = Path("/proc/cpuinfo")) -> set[str]:
    """Return the instruction sets of this processor; none where it does not say."""
    text = info.read_text() if info.exists() else ""
    flags = re.search(r"^flags\s*:(.*)", text, re.MULTILINE)
    return set(flags[1].split()) if flags else set()
