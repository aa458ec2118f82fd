"""What the project writes, each with how it is written, read and told apart from an older one."""

import hashlib
import json
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pandas as pd
import papermill
import torch
from data_folders import write_set
from PIL import Image
from squares import SETTINGS

from h2a_lib import phantoms as phantom
from h2a_lib.data import cache, fetch, sources
from h2a_lib.errors import UserError
from h2a_lib.files import read_yaml, write_folder_atomically
from h2a_lib.models import inference as evaluation
from h2a_lib.models.dataset import PixelStatistics
from h2a_lib.models.schedules import LearningRate
from h2a_lib.models.state import Checkpoint, TrainState
from h2a_lib.models.trained import Progress, Trained, save_run
from h2a_lib.pipeline import notebooks
from h2a_lib.pipeline.prepare import prepare_data
from h2a_lib.study import config, provenance, runs, workspace
from h2a_lib.study.config import RunConfig
from h2a_lib.study.results import Drawing, Results


@dataclass(frozen=True)
class Artefact:
    """One thing that is written.

    Attributes
    ----------
    write : callable
        (folder, version): write version 1 or 2.
    read : callable
        (folder) -> what a reader gets of it, comparable; None where it refuses or finds nothing.
    replaces : bool
        Whether version 2 may be written over version 1.
    """

    write: Callable[[Path, int], object]
    read: Callable[[Path], Any]
    replaces: bool = True


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def refused(read: Callable[[Path], Any]) -> Callable[[Path], Any]:
    """Turn the errors by which a reader refuses into None; any other error is a failure."""

    def reading(folder: Path) -> Any:
        try:
            return read(folder)
        except (UserError, FileNotFoundError):
            return None

    return reading


# --- the image cache ---


def write_cache(folder: Path, version: int) -> None:
    data = folder.parent / f"data-{version}"
    labels = pd.read_csv(folder.parent / f"labels-{version}.csv", dtype={"id": str})
    cache.build(labels, data, folder / "cache", **_cache_key(version), processes=1, progress=False)


def _cache_key(version: int) -> dict[str, Any]:
    return {"size_px": 24, "geometry": "pad", "contrast": "none", "fingerprint": f"data {version}"}


def read_cache(folder: Path) -> Any:
    for version in (1, 2):
        try:
            opened = cache.open(folder / "cache", cache.Key(**_cache_key(version)))
        except UserError:
            continue
        return version, opened.ids, opened.images.tobytes()
    return None


# --- checkpoint and run ---


def train_state(version: int) -> TrainState:
    """Return the state of a small network, whose weights and epoch are the version."""
    network: Any = torch.nn.Linear(40, 30)
    torch.nn.init.constant_(network.weight, version)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    schedule = LearningRate(torch.optim.lr_scheduler.ConstantLR(optimizer), False)
    progress = Progress(epoch=version, history=[{"epoch": version}])
    config = RunConfig(**SETTINGS)
    return TrainState(config, network, None, network, optimizer, schedule, progress)


def write_checkpoint(folder: Path, version: int) -> None:
    made = train_state(version)
    Checkpoint(folder / "checkpoint.pt", {"config": "c"}, 0.0).save_if_due(made)


def read_checkpoint(folder: Path) -> Any:
    if not (folder / "checkpoint.pt").exists():
        return None
    restored = train_state(0)
    Checkpoint(folder / "checkpoint.pt", {"config": "c"}, 0.0).restore(restored)
    weights: Any = restored.network.weight
    return restored.progress.epoch, restored.progress.history, weights.tolist()


def write_run(folder: Path, version: int) -> None:
    config = RunConfig(**(SETTINGS | {"lr": version * 1e-3}))
    columns = {"id": ["1", "2"], "age_months": [10.0, 20.0], "male": [True, False]}
    observed = pd.DataFrame(
        columns | {"split": "validation", "predicted_age_months": [version, 7.0]}
    )
    weights = {"w": torch.full((500,), float(version))}
    trained = Trained(
        network=None,
        best_weights=weights,
        last_weights=weights,
        scales=evaluation.Scales(100.0 * version, 40.0, PixelStatistics(0.2, 0.1)),
        progress=Progress(1, [{"epoch": 1}], [{"step": 1, "lr": 0.1}], 1.0, 1, last_error=1.0),
        predictions=observed,
        predictions_train=observed.assign(split="train"),
        precision="32-true",
        code={"commit": "c"},
    )
    with mock.patch.object(provenance, "now", return_value="now"):
        save_run(folder, config, trained, f"data {version}", "made up")


def read_run(folder: Path) -> Any:
    run = runs.load(folder)
    # Whatever a reader takes from the folder.
    return (
        run.config.model_dump_json(),
        json.dumps(run.metrics),
        json.dumps(run.model),
        *(table.to_csv() for table in (run.history, run.steps)),
        *(table.to_csv() for table in (run.predictions, run.predictions_train)),
        *(digest(folder / name) for name in ("weights_last.safetensors", runs.WEIGHTS)),
        json.dumps(run.provenance),
    )


# --- notebook, figure, table, variables, manifest, folders ---


def write_notebook(folder: Path, version: int) -> None:
    source = folder.parent / "source.ipynb"

    def cells_one_by_one(_: str, output: str, **__: Any) -> None:
        notebook = nbformat.read(source, as_version=4)
        notebook.metadata["version"] = version
        for cell in notebook.cells:  # papermill saves after each cell
            cell.outputs = [nbformat.v4.new_output("stream", text="x" * 3000)]
            nbformat.write(notebook, output)

    with mock.patch.object(papermill, "execute_notebook", cells_one_by_one):
        notebooks.execute(source, folder / "05_train.ipynb", {"n": version})


def read_notebook(folder: Path) -> Any:
    if not (folder / "05_train.ipynb").exists():
        return None
    notebook = nbformat.read(folder / "05_train.ipynb", as_version=4)
    nbformat.validate(notebook)
    return notebook.metadata["version"], [len(cell.outputs) for cell in notebook.cells]


def _results(folder: Path) -> Results:
    return Results(folder, folder.parent, "made up")


def write_figure(folder: Path, version: int, raster: bool = False) -> None:
    figure, axes = plt.subplots(figsize=(2, 2))
    axes.plot([0, version])
    drawing = Drawing(
        figure,
        "scatter",
        alt="A line that goes up.",
        caption=f"version {version}",
        is_raster=raster,
    )
    _results(folder).save(drawing, [folder.parent / f"input-{version}.csv"])


def write_radiograph(folder: Path, version: int) -> None:
    write_figure(folder, version, raster=True)


def _read_picture(folder: Path, suffix: str) -> Any:
    picture = folder / "figures" / f"scatter.{suffix}"
    beside = picture.with_suffix(".json")
    if not picture.exists() or not beside.exists():
        return None
    if suffix == "png":
        Image.open(picture).load()
    else:
        assert picture.read_text().rstrip().endswith("</svg>")
    return digest(picture), json.loads(beside.read_text())


def read_figure(folder: Path) -> Any:
    return _read_picture(folder, "svg")


def read_radiograph(folder: Path) -> Any:
    return _read_picture(folder, "png")


def write_table(folder: Path, version: int) -> None:
    _results(folder).table(pd.DataFrame({"x": np.arange(500) * version}), "numbers")


def read_table(folder: Path) -> Any:
    file = folder / "tables" / "numbers.csv"
    return pd.read_csv(file)["x"].tolist() if file.exists() else None


def write_variables(folder: Path, version: int) -> None:
    _results(folder).variables("age", {f"key_{k}": f"{version} months" for k in range(100)})


def read_variables(folder: Path) -> Any:
    file = folder / "variables" / "age.yml"
    return read_yaml(file) if file.exists() else None


def write_manifest(folder: Path, version: int) -> None:
    """Labels and fingerprint of a data set, as `h2a report` writes them before anything runs."""
    prepare_data(_space(folder, version))


def _space(folder: Path, version: int) -> workspace.Study:
    study_file = config.load(folder.parent / "study.yaml")
    return workspace.Study(folder, study_file, "smoke", folder.parent / f"data-{version}", "own")


def read_manifest(folder: Path) -> Any:
    # Read as the graph's jobs do: both files or nothing.
    study = _space(folder, 1)
    if not study.data_file.exists() or not study.labels_file.exists():
        return None
    return study.data, study.labels.to_csv()


def write_phantoms(folder: Path, version: int) -> None:
    how = {"height_px": 64, "processes": 1, "overwrite": True}
    phantom.write(folder / "hands", 2, version, **how)


def read_phantoms(folder: Path) -> Any:
    if not (folder / "hands").exists():
        return None
    result = sources.inspect(folder / "hands", progress=False)
    result.raise_if_unsound()
    return result.fingerprint


def write_fetched(folder: Path, version: int) -> None:
    fetch.fetch([folder.parent / f"data-{version}.zip"], folder / "fetched")


def read_fetched(folder: Path) -> Any:
    result = sources.inspect(folder / "fetched", progress=False)
    result.raise_if_unsound()
    return result.fingerprint


def write_deck(folder: Path, version: int) -> None:
    with write_folder_atomically(folder / "deck") as deck:
        for name in ("slides.html", "slides.pdf", "paper.html", "paper.pdf"):
            (deck / name).write_text(f"{version}\n" * 2000)


def read_deck(folder: Path) -> Any:
    if not (folder / "deck").exists():
        return None
    return {file.name: file.read_text() for file in sorted((folder / "deck").iterdir())}


ARTEFACTS = {
    name: Artefact(globals()[f"write_{name}"], refused(globals()[f"read_{name}"]), replaces)
    for name, replaces in {
        **dict.fromkeys(("cache", "checkpoint", "run", "notebook", "figure", "radiograph"), True),
        **dict.fromkeys(("table", "variables", "manifest", "phantoms", "deck"), True),
        # What is there already, and another, is never overwritten.
        "fetched": False,
    }.items()
}


def prepare(folder: Path) -> None:
    """Make what the artefacts are made from."""
    for version in (1, 2):
        ids = [str(100 * version + k) for k in range(40)]
        data = write_set(folder / f"data-{version}", ids)
        with zipfile.ZipFile(folder / f"data-{version}.zip", "w") as archive:
            for file in sorted(data.rglob("*.*")):
                archive.write(file, file.relative_to(data))
        labels = sources.inspect(data, progress=False).labels
        labels.to_csv(folder / f"labels-{version}.csv", index=False)
        (folder / f"input-{version}.csv").write_text(f"{version}")
    shutil.copy(Path(__file__).parents[2] / "study.yaml", folder)
    cells = [nbformat.v4.new_code_cell("n = 1", metadata={"tags": ["parameters"]})]
    cells += [nbformat.v4.new_code_cell(f"{k}") for k in range(3)]
    kernel = {"kernelspec": {"name": "python3", "display_name": "", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), folder / "source.ipynb")
