"""`h2a export`: a run as one file for other programs, with its model card."""

import math
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, get_args

import typer

from h2a_lib.commands.shared import RunOption, check_estimates, open_run, short
from h2a_lib.errors import UserError, unknown

if TYPE_CHECKING:
    import pandas as pd
    from torch import nn

    from h2a_lib.analysis.sex.calibration import Temperature
    from h2a_lib.study.runs import Run

Target = Literal["onnx", "torch"]
SUFFIXES = {"onnx": ".onnx", "torch": ".pt2"}
# As `h2a_lib.data.images.adjust_contrast` does it.
CONTRAST_LINES = {
    "none": [],
    "equalize": ["image = cv2.equalizeHist(image)"],
    "clahe": ["image = cv2.createCLAHE(2.0, (8, 8)).apply(image)"],
    "stretch": [
        "low, high = np.percentile(image, (1, 99))",
        "image = np.rint(np.clip((image - low) / max(high - low, 1), 0, 1) * 255).astype(np.uint8)",
    ],
}
# Traced with this many pictures; any other number works.
TRACED = 2


def command(
    run: RunOption,
    to: Annotated[str, typer.Option(help="onnx or torch.")] = "onnx",
    out: Annotated[Path | None, typer.Option(help="The model's file.")] = None,
) -> None:
    """Write a run's network, with its normalisation inside, and its model card."""
    loaded = open_run(run)
    for file in export(loaded, to, loaded.tier_label, out):
        typer.echo(short(file))


def export(run: "Run", to: str, tier_label: str, out: Path | None = None) -> tuple[Path, Path]:
    """Write a run's network, with its normalisation inside, and its model card.

    Parameters
    ----------
    run : Run
    to : {"onnx", "torch"}
        ONNX, or a program of `torch.export` (load with `torch.export.load(path).module()`).
    tier_label : str
        What the data were, in words; on the card.
    out : Path, optional
        By default `<experiment>-seed-<k>.onnx` (or .pt2) in the run's folder.

    Returns
    -------
    model, card : Path
        The card is beside the model, with the suffix .md.

    Raises
    ------
    UserError
        If `to` is not known, `out` has another suffix, or the run estimates neither age nor sex.
    """
    from h2a_lib.files import write_text

    check_estimates(run)
    if to not in SUFFIXES:
        raise unknown("export format", to, get_args(Target))
    suffix = SUFFIXES[to]
    out = out or run.folder / f"{run.config.experiment}-seed-{run.config.seed}{suffix}"
    if out.suffix != suffix:
        raise UserError(f"{out}: a model for {to} ends in {suffix}")
    _write(run, to, out, _metadata(run, to, tier_label, out.name))
    card = out.with_suffix(".md")
    write_text(card, model_card(run, tier_label, out.name, to))
    return out, card


def portable(run: "Run") -> "nn.Module":
    """Return a module from images, (n, 1, s, s) float 0 to 255 (and male, (n,)), to predictions.

    These are age_months and male_probability, (n,) each, as far as the run has them, in this
    order; the probability is calibrated on the selection hands, as that of `h2a predict` is.
    """
    import torch
    from torch import Tensor, nn

    from h2a_lib.models.dataset import normalise
    from h2a_lib.models.inference import predictor_of

    temperature = _temperature(run)

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
                columns.append(outputs["age"] * scales.age_sd_months + scales.age_mean_months)
            if "sex" in outputs:
                columns.append(torch.sigmoid(outputs["sex"] / temperature.value))
            return tuple(columns)

    return Portable().eval()


def output_names(run: "Run") -> list[str]:
    """Return what the exported model gives, in order."""
    age = ["age_months"] if run.config.estimates_age else []
    return age + (["male_probability"] if run.config.estimates_sex else [])


def _temperature(run: "Run") -> "Temperature":
    """Return what calibrates the probabilities of sex; 1 for a run without."""
    from h2a_lib.analysis.selection import predictions_of
    from h2a_lib.analysis.sex.calibration import Temperature

    if not run.config.estimates_sex:
        return Temperature()
    return Temperature.fit(predictions_of(run, "selection"))


def usage(run: "Run", to: str, file_name: str) -> str:
    """Return lines of Python that crop and scale a radiograph as the run does, and ask the model.

    Only OpenCV, NumPy and a runtime are needed.
    """
    config, side = run.config, run.config.image_size_px
    area = "interpolation=cv2.INTER_AREA"
    runtime = {"onnx": "onnxruntime", "torch": "torch"}[to]
    lines = [
        f"import cv2, numpy as np, {runtime}",
        'image = cv2.imread("hand.png", cv2.IMREAD_GRAYSCALE)',
    ]
    if config.geometry.startswith("squash"):
        nearest = "interpolation=cv2.INTER_NEAREST_EXACT"
        how = nearest if config.geometry == "squash_nearest" else area
        lines += [f"image = cv2.resize(image, ({side}, {side}), {how})"]
    else:
        fit = {"center_crop": "min", "pad": "max"}[config.geometry]
        lines += [f"(h, w), s = image.shape, {fit}(image.shape)"]
    if config.geometry == "center_crop":
        kept = "image[(h - s) // 2 : (h + s) // 2, (w - s) // 2 : (w + s) // 2]"
        lines += [f"image = cv2.resize({kept}, ({side}, {side}), {area})"]
    if config.geometry == "pad":
        size = f"(round(w * {side} / s), round(h * {side} / s))"
        lines += [f"image = cv2.resize(image, {size}, {area})"]
    lines += CONTRAST_LINES[config.contrast]
    if config.geometry == "pad":
        lines += [
            f"y, x = (({side} - n) // 2 for n in image.shape)",
            f"square = np.zeros(({side}, {side}), np.uint8)",
            "square[y : y + image.shape[0], x : x + image.shape[1]] = image; image = square",
        ]
    images = "image[None, None].astype(np.float32)"
    names = ", ".join(output_names(run)) + ("," if len(output_names(run)) == 1 else "")
    if to == "onnx":
        male = ', "male": np.float32([1])' if config.sex_input else ""
        session = f'onnxruntime.InferenceSession("{file_name}")'
        lines += [f'{names} = {session}.run(None, {{"images": {images}{male}}})']
    else:
        male = ", torch.tensor([1.0])" if config.sex_input else ""
        program = f'torch.export.load("{file_name}").module()'
        lines += [f"{names} = {program}(torch.from_numpy({images}){male})"]
    return "\n".join(lines)


def _metadata(run: "Run", to: str, tier_label: str, file_name: str) -> dict[str, str]:
    """Return what is written into the model's file: how to use it, and what it is not for."""
    config = run.config
    return {
        "notice": "Research, not for diagnosis.",
        "usage": usage(run, to, file_name),
        "trained_on": tier_label,
        "run": f"{run.name}, configuration {config.digest}",
        "image_size_px": str(config.image_size_px),
        "geometry": config.geometry,
        "contrast": config.contrast,
        "temperature": f"{_temperature(run).value:.4g}",
    }


def _write(run: "Run", to: str, out: Path, metadata: dict[str, str]) -> None:
    import torch

    from h2a_lib.files import write_atomically

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


# --- the card ------------------------------------------------------------------------------------


def model_card(run: "Run", tier_label: str, file_name: str, to: str = "onnx") -> str:
    """Return the model card (after Mitchell et al. 2019, FAT*) as Markdown.

    All numbers are computed from the run's own predictions of hands it was not trained on.
    """
    from h2a_lib.analysis.sex import errors as sex

    config, temperature = run.config, _temperature(run)
    predictions = run.predictions
    if config.estimates_sex:
        predictions = temperature.calibrate(predictions)
    parts = [
        f"# {file_name}",
        "**Not a medical device. For research and teaching; not for diagnosis, and not for"
        " estimating the age of a person for any legal purpose.**",
        f"Data: **{tier_label}**. Trained on {len(run.predictions_train):,} hands; evaluated on"
        f" {len(predictions):,} others. The epoch was chosen on the selection hands, so"
        " their errors are optimistic.",
        "## What it is",
        _bullets(
            {
                "Network": f"{config.network}, one grey channel, {config.image_size_px} px, "
                f"{config.geometry}, contrast {config.contrast}, {config.pixel_norm} normalisation"
                " (inside the file)",
                "Input": "`images`, (n, 1, s, s), float32, 0 to 255"
                + ("; `male`, (n,), float32, 1 or 0" if config.sex_input else ""),
                "Output": ", ".join(f"`{name}`, (n,)" for name in output_names(run)),
                "Run": f"{run.name}, configuration {config.digest}",
                "Data fingerprint": run.model["data_fingerprint"],
                "Commit": run.provenance["commit"] or "not in a checkout",
            }
        ),
        "## How to use it",
        f"```python\n{usage(run, to, file_name)}\n```",
        *(
            [f"Probabilities are calibrated: temperature {temperature.text()}, inside the file."]
            if config.estimates_sex
            else []
        ),
        "## What it is not for",
        "Hands of adults; children with growth disorders or fractures (it is unknown whether the"
        " data contain any); views other than posteroanterior; labels of another standard than the"
        " data's. Ancestry is not recorded, nor does the standard behind the labels reflect it.",
    ]
    selection = predictions[predictions["split"] == "selection"]
    for split, hands in predictions.groupby("split", sort=True):
        if "predicted_age_months" in hands:
            parts += _age_part(str(split), hands, selection)
        if "male_probability" in hands:
            parts += _sex_part(str(split), hands, sex.choose_threshold(selection))
    return "\n\n".join(parts) + "\n"


def _age_part(split: str, hands: "pd.DataFrame", selection: "pd.DataFrame") -> list[str]:
    from h2a_lib.analysis.age import errors as age
    from h2a_lib.analysis.statistics import conformal
    from h2a_lib.analysis.statistics.bootstrap import FEW

    error = age.error(hands)
    table = age.by_band(hands)
    rows = [
        f"| {row.band} | {row.sex} | {row.n:,}{' (few)' if row.few else ''} "
        f"| {_cell(row.mae_months, row.mae_months_low, row.mae_months_high)} "
        f"| {_cell(row.bias_months, row.bias_months_low, row.bias_months_high)} |"
        for row in table.itertuples()
    ]
    lines = [
        f"## Age, {split}",
        f"Mean absolute error {error.text('months')}.",
        "\n".join(
            [
                "| labelled age | sex | n | MAE, months (95 % CI) | bias, months (95 % CI) |",
                "| --- | --- | --- | --- | --- |",
                *rows,
            ]
        ),
        f"Few: n below {FEW}; the interval is unreliable.",
    ]
    if split == "validation":
        inside = conformal.coverage(conformal.split_conformal(selection, hands)).iloc[-1]
        lines.append(
            f"{conformal.NOMINAL_COVERAGE * 100:g} % conformal intervals, fitted on the selection"
            f" hands, contained the label of {inside['coverage'] * 100:.1f} % of"
            f" n = {inside['n']:,}."
        )
    return lines


def _sex_part(split: str, hands: "pd.DataFrame", threshold: float) -> list[str]:
    from h2a_lib.analysis.sex import errors as sex
    from h2a_lib.analysis.statistics import roc

    area = roc.auc(hands["male"], hands["male_probability"])
    rows = [
        f"| {row.band} | {row.n:,}{' (few)' if row.few else ''} | {row.n_male:,} "
        f"| {_cell(row.auc, row.auc_low, row.auc_high, 2)} "
        f"| {_cell(row.accuracy, row.accuracy_low, row.accuracy_high, 2)} |"
        for row in sex.by_band(hands, threshold).itertuples()
    ]
    return [
        f"## Sex, {split}",
        f"AUC {area.text(digits=3)}. Classified as male from a probability of {threshold:.3f},"
        " chosen on the selection hands. The age label alone may predict sex better than chance:"
        " compare with the baselines of the report.",
        "\n".join(
            [
                "| labelled age | n | male | AUC (95 % CI) | accuracy (95 % CI) |",
                "| --- | --- | --- | --- | --- |",
                *rows,
            ]
        ),
    ]


def _cell(value: float, low: float, high: float, digits: int = 1) -> str:
    if math.isnan(value):  # no hand
        return "–"
    interval = "" if math.isnan(low) else f" ({low:.{digits}f} to {high:.{digits}f})"
    return f"{value:.{digits}f}{interval}"


def _bullets(items: dict[str, str]) -> str:
    return "\n".join(f"- **{name}**: {value}" for name, value in items.items())
