"""Labels of made-up hands, for tests of what is computed from labels and predictions."""

from collections.abc import Sequence

import numpy as np
import pandas as pd


def hands(
    n: int, seed: int = 0, ages: Sequence[float] = (5.0, 225.0), share_male: float = 0.5
) -> tuple[pd.DataFrame, np.random.Generator]:
    """Draw ids, ages in months and sexes; the generator draws whatever else a test needs.

    Two `ages` are the ends of a range, more are the only ones there are.
    """
    random = np.random.default_rng(seed)
    drawn = random.uniform(*ages, n) if len(ages) == 2 else random.choice(ages, n)
    labels = {"id": [str(i) for i in range(n)], "age_months": drawn}
    return pd.DataFrame(labels | {"male": random.random(n) < share_male}), random
