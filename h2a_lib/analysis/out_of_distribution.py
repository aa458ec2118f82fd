"""Does a picture look like those the network learnt from? Five views of it, and their distances.

Each block of the network gives a picture the mean and spread of its channels: early blocks know
shading and grain, late ones shape. The fifth view knows nothing of the network: the picture's
spectrum, which tells how sharp and how grainy it is whatever its exposure. In each view the
training hands are described by a normal distribution with few free directions (probabilistic
principal components: Tipping and Bishop 1999, J. R. Stat. Soc. B 61:611, equations 7 and 8), and a
picture by its Mahalanobis distance from it (Lee et al. 2018, NeurIPS, section 2.2); the view in
which it is farthest out decides.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from h2a_lib.data.hands import Hands
from h2a_lib.files import sha256, write_atomically
from h2a_lib.models.inference import predictor_of
from h2a_lib.study.runs import WEIGHTS, Run

# Earlier versions wrote familiarity.npz and familiarity-blocks.npz, of fewer views.
NAME = "familiarity-views.npz"
DIRECTIONS = 50
# Enough to describe a distribution with 50 directions; all 10,000 would only cost time.
MOST_HANDS = 2000
# A hand is called unlike when it is farther out than this share of the validation hands.
SHARE = 0.95
BLOCKS = ("layer1", "layer2", "layer3", "layer4")
SPECTRUM = "spectrum"
# In cycles a picture: about what the window lets one tell apart.
RING_WIDTH = 2

Features = NDArray[np.float32]


@dataclass(frozen=True)
class Familiarity:
    """What the features of a run's training hands look like.

    Attributes
    ----------
    mean : ndarray, (d,)
    directions : ndarray, (k, d)
        Orthonormal principal directions.
    variances : ndarray, (k,)
        Along them.
    rest : float
        Variance along every other direction.
    threshold : float
        Distance that 95 % of the validation hands do not exceed.
    n_train, n_validation : int
        Hands behind the description and behind the threshold.
    """

    mean: NDArray[np.float64]
    directions: NDArray[np.float64]
    variances: NDArray[np.float64]
    rest: float
    threshold: float
    n_train: int
    n_validation: int

    @classmethod
    def fit(cls, train: Features, validation: Features) -> "Familiarity":
        """Describe features, (n, d), of training hands; set the threshold on validation hands.

        The threshold is not set on training hands, whose features the network has fitted: new
        hands lie farther out.
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
        found = cls(
            mean, directions[:k], np.maximum(variances[:k], least), max(rest, least), math.inf, n, 0
        )
        far = found.distances(validation)
        threshold = float(np.quantile(far, SHARE)) if len(far) else math.inf
        return replace(found, threshold=threshold, n_validation=len(far))

    def distances(self, features: Features) -> NDArray[np.float64]:
        """Return each hand's distance, (n,); about 1 for a hand like those of the training."""
        centred = np.asarray(features, np.float64) - self.mean
        along = centred @ self.directions.T
        beside = np.maximum((centred**2).sum(axis=1) - (along**2).sum(axis=1), 0)
        squared = (along**2 / self.variances).sum(axis=1) + beside / self.rest
        return np.sqrt(squared / self.mean.size)


@dataclass(frozen=True)
class Views:
    """What the blocks of a network and the spectrum say together.

    Attributes
    ----------
    of : dict of str to Familiarity
        One for each of `BLOCKS`, and `SPECTRUM`.
    threshold : float
        What 95 % of the validation hands do not exceed.
    validation : ndarray, (n,)
        Their distances: what those of a set of hands are compared with.
    """

    of: dict[str, Familiarity]
    threshold: float
    validation: NDArray[np.float64]

    @classmethod
    def fit(cls, train: Mapping[str, Features], validation: Mapping[str, Features]) -> "Views":
        """Describe features, (n, d) in each view, of training hands; see `Familiarity.fit`."""
        of = {view: Familiarity.fit(train[view], validation[view]) for view in train}
        far = cls(of, math.inf, np.empty(0)).distances(validation)
        return cls(of, float(np.quantile(far, SHARE)) if len(far) else math.inf, np.sort(far))

    def distances(self, features: Mapping[str, Features]) -> NDArray[np.float64]:
        """Return each hand's distance, (n,): in its farthest view, in that view's thresholds."""
        far = [one.distances(features[view]) / one.threshold for view, one in self.of.items()]
        return np.max(far, axis=0)

    def compare(self, distances: NDArray[np.float64]) -> tuple[float, float]:
        """Compare a set of hands with the validation hands (Mann-Whitney, one-sided).

        Where single pictures hide in the tails, many together do not (Rabanser, Günnemann and
        Lipton 2019, NeurIPS, "Failing Loudly").

        Returns
        -------
        farther, p : float
            How often one of the set lies farther out than a validation hand (0.5: no difference),
            and the chance of that or more, were they alike.
        """
        from scipy.stats import mannwhitneyu

        found = mannwhitneyu(distances, self.validation, alternative="greater")
        return float(found.statistic / (len(distances) * len(self.validation))), float(found.pvalue)


def spectrum(images: NDArray[np.uint8]) -> Features:
    """Describe pictures by how much of their contrast is coarse and how much is fine.

    Parameters
    ----------
    images : ndarray
        (n, s, s), uint8.

    Returns
    -------
    ndarray
        (n, rings), float32: logarithm of the mean power in each ring of spatial frequency, of the
        picture freed of its own brightness and contrast.
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


def views(run: Run, images: NDArray[np.uint8], batch_size: int = 256) -> dict[str, Features]:
    """Describe pictures by mean and SD of each channel of each block, and by their spectrum.

    Parameters
    ----------
    run : Run
    images : ndarray
        (n, s, s), uint8.
    batch_size : int

    Returns
    -------
    dict of str to ndarray
        (n, 2 channels), float32, for each of `BLOCKS`; (n, rings) for `SPECTRUM`.
    """
    import torch

    found: dict[str, list[Features]] = {block: [] for block in BLOCKS}

    predictor = predictor_of(run)
    with torch.no_grad(), predictor.network.record_maps() as maps:
        for start in range(0, len(images), batch_size):
            part = images[start : start + batch_size]
            predictor.network.features(predictor.normalise(part))
            for block in BLOCKS:
                sd, mean = torch.std_mean(maps[block].float(), dim=(2, 3), correction=0)
                found[block].append(torch.cat([mean, sd], dim=1).numpy())
            found.setdefault(SPECTRUM, []).append(spectrum(part))
    return {view: np.concatenate(parts) for view, parts in found.items()}


def learn(run: Run, hands: Hands) -> Views:
    """Describe a run's training hands and keep the description in its folder.

    Parameters
    ----------
    run : Run
    hands : Hands
        Images as the run was given them, with their splits.

    Returns
    -------
    Views
    """
    train = hands.training_rows(run.config.train_fraction)[:MOST_HANDS]
    validation = hands.rows("validation")[:MOST_HANDS]
    found = Views.fit(*(views(run, np.asarray(hands.images[rows])) for rows in (train, validation)))
    arrays = {f"{name}.{k}": v for name, one in found.of.items() for k, v in vars(one).items()}
    with write_atomically(run.folder / NAME) as temporary:
        np.savez_compressed(
            temporary,
            weights=sha256(run.folder / WEIGHTS),
            threshold=found.threshold,
            validation=np.float32(found.validation),
            **{key: np.float32(v) if np.ndim(v) else v for key, v in arrays.items()},
        )
    return found


def recall(run_folder: Path) -> Views | None:
    """Read what `learn` kept; None if there is none, or it is of other weights."""
    file = run_folder / NAME
    if not file.is_file():
        return None
    with np.load(file) as kept:
        if str(kept["weights"]) != sha256(run_folder / WEIGHTS):
            return None
        of = {
            view: Familiarity(
                **{part.name: kept[f"{view}.{part.name}"][()] for part in fields(Familiarity)}
            )
            for view in (*BLOCKS, SPECTRUM)
        }
        return Views(of, float(kept["threshold"]), kept["validation"])
