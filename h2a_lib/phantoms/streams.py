"""Random numbers that are the same on every machine and with every version of NumPy.

NumPy promises stable raw 64-bit words from a bit generator, but not stable distributions drawn
from them (NEP 19). So only raw words are taken from it, and the distributions are made here.
"""

import zlib
from collections.abc import Sequence
from statistics import NormalDist
from typing import TypeVar

import numpy as np

T = TypeVar("T")
_STANDARD_NORMAL = NormalDist()


class Stream:
    """A sequence of random numbers fixed by its key, for example ``Stream(seed, "pose")``.

    The name keeps streams apart: a draw added to one (a new kind of marker, say) moves no bone in
    another.
    """

    def __init__(self, *key: int | str):
        words = [zlib.crc32(k.encode()) if isinstance(k, str) else k for k in key]
        self._bits = np.random.PCG64(np.random.SeedSequence(words))

    def uniform(self, low: float = 0.0, high: float = 1.0) -> float:
        """Draw evenly from [low, high)."""
        return low + (high - low) * (int(self._bits.random_raw()) >> 11) * 2.0**-53

    def normal(self, mean: float = 0.0, sd: float = 1.0, most: float = 2.5) -> float:
        """Draw from a normal distribution cut off at `most` standard deviations."""
        z = _STANDARD_NORMAL.inv_cdf(max(self.uniform(), 2.0**-53))
        return mean + sd * min(max(z, -most), most)

    def chance(self, probability: float) -> bool:
        """Return True with this probability."""
        return self.uniform() < probability

    def choice(self, options: Sequence[T]) -> T:
        """Draw one of the options, each as likely."""
        return options[int(self.uniform(0, len(options)))]

    def field(self, shape: tuple[int, int]) -> np.ndarray:
        """Draw a field of independent numbers of mean 0 and SD 1, nearly normal.

        The sum of four 16-bit integers (Irwin-Hall): exact integer arithmetic, and many times
        faster than a true normal. Its tails end at 3.5 SD.
        """
        count = shape[0] * shape[1]
        quarters = self._bits.random_raw(count).astype("<u8").view("<u2").reshape(count, 4)
        # Four uniform 16-bit integers: mean 4 * 32767.5, variance 4 * (2^32 - 1) / 12.
        total = quarters.astype(np.int32).sum(axis=1, dtype=np.int32)
        return ((total - 131070.0) / np.sqrt((2.0**32 - 1) / 3)).reshape(shape)
