"""Does a picture look like those the network learnt from? Distance in its feature space.

Each block of the network gives a picture the mean and spread of its channels: early blocks know
texture, grain and sharpness, late ones shape. The training hands' are described by a normal
distribution with few free directions (probabilistic principal components: Tipping and Bishop 1999,
J. R. Stat. Soc. B 61:611, equations 7 and 8), and a picture by its Mahalanobis distance from it,
block by block (Lee et al. 2018, NeurIPS, section 2.2); the farthest block decides.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from h2a_lib.data.hands import Hands
from h2a_lib.files import sha256, write_atomically
from h2a_lib.runs import WEIGHTS, Run

# Earlier versions wrote familiarity.npz, of the last block alone.
NAME = "familiarity-blocks.npz"
DIRECTIONS = 50
# Enough to describe a distribution with 50 directions; all 10,000 would only cost time.
MOST_HANDS = 2000
# A hand is called unlike when it is farther out than this share of the validation hands.
SHARE = 0.95
BLOCKS = ("layer1", "layer2", "layer3", "layer4")

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
        return cls(*(list(vars(found).values())[:4]), threshold, n, len(far))

    def distances(self, features: Features) -> NDArray[np.float64]:
        """Return each hand's distance, (n,); about 1 for a hand like those of the training."""
        centred = np.asarray(features, np.float64) - self.mean
        along = centred @ self.directions.T
        beside = np.maximum((centred**2).sum(axis=1) - (along**2).sum(axis=1), 0)
        squared = (along**2 / self.variances).sum(axis=1) + beside / self.rest
        return np.sqrt(squared / self.mean.size)


@dataclass(frozen=True)
class Blocks:
    """What all blocks of a network say together.

    Attributes
    ----------
    of : dict of str to Familiarity
        One for each of `BLOCKS`.
    threshold : float
        What 95 % of the validation hands do not exceed.
    validation : ndarray, (n,)
        Their distances: what those of a set of hands are compared with.
    """

    of: dict[str, Familiarity]
    threshold: float
    validation: NDArray[np.float64]

    @classmethod
    def fit(cls, train: Mapping[str, Features], validation: Mapping[str, Features]) -> "Blocks":
        """Describe features, (n, d) for each block, of training hands; see `Familiarity.fit`."""
        of = {block: Familiarity.fit(train[block], validation[block]) for block in train}
        far = cls(of, math.inf, np.empty(0)).distances(validation)
        return cls(of, float(np.quantile(far, SHARE)) if len(far) else math.inf, np.sort(far))

    def distances(self, features: Mapping[str, Features]) -> NDArray[np.float64]:
        """Return each hand's distance, (n,): in its farthest block, in that block's thresholds."""
        far = [one.distances(features[block]) / one.threshold for block, one in self.of.items()]
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


def block_features(
    run: Run, images: NDArray[np.uint8], batch_size: int = 256
) -> dict[str, Features]:
    """Describe pictures by the mean and the standard deviation of each channel of each block.

    Parameters
    ----------
    run : Run
    images : ndarray
        (n, s, s), uint8.
    batch_size : int

    Returns
    -------
    dict of str to ndarray
        (n, 2 channels), float32, for each of `BLOCKS`.
    """
    import torch

    found: dict[str, list[Features]] = {block: [] for block in BLOCKS}

    def keep(block: str):
        def hook(module, inputs, output) -> None:
            sd, mean = torch.std_mean(output.float(), dim=(2, 3), correction=0)
            found[block].append(torch.cat([mean, sd], dim=1).numpy())

        return hook

    trunk = run.network.trunk
    hooks = [getattr(trunk, block).register_forward_hook(keep(block)) for block in BLOCKS]
    try:
        with torch.no_grad():
            for start in range(0, len(images), batch_size):
                trunk(run.normalise(images[start : start + batch_size]))
    finally:
        for hook in hooks:
            hook.remove()
    return {block: np.concatenate(parts) for block, parts in found.items()}


def learn(run: Run, hands: Hands) -> Blocks:
    """Describe a run's training hands and keep the description in its folder.

    Parameters
    ----------
    run : Run
    hands : Hands
        Images as the run was given them, with their splits.

    Returns
    -------
    Blocks
    """
    train = hands.training_rows(run.config.train_fraction)[:MOST_HANDS]
    validation = hands.rows("validation")[:MOST_HANDS]
    found = Blocks.fit(
        *(block_features(run, np.asarray(hands.images[rows])) for rows in (train, validation))
    )
    arrays = {f"{b}.{k}": v for b, one in found.of.items() for k, v in vars(one).items()}
    with write_atomically(run.folder / NAME) as temporary:
        np.savez_compressed(
            temporary,
            weights=sha256(run.folder / WEIGHTS),
            threshold=found.threshold,
            validation=np.float32(found.validation),
            **{key: np.float32(v) if np.ndim(v) else v for key, v in arrays.items()},
        )
    return found


def recall(run_folder: Path) -> Blocks | None:
    """Read what `learn` kept; None if there is none, or it is of other weights."""
    file = run_folder / NAME
    if not file.is_file():
        return None
    with np.load(file) as kept:
        if str(kept["weights"]) != sha256(run_folder / WEIGHTS):
            return None
        of = {
            block: Familiarity(
                **{part.name: kept[f"{block}.{part.name}"][()] for part in fields(Familiarity)}
            )
            for block in BLOCKS
        }
        return Blocks(of, float(kept["threshold"]), kept["validation"])
