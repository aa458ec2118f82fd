"""What differs between two studies: settings, data and versions, then the numbers."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic_core import to_jsonable_python

from h2a_lib.analysis.statistics import roc
from h2a_lib.analysis.statistics.bootstrap import Estimate, number, paired_difference
from h2a_lib.errors import UserError
from h2a_lib.files import read_csv, read_json, read_yaml

# Of a run's record, what is about the making and not about the result.
NOT_SETTINGS = ("experiment", "seed")
# The number that a run is compared by, and its unit.
MEASURES = {"mae_months": "months", "auc": ""}
# Variables about when and where a study was made; `versions` compares what matters of them.
MAKING = "study"
MISSING = "–"


@dataclass(frozen=True)
class StudyRecord:
    """The results of a study with the records of its runs, as they lie in their folders.

    `name` heads its column; `results` is results/<study>, of this checkout, published, or of
    another revision; `runs` is the folder of the runs: <experiment>/seed-<k>.
    """

    name: str
    results: Path
    runs: Path

    @classmethod
    def open(cls, results: Path, name: str = "") -> "StudyRecord":
        """Open a results folder; its runs are those of the project, or else the published ones.

        A UserError if there is neither a result nor a run.
        """
        folder = results.resolve()
        own = folder.parent.parent / "runs" / folder.name
        record = cls(name or results.name, results, own if own.is_dir() else results / "runs")
        if not record.data and not record.metrics:
            raise UserError(f"{results} holds no results: neither data.json nor a run")
        return record

    @cached_property
    def data(self) -> dict[str, str]:
        """Fingerprint and tier."""
        file = self.results / "data.json"
        return read_json(file) if file.is_file() else {}

    @cached_property
    def folders(self) -> dict[str, Path]:
        """Run -> its folder, for every finished run."""
        files = sorted(self.runs.glob("*/seed-*/metrics.json"))
        return {f"{file.parts[-3]}/{file.parts[-2]}": file.parent for file in files}

    @cached_property
    def settings(self) -> dict[str, dict[str, Any]]:
        """Run -> setting -> value."""
        files = {run: read_yaml(folder / "config.yaml") for run, folder in self.folders.items()}
        return {
            run: {key: value for key, value in values.items() if key not in NOT_SETTINGS}
            for run, values in files.items()
        }

    @cached_property
    def metrics(self) -> dict[str, dict[str, Any]]:
        """Run -> measure -> value on the validation hands."""
        return {
            run: read_json(folder / "metrics.json").get("validation", {})
            for run, folder in self.folders.items()
        }

    @cached_property
    def versions(self) -> dict[str, str]:
        """What made the runs; of several, each with its number of runs."""
        counts: dict[str, Counter[str]] = {}
        for folder in self.folders.values():
            record = read_json(folder / "provenance.json")
            machine = record.get("machine", {})
            made_by = {"commit": str(record.get("commit"))[:10], "python": machine.get("python")}
            made_by |= {"machine": machine.get("gpu") or machine.get("cpu")}
            for key, value in (made_by | record.get("packages", {})).items():
                counts.setdefault(key, Counter())[str(value)] += 1
        return {key: _format_counts(count) for key, count in counts.items()}

    @cached_property
    def variables(self) -> dict[str, str]:
        """Every number and sentence of the report, by group and name."""
        return {
            f"{file.stem}.{name}": value
            for file in sorted(self.results.glob("variables/*.yml"))
            for name, value in read_yaml(file).items()
            if file.stem != MAKING
        }

    @cached_property
    def intervals(self) -> dict[str, Estimate]:
        """Run -> its MAE with its interval, from the table of runs."""
        file = self.results / "tables" / "runs.csv"
        if not file.is_file():
            return {}
        rows = read_csv(file).dropna(subset=["mae_months"])
        return {
            f"{row['experiment']}/seed-{row['seed']}": Estimate.of(row, "mae_months")
            for _, row in rows.iterrows()
        }

    def predictions(self, run: str) -> pd.DataFrame | None:
        """Return a run's predictions on the validation hands; None where they are not kept."""
        file = self.folders[run] / "predictions.csv"
        if not file.is_file():
            return None
        predictions = read_csv(file)
        return predictions[predictions["split"] == "validation"]


@dataclass(frozen=True)
class Change:
    """A value that differs; `of` are the runs that it belongs to, "" for the whole study."""

    of: str
    name: str
    a: str
    b: str


@dataclass(frozen=True)
class MetricChange:
    """A measure of one run that differs, on the validation hands.

    `difference` is b minus a, its 95 % interval NaN where there is nothing to compute it from;
    `paired`, whether it was computed hand by hand.
    """

    run: str
    measure: str
    a: float
    b: float
    difference: Estimate
    paired: bool

    def text(self) -> str:
        """Print as "−1.2 (95 % CI −2.0 to −0.4, n = 200), paired"."""
        digits = 1 if MEASURES[self.measure] else 3
        if math.isnan(self.difference.low):
            return f"{number(self.difference.value, digits)} (no interval)"
        kind = "paired" if self.paired else "unpaired"
        return f"{self.difference.text(MEASURES[self.measure], digits)}, {kind}"


@dataclass(frozen=True)
class StudyDifference:
    """What differs between two studies, a and b."""

    a: str
    b: str
    settings: list[Change]
    data: list[Change]
    versions: list[Change]
    metrics: list[MetricChange]
    variables: list[Change]

    @property
    def is_empty(self) -> bool:
        """Whether settings, data and numbers agree: other versions alone are no difference."""
        return not (self.settings or self.data or self.metrics or self.variables)

    def as_json(self) -> dict[str, Any]:
        """Return all of it for `json.dumps`; a number that does not exist is None."""
        return {"is_empty": self.is_empty} | to_jsonable_python(self, inf_nan_mode="null")


def compare_studies(a: StudyRecord, b: StudyRecord) -> StudyDifference:
    """Compare two studies run by run and number by number."""
    return StudyDifference(
        a.name,
        b.name,
        _settings(a, b),
        list(_changes(a.data, b.data)),
        list(_changes(a.versions, b.versions)),
        list(_metrics(a, b)),
        list(_changes(a.variables, b.variables)),
    )


def _changes(a: Mapping[str, Any], b: Mapping[str, Any], of: str = "") -> Iterator[Change]:
    for key in dict.fromkeys([*a, *b]):
        if (key in a) != (key in b) or a.get(key) != b.get(key):
            values = (_text(side[key]) if key in side else MISSING for side in (a, b))
            yield Change(of, key, *values)


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_text(part)}" for key, part in value.items())
    return f"{value:g}" if isinstance(value, float) else str(value)


def _settings(a: StudyRecord, b: StudyRecord) -> list[Change]:
    """Return the settings that differ; one row where several runs differ alike."""
    runs: dict[tuple[str, str, str], list[str]] = {}
    for run in sorted(a.settings.keys() & b.settings.keys()):
        for change in _changes(a.settings[run], b.settings[run]):
            runs.setdefault((change.name, change.a, change.b), []).append(run)
    both = len(a.settings.keys() & b.settings.keys())
    changes = [
        Change("all runs" if len(of) == both > 1 else ", ".join(of), *values)
        for values, of in runs.items()
    ]
    only_a, only_b = (sorted(x.settings.keys() - y.settings.keys()) for x, y in ((a, b), (b, a)))
    if only_a:
        changes.append(Change(", ".join(only_a), "trained", "yes", MISSING))
    if only_b:
        changes.append(Change(", ".join(only_b), "trained", MISSING, "yes"))
    return changes


def _metrics(a: StudyRecord, b: StudyRecord) -> Iterator[MetricChange]:
    for run in sorted(a.metrics.keys() & b.metrics.keys()):
        for measure in MEASURES:
            values = [side.metrics[run].get(measure) for side in (a, b)]
            if None in values or values[0] == values[1]:
                continue
            paired = _paired(a, b, run, measure)
            difference = paired or _unpaired(a, b, run, measure)
            yield MetricChange(run, measure, *values, difference, paired is not None)


def _paired(a: StudyRecord, b: StudyRecord, run: str, measure: str) -> Estimate | None:
    """Return b minus a on the same hands; None where predictions or hands are not the same."""
    of_a, of_b = a.predictions(run), b.predictions(run)
    if of_a is None or of_b is None or set(of_a["id"]) != set(of_b["id"]):
        return None
    if measure == "auc":
        both = of_a.merge(of_b, on="id", suffixes=("_a", "_b"), validate="one_to_one")
        if (both["male_a"] != both["male_b"]).any():
            return None
        scores = both["male_probability_b"], both["male_probability_a"]
        return roc.auc_difference(both["male_a"], *scores)
    try:
        return paired_difference(of_b, of_a)
    except UserError:  # the same ids with other ages
        return None


def _unpaired(a: StudyRecord, b: StudyRecord, run: str, measure: str) -> Estimate:
    """Return b minus a from their two intervals, as if of other hands: wider than a paired one.

    Zou and Donner 2008, Statistics in Medicine 27:1693, equation 4.
    """
    value = b.metrics[run][measure] - a.metrics[run][measure]
    if measure != "mae_months" or run not in a.intervals or run not in b.intervals:
        return Estimate(value, math.nan, math.nan, a.metrics[run].get("n", 0))
    of_a, of_b = a.intervals[run], b.intervals[run]
    low = value - math.hypot(of_b.value - of_b.low, of_a.high - of_a.value)
    high = value + math.hypot(of_b.high - of_b.value, of_a.value - of_a.low)
    return Estimate(value, low, high, min(of_a.n, of_b.n))


def _format_counts(counts: Counter[str]) -> str:
    if len(counts) == 1:
        return next(iter(counts))
    parts = (f"{value} ({n} run{'s' if n > 1 else ''})" for value, n in sorted(counts.items()))
    return "; ".join(parts)
