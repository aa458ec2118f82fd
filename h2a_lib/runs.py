"""The run folder: what one training leaves behind, written whole, read back strictly."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from yaml import YAMLError

from h2a_lib import provenance
from h2a_lib.errors import UserError
from h2a_lib.files import (
    read_json,
    read_yaml,
    remove,
    sha256,
    write_bytes,
    write_csv,
    write_json,
    write_yaml,
)
from h2a_lib.study import RunConfig

if TYPE_CHECKING:  # torch takes two seconds to import, and reading a table needs none of it
    from h2a_lib.models.evaluation import Scales
    from h2a_lib.models.networks import HandNet
    from h2a_lib.models.training import Trained

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


def write(
    folder: Path, config: RunConfig, trained: "Trained", fingerprint: str, tier_label: str
) -> None:
    """Write a finished training.

    Parameters
    ----------
    folder : Path
        `runs/<study>/<experiment>/seed-<k>`.
    config : RunConfig
        What was trained.
    trained : Trained
        What came out.
    fingerprint, tier_label : str
        Of the data set.
    """
    from safetensors.torch import save as as_bytes

    from h2a_lib.models.evaluation import errors_of

    remove(folder / "metrics.json")
    write_yaml(folder / "config.yaml", config.model_dump(mode="json"))
    progress = trained.progress
    write_csv(folder / "history.csv", pd.DataFrame(progress.history).round(8))
    write_csv(folder / "steps.csv", pd.DataFrame(progress.steps).astype({"step": int}))
    write_csv(folder / "predictions.csv", trained.predictions)
    write_csv(folder / "predictions_train.csv", trained.predictions_train)
    for name, weights in zip(HEAVY, (trained.best_weights, trained.last_weights), strict=True):
        write_bytes(folder / name, as_bytes({k: v.contiguous() for k, v in weights.items()}))
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
    write_json(
        folder / "metrics.json",
        {
            "format": FORMAT,
            "config_digest": config.digest,
            "epochs": progress.epoch,
            "best_epoch": progress.best_epoch,
            "n_train": len(trained.predictions_train),
            **{
                split: {"n": len(part)}
                # JSON has no NaN: the AUC of one sex alone is left out.
                | {k: round(v, 6) for k, v in errors_of(part).items() if np.isfinite(v)}
                for split, part in by_split
            },
        },
    )
    remove(folder / CHECKPOINT)


@dataclass(frozen=True)
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

    @cached_property
    def history(self) -> pd.DataFrame:
        """One row an epoch."""
        return pd.read_csv(self.folder / "history.csv")

    @cached_property
    def steps(self) -> pd.DataFrame:
        """One row a batch: step, lr, train_loss."""
        return pd.read_csv(self.folder / "steps.csv")

    @cached_property
    def predictions(self) -> pd.DataFrame:
        """One row for each hand that was not trained on; `split` tells validation from test."""
        return pd.read_csv(self.folder / "predictions.csv", dtype={"id": str})

    @cached_property
    def predictions_train(self) -> pd.DataFrame:
        """One row for each hand that was trained on."""
        return pd.read_csv(self.folder / "predictions_train.csv", dtype={"id": str})

    @cached_property
    def made_by(self) -> dict[str, Any]:
        """What made this run."""
        return read_json(self.folder / "provenance.json")

    @cached_property
    def scales(self) -> "Scales":
        """What standardises months and pixels."""
        from h2a_lib.models.batches import PixelStatistics
        from h2a_lib.models.evaluation import Scales

        pixels = PixelStatistics(self.model["pixel_mean"], self.model["pixel_sd"])
        return Scales(self.model["age_mean_months"], self.model["age_sd_months"], pixels)

    @property
    def has_weights(self) -> bool:
        """Whether the network can be asked again."""
        return (self.folder / WEIGHTS).is_file()

    @cached_property
    def network(self) -> "HandNet":
        """The network with the weights of its best epoch, in evaluation mode, on the CPU."""
        import torch
        from safetensors.torch import load_file

        from h2a_lib.models import networks

        network = networks.build(self.config.network, self.config.task, self.config.sex_input)
        if not self.has_weights:
            raise UserError(
                f"{self.folder / WEIGHTS} was deleted, or left where the run was trained: "
                "bring it, or delete the folder to train the run again"
            )
        # Runs of before 24 November 2026 have none.
        if self.model.get("weights_sha256") not in (None, sha256(self.folder / WEIGHTS)):
            raise UserError(f"{self.folder / WEIGHTS}: damaged, or another run's")
        try:
            network.load_state_dict(load_file(self.folder / WEIGHTS))
        except Exception as error:
            raise UserError(
                f"{self.folder / WEIGHTS}: not this network's weights: {error}"
            ) from None
        return network.to(memory_format=torch.channels_last).eval()

    def normalise(self, images: np.ndarray) -> Any:
        """Turn uint8 images (n, s, s) into what the network reads: a float tensor (n, 1, s, s)."""
        import torch

        from h2a_lib.models.batches import normalise

        pixels = torch.from_numpy(np.ascontiguousarray(images)).unsqueeze(1).float() / 255
        return normalise(pixels, self.config.pixel_norm, self.scales.pixels, training=False)

    def predict(
        self, images: np.ndarray, male: np.ndarray | None = None, batch_size: int = 256
    ) -> dict[str, np.ndarray]:
        """Predict uint8 images (n, s, s): predicted_age_months, male_probability, each (n,)."""
        from h2a_lib.models.evaluation import in_words

        return in_words(self._in_batches("forward", images, male, batch_size), self.scales)

    def features(self, images: np.ndarray, batch_size: int = 256) -> np.ndarray:
        """Return what the heads see of uint8 images (n, s, s): (n, d), float32."""
        return np.concatenate(
            [part.numpy() for part in self._in_batches("features", images, None, batch_size)["all"]]
        )

    def _in_batches(
        self, what: str, images: np.ndarray, male: np.ndarray | None, batch_size: int
    ) -> dict[str, list[Any]]:
        import torch

        found: dict[str, list[Any]] = {}
        with torch.no_grad():
            for start in range(0, len(images), batch_size):
                pixels = self.normalise(images[start : start + batch_size])
                if what == "features":
                    found.setdefault("all", []).append(self.network.features(pixels))
                    continue
                sex = None
                if male is not None:
                    part = np.asarray(male[start : start + batch_size], dtype=np.float32)
                    sex = torch.from_numpy(part.copy())
                for name, values in self.network(pixels, sex).items():
                    found.setdefault(name, []).append(values)
        return found


def load(folder: Path) -> Run:
    """Read a finished run.

    Raises
    ------
    UserError
        If the folder is not a run's, is not finished, or was written by another version.
    """
    missing = [name for name in FILES if not (folder / name).is_file()]
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
    except UserError:
        raise
    except (ValueError, TypeError, AttributeError, YAMLError) as error:
        raise UserError(f"{folder}: cannot be read as a run: {error}") from None
    if metrics["config_digest"] != config.digest:
        raise UserError(f"{folder}: config.yaml was changed after the run")
    return Run(folder, config, metrics, model)
