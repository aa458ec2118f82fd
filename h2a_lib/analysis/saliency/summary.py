"""Where one network looks: its maps, their sanity check, and the regions they fall on."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from h2a_lib.analysis.saliency import maps
from h2a_lib.analysis.saliency.registration import averages_by_band, hand_of, phantom_regions
from h2a_lib.analysis.selection import is_phantom
from h2a_lib.models.inference import predictor_of
from h2a_lib.study.runs import Run

Average = tuple[str, int, NDArray[np.float32], NDArray[np.float32]]
OFF_HAND = "off_hand"
AROUND = {"marker": "the marker", "border": "the border outside the exposed field"}
COLUMNS = {"age": "predicted_age_months", "sex": "male_probability"}


@dataclass(frozen=True)
class SaliencyStudy:
    """Where a network looks.

    `averages` are of registered hands and Grad-CAM maps, `occluded_averages` of those and the maps
    of occlusion: (band, n, image, map). `table` is from `maps.sanity`. `regions` has the share of
    Grad-CAM, and of occlusion: on phantoms on marker, border and hand, which are known; on other
    hands off the hand's estimated outline. `n` hands stand behind all of them.
    """

    answer: maps.Answer
    averages: list[Average]
    occluded_averages: list[Average]
    table: pd.DataFrame
    regions: dict[str, tuple[maps.Attention, maps.Attention]]
    n: int

    def variables(self) -> dict[str, str]:
        """Return ready-to-print values."""
        return {
            "sanity_sentence": maps.sanity_sentence(self.table),
            "regions_verdict": self.regions_verdict(),
            "regions_sentence": self.regions_sentence(),
        }

    def regions_verdict(self) -> str:
        """Say in a title how much of the maps falls on the hand, or why that is unknown."""
        if not maps.has_contrast(self.table):
            return "the maps have no contrast and show nothing"
        if not maps.passes(self.table):
            return "the maps fail their sanity check: they show the image"
        on_hand = self._on_hand()
        if not on_hand[0].share.n:
            return "no hand was detected for the maps"
        if len({maps.against_chance(share) for share in on_hand}) > 1:
            return "Grad-CAM and occlusion disagree about the hand"
        cams = on_hand[0]
        return (
            f"{cams.share.value * 100:.0f} % of Grad-CAM is on the hand "
            f"({cams.area * 100:.0f} % of the image)"
        )

    def regions_sentence(self) -> str:
        """Say how much of the maps falls on the hand, and on other known regions."""
        cams, occluded = self._on_hand()
        if not cams.share.n:
            return "No hand was detected, or the maps have no contrast."
        shares = [of.share.text("%", scale=100) for of in (cams, occluded)]
        outline = " (by its estimated outline)" if OFF_HAND in self.regions else ""
        sentence = (
            f"The hand{outline} covers {cams.area * 100:.1f} % of the image and holds {shares[0]} "
            f"of the Grad-CAM map and {shares[1]} of the occlusion map"
        )
        around = [
            f"{cam.share.text('%', scale=100)} on {AROUND[region]} ({cam.area * 100:.1f} % of "
            f"the image), {maps.against_chance(cam)}"
            for region, (cam, _) in self.regions.items()
            if region in AROUND and cam.share.n
        ]
        around_it = f"; the Grad-CAM map has {', and '.join(around)}" if around else ""
        left_out = self.n - cams.share.n
        without = (
            f" ({left_out} images without an outline or a map are left out)" if left_out else ""
        )
        return f"{sentence}{around_it}{without}."

    def _on_hand(self) -> tuple[maps.Attention, maps.Attention]:
        if OFF_HAND not in self.regions:
            return self.regions["hand"]
        cams, occluded = self.regions[OFF_HAND]
        return maps.complement(cams), maps.complement(occluded)


def study_saliency(
    runs: Sequence[Run],
    images: NDArray[np.uint8],
    frame: pd.DataFrame,
    answer: maps.Answer,
    data_folder: Path,
) -> SaliencyStudy:
    """Study where the first run looks on hands, (n, s, s) uint8, that it was not trained on.

    The other runs, its other seeds, show how reproducible maps are. `frame` has a row for each
    image: id, age_months, male. If `data_folder` holds phantoms, their regions are known.
    """
    import torch

    run, *others = runs
    predictor = predictor_of(run)
    sexes = frame["male"].to_numpy(bool) if run.config.sex_input else None
    male_input = None if sexes is None else torch.as_tensor(sexes.astype(np.float32))
    pixels = predictor.normalise(images)

    def predict(pictures: NDArray[np.uint8]) -> NDArray[np.float64]:
        return predictor.predict(pictures, sexes)[COLUMNS[answer]]

    cams = maps.grad_cam(predictor.network, pixels, answer, male_input)
    occluded = maps.occlusion(predict, images)
    if is_phantom(data_folder):
        size, geometry = run.config.image_size_px, run.config.geometry
        masks = phantom_regions(data_folder, tuple(frame["id"]), size, geometry)
    else:
        outlines = np.stack([hand_of(image) for image in images])
        # A hand that is not found leaves its picture out.
        off_hand = ~outlines & outlines.any(axis=(1, 2), keepdims=True)
        masks = {OFF_HAND: off_hand.astype(np.float32)}
    regions = {
        name: (maps.attention(cams, mask), maps.attention(occluded, mask))
        for name, mask in masks.items()
    }
    return SaliencyStudy(
        answer=answer,
        averages=averages_by_band(images, cams, frame["age_months"]),
        occluded_averages=averages_by_band(images, occluded, frame["age_months"]),
        table=maps.sanity(
            predictor.network,
            pixels,
            answer,
            male_input,
            [predictor_of(other).network for other in others],
        ),
        regions=regions,
        n=len(images),
    )
