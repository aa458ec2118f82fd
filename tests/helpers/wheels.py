"""The package as its users get it: a wheel in a venv that has the packages, but no checkout."""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).parents[2]
PARTS = ("h2a_lib", "pyproject.toml", "README.md", "LICENSE")


def build_wheel(folder: Path) -> Path:
    """Build the wheel from a copy: a build leaves files beside what it is built from."""
    source = folder / "source"
    source.mkdir(parents=True)
    for name in PARTS:
        if (ROOT / name).is_dir():
            shutil.copytree(
                ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__")
            )
        else:
            shutil.copy(ROOT / name, source / name)
    pip("wheel", "--no-deps", "--no-build-isolation", "-w", str(folder), str(source))
    (wheel,) = folder.glob("*.whl")
    return wheel


def plain_venv(folder: Path) -> Path:
    """Make a venv that sees this Python's packages, but not its h2a_lib; return its Python."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    python = folder / "bin" / "python"
    where = "import sysconfig; print(sysconfig.get_path('purelib'))"
    own = subprocess.run(
        [python, "-c", where], capture_output=True, text=True, check=True
    ).stdout.strip()
    # A .pth file that is found through another is not read: the checkout stays out of sight.
    Path(own, "packages.pth").write_text(sysconfig.get_path("purelib") + "\n")
    # What belongs to the packages and lies outside of them: the templates of nbconvert.
    (folder / "share").symlink_to(Path(sysconfig.get_path("data")) / "share")
    return python


def pip(*words: str, python: Path | None = None) -> None:
    """Run this Python's pip, for another Python where one is named."""
    other = [] if python is None else ["--python", str(python)]
    command = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check", *other, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def environment() -> dict[str, str]:
    """Return an environment that names no checkout."""
    kept = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    return kept | {"COLUMNS": "200"}
