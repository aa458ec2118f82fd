"""What made a result: code, packages, machine, time."""

import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from h2a_lib.files import sha256

ROOT = Path(__file__).parents[2]
PACKAGES = ("torch", "torchvision", "lightning-fabric", "numpy", "pandas", "opencv-python-headless")


def code() -> dict[str, Any]:
    """Describe the code that is running: asked for when a run begins, since files may change."""
    lock = ROOT / "requirements.lock"
    return {
        "commit": _git("rev-parse", "HEAD"),
        "changed_since_commit": bool(_git("status", "--porcelain", "--untracked-files=no")),
        "lock_sha256": sha256(lock) if lock.exists() else None,
        "packages": {name: version(name) for name in PACKAGES},
    }


def now() -> str:
    """Return date and time, UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def machine() -> dict[str, Any]:
    """Describe this machine without naming it."""
    import joblib
    import torch

    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        cpu = names[0].split(":", 1)[1].strip() if names else cpu
    return {
        "system": platform.system(),
        "python": platform.python_version(),
        "cpu": cpu,
        "cores": joblib.cpu_count(),  # affinity and container limits respected
        "gpu": torch.cuda.get_device_name(0) if torch.cuda.is_available() else None,
    }


def describe_machine(machine: dict[str, Any]) -> str:
    """Return "2 cores (AMD EPYC), no GPU"."""
    return f"{machine['cores']} cores ({machine['cpu']}), {machine['gpu'] or 'no GPU'}"


def describe_commit(provenance: dict[str, Any]) -> str:
    """Return the commit of a run, and whether files had changed since."""
    commit = (provenance["commit"] or "")[:10] or "not in a checkout"
    return f"{commit} (with uncommitted changes)" if provenance["changed_since_commit"] else commit


def duration(seconds: float) -> str:
    """Return "1 h 05 min" or "3 min 20 s"."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {seconds:02d} s"


def _git(*words: str) -> str | None:
    """Return what git says, None outside a checkout."""
    try:
        done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
