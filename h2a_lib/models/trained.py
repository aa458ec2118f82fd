"""What a training returns, and how it becomes a run folder."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from safetensors.torch import save as to_bytes
from torch import Tensor

from h2a_lib.files import remove, sha256, write_bytes, write_csv, write_json, write_yaml
from h2a_lib.models import networks
from h2a_lib.models.inference import Scales
from h2a_lib.study import provenance
from h2a_lib.study.config import RunConfig
from h2a_lib.study.runs import CHECKPOINT, FORMAT, HEAVY, WEIGHTS, metrics_of


@dataclass
class Progress:
    """How far a training is; all of it is kept in the checkpoint."""

    epoch: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    steps: list[dict[str, float]] = field(default_factory=list)
    best_error: float = math.inf
    best_epoch: int = 0
    last_error: float = math.inf
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def diverged(self) -> bool:
        """Whether the error on the selection hands is no longer a number."""
        return self.epoch > 0 and not math.isfinite(self.last_error)


@dataclass(frozen=True)
class Trained:
    """A finished training: the network has the weights of the best epoch, in evaluation mode.

    `predictions` are of all hands that were not trained on, and `predictions_train` of those that
    were, by the best weights.
    """

    network: networks.HandNet
    best_weights: dict[str, Tensor]
    last_weights: dict[str, Tensor]
    scales: Scales
    progress: Progress
    predictions: pd.DataFrame
    predictions_train: pd.DataFrame
    precision: str
    code: dict[str, Any]


def save_run(
    folder: Path, config: RunConfig, trained: Trained, fingerprint: str, tier_label: str
) -> None:
    """Write a finished training to `runs/<study>/<experiment>/seed-<k>`."""
    remove(folder / "metrics.json")
    write_yaml(folder / "config.yaml", config.model_dump(mode="json"))
    progress = trained.progress
    write_csv(folder / "history.csv", pd.DataFrame(progress.history).round(8))
    write_csv(folder / "steps.csv", pd.DataFrame(progress.steps).astype({"step": int}))
    write_csv(folder / "predictions.csv", trained.predictions)
    write_csv(folder / "predictions_train.csv", trained.predictions_train)
    for name, weights in zip(HEAVY, (trained.best_weights, trained.last_weights), strict=True):
        write_bytes(folder / name, to_bytes({k: v.contiguous() for k, v in weights.items()}))
    model = {
        "format": FORMAT,
        "data_fingerprint": fingerprint,
        "tier_label": tier_label,
        "weights_sha256": sha256(folder / WEIGHTS),
        "best_epoch": progress.best_epoch,
        "age_mean_months": trained.scales.age_mean_months,
        "age_sd_months": trained.scales.age_sd_months,
        "pixel_mean": trained.scales.pixels.mean,
        "pixel_sd": trained.scales.pixels.sd,
        "precision": trained.precision,
    }
    write_json(folder / "model.json", model)
    write_json(
        folder / "provenance.json",
        {
            "format": FORMAT,
            "finished": provenance.now(),
            **trained.code,
            "machine": provenance.machine(),
            "data_fingerprint": fingerprint,
            "config_digest": config.digest,
            "seconds": round(progress.seconds, 1),
        },
    )
    by_split = trained.predictions.groupby("split", sort=True)
    ssl_loss = {"selection": {"ssl_loss": progress.best_error}} if config.task == "ssl" else {}
    write_json(
        folder / "metrics.json",
        {
            "format": FORMAT,
            "config_digest": config.digest,
            "epochs": progress.epoch,
            "best_epoch": progress.best_epoch,
            "diverged": progress.diverged,
            "n_train": len(trained.predictions_train),
            **{
                split: {"n": len(part)}
                # JSON has no NaN: the AUC of one sex alone is left out. Hands without an age are
                # predicted and not scored, not even where their sex is known.
                | {
                    name: round(value, 6)
                    for name, value in (metrics_of(part) | ssl_loss.get(split, {})).items()
                    if split != "unlabelled" and np.isfinite(value)
                }
                for split, part in by_split
            },
        },
    )
    remove(folder / CHECKPOINT)
