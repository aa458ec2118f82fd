"""A copy of this checkout for tests that run the whole study, or change what it is made from."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import yaml

ROOT = Path(__file__).parents[2]
FILES = ("study.yaml", "Snakefile", "requirements.lock")
FOLDERS = ("notebooks", "h2a_lib", "cluster", "report")
TIMES = ["seconds", "images_per_second"]
MADE = ("__pycache__", "_output", "_staged.json", "_variables.yml", "figures", "fonts", ".*")


def copy_checkout(folder: Path) -> Path:
    """Copy what the study is made from, and nothing that it makes."""
    folder.mkdir(parents=True)
    for name in FILES:
        shutil.copy2(ROOT / name, folder / name)
    for name in FOLDERS:
        made = shutil.ignore_patterns(*(MADE if name == "report" else MADE[:1]))
        shutil.copytree(ROOT / name, folder / name, ignore=made)
    return folder


def shrink_smoke(folder: Path, experiments: dict | None = None) -> None:
    """Reduce the copy's smoke study to an age run, a sex run and some experiments of one's own."""
    experiments = experiments or {}
    content = yaml.safe_load((folder / "study.yaml").read_text())
    content["experiments"] |= experiments
    content["profiles"]["smoke"] |= {
        "experiments": ["resnet18", "sex", *experiments],
        "more_seeds": {},
        "settings_of": {},
        "settings": {"image_size_px": 32, "epochs": 1, "batch_size": 8},
    }
    (folder / "study.yaml").write_text(yaml.safe_dump(content, sort_keys=False))


def environment(folder: Path, **more: str) -> dict[str, str]:
    """Return the environment in which the copy's own library is the one that is imported."""
    return os.environ | {"PYTHONPATH": str(folder), "COLUMNS": "200"} | more


def h2a(folder: Path, *words: str, **more: str) -> subprocess.CompletedProcess:
    """Run the command line in a copy."""
    return subprocess.run(
        command(*words),
        cwd=folder,
        env=environment(folder, **more),
        capture_output=True,
        text=True,
        check=False,
    )


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "h2a_lib.commands.app", *words]


def metrics(folder: Path) -> dict[str, bytes]:
    """Return the metrics and predictions of every run of the smoke study, by path."""
    runs = folder / "runs" / "smoke"
    files = [*runs.glob("*/*/metrics.json"), *runs.glob("*/*/predictions.csv")]
    return {str(file.relative_to(runs)): file.read_bytes() for file in files}


def shown(folder: Path) -> dict[str, bytes | str]:
    """Return the figures, tables and variables of the smoke study, by path.

    Left out is what tells of the making: when, on which machine, for how long.
    """
    results = folder / "results" / "smoke"
    pictures = [*results.glob("figures/*.svg"), *results.glob("figures/*.png")]
    variables = [file for file in results.glob("variables/*.yml") if file.name != "study.yml"]
    result: dict = {file.name: file.read_bytes() for file in (*pictures, *variables)}
    for file in results.glob("tables/*.csv"):
        table = pd.read_csv(file)
        result[file.name] = table.drop(columns=TIMES, errors="ignore").to_csv()
    return result
