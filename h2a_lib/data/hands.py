"""Images and labels in one order, joined by id: what a training, or any analysis, starts from."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from h2a_lib.data import cache
from h2a_lib.data.cache import Cache
from h2a_lib.data.labels import id_order
from h2a_lib.errors import UserError
from h2a_lib.study.config import Settings
from h2a_lib.study.workspace import Study


@dataclass(frozen=True)
class Hands:
    """The images of a data set with their labels.

    images: (n, s, s), uint8; usually the cache's memory map. labels: n rows in the images' order:
    id, age_months, male, split. fingerprint: of the data set.
    """

    images: np.ndarray
    labels: pd.DataFrame
    fingerprint: str

    @classmethod
    def join(cls, cached: Cache, labels: pd.DataFrame, fingerprint: str) -> "Hands":
        """Bring labels into the cache's order; a UserError for an id on one side only, or twice."""
        by_id = labels.set_index("id", verify_integrity=True)
        if strangers := sorted(set(cached.ids) ^ set(by_id.index)):
            raise UserError(
                f"the image cache and the labels differ in {len(strangers)} ids, "
                f"first {strangers[0]!r}: delete the cache folder"
            )
        return cls(cached.images, by_id.loc[cached.ids].reset_index(), fingerprint)

    def rows(self, split: str) -> np.ndarray:
        """Return the positions of a split's hands, (n,), int."""
        return np.flatnonzero(self.labels["split"] == split)

    def training_rows(self, fraction: float = 1.0) -> np.ndarray:
        """Return the positions of a share of the training hands, (n,), int, in the order of ids.

        Which hands a share holds depends on their ids alone, and smaller shares are parts of
        larger ones.
        """
        rows = self.rows("train")
        rows = rows[np.argsort(id_order(self.labels["id"].iloc[rows]), kind="stable")]
        return rows[: max(2, round(len(rows) * fraction))]


def load_hands(study: Study, settings: Settings, progress: bool = True) -> Hands:
    """Return a run's images and labels; the image cache is built if it is not there."""
    cached = cache.build(
        study.all_hands,
        study.data_folder,
        study.cache_folder(settings),
        size_px=settings.image_size_px,
        geometry=settings.geometry,
        contrast=settings.contrast,
        fingerprint=study.fingerprint,
        progress=progress,
    )
    return Hands.join(cached, study.all_hands, study.fingerprint)
