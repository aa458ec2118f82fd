"""The run folder: what one training leaves behind, written whole, read back strictly."""

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from yaml import YAMLError

from h2a_lib.errors import UserError
from h2a_lib.files import read_csv, read_json, read_yaml
from h2a_lib.study.config import RunConfig

FORMAT = 1
CHECKPOINT = "checkpoint.pt"
WEIGHTS = "weights.safetensors"
# 90 MB (ResNet-18) that may be deleted: only what asks the network again needs the first.
HEAVY = (WEIGHTS, "weights_last.safetensors")
# In the order in which they are written; the last says that all are there.
FILES = (
    "config.yaml",
    "history.csv",
    "steps.csv",
    "predictions.csv",
    "predictions_train.csv",
    "model.json",
    "provenance.json",
    "metrics.json",
)

CALIBRATION = "calibration.json"
# What a released network has in place of predictions: nothing of any single child.
RELEASED_FILES = ("config.yaml", "model.json", "provenance.json", "metrics.json", CALIBRATION)


@dataclass(frozen=True, eq=False)
class Run:
    """A finished run, read from its folder; heavy parts are read when first used."""

    folder: Path
    config: RunConfig
    metrics: dict[str, Any]
    model: dict[str, Any]

    @property
    def name(self) -> str:
        """Experiment and seed, as the folders are called."""
        return f"{self.config.experiment}/seed-{self.config.seed}"

    @property
    def tier_label(self) -> str:
        """What the data were, in words: goes wherever the network goes."""
        return self.model["tier_label"]

    @property
    def terms(self) -> str:
        """On which terms the data were had, where they bind who uses the network; else empty."""
        return self.model.get("terms", "")

    @cached_property
    def history(self) -> pd.DataFrame:
        """One row an epoch."""
        return read_csv(self.folder / "history.csv")

    @cached_property
    def steps(self) -> pd.DataFrame:
        """One row a batch: step, lr, train_loss."""
        return read_csv(self.folder / "steps.csv")

    @cached_property
    def predictions(self) -> pd.DataFrame:
        """One row for each hand that was not trained on; `split` says which part it is of."""
        return read_csv(self.folder / "predictions.csv")

    @cached_property
    def predictions_train(self) -> pd.DataFrame:
        """One row for each hand that was trained on."""
        return read_csv(self.folder / "predictions_train.csv")

    @cached_property
    def provenance(self) -> dict[str, Any]:
        """What made this run: code, packages, machine, time."""
        return read_json(self.folder / "provenance.json")

    @property
    def diverged(self) -> bool:
        """Whether training ended without a finite error: such a run is in no comparison."""
        return self.metrics["diverged"]

    @property
    def is_released(self) -> bool:
        """Whether it is the network alone, without the predictions of single hands."""
        return (self.folder / CALIBRATION).is_file()

    @property
    def has_weights(self) -> bool:
        """Whether the network is here: of some runs, only the record is kept."""
        return (self.folder / WEIGHTS).is_file()


def load(folder: Path) -> Run:
    """Read a run; a UserError if it is none, not finished, or written by another version."""
    needed = RELEASED_FILES if (folder / CALIBRATION).is_file() else FILES
    missing = [name for name in needed if not (folder / name).is_file()]
    if missing:
        raise UserError(f"{folder} is not a finished run: {missing[-1]} is missing")
    try:
        metrics, model = read_json(folder / "metrics.json"), read_json(folder / "model.json")
        for name, content in (("metrics.json", metrics), ("model.json", model)):
            if content.get("format") != FORMAT:
                raise UserError(
                    f"{folder / name} has format {content.get('format')!r}, this version reads "
                    f"{FORMAT}: train the run again"
                )
        config = RunConfig(**read_yaml(folder / "config.yaml"))
        digest = metrics["config_digest"]
    except UserError:
        raise
    except (ValueError, TypeError, AttributeError, KeyError, YAMLError) as error:
        raise UserError(f"{folder}: cannot be read as a run: {error}") from None
    if digest != config.digest:
        raise UserError(f"{folder}: config.yaml was changed after the run")
    return Run(folder, config, metrics, model)


def has_diverged(folder: Path, digest: str) -> bool:
    """Whether a folder holds a run of these settings (`RunConfig.digest`) that diverged."""
    try:
        metrics = read_json(folder / "metrics.json")
        return metrics["config_digest"] == digest and metrics["diverged"]
    except (OSError, ValueError, KeyError, TypeError):
        return False


def metrics_of(predictions: pd.DataFrame) -> dict[str, float]:
    """Return the metrics of predictions: mae_months and/or log_loss and auc.

    All are NaN if a prediction is not finite, as after a training that diverged.
    """
    from sklearn.metrics import log_loss, roc_auc_score

    metrics = {}
    if "predicted_age_months" in predictions:
        difference = predictions["predicted_age_months"] - predictions["age_months"]
        metrics["mae_months"] = float(difference.abs().mean(skipna=False))
    if "male_probability" in predictions:
        male, probability = predictions["male"], predictions["male_probability"]
        if not np.isfinite(probability).all():
            return metrics | {"log_loss": math.nan, "auc": math.nan}
        metrics["log_loss"] = float(log_loss(male, probability, labels=[False, True]))
        # Of one sex alone there is no curve.
        metrics["auc"] = (
            float(roc_auc_score(male, probability)) if male.nunique() == 2 else math.nan
        )
    return metrics
