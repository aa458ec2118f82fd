"""One hand, or many: bone age with an interval, sex with a probability, and how far to trust it.

Research, not for diagnosis.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from h2a_lib.analysis.out_of_distribution import Detector, features_of, load_detector
from h2a_lib.analysis.selection import predictions_of
from h2a_lib.analysis.sex import errors as sex
from h2a_lib.analysis.statistics.bootstrap import number
from h2a_lib.analysis.statistics.conformal import (
    HIGH,
    LOW,
    NOMINAL_COVERAGE,
    ConformalQuantiles,
    SplitConformal,
    has_quantiles,
)
from h2a_lib.data import images
from h2a_lib.errors import UserError
from h2a_lib.files import write_atomically
from h2a_lib.models.inference import predictor_of
from h2a_lib.study.runs import Run

# Decoded and answered together; 256 pictures of 224 px are 13 MB.
TOGETHER = 256
MOST_EXPLAINED = 24
# With fewer files a set is not compared with the selection hands; below this p it is unlike them.
LEAST_SET = 10
UNLIKE_P = 0.01
NOTICE = "Research, not for diagnosis."


@dataclass(frozen=True)
class Reading:
    """What a run says of one file.

    Attributes
    ----------
    file : str
        As it was named.
    age_months, low_months, high_months : float or None
        Bone age, at least 0, and its conformal interval, which holds it; None from a run that was
        trained for sex alone. The interval is None where the run has too few selection hands.
    level : float
        Share of new hands like the selection hands whose interval holds the labelled age.
    male_probability : float or None
        None from a run that was trained for age alone.
    sex : {"male", "female"} or None
        By the threshold that was chosen on the selection hands.
    distance : float or None
        From the training hands, in units of the threshold: above 1, the picture looks unlike them.
        None where the run has no description of them.
    """

    file: str
    age_months: float | None = None
    low_months: float | None = None
    high_months: float | None = None
    level: float = NOMINAL_COVERAGE
    male_probability: float | None = None
    sex: str | None = None
    distance: float | None = None

    @property
    def is_unlike_training(self) -> bool | None:
        """Whether the picture looks unlike the training hands; None where that is not known."""
        return None if self.distance is None else self.distance > 1

    def as_json(self) -> dict[str, Any]:
        """Return all values by name, with the age in years too."""
        years = None if self.age_months is None else round(self.age_months / 12, 2)
        return asdict(self) | {
            "age_years": years,
            "is_unlike_training": self.is_unlike_training,
            "notice": NOTICE,
        }

    def text(self) -> str:
        """Return one line for a person."""
        parts = []
        if self.age_months is not None:
            age = f"{number(self.age_months)} months ({number(self.age_months / 12)} years)"
            parts.append(f"{age}, {self._interval()}")
        if self.male_probability is not None:
            parts.append(f"{self.sex} (probability of male {self.male_probability:.2f})")
        if self.is_unlike_training:
            parts.append(
                f"LOOKS UNLIKE the training hands ({self.distance:.1f} times the threshold)"
            )
        elif self.distance is None:
            parts.append("likeness to the training hands not known")
        return f"{self.file}: {'; '.join(parts)}"

    def _interval(self) -> str:
        if self.low_months is None or self.high_months is None:
            return "no interval (too few selection hands)"
        span = f"{number(self.low_months, 0)} to {number(self.high_months, 0)}"
        return f"{self.level * 100:g} % interval {span}"


@dataclass(frozen=True)
class Refusal:
    """A file that could not be read, and why."""

    file: str
    why: str


@dataclass(frozen=True)
class Together:
    """How a whole set of files compares with the selection hands.

    Attributes
    ----------
    n : int
    farther : float
        How often one of them lies farther from the training hands than a selection hand does;
        0.5 if they are alike.
    p : float
        One-sided, Mann-Whitney.
    """

    n: int
    farther: float
    p: float

    @property
    def is_unlike_training(self) -> bool:
        """Whether the set as a whole looks unlike the training hands."""
        return self.p < UNLIKE_P

    def text(self) -> str:
        """Return one line for a person."""
        verdict = (
            "LOOK UNLIKE the training hands; the validated error does not apply to them"
            if self.is_unlike_training
            else "look like the training hands"
        )
        return (
            f"Together the {self.n:,} files {verdict} (farther out than a selection hand "
            f"{self.farther * 100:.0f} % of the time, p = {self.p:.2g})"
        )


@dataclass(frozen=True)
class Readings:
    """The answers of one call, in the order of the files, and what could not be read.

    Attributes
    ----------
    answers : list of Reading
    refused : list of Refusal
    images : ndarray
        (answers, s, s), uint8: what the network was given.
    together : Together or None
        From ten answers on, where the run has a description of its training hands.
    """

    answers: list[Reading]
    refused: list[Refusal] = field(default_factory=list)
    images: NDArray[np.uint8] = field(default_factory=lambda: np.empty((0, 0, 0), np.uint8))
    together: Together | None = None

    @property
    def exit_code(self) -> int:
        """0, or 1 if a file was refused."""
        return 1 if self.refused else 0

    def as_json(self) -> dict[str, Any]:
        """Return answers and refusals for `json.dumps`."""
        return {
            "answers": [answer.as_json() for answer in self.answers],
            "refused": [asdict(refusal) for refusal in self.refused],
            "together": None
            if self.together is None
            else asdict(self.together) | {"is_unlike_training": self.together.is_unlike_training},
        }

    def lines(self) -> list[str]:
        """Return one line for each answer and each refusal, then one for all together."""
        refused = [f"{refusal.file}: not read: {refusal.why}" for refusal in self.refused]
        together = [] if self.together is None else [self.together.text()]
        return [answer.text() for answer in self.answers] + refused + together


def read_hands(files: Iterable[Path | str], run: Run, male: bool | None = None) -> Readings:
    """Read hands from image files with a finished run.

    Parameters
    ----------
    files : iterable of path
        Of any format that `data.images.read` takes. Prepared as the run's own images were.
    run : Run
    male : bool, optional
        Sex of all of them; for a run that has sex as an input, and needed there.

    Returns
    -------
    Readings

    Raises
    ------
    UserError
        If the run needs the sex and it is not given, or is given it without need. A bad file
        raises nothing: it is refused.
    """
    if run.config.sex_input and male is None:
        raise UserError(f"{run.name} has sex as an input: say --sex male or --sex female")
    if male is not None and not run.config.sex_input:
        raise UserError(f"{run.name} has no sex as an input and would not use it: leave out --sex")
    readers = _Readers.of(run)
    answers: list[Reading] = []
    refused: list[Refusal] = []
    given: list[NDArray[np.uint8]] = []
    waiting: list[tuple[str, NDArray[np.uint8]]] = []
    for file in files:
        try:
            waiting.append((str(file), _prepared(file, run)))
        except images.ImageError as error:
            refused.append(Refusal(str(file), error.what))
        if len(waiting) == TOGETHER:
            answers += readers.read(waiting, male)
            given += [picture for _, picture in waiting]
            waiting = []
    if waiting:
        answers += readers.read(waiting, male)
        given += [picture for _, picture in waiting]
    side = run.config.image_size_px
    stacked = np.stack(given) if given else np.empty((0, side, side), np.uint8)
    return Readings(answers, refused, stacked, readers.together(answers))


def _prepared(file: Path | str, run: Run) -> NDArray[np.uint8]:
    config = run.config
    return images.prepare(file, config.image_size_px, config.geometry, config.contrast)


@dataclass(frozen=True)
class _Readers:
    """What turns a run's raw answers into readings; fitted once for all files."""

    run: Run
    conformal: SplitConformal | ConformalQuantiles | None
    threshold: float
    detector: Detector | None

    @classmethod
    def of(cls, run: Run) -> "_Readers":
        selection = predictions_of(run, "selection")
        has_age, has_sex = run.config.task in ("age", "both"), run.config.task in ("sex", "both")
        kind = ConformalQuantiles if has_quantiles(selection) else SplitConformal
        return cls(
            run,
            kind.fit(selection) if has_age else None,
            sex.choose_threshold(selection) if has_sex else 0.5,
            load_detector(run.folder),
        )

    def together(self, answers: Sequence[Reading]) -> Together | None:
        if self.detector is None or len(answers) < LEAST_SET:
            return None
        far = np.array([answer.distance for answer in answers], float) * self.detector.threshold
        return Together(len(answers), *self.detector.compare(far))

    def read(
        self, named: Sequence[tuple[str, NDArray[np.uint8]]], male: bool | None
    ) -> list[Reading]:
        pictures = np.stack([picture for _, picture in named])
        sexes = None if male is None else np.full(len(pictures), male)
        predicted = predictor_of(self.run).predict(pictures, sexes)
        columns: dict[str, Sequence[Any]] = {"file": [name for name, _ in named]}
        if self.conformal is not None:
            months, low, high = _ages(self.conformal, predicted)
            columns["age_months"] = [round(float(m), 2) for m in months]
            # An unbounded interval shows in its upper end alone: the lower one is cut off at 0.
            columns["low_months"] = [_finite(e, h) for e, h in zip(low, high, strict=True)]
            columns["high_months"] = [_finite(h, h) for h in high]
        if "male_probability" in predicted:
            columns["male_probability"] = [
                round(float(p), 4) for p in predicted["male_probability"]
            ]
            columns["sex"] = [
                "male" if p >= self.threshold else "female" for p in predicted["male_probability"]
            ]
        if self.detector is not None:
            features = features_of(self.run, pictures)
            far = self.detector.distances(features) / self.detector.threshold
            columns["distance"] = [round(float(f), 3) for f in far]
        rows = zip(*columns.values(), strict=True)
        return [Reading(**dict(zip(columns, row, strict=True))) for row in rows]


def _ages(
    conformal: SplitConformal | ConformalQuantiles, predicted: dict[str, NDArray]
) -> tuple[NDArray, NDArray, NDArray]:
    """Return estimates, none negative, and intervals that hold them, (n,) each, months."""
    months = np.maximum(predicted["predicted_age_months"], 0)
    if isinstance(conformal, ConformalQuantiles):
        low, high = conformal.interval(predicted[LOW], predicted[HIGH])
    else:
        low, high = conformal.interval(months)
    return months, np.minimum(low, months), np.maximum(high, months)


def _finite(end: float, high: float) -> float | None:
    return round(float(end), 2) if math.isfinite(high) else None


def explain(readings: Readings, run: Run, out: Path, male: bool | None = None) -> int:
    """Draw what the network looked at: each hand, and the hand with its Grad-CAM laid over it.

    Parameters
    ----------
    readings : Readings
        From `read_hands`, with the same run.
    run : Run
    out : Path
        A PNG; its folder is made if need be.
    male : bool, optional
        As in `read_hands`.

    Returns
    -------
    int
        How many hands are shown: the first 24.

    Raises
    ------
    UserError
        If nothing was read.
    """
    import torch
    from matplotlib.figure import Figure

    from h2a_lib.analysis.saliency.maps import grad_cam
    from h2a_lib.figures.saliency import overlay

    shown = readings.answers[:MOST_EXPLAINED]
    if not shown:
        raise UserError("nothing to explain: no file could be read")
    given = readings.images[: len(shown)]
    answer: Literal["age", "sex"] = "age" if run.config.task in ("age", "both") else "sex"
    sexes = None if male is None else torch.full((len(given),), float(male))
    maps = grad_cam(predictor_of(run).network, predictor_of(run).normalise(given), answer, sexes)
    pairs_a_row = min(3, len(shown))
    rows = math.ceil(len(shown) / pairs_a_row)
    figure = Figure(figsize=(5.4 * pairs_a_row, 3.2 * rows + 0.4), layout="constrained")
    axes = figure.subplots(rows, 2 * pairs_a_row, squeeze=False).ravel()
    for ax in axes:
        ax.set_axis_off()
    for i, reading in enumerate(shown):
        left, right = axes[2 * i], axes[2 * i + 1]
        left.imshow(given[i], cmap="gray", vmin=0, vmax=255)
        left.set_title(Path(reading.file).name, fontsize=11)
        overlay(given[i], maps[i], right).set_title(_short(reading), fontsize=11)
    figure.suptitle(f"{run.name}: Grad-CAM for {answer}. {NOTICE}", fontsize=11)
    with write_atomically(out) as temporary:
        figure.savefig(temporary, dpi=110, bbox_inches="tight", metadata={"Software": None})
    return len(shown)


def _short(reading: Reading) -> str:
    parts = []
    if reading.age_months is not None:
        parts.append(f"{number(reading.age_months, 0)} months")
    if reading.male_probability is not None:
        parts.append(f"{reading.sex} ({reading.male_probability:.2f})")
    if reading.is_unlike_training:
        parts.append("unlike training")
    return ", ".join(parts)
