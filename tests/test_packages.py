"""The ways to install agree with each other."""

import re
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
CONDA_NAMES = {
    "pytorch": "torch",
    "py-opencv": "opencv-python-headless",
    "snakemake-minimal": "snakemake",
}
ONLY_CONDA = {"python", "pip", "quarto"}


def declared() -> dict[str, str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = project["dependencies"] + project["optional-dependencies"]["dev"]
    return dict(split(line) for line in lines)


def split(requirement: str) -> tuple[str, str]:
    name, wanted = re.fullmatch(r"([A-Za-z0-9_-]+)(.*)", requirement).groups()
    return CONDA_NAMES.get(name, name), wanted


def test_environment_yml_names_the_packages_of_pyproject_with_the_same_versions():
    listed = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    pip = next(entry for entry in listed if isinstance(entry, dict))["pip"]
    names = [entry for entry in listed if isinstance(entry, str)] + pip
    conda = dict(split(entry) for entry in names if entry != "-e .")
    assert {name: conda[name] for name in conda if name not in ONLY_CONDA} == declared()
    assert "quarto" in conda
    assert "-e ." in pip


def test_lock_pins_every_declared_package_with_hashes_and_without_addresses():
    lock = (ROOT / "requirements.lock").read_text()
    pinned = set(re.findall(r"^([A-Za-z0-9._-]+)==", lock, re.MULTILINE))
    assert {name.lower() for name in declared()} <= pinned
    entries = re.split(r"^(?=[A-Za-z0-9])", lock, flags=re.MULTILINE)[1:]
    assert all("--hash=sha256:" in entry for entry in entries)
    assert "://" not in lock
