"""`h2a predict`: bone age with an interval, sex with a probability, and how far to trust them.

Research, not for diagnosis.
"""

import math
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from h2a_lib.commands.shared import AgeUnitOption, ColumnsOption, check_suffix, open_run, short
from h2a_lib.errors import UserError, require_file
from h2a_lib.files import write_atomically

if TYPE_CHECKING:
    import pandas as pd

    from h2a_lib.analysis.prediction import Prediction, Predictions
    from h2a_lib.study.runs import Run

MAX_EXPLAINED = 24
# The included networks: from the image alone, and given the sex.
PRETRAINED = Path(__file__).parents[1] / "pretrained"
IMAGE_ALONE, SEX_GIVEN = PRETRAINED / "age_and_sex", PRETRAINED / "age_given_sex"


class Sex(StrEnum):
    """The values of --sex."""

    female = "female"
    male = "male"
    labels = "labels"


def command(
    files: Annotated[
        list[Path], typer.Argument(help="Radiographs in any supported format, or folders.")
    ],
    run: Annotated[
        Path | None,
        typer.Option(
            help="Folder of a finished run or released network.",
            show_default="the included networks",
        ),
    ] = None,
    sex: Annotated[
        Sex | None,
        typer.Option(help="Sex of all hands, or `labels` to read each hand's from --labels."),
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(help="A CSV with id, bone age and sex, to score the estimates.")
    ] = None,
    columns: ColumnsOption = "",
    age_unit: AgeUnitOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV, one row per file.")] = False,
    explain: Annotated[
        Path | None, typer.Option(help="Draw Grad-CAM maps of the first 24 hands to this PNG.")
    ] = None,
) -> None:
    """Estimate bone age with an interval and sex with a probability. Not for diagnosis."""
    if as_json and as_csv:
        raise UserError("choose one of --json and --csv")
    if explain is not None:
        check_suffix("--explain", explain, ".png")
        if not explain.parent.is_dir():
            raise UserError(f"--explain {explain}: the folder {explain.parent} does not exist")
    if labels is None and (columns or age_unit):
        raise UserError("--columns and --age-unit describe a label table: name it with --labels")
    if sex is Sex.labels and labels is None:
        raise UserError("--sex labels: name the label table with --labels")
    # Mistakes are reported before the imports that take seconds.
    known = _read_labels(labels, columns, age_unit)
    loaded = open_run(run or (SEX_GIVEN if sex else IMAGE_ALONE))

    import json

    from h2a_lib.analysis.prediction import NOTICE, predict_files, score

    male: bool | Mapping[str, bool] | None = None if sex is None else sex is Sex.male
    if sex is Sex.labels and known is not None:
        male = known["male"].to_dict()
    predictions = predict_files(files, loaded, male)
    if as_json:
        typer.echo(json.dumps(predictions.as_json(loaded), indent=2, ensure_ascii=False))
    elif as_csv:
        typer.echo(predictions.as_csv(), nl=False)
    else:
        trained_on = f"Trained on: {loaded.tier_label}. {loaded.terms}".strip()
        typer.echo("\n".join([*predictions.lines(), f"{trained_on} {NOTICE}"]))
    if known is not None:  # after the estimates: a table that does not fit loses none of them
        typer.echo(score(predictions, known), err=as_json or as_csv)
    if explain is not None:
        from matplotlib import style

        with style.context("default"):  # not the user's own settings
            n = draw_explanation(predictions, loaded, explain, male)
        typer.echo(f"Grad-CAM of {n} hand{'s' if n > 1 else ''}: {short(explain)}", err=True)
    raise typer.Exit(predictions.exit_code)


def _read_labels(table: Path | None, columns: str, age_unit: str | None) -> "pd.DataFrame | None":
    """Return age_months and male by id."""
    if table is None:
        return None
    require_file(table, "--labels names a CSV with id, bone age and sex")
    from h2a_lib.data.labels import TableFormat, read_labels
    from h2a_lib.data.sources import suspected_years

    form = TableFormat.parse(columns, age_unit)
    rows = read_labels(table, form)
    for warning in suspected_years(rows, str(table), form):
        typer.echo(f"warning: {warning}", err=True)
    return rows.set_index("id")


def draw_explanation(
    predictions: "Predictions", run: "Run", out: Path, male: bool | Mapping[str, bool] | None = None
) -> int:
    """Draw the first 24 hands, each beside its Grad-CAM map; return their number."""
    import numpy as np
    import torch
    from matplotlib.figure import Figure

    from h2a_lib.analysis.prediction import NOTICE
    from h2a_lib.analysis.saliency.maps import grad_cam
    from h2a_lib.data.labels import id_of
    from h2a_lib.figures.saliency import overlay
    from h2a_lib.models.inference import predictor_of

    shown = predictions.predictions[:MAX_EXPLAINED]
    if not shown:
        raise UserError("nothing to explain: no file could be read")
    images = np.stack(predictions.images[: len(shown)])
    task: Literal["age", "sex"] = "age" if run.config.estimates_age else "sex"
    sexes = None
    if male is not None:
        ids = (id_of(Path(prediction.file).name) for prediction in shown)
        each = [male[one] if isinstance(male, Mapping) else male for one in ids]
        sexes = torch.tensor(each, dtype=torch.float32)
    predictor = predictor_of(run)
    maps = grad_cam(predictor.network, predictor.normalise(images), task, sexes)
    pairs_a_row = min(3, len(shown))
    rows = math.ceil(len(shown) / pairs_a_row)
    figure = Figure(figsize=(5.4 * pairs_a_row, 3.2 * rows + 0.4), layout="constrained")
    axes = figure.subplots(rows, 2 * pairs_a_row, squeeze=False).ravel()
    for ax in axes:
        ax.set_axis_off()
    # A "$" in a name is a letter, not the start of a formula.
    plain: dict[str, Any] = {"fontsize": 11, "parse_math": False}
    for i, prediction in enumerate(shown):
        left, right = axes[2 * i], axes[2 * i + 1]
        left.imshow(images[i], cmap="gray", vmin=0, vmax=255)
        left.set_title(Path(prediction.file).name, **plain)
        overlay(images[i], maps[i], right).set_title(_title(prediction), **plain)
    figure.suptitle(f"{run.name}: Grad-CAM for {task}. {NOTICE}", **plain)
    with write_atomically(out) as temporary:
        figure.savefig(temporary, dpi=110, bbox_inches="tight", metadata={"Software": None})
    return len(shown)


def _title(prediction: "Prediction") -> str:
    from h2a_lib.analysis.statistics.bootstrap import number

    parts = []
    if prediction.age_months is not None:
        parts.append(f"{number(prediction.age_months, 0)} months")
    if prediction.male_probability is not None:
        parts.append(f"{prediction.sex} ({prediction.male_probability:.2f})")
    if prediction.out_of_distribution:
        parts.append("out of distribution")
    return ", ".join(parts)
