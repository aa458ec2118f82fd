"""`h2a predict`: bone age with an interval, sex with a probability, and how far to trust them.

Research, not for diagnosis.
"""

import csv
import io
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from h2a_lib.commands.shared import check_estimates, check_suffix, open_run, short
from h2a_lib.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from h2a_lib.analysis.calibration import Calibration
    from h2a_lib.analysis.out_of_distribution import Detector
    from h2a_lib.study.runs import Run

# Decoded and predicted together; 256 pictures of 224 px are 13 MB.
BATCH_SIZE = 256
MAX_EXPLAINED = 24
# Fewer files are not compared with the selection hands as a set.
MIN_SET = 10
# Below this p a set is called out of distribution.
SET_P = 0.01
NOTICE = "Research, not for diagnosis."


# The networks that come with the library: from the image alone, and with the sex.
PRETRAINED = Path(__file__).parents[1] / "pretrained"
IMAGE_ALONE, SEX_GIVEN = PRETRAINED / "age_and_sex", PRETRAINED / "age_given_sex"


class Sex(StrEnum):
    """The values of --sex."""

    female = "female"
    male = "male"
    labels = "labels"


def command(
    files: Annotated[
        list[Path], typer.Argument(help="Radiographs of any format, or folders of them.")
    ],
    run: Annotated[
        Path | None,
        typer.Option(help="A finished run, or a released one; by default those of the library."),
    ] = None,
    sex: Annotated[
        Sex | None, typer.Option(help="Estimate the age given the sex: of all, or by the labels.")
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(help="A CSV with id, bone age and sex: score the estimates.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV, one row a file.")] = False,
    explain: Annotated[
        Path | None, typer.Option(help="Draw Grad-CAM maps of the first 24 hands to this PNG.")
    ] = None,
) -> None:
    """Estimate bone age with an interval and sex with a probability. Not for diagnosis."""
    import json

    if as_json and as_csv:
        raise UserError("choose one of --json and --csv")
    if explain is not None:
        check_suffix("--explain", explain, ".png")
        if not explain.parent.is_dir():
            raise UserError(f"--explain {explain}: the folder {explain.parent} does not exist")
    loaded = open_run(run or (SEX_GIVEN if sex else IMAGE_ALONE))
    known = _read_labels(labels)
    if sex is Sex.labels and known is None:
        raise UserError("--sex labels: say with --labels where they are")
    male: bool | Mapping[str, bool] | None = None if sex is None else sex is Sex.male
    if sex is Sex.labels and known is not None:
        male = known["male"].to_dict()
    predictions = predict_files(files, loaded, male)
    scored = "" if known is None else score(predictions, known)
    if as_json:
        typer.echo(json.dumps(predictions.as_json(loaded), indent=2, ensure_ascii=False))
    elif as_csv:
        typer.echo(predictions.as_csv(), nl=False)
    else:
        trained_on = f"Trained on: {loaded.tier_label}. {loaded.terms}".strip()
        lines = [*predictions.lines(), scored, f"{trained_on} {NOTICE}"]
        typer.echo("\n".join(filter(None, lines)))
    if scored and (as_json or as_csv):
        typer.echo(scored, err=True)
    if explain is not None:
        n = draw_explanation(predictions, loaded, explain, male)
        typer.echo(f"Grad-CAM of {n} hand{'s' if n > 1 else ''}: {short(explain)}", err=True)
    raise typer.Exit(predictions.exit_code)


@dataclass(frozen=True)
class Prediction:
    """A run's estimates for one file.

    Attributes
    ----------
    file : str
        As it was named.
    age_months, low_months, high_months : float or None
        Bone age, at least 0, and a conformal interval that contains it; None from a run that was
        trained for sex alone. The interval is None if the run has too few selection hands.
    level : float or None
        Share of hands like the selection hands whose interval contains the labelled age.
    male_probability : float or None
        None from a run that was trained for age alone.
    sex : {"male", "female"} or None
        By the threshold chosen on the selection hands.
    distance : float or None
        From the training hands, in units of the threshold: out of distribution above 1. None where
        the run has no description of its training hands.
    """

    file: str
    age_months: float | None = None
    low_months: float | None = None
    high_months: float | None = None
    level: float | None = None
    male_probability: float | None = None
    sex: str | None = None
    distance: float | None = None

    @property
    def out_of_distribution(self) -> bool | None:
        """Whether the picture differs from the training hands; None where that is not known."""
        return None if self.distance is None else self.distance > 1

    def as_json(self) -> dict[str, Any]:
        """Return all values by name, with the age in years too."""
        years = None if self.age_months is None else round(self.age_months / 12, 2)
        return asdict(self) | {
            "age_years": years,
            "out_of_distribution": self.out_of_distribution,
            "notice": NOTICE,
        }

    def text(self) -> str:
        """Return one line for a person."""
        from h2a_lib.analysis.statistics.bootstrap import number

        parts = []
        if self.age_months is not None:
            age = f"{number(self.age_months)} months ({number(self.age_months / 12)} years)"
            parts.append(f"{age}, {self._interval()}")
        if self.male_probability is not None:
            parts.append(f"{self.sex} (probability of male {self.male_probability:.2f})")
        if self.out_of_distribution:
            parts.append(f"OUT OF DISTRIBUTION ({self.distance:.1f} times the threshold)")
        elif self.distance is None:
            parts.append("not checked for out-of-distribution input")
        return f"{self.file}: {'; '.join(parts)}"

    def _interval(self) -> str:
        from h2a_lib.analysis.statistics.bootstrap import number

        if self.low_months is None or self.high_months is None or self.level is None:
            return "no interval (too few selection hands)"
        span = f"{number(self.low_months, 0)} to {number(self.high_months, 0)}"
        return f"{self.level * 100:g} % interval {span}"


@dataclass(frozen=True)
class UnreadableFile:
    """A file that could not be read, and why."""

    file: str
    reason: str


@dataclass(frozen=True)
class SetComparison:
    """How a whole set of files compares with the selection hands.

    Attributes
    ----------
    n : int
    farther : float
        How often one of them lies farther from the training hands than a selection hand does;
        0.5 if the two sets are alike.
    p : float
        One-sided, Mann-Whitney.
    """

    n: int
    farther: float
    p: float

    @property
    def out_of_distribution(self) -> bool:
        """Whether the set as a whole differs from the training hands."""
        return self.p < SET_P

    def text(self) -> str:
        """Return one line for a person."""
        verdict = (
            "OUT OF DISTRIBUTION, so the validation error does not apply to them"
            if self.out_of_distribution
            else "like the training hands"
        )
        return (
            f"As a set, the {self.n:,} files are {verdict} (farther out than a selection hand "
            f"in {self.farther * 100:.0f} % of pairs, p = {self.p:.2g})"
        )


@dataclass(frozen=True)
class Predictions:
    """The predictions of one call, in the order of the files, and the files without one.

    Attributes
    ----------
    predictions : list of Prediction
    unreadable : list of UnreadableFile
    images : list of ndarray
        (s, s), uint8, one a prediction: the network's input.
    comparison : SetComparison or None
        From ten predictions on, where the run has a description of its training hands.
    """

    predictions: list[Prediction]
    unreadable: list[UnreadableFile] = field(default_factory=list)
    images: "list[NDArray[np.uint8]]" = field(default_factory=list)
    comparison: SetComparison | None = None

    @property
    def exit_code(self) -> int:
        """0, or 1 if a file could not be read."""
        return 1 if self.unreadable else 0

    def as_json(self, run: "Run") -> dict[str, Any]:
        """Return all of it for `json.dumps`, with the run and its data."""
        as_set = None
        if self.comparison is not None:
            as_set = asdict(self.comparison)
            as_set["out_of_distribution"] = self.comparison.out_of_distribution
        return {
            "run": run.name,
            "trained_on": run.tier_label,
            "predictions": [prediction.as_json() for prediction in self.predictions],
            "unreadable": [asdict(file) for file in self.unreadable],
            "set": as_set,
        }

    def as_csv(self) -> str:
        """Return one row a file; one that could not be read has its reason and nothing else."""
        names = [item.name for item in fields(Prediction)]
        content = io.StringIO()
        table = csv.DictWriter(content, [*names, "unreadable"], lineterminator="\n")
        table.writeheader()
        table.writerows(asdict(prediction) for prediction in self.predictions)
        table.writerows({"file": file.file, "unreadable": file.reason} for file in self.unreadable)
        return content.getvalue()

    def lines(self) -> list[str]:
        """Return one line for each file, then one for the set."""
        unreadable = [f"{file.file}: not read: {file.reason}" for file in self.unreadable]
        as_set = [] if self.comparison is None else [self.comparison.text()]
        return [prediction.text() for prediction in self.predictions] + unreadable + as_set


def predict_files(
    files: Iterable[Path | str], run: "Run", male: bool | Mapping[str, bool] | None = None
) -> Predictions:
    """Predict age and sex of hands from image files with a finished run.

    Parameters
    ----------
    files : iterable of path
        Of any format that `data.decode.read` takes, prepared as the run's own images were. A
        folder stands for the radiographs in it.
    run : Run
    male : bool or mapping of str to bool, optional
        Sex of all of them, or of each by its id; required by a run that has sex as an input.

    Raises
    ------
    UserError
        If the run needs the sex and it is not given, or is given it without need. A bad file
        raises nothing: it is listed as unreadable.
    """
    from h2a_lib.data import images
    from h2a_lib.data.grey import ImageError
    from h2a_lib.data.labels import id_of

    check_estimates(run)
    if run.config.sex_input and male is None:
        raise UserError(f"{run.name} has sex as an input: say --sex male or --sex female")
    if male is not None and not run.config.sex_input:
        raise UserError(f"{run.name} has no sex as an input and would not use it: leave out --sex")
    predictor = _FilePredictor.of(run)
    config = run.config
    predictions: list[Prediction] = []
    unreadable: list[UnreadableFile] = []
    inputs: list[NDArray[np.uint8]] = []
    names: list[str] = []
    sexes: list[bool | None] = []
    for file in _expand(files):
        its_sex = male.get(id_of(file.name)) if isinstance(male, Mapping) else male
        if config.sex_input and its_sex is None:
            unreadable.append(UnreadableFile(str(file), "the labels have no sex for it"))
            continue
        try:
            inputs.append(
                images.prepare(file, config.image_size_px, config.geometry, config.contrast)
            )
            names.append(str(file))
            sexes.append(its_sex)
        except ImageError as error:
            unreadable.append(UnreadableFile(str(file), error.what))
        if len(names) == BATCH_SIZE:
            predictions += predictor.predict(names, inputs[-len(names) :], sexes)
            names, sexes = [], []
    if names:
        predictions += predictor.predict(names, inputs[-len(names) :], sexes)
    return Predictions(predictions, unreadable, inputs, predictor.compare(predictions))


def _expand(files: Iterable[Path | str]) -> Iterator[Path]:
    """Yield files, and in place of a folder with radiographs these, in the order of their names."""
    from h2a_lib.data.labels import IMAGE_SUFFIXES

    for file in files:
        folder = Path(file)
        inside = sorted(folder.iterdir()) if folder.is_dir() else []
        radiographs = [path for path in inside if path.name.lower().endswith(IMAGE_SUFFIXES)]
        yield from radiographs or [folder]


@dataclass(frozen=True)
class _FilePredictor:
    """A run's network with its interval, threshold and distances, fitted once for all files."""

    run: "Run"
    calibration: "Calibration"
    detector: "Detector | None"

    @classmethod
    def of(cls, run: "Run") -> "_FilePredictor":
        from h2a_lib.analysis.calibration import Calibration
        from h2a_lib.analysis.out_of_distribution import load_detector

        return cls(run, Calibration.of(run), load_detector(run.folder))

    def compare(self, predictions: Sequence[Prediction]) -> SetComparison | None:
        import numpy as np

        if self.detector is None or len(predictions) < MIN_SET:
            return None
        distances = np.array([prediction.distance for prediction in predictions], float)
        compared = self.detector.compare(distances * self.detector.threshold)
        return SetComparison(len(predictions), *compared)

    def predict(
        self,
        names: Sequence[str],
        images: "Sequence[NDArray[np.uint8]]",
        male: Sequence[bool | None],
    ) -> list[Prediction]:
        import numpy as np

        from h2a_lib.analysis.out_of_distribution import features_of
        from h2a_lib.analysis.statistics.conformal import NOMINAL_COVERAGE
        from h2a_lib.models.inference import predictor_of

        stacked = np.stack(images)
        sexes = np.array(male, bool) if self.run.config.sex_input else None
        outputs = predictor_of(self.run).predict(stacked, sexes)
        columns: dict[str, Sequence[Any]] = {"file": names}
        if self.calibration.interval is not None:
            months, low, high = self.calibration.ages(outputs)
            columns["age_months"] = [round(float(m), 2) for m in months]
            # The upper end alone shows that an interval is unbounded: the lower stops at 0.
            columns["low_months"] = [_finite(e, h) for e, h in zip(low, high, strict=True)]
            columns["high_months"] = [_finite(h, h) for h in high]
            columns["level"] = [NOMINAL_COVERAGE] * len(names)
        if (temperature := self.calibration.temperature) is not None:
            probability = temperature.apply(outputs["male_probability"])
            is_male = probability >= self.calibration.threshold
            columns["male_probability"] = [round(float(p), 4) for p in probability]
            columns["sex"] = ["male" if one else "female" for one in is_male]
        if self.detector is not None:
            distances = self.detector.distances(features_of(self.run, stacked))
            columns["distance"] = [round(float(d), 3) for d in distances / self.detector.threshold]
        rows = zip(*columns.values(), strict=True)
        return [Prediction(**dict(zip(columns, row, strict=True))) for row in rows]


def _finite(end: float, high: float) -> float | None:
    return round(float(end), 2) if math.isfinite(high) else None


def _read_labels(table: Path | None) -> "pd.DataFrame | None":
    """Return age_months and male by id."""
    from h2a_lib.data.labels import read_labels
    from h2a_lib.errors import require_file

    if table is None:
        return None
    require_file(table, "--labels names a CSV with id, bone age and sex")
    return read_labels(table).set_index("id")


def join_labels(predictions: Predictions, labels: "pd.DataFrame") -> "pd.DataFrame":
    """Return predictions with their labels, named as in a run's predictions; low and high too."""
    import pandas as pd

    from h2a_lib.data.labels import id_of

    frame = pd.DataFrame([asdict(prediction) for prediction in predictions.predictions])
    if frame.empty:
        raise UserError("nothing to score: no file could be read")
    ids = frame["file"].map(lambda file: id_of(Path(file).name))
    joined = frame.assign(id=ids, predicted_age_months=frame.pop("age_months")).join(
        labels[["age_months", "male"]], on="id", how="inner"
    )
    if joined.empty:
        raise UserError(f"no label for any of the {len(frame):,} files: is {ids[0]!r} an id there?")
    return joined.astype({"male": bool})


def score(predictions: Predictions, labels: "pd.DataFrame") -> str:
    """Return what errors the estimates have by some labels (columns age_months, male; by id)."""
    from h2a_lib.analysis.age import errors as age
    from h2a_lib.analysis.statistics.bootstrap import share_interval
    from h2a_lib.analysis.statistics.roc import auc

    frame = join_labels(predictions, labels)
    lines = [f"Scored by the labels of {len(frame):,} of {len(predictions.predictions):,} files:"]
    if frame["predicted_age_months"].notna().all():
        measured = age.metrics(frame)
        lines.append(f"  mean absolute error {measured['mae'].text('months')}")
        lines.append(f"  bias {measured['bias'].text('months')}")
    if frame["high_months"].notna().all():
        inside = share_interval(
            frame["age_months"].between(frame["low_months"], frame["high_months"])
        )
        level = f"{frame['level'].iloc[0] * 100:g} %"
        lines.append(f"  {level} intervals contain the label of {inside.text('%', scale=100)}")
    if frame["male_probability"].notna().all() and frame["male"].nunique() == 2:
        area = auc(frame["male"].to_numpy(bool), frame["male_probability"].to_numpy(float))
        lines.append(f"  AUC for sex {area.text(digits=3)}")
    return "\n".join(lines)


def draw_explanation(
    predictions: Predictions,
    run: "Run",
    out: Path,
    male: bool | Mapping[str, bool] | None = None,
) -> int:
    """Draw the first 24 hands, each beside itself with its Grad-CAM map laid over it.

    Returns
    -------
    int
        How many hands are shown.

    Raises
    ------
    UserError
        If there is no prediction.
    """
    import numpy as np
    import torch
    from matplotlib.figure import Figure

    from h2a_lib.analysis.saliency.maps import grad_cam
    from h2a_lib.data.labels import id_of
    from h2a_lib.figures.saliency import overlay
    from h2a_lib.files import write_atomically
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


def _title(prediction: Prediction) -> str:
    from h2a_lib.analysis.statistics.bootstrap import number

    parts = []
    if prediction.age_months is not None:
        parts.append(f"{number(prediction.age_months, 0)} months")
    if prediction.male_probability is not None:
        parts.append(f"{prediction.sex} ({prediction.male_probability:.2f})")
    if prediction.out_of_distribution:
        parts.append("out of distribution")
    return ", ".join(parts)
