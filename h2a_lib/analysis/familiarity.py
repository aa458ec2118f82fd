"""Does a picture look like those the network learnt from? Distance in its feature space.

The training hands' features are described by a normal distribution with few free directions
(probabilistic principal components: Tipping and Bishop 1999, J. R. Stat. Soc. B 61:611, equations 7
and 8), and a picture by its Mahalanobis distance from it (as in Lee et al. 2018, NeurIPS).
"""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from h2a_lib.data.hands import Hands
from h2a_lib.files import sha256, write_atomically
from h2a_lib.runs import WEIGHTS, Run

NAME = "familiarity.npz"
DIRECTIONS = 50
# Enough to describe a distribution with 50 directions; all 10,000 would only cost time.
MOST_HANDS = 2000
# A hand is called unlike when it is farther out than this share of the validation hands. Measured
# with 634 phantoms of 64 px to learn from and 166 to validate: at 0.95, 92 % of hands upside down
# and all noise are called unlike; at 0.99, which two odd hands decide, 2 % of the former. Nearest
# neighbours and a shrunk full covariance tell no better.
SHARE = 0.95

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


def learn(run: Run, hands: Hands) -> Familiarity:
    """Describe a run's training hands and keep the description in its folder.

    Parameters
    ----------
    run : Run
    hands : Hands
        Images as the run was given them, with their splits.

    Returns
    -------
    Familiarity
    """
    train = hands.training_rows(run.config.train_fraction)[:MOST_HANDS]
    validation = hands.rows("validation")[:MOST_HANDS]
    found = Familiarity.fit(
        *(run.features(np.asarray(hands.images[rows])) for rows in (train, validation))
    )
    with write_atomically(run.folder / NAME) as temporary:
        np.savez_compressed(temporary, weights=sha256(run.folder / WEIGHTS), **vars(found))
    return found


def recall(run_folder: Path) -> Familiarity | None:
    """Read what `learn` kept; None if there is none, or it is of weights trained before."""
    file = run_folder / NAME
    if not file.is_file():
        return None
    with np.load(file) as kept:
        if str(kept["weights"]) != sha256(run_folder / WEIGHTS):
            return None
        arrays = {name: kept[name] for name in ("mean", "directions", "variances")}
        numbers = {name: float(kept[name]) for name in ("rest", "threshold")}
        counts = {name: int(kept[name]) for name in ("n_train", "n_validation")}
    return Familiarity(**arrays, **numbers, **counts)
