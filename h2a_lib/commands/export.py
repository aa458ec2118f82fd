"""`h2a export`: a run's network for other programs or for release, with its model card.

A release is a folder with the network in half precision and what was fitted on the selection hands,
without patient-level data. `h2a predict --run` takes it.
"""

import shutil
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from h2a_lib.commands.predict import IMAGE_ALONE
from h2a_lib.commands.shared import open_run, short
from h2a_lib.errors import UserError, unknown
from h2a_lib.files import (
    sha256,
    write_atomically,
    write_bytes,
    write_folder_atomically,
    write_json,
    write_text,
)

if TYPE_CHECKING:
    import pandas as pd
    from torch import nn

    from h2a_lib.study.runs import Run

SUFFIXES = {"onnx": ".onnx", "torch": ".pt2"}
# Traced with this many pictures; any other number works.
TRACED = 2


def command(
    run: Annotated[
        Path,
        typer.Option(
            help="Folder of a finished run or released network.",
            show_default="the included network",
        ),
    ] = IMAGE_ALONE,
    to: Annotated[
        str, typer.Option(help="onnx, torch, or release: a folder for h2a predict --run.")
    ] = "onnx",
    out: Annotated[
        Path | None, typer.Option(help="File of the model, or folder of the release.")
    ] = None,
    terms: Annotated[
        str, typer.Option(help="For a release: terms of use of the data, printed with predictions.")
    ] = "",
    external: Annotated[
        Path | None,
        typer.Option(help="For a release: further radiographs whose errors the card reports."),
    ] = None,
    external_source: Annotated[
        str, typer.Option(help="One sentence describing them, for the card.")
    ] = "",
    note: Annotated[
        str, typer.Option(help="For a release: one sentence on its results, for the card.")
    ] = "",
) -> None:
    """Export a run's network, with its normalisation, and a model card."""
    loaded = open_run(run)
    if to == "release":
        typer.echo(short(release(loaded, out, terms, external, external_source, note)))
        return
    if terms or external or external_source or note:
        raise UserError("--terms, --external and --note belong to a release: add --to release")
    for file in export(loaded, to, out):
        typer.echo(short(file))


def release(
    run: "Run",
    out: Path | None = None,
    terms: str = "",
    external: Path | None = None,
    external_source: str = "",
    note: str = "",
) -> Path:
    """Write a network that can be shared, without the prediction of any single hand.

    The folder is by default `<experiment>-seed-<k>` in the working directory. `external` is a
    folder of further radiographs, as `h2a data check` takes it: the card reports their errors. A
    UserError if the run is a release itself, or the folder has something else in it.
    """
    from safetensors.torch import load_file
    from safetensors.torch import save as to_bytes

    from h2a_lib.analysis import out_of_distribution
    from h2a_lib.analysis.calibration import Calibration
    from h2a_lib.analysis.model_card import model_card
    from h2a_lib.analysis.prediction import check_estimates
    from h2a_lib.study import runs

    check_estimates(run)
    if run.is_released:
        raise UserError(f"{run.folder} is already a release")
    out = out or Path(f"{run.config.experiment}-seed-{run.config.seed}")
    if out.exists() and not (out / runs.CALIBRATION).is_file():
        raise UserError(f"{out} exists and is not a release: name another folder with --out")
    with write_folder_atomically(out) as folder:
        for name in ("config.yaml", "metrics.json", "provenance.json"):
            shutil.copy(run.folder / name, folder / name)
        weights = load_file(run.folder / runs.WEIGHTS)
        # Vectors are few, and the variances of batch norm need the range.
        halved = {k: v.half() if v.ndim > 1 else v for k, v in weights.items()}
        write_bytes(folder / runs.WEIGHTS, to_bytes(halved))
        digest = sha256(folder / runs.WEIGHTS)
        write_json(folder / "model.json", run.model | {"weights_sha256": digest, "terms": terms})
        write_bytes(folder / runs.CALIBRATION, Calibration.of(run).as_json())
        if (detector := out_of_distribution.load_detector(run.folder)) is not None:
            out_of_distribution.save_detector(detector, folder)
        released = runs.load(folder)
        others = None if external is None else _evaluate(released, external)
        card = model_card(run, out.name, "release", terms, others, external_source, note)
        write_text(folder / "README.md", card)
    return out


def _evaluate(run: "Run", folder: Path) -> "pd.DataFrame":
    """Return the predictions of a data folder's hands, split "external"."""
    from h2a_lib.analysis.prediction import join_labels, predict_files
    from h2a_lib.data import sources

    inspection = sources.inspect(folder, progress=False)
    inspection.raise_if_unsound()
    labels = inspection.labels.set_index("id")
    sexes = labels["male"].to_dict() if run.config.sex_input else None
    predictions = predict_files([folder / path for path in labels["path"]], run, sexes)
    return join_labels(predictions, labels).assign(split="external")


def export(run: "Run", to: str, out: Path | None = None) -> tuple[Path, Path]:
    """Write a run's network, with its normalisation, and a model card; return both files.

    `to` is "onnx", or "torch" for a program of `torch.export` (load with
    `torch.export.load(path).module()`). `out` is by default `<experiment>-seed-<k>.onnx` (or .pt2),
    in the run's folder, or of a release in the working directory; the card has the suffix .md. A
    UserError if `to` is not known, `out` has another suffix, or the run estimates neither age nor
    sex.
    """
    from h2a_lib.analysis.model_card import model_card
    from h2a_lib.analysis.prediction import check_estimates

    check_estimates(run)
    if to not in SUFFIXES:
        raise unknown("export format", to, (*SUFFIXES, "release"))
    suffix = SUFFIXES[to]
    name = f"{run.config.experiment}-seed-{run.config.seed}{suffix}"
    out = out or (Path(name) if run.is_released else run.folder / name)
    if out.suffix != suffix:
        raise UserError(f"{out}: a model for {to} ends in {suffix}")
    _write(run, to, out, _metadata(run, to, out.name))
    card = out.with_suffix(".md")
    write_text(card, model_card(run, out.name, to))
    return out, card


def portable(run: "Run") -> "nn.Module":
    """Return a module from images, (n, 1, s, s) float 0 to 255 (and male, (n,)), to predictions.

    These are age_months and male_probability, (n,) each, as far as the run has them, in this
    order; the probability is calibrated on the selection hands, as that of `h2a predict` is.
    """
    import torch
    from torch import Tensor, nn

    from h2a_lib.analysis.calibration import Calibration
    from h2a_lib.models.dataset import normalise
    from h2a_lib.models.inference import predictor_of

    temperature = Calibration.of(run).temperature

    class Portable(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = predictor_of(run).network

        def forward(self, images: Tensor, male: Tensor | None = None) -> tuple[Tensor, ...]:
            how, scales = run.config.pixel_norm, predictor_of(run).scales
            pixels = normalise(images / 255, how, scales.pixels, training=False)
            outputs = self.network(pixels, male)
            columns = []
            if "age" in outputs:
                months = outputs["age"] * scales.age_sd_months + scales.age_mean_months
                columns.append(months.clamp(min=0))
            if "sex" in outputs:
                logits = outputs["sex"] / temperature.value if temperature else outputs["sex"]
                columns.append(torch.sigmoid(logits))
            return tuple(columns)

    return Portable().eval()


def _metadata(run: "Run", to: str, file_name: str) -> dict[str, str]:
    """Return what is written into the model's file: how to use it, and what it is not for."""
    from h2a_lib.analysis.calibration import Calibration
    from h2a_lib.analysis.model_card import usage

    config, temperature = run.config, Calibration.of(run).temperature
    return {
        "notice": "Research, not for diagnosis.",
        "usage": usage(run, to, file_name),
        "trained_on": f"{run.tier_label}. {run.terms}".strip(),
        "run": f"{run.name}, configuration {config.digest}",
        "image_size_px": str(config.image_size_px),
        "geometry": config.geometry,
        "contrast": config.contrast,
        "temperature": f"{temperature.value if temperature else 1:.4g}",
    }


def _write(run: "Run", to: str, out: Path, metadata: dict[str, str]) -> None:
    import torch

    from h2a_lib.analysis.model_card import output_names

    side = run.config.image_size_px
    random = torch.Generator().manual_seed(0)
    example: tuple[torch.Tensor, ...] = (torch.rand(TRACED, 1, side, side, generator=random) * 255,)
    shapes: tuple[dict[int, object], ...] = ({0: torch.export.Dim("hands", min=1, max=65536)},)
    names = ["images"]
    if run.config.sex_input:
        example, shapes = (*example, torch.tensor([0.0, 1.0])), (*shapes, dict(shapes[0]))
        names.append("male")
    module = portable(run)
    if to == "torch":
        exported = torch.export.export(module, example, dynamic_shapes=shapes)
        with write_atomically(out) as temporary, warnings.catch_warnings():
            # Of weights that lie in one storage; they are on the processor.
            warnings.filterwarnings("ignore", "No complete tensor found", UserWarning)
            torch.export.save(exported, temporary, extra_files=metadata)
        return
    with warnings.catch_warnings():
        # That images and sexes share the axis of hands, which is so.
        warnings.filterwarnings("ignore", "# The axis name", UserWarning)
        program = torch.onnx.export(
            module,
            example,
            input_names=names,
            output_names=output_names(run),
            dynamic_shapes=shapes,
            dynamo=True,
            verbose=False,
        )
    assert program is not None  # None is for a conversion of the caller's own
    program.model.metadata_props.update(metadata)
    with write_atomically(out) as temporary:
        program.save(temporary)
