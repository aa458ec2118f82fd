"""What a network says of image files: estimates with intervals, and how far to trust them."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from h2a_lib.analysis.age import errors as age
from h2a_lib.analysis.bands import sex_of
from h2a_lib.analysis.calibration import Calibration
from h2a_lib.analysis.out_of_distribution import Detector, features_of_maps, load_detector
from h2a_lib.analysis.statistics.bootstrap import number, share_interval
from h2a_lib.analysis.statistics.conformal import NOMINAL_COVERAGE
from h2a_lib.analysis.statistics.roc import auc
from h2a_lib.data import images as pictures
from h2a_lib.data import layout
from h2a_lib.data.grey import ImageError
from h2a_lib.data.labels import id_of
from h2a_lib.errors import UserError
from h2a_lib.models.inference import predictor_of
from h2a_lib.study.runs import Run

# Predicted together; 256 pictures of 224 px are 13 MB.
BATCH_SIZE = 256
# Fewer files are not compared with the selection hands as a set.
MIN_SET = 10
# Below this p a set is called out of distribution.
SET_P = 0.01
NOTICE = "Research, not for diagnosis."


@dataclass(frozen=True)
class Prediction:
    """A run's estimates for one file.

    The bone age is at least 0, and its conformal interval, from `low_months` to `high_months`,
    contains it: as the labelled age of a share `level` of hands like the selection hands. They are
    None from a run that was trained for sex alone, the interval also if the run has too few
    selection hands. `sex` is "male" from the probability `sex_threshold` on, which the selection
    hands determine, and else "female"; both are None from a run that was trained for age alone.
    `distance` is from the training hands, in units of the threshold (out of distribution above 1),
    None where the run does not describe them.
    """

    file: str
    age_months: float | None = None
    low_months: float | None = None
    high_months: float | None = None
    level: float | None = None
    male_probability: float | None = None
    sex: str | None = None
    sex_threshold: float | None = None
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
        parts = []
        if self.age_months is not None:
            age = f"{number(self.age_months)} months ({number(self.age_months / 12)} years)"
            parts.append(f"{age}, {self._interval()}")
        if self.male_probability is not None:
            probability = f"probability of male {self.male_probability:.2f}"
            parts.append(f"{self.sex} ({probability}, threshold {self.sex_threshold:.2f})")
        if self.out_of_distribution:
            parts.append(f"OUT OF DISTRIBUTION ({self.distance:.1f} times the threshold)")
        elif self.distance is None:
            parts.append("not checked for out-of-distribution input")
        return f"{self.file}: {'; '.join(parts)}"

    def _interval(self) -> str:
        if self.low_months is None or self.high_months is None or self.level is None:
            return "no interval (too few selection hands)"
        # Outwards: the age, which is given with a decimal, lies inside.
        low, high = math.floor(self.low_months), math.ceil(self.high_months)
        span = f"{number(low, 0)} to {number(high, 0)}"
        return f"{self.level * 100:g} % interval {span}"


@dataclass(frozen=True)
class UnreadableFile:
    """A file that could not be read, and why."""

    file: str
    reason: str


@dataclass(frozen=True)
class SetComparison:
    """How a whole set of files compares with the selection hands.

    `farther`: how often one of them lies farther from the training hands than a selection hand
    does, 0.5 if the two sets are alike; `p`: one-sided, Mann-Whitney.
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

    `images`, (s, s) uint8, one a prediction, are the network's input. `comparison` is from ten
    predictions on, where the run has a description of its training hands.
    """

    predictions: list[Prediction]
    unreadable: list[UnreadableFile] = field(default_factory=list)
    images: list[NDArray[np.uint8]] = field(default_factory=list)
    comparison: SetComparison | None = None

    @property
    def exit_code(self) -> int:
        """0, or 1 if a file could not be read."""
        return 1 if self.unreadable else 0

    def as_json(self, run: Run) -> dict[str, Any]:
        """Return all of it for `json.dumps`, with the run and its data."""
        as_set = None
        if (compared := self.comparison) is not None:
            as_set = asdict(compared) | {"out_of_distribution": compared.out_of_distribution}
        return {
            "run": run.name,
            "trained_on": run.tier_label,
            "terms": run.terms,
            "predictions": [prediction.as_json() for prediction in self.predictions],
            "unreadable": [asdict(file) for file in self.unreadable],
            "set": as_set,
        }

    def as_csv(self) -> str:
        """Return one row a file; one that could not be read has its reason and nothing else."""
        rows = [asdict(prediction) for prediction in self.predictions]
        rows += [{"file": file.file, "unreadable": file.reason} for file in self.unreadable]
        columns = [*(item.name for item in fields(Prediction)), "unreadable"]
        return pd.DataFrame(rows, columns=columns).to_csv(index=False, lineterminator="\n")

    def lines(self) -> list[str]:
        """Return one line for each file, then one for the set."""
        unreadable = [f"{file.file}: no estimate: {file.reason}" for file in self.unreadable]
        as_set = [] if self.comparison is None else [self.comparison.text()]
        return [prediction.text() for prediction in self.predictions] + unreadable + as_set


def check_estimates(run: Run) -> None:
    """Refuse a run that has no head for age or sex."""
    if not (run.config.estimates_age or run.config.estimates_sex):
        raise UserError(
            f"{run.name} (task: {run.config.task}) estimates neither age nor sex: name a run of "
            "task age, sex or both"
        )


def predict_files(
    files: Iterable[Path | str], run: Run, male: bool | Mapping[str, bool] | None = None
) -> Predictions:
    """Predict age and sex of hands from image files with a finished run.

    `files` are of any format that `data.decode.read` takes, and a folder stands for the radiographs
    in it; all are prepared as the run's own images were. `male` is the sex of all of them, or of
    each by its id: a UserError if the run has sex as an input and it is not given, or the reverse.
    A bad file raises nothing: it is listed as unreadable.
    """
    check_estimates(run)
    if run.config.sex_input and male is None:
        raise UserError(f"{run.name} has sex as an input: add --sex male or --sex female")
    if male is not None and not run.config.sex_input:
        raise UserError(f"{run.name} has no sex input: leave out --sex")
    config, detector = run.config, load_detector(run.folder)
    predict = partial(_predict, run, Calibration.of(run), detector)
    unreadable: list[UnreadableFile] = []
    inputs: list[NDArray[np.uint8]] = []
    names: list[str] = []
    sexes: list[bool | None] = []
    for file in _expand(files):
        if file.is_dir():
            unreadable.append(UnreadableFile(str(file), "no radiographs in this folder"))
            continue
        its_sex = male.get(id_of(file.name)) if isinstance(male, Mapping) else male
        if config.sex_input and its_sex is None:
            unreadable.append(UnreadableFile(str(file), "the labels give no sex for it"))
            continue
        try:
            inputs.append(
                pictures.prepare(file, config.image_size_px, config.geometry, config.contrast)
            )
            names.append(str(file))
            sexes.append(its_sex)
        except ImageError as error:
            unreadable.append(UnreadableFile(str(file), error.what))
    batches = (slice(start, start + BATCH_SIZE) for start in range(0, len(names), BATCH_SIZE))
    predictions = [
        one for batch in batches for one in predict(names[batch], inputs[batch], sexes[batch])
    ]
    return Predictions(predictions, unreadable, inputs, _compare(detector, predictions))


def _expand(files: Iterable[Path | str]) -> Iterator[Path]:
    """Yield files, and in place of a folder with radiographs these, in the order of their names."""
    for file in files:
        path = Path(file)
        yield from (list(layout.find_images(path)) if path.is_dir() else []) or [path]


def _predict(
    run: Run,
    calibration: Calibration,
    detector: Detector | None,
    names: Sequence[str],
    images: Sequence[NDArray[np.uint8]],
    male: Sequence[bool | None],
) -> list[Prediction]:
    stacked = np.stack(images)
    sexes = np.array(male, bool) if run.config.sex_input else None
    predictor = predictor_of(run)
    with predictor.network.record_maps() as maps:
        outputs = predictor.predict(stacked, sexes, batch_size=len(stacked))
    columns: dict[str, Sequence[Any]] = {"file": names}
    if calibration.interval is not None:
        months, low, high = calibration.ages(outputs)
        columns["age_months"] = [round(float(m), 2) for m in months]
        # The upper end alone shows that an interval is unbounded: the lower stops at 0.
        columns["low_months"] = [_finite(e, h) for e, h in zip(low, high, strict=True)]
        columns["high_months"] = [_finite(h, h) for h in high]
        columns["level"] = [NOMINAL_COVERAGE] * len(names)
    if (temperature := calibration.temperature) is not None:
        probability = temperature.apply(outputs["male_probability"])
        columns["male_probability"] = [round(float(p), 4) for p in probability]
        columns["sex"] = sex_of(probability >= calibration.threshold).tolist()
        columns["sex_threshold"] = [round(calibration.threshold, 4)] * len(names)
    if detector is not None:
        distances = detector.distances(features_of_maps(maps, stacked))
        columns["distance"] = [round(float(d), 3) for d in distances / detector.threshold]
    rows = zip(*columns.values(), strict=True)
    return [Prediction(**dict(zip(columns, row, strict=True))) for row in rows]


def _compare(detector: Detector | None, predictions: Sequence[Prediction]) -> SetComparison | None:
    if detector is None or len(predictions) < MIN_SET:
        return None
    distances = np.array([prediction.distance for prediction in predictions], float)
    return SetComparison(len(predictions), *detector.compare(distances * detector.threshold))


def _finite(end: float, high: float) -> float | None:
    return round(float(end), 2) if math.isfinite(high) else None


def join_labels(predictions: Predictions, labels: pd.DataFrame) -> pd.DataFrame:
    """Return predictions with their labels, named as in a run's predictions; low and high too."""
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


def score(predictions: Predictions, labels: pd.DataFrame) -> str:
    """Return what errors the estimates have by some labels (columns age_months, male; by id)."""
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
        lines.append(f"  {level} intervals contain {inside.text('%', scale=100)} of the labels")
    if frame["male_probability"].notna().all() and frame["male"].nunique() == 2:
        area = auc(frame["male"].to_numpy(bool), frame["male_probability"].to_numpy(float))
        lines.append(f"  AUC for sex {area.text(digits=3)}")
    return "\n".join(lines)
