"""The model card of a run (after Mitchell et al. 2019, FAT*), and how its network is called."""

import math
import re

import pandas as pd

from h2a_lib.analysis.age import errors as age
from h2a_lib.analysis.calibration import Calibration
from h2a_lib.analysis.comparison.labels import PER
from h2a_lib.analysis.sex import errors as sex
from h2a_lib.analysis.statistics import conformal, roc
from h2a_lib.analysis.statistics.bootstrap import FEW, capitalised, number, share_interval
from h2a_lib.study.runs import Run
from h2a_lib.study.workspace import TIER_LABELS

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
CONTRAST_WORDS = {
    "none": "contrast unchanged",
    "equalize": "histogram equalised",
    "clahe": "contrast by CLAHE",
    "stretch": "contrast stretched to the 1st to 99th percentile",
}
GEOMETRY_WORDS = {
    "center_crop": "centre square, averaged over areas to",
    "pad": "padded with black to a square, averaged over areas to",
    "squash": "averaged over areas to",
    "squash_nearest": "nearest-centre sampling to",
}
# Selection hands, whose errors are optimistic, come last.
SPLITS = ("validation", "official_validation", "test", "selection")


def output_names(run: Run) -> list[str]:
    """Return the names of the exported model's outputs, in order."""
    months = ["age_months"] if run.config.estimates_age else []
    return months + (["male_probability"] if run.config.estimates_sex else [])


def usage(run: Run, to: str, file_name: str) -> str:
    """Return lines of Python that preprocess a radiograph as the run does and apply the model.

    Only OpenCV, NumPy and a runtime are needed; for a release, the command of this library.
    """
    if to == "release":
        sex_option = " --sex female" if run.config.sex_input else ""
        return f"h2a predict hand.png --run path/to/{file_name}{sex_option}"
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


def _card_of_release(run: Run, file_name: str, to: str) -> str:
    """Return the card that came with a release, with another way to use it."""
    title, use = f"# {file_name}", f"## How to use it\n\n{_code(run, to, file_name)}\n\n"
    card = (run.folder / "README.md").read_text(encoding="utf-8")
    card = re.sub(r"^# .*", lambda _: title, card, count=1)
    return re.sub(r"## How to use it\n.*?(?=^## )", lambda _: use, card, flags=re.S | re.M)


def _out_of_scope(run: Run) -> str:
    """Name the images that the network does not apply to."""
    augment = run.config.augment
    mirrored = augment is not None and augment.flip
    is_rsna = run.tier_label == TIER_LABELS["rsna"]
    atlas = "Greulich and Pyle's atlas, on which the labels are based"
    standard = atlas if is_rsna else "that of the labels"
    images = [
        *([] if mirrored else ["right hands (mirror them first: the data show left hands)"]),
        "adults",
        "children with skeletal dysplasia, other growth disorders or fractures (the data do not "
        "record diagnoses, so errors for them are unknown)",
        "views other than posteroanterior",
        f"bone age by a standard other than {standard}",
    ]
    return (
        f"{capitalised('; '.join(images))}. The data do not record ancestry, which the standard"
        " does not account for."
    )


def _preprocessing(run: Run) -> str:
    """Describe in words how an image becomes the network's input."""
    config = run.config
    side = f"{config.image_size_px} × {config.image_size_px} px"
    return (
        f"{GEOMETRY_WORDS[config.geometry]} {side}; {CONTRAST_WORDS[config.contrast]};"
        f" pixels scaled per {PER.get(config.pixel_norm, config.pixel_norm)} (inside the network)"
    )


def _code(run: Run, to: str, file_name: str) -> str:
    return f"```{'bash' if to == 'release' else 'python'}\n{usage(run, to, file_name)}\n```"


def model_card(
    run: Run,
    file_name: str,
    to: str = "onnx",
    terms: str = "",
    external: pd.DataFrame | None = None,
    external_source: str = "",
    note: str = "",
) -> str:
    """Return the model card as Markdown; of a release, the one that came with it.

    All numbers are computed from the run's predictions of hands it was not trained on. `to` is
    "onnx", "torch" or "release", `file_name` the title, and `terms` are those of the data.
    `external` holds predictions of external hands with their labels, which one sentence in
    `external_source` describes; `note` is one on the results, such as how the recipe was tuned.
    """
    if run.is_released:
        return _card_of_release(run, file_name, to)
    config, calibration = run.config, Calibration.of(run)
    predictions, calibrated = run.predictions, []
    if (temperature := calibration.temperature) is not None:
        predictions = temperature.calibrate(predictions)
        calibrated = [
            f"Probabilities are temperature-scaled inside the file: {temperature.text()}."
        ]
    selection = predictions[predictions["split"] == "selection"]
    parts = [
        f"# {file_name}",
        "**Not a medical device. For research and teaching; not for diagnosis, and not for"
        " estimating the age of a person for any legal purpose.**",
        f"Data: **{run.tier_label}**.{terms and f' {terms}'} Trained on"
        f" {len(run.predictions_train):,} hands; evaluated on {len(predictions):,} others. The"
        " epoch was chosen on the selection hands, so errors on the selection hands are"
        f" optimistic.{note and f' {note}'}",
        "## What it is",
        _bullets(
            {
                "Network": f"{config.network}, width {config.width:g}, stem: {config.stem}, "
                "one grey channel",
                "Preprocessing": _preprocessing(run),
                "Input": "`images`, (n, 1, s, s), float32, 0 to 255"
                + ("; `male`, (n,), float32, 1 or 0" if config.sex_input else ""),
                "Output": ", ".join(f"`{name}`, (n,)" for name in output_names(run)),
                "Run": f"{run.name}, configuration {config.digest}",
                "Data fingerprint": run.model["data_fingerprint"],
                "Commit": run.provenance["commit"] or "not in a checkout",
            }
        ),
        "## How to use it",
        _code(run, to, file_name),
        *calibrated,
        "## Out of scope",
        _out_of_scope(run),
    ]
    by_split = dict([*predictions.groupby("split")])
    evaluated = [(split, by_split[split]) for split in SPLITS if split in by_split]
    if external is not None:
        evaluated.append(("additional images", external))
    for split, hands in evaluated:
        if split == "additional images" and external_source:
            parts += ["## Additional images", external_source]
        if config.estimates_age:
            parts += _age_part(split, hands, selection)
        if config.estimates_sex:
            parts += _sex_part(split, hands, calibration.threshold, run.predictions_train)
    return "\n\n".join(parts) + "\n"


def _age_part(split: str, hands: pd.DataFrame, selection: pd.DataFrame) -> list[str]:
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
        _table("| labelled age | sex | n | MAE, months (95 % CI) | bias, months (95 % CI) |", rows),
        f"Bias: mean of estimate minus label. Few: n below {FEW}; the interval is unreliable.",
    ]
    if split in ("validation", "additional images"):
        covered = conformal.split_conformal(selection, hands)["covered"]
        lines.append(
            f"{conformal.NOMINAL_COVERAGE * 100:g} % conformal intervals, fitted on the selection"
            f" hands, contained {share_interval(covered).text('%', scale=100)} of the labels."
        )
    return lines


def _sex_part(split: str, hands: pd.DataFrame, threshold: float, train: pd.DataFrame) -> list[str]:
    area = roc.auc(hands["male"], hands["male_probability"])
    by_label = roc.auc(hands["male"], sex.by_label(train, hands))
    rows = [
        f"| {row.band} | {row.n:,}{' (few)' if row.few else ''} | {row.n_male:,} "
        f"| {_cell(row.auc, row.auc_low, row.auc_high, 2)} "
        f"| {_cell(row.accuracy, row.accuracy_low, row.accuracy_high, 2)} |"
        for row in sex.by_band(hands, threshold).itertuples()
    ]
    return [
        f"## Sex, {split}",
        f"AUC {area.text(digits=3)}. From the age label alone, the AUC on the same hands is"
        f" {by_label.text(digits=3)}. A hand is classified as male if its probability is"
        f" at least {threshold:.3f}, chosen on the selection hands.",
        _table("| labelled age | n | male | AUC (95 % CI) | accuracy (95 % CI) |", rows),
    ]


def _table(heading: str, rows: list[str]) -> str:
    return "\n".join([heading, "|" + " --- |" * (heading.count("|") - 1), *rows])


def _cell(value: float, low: float, high: float, digits: int = 1) -> str:
    if math.isnan(value):  # no hand
        return "–"
    interval = "" if math.isnan(low) else f" ({number(low, digits)} to {number(high, digits)})"
    return f"{number(value, digits)}{interval}"


def _bullets(items: dict[str, str]) -> str:
    return "\n".join(f"- **{name}**: {value}" for name, value in items.items())
