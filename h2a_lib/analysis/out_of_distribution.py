"""Out-of-distribution detection: does a picture differ from the training hands?

Five sets of features describe a picture. Each block of the network gives mean and spread of its
channels: early blocks respond to shading and grain, late ones to shape. The fifth set does not
depend on the network: the picture's spectrum, which measures sharpness and grain whatever the
exposure. In each set the training hands are described by a normal distribution with few free
directions (probabilistic principal components: Tipping and Bishop 1999, J. R. Stat. Soc. B 61:611,
equations 7 and 8), and a picture by its Mahalanobis distance from it (Lee et al. 2018, NeurIPS,
section 2.2); the set in which it is farthest out decides. Thresholds are of the selection hands.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from h2a_lib.analysis.statistics.bootstrap import share_interval
from h2a_lib.data.hands import Hands
from h2a_lib.files import sha256, write_atomically
from h2a_lib.models.inference import predictor_of
from h2a_lib.study.runs import WEIGHTS, Run

if TYPE_CHECKING:
    from torch import Tensor

NAME = "out_of_distribution.npz"
DIRECTIONS = 50
# Enough to describe a distribution with 50 directions; all 10,000 would only cost time.
MOST_HANDS = 1000
# A hand is out of distribution when it lies farther out than this share of the selection hands.
SHARE = 0.95
BLOCKS = ("layer1", "layer2", "layer3", "layer4")
SPECTRUM = "spectrum"
# In cycles a picture: about what the window lets one tell apart.
RING_WIDTH = 2

Features = NDArray[np.float32]


@dataclass(frozen=True)
class FeatureDistribution:
    """The distribution of one set of features, (n, d), over the training hands.

    `directions`, (k, d), are orthonormal; `variances` are along them, `rest` along every other one.
    95 % of the selection hands do not exceed the distance `threshold`.
    """

    mean: NDArray[np.float64]
    directions: NDArray[np.float64]
    variances: NDArray[np.float64]
    rest: float
    threshold: float
    n_train: int
    n_selection: int

    @classmethod
    def fit(cls, train: Features, selection: Features) -> "FeatureDistribution":
        """Fit to features, (n, d), of training hands; set the threshold on selection hands.

        The threshold is not set on training hands, whose features the network has fitted: new hands
        lie farther out.
        """
        train = np.asarray(train, np.float64)
        n, d = train.shape
        mean = train.mean(axis=0)
        _, singular, directions = np.linalg.svd(train - mean, full_matrices=False)
        variances = singular**2 / max(n - 1, 1)
        # Few hands: no more than one direction for every three, so that the rest has a variance.
        k = max(1, min(DIRECTIONS, n // 3, d - 1))
        rest = float(variances[k:].sum() / max(d - k, 1))
        # Features that never vary are as good as one that varies a millionth as much as the first.
        least = max(float(variances[0]) * 1e-6, 1e-12)
        fitted = cls(
            mean, directions[:k], np.maximum(variances[:k], least), max(rest, least), math.inf, n, 0
        )
        far = fitted.distances(selection)
        threshold = float(np.quantile(far, SHARE)) if len(far) else math.inf
        return replace(fitted, threshold=threshold, n_selection=len(far))

    def distances(self, features: Features) -> NDArray[np.float64]:
        """Return each hand's distance, (n,); about 1 for a hand like those of the training."""
        centred = np.asarray(features, np.float64) - self.mean
        along = centred @ self.directions.T
        beside = np.maximum((centred**2).sum(axis=1) - (along**2).sum(axis=1), 0)
        squared = (along**2 / self.variances).sum(axis=1) + beside / self.rest
        return np.sqrt(squared / self.mean.size)


@dataclass(frozen=True)
class Detector:
    """The distributions of all sets of features, and a threshold of the farthest.

    95 % of the selection hands do not exceed it; `reference`, (n,), are their distances.
    """

    distributions: dict[str, FeatureDistribution]
    threshold: float
    reference: NDArray[np.float64]

    @classmethod
    def fit(cls, train: Mapping[str, Features], selection: Mapping[str, Features]) -> "Detector":
        """Fit to the sets of features, (n, d) each; see `FeatureDistribution.fit`."""
        fitted = {name: FeatureDistribution.fit(train[name], selection[name]) for name in train}
        far = cls(fitted, math.inf, np.empty(0)).distances(selection)
        return cls(fitted, float(np.quantile(far, SHARE)) if len(far) else math.inf, np.sort(far))

    def distances(self, features: Mapping[str, Features]) -> NDArray[np.float64]:
        """Return each hand's largest distance, (n,), in units of each set's threshold."""
        far = [
            fitted.distances(features[name]) / fitted.threshold
            for name, fitted in self.distributions.items()
        ]
        return np.max(far, axis=0)

    def compare(self, distances: NDArray[np.float64]) -> tuple[float, float]:
        """Compare a set of hands with the selection hands (Mann-Whitney).

        Where single pictures hide in the tails, many together do not (Rabanser, Günnemann and
        Lipton 2019, NeurIPS, "Failing Loudly"). Returns how often one of the set lies farther out
        than a selection hand (0.5: no difference), and the one-sided p.
        """
        from scipy.stats import mannwhitneyu

        test = mannwhitneyu(distances, self.reference, alternative="greater")
        return float(test.statistic / (len(distances) * len(self.reference))), float(test.pvalue)


def spectrum(images: NDArray[np.uint8]) -> Features:
    """Describe pictures, (n, s, s) uint8, by the log of the mean power in each ring of frequency.

    Each picture is freed of its own brightness and contrast. Returns (n, rings), float32.
    """
    from scipy.fft import fftfreq, rfft2, rfftfreq

    side = images.shape[1]
    pixels = images.astype(np.float32)
    pixels -= pixels.mean(axis=(1, 2), keepdims=True)
    pixels /= pixels.std(axis=(1, 2), keepdims=True) + 1e-6
    # Without a window the cut forearm, a step from one edge of the picture to the other, covers
    # what is fine: then 15 % of the real radiographs were told from phantoms, with it 66 %.
    window = np.hanning(side).astype(np.float32)
    power = np.abs(rfft2(pixels * window[:, None] * window)) ** 2
    radius = np.hypot(fftfreq(side, 1 / side)[:, None], rfftfreq(side, 1 / side))
    ring = (radius - 1) // RING_WIDTH  # the mean, at radius 0, is in none
    rings = [power[:, ring == i].mean(axis=1) for i in range(int(ring.max()))]
    return np.log(np.stack(rings, axis=1) + 1e-9)


def features_of(run: Run, images: NDArray[np.uint8], batch_size: int = 256) -> dict[str, Features]:
    """Return the features of pictures, (n, s, s), by name, see `features_of_maps`."""
    import torch

    parts = []
    predictor = predictor_of(run)
    with torch.no_grad(), predictor.network.record_maps() as maps:
        for start in range(0, len(images), batch_size):
            batch = images[start : start + batch_size]
            predictor.network.features(predictor.normalise(batch))
            parts.append(features_of_maps(maps, batch))
    return {name: np.concatenate([part[name] for part in parts]) for name in (*BLOCKS, SPECTRUM)}


def features_of_maps(
    maps: Mapping[str, "Tensor"], images: NDArray[np.uint8]
) -> dict[str, Features]:
    """Describe pictures by mean and SD of each channel of each block, and by their spectrum.

    `maps` are those that `HandNet.record_maps` has kept of the pass of these pictures.
    """
    import torch

    features = {SPECTRUM: spectrum(images)}
    for block in BLOCKS:
        sd, mean = torch.std_mean(maps[block].float(), dim=(2, 3), correction=0)
        features[block] = torch.cat([mean, sd], dim=1).numpy()
    return features


def fit_detector(run: Run, hands: Hands, save: bool = True) -> Detector:
    """Fit a run's detector on its training and selection hands.

    It is saved in the run's folder, but where somebody explores: only the pipeline writes there.
    """
    train = hands.training_rows(run.config.train_fraction)[:MOST_HANDS]
    selection = hands.rows("selection")[:MOST_HANDS]
    detector = Detector.fit(
        *(features_of(run, np.asarray(hands.images[rows])) for rows in (train, selection))
    )
    if save:
        save_detector(detector, run.folder)
    return detector


def save_detector(detector: Detector, run_folder: Path) -> None:
    """Write a detector beside the weights it belongs to."""
    arrays = {
        f"{name}.{key}": value
        for name, fitted in detector.distributions.items()
        for key, value in vars(fitted).items()
    }
    with write_atomically(run_folder / NAME) as temporary:
        np.savez_compressed(
            temporary,
            weights=sha256(run_folder / WEIGHTS),
            threshold=detector.threshold,
            reference=np.float32(detector.reference),
            **{key: np.float32(v) if np.ndim(v) else v for key, v in arrays.items()},
        )


def summary(
    runs: Sequence[Run], detectors: Sequence[Detector], images: NDArray[np.uint8]
) -> pd.DataFrame:
    """Say how many hands stand behind each detector, and which share of some images it flags."""
    rows = []
    for run, detector in zip(runs, detectors, strict=True):
        first = next(iter(detector.distributions.values()))
        flagged = share_interval(detector.distances(features_of(run, images)) > detector.threshold)
        rows.append(
            {"run": run.name, "n_train": first.n_train, "n_selection": first.n_selection}
            | {"n": flagged.n}
            | flagged.row("flagged")
        )
    return pd.DataFrame(rows)


def load_detector(run_folder: Path) -> Detector | None:
    """Read what `fit_detector` saved; None if there is none, or it is of other weights."""
    file = run_folder / NAME
    if not file.is_file():
        return None
    with np.load(file) as saved:
        if str(saved["weights"]) != sha256(run_folder / WEIGHTS):
            return None
        distributions = {
            name: FeatureDistribution(
                **{key.name: saved[f"{name}.{key.name}"][()] for key in fields(FeatureDistribution)}
            )
            for name in (*BLOCKS, SPECTRUM)
        }
        return Detector(distributions, float(saved["threshold"]), saved["reference"])
