"""All that is said of where one network looks: maps, their sanity, and what they fall on."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from h2a_lib.analysis.saliency.maps import (
    Answer,
    Attention,
    Maps,
    attention,
    beside_chance,
    elsewhere,
    grad_cam,
    has_contrast,
    occlusion,
    passes,
    sanity,
    sanity_sentence,
)
from h2a_lib.analysis.saliency.registration import averages_by_band, hand_of, phantom_regions
from h2a_lib.analysis.selection import is_phantom
from h2a_lib.models.inference import predictor_of
from h2a_lib.study.runs import Run

Average = tuple[str, int, NDArray[np.float32], NDArray[np.float32]]
CASES = 2
OFF_HAND = "off_hand"
COLUMNS = {"age": "predicted_age_months", "sex": "male_probability"}


@dataclass(frozen=True)
class Look:
    """Where a network looks.

    Attributes
    ----------
    answer : {"age", "sex"}
    averages : list of (band, n, image, map)
        Registered hands and Grad-CAM maps, mean by age band.
    occluded_averages : list of (band, n, image, map)
        The same with the maps of occlusion.
    cases : ndarray
        (<= 2, s, s), uint8: single hands, with their Grad-CAM (`cams`) and occlusion maps
        (`occluded`), (<= 2, s, s) each.
    table : DataFrame
        From `saliency.sanity`.
    regions : dict of str to (Attention, Attention)
        The share of Grad-CAM, and of occlusion: on phantoms on marker, border and hand, which are
        known; on other hands off the hand's outline, as it is found.
    n : int
        Hands behind the averages and the sanity check.
    """

    answer: Answer
    averages: list[Average]
    occluded_averages: list[Average]
    cases: NDArray[np.uint8]
    cams: Maps
    occluded: Maps
    table: pd.DataFrame
    regions: dict[str, tuple[Attention, Attention]]
    n: int

    def variables(self) -> dict[str, str | int]:
        """Return ready-to-print values."""
        known = {
            f"{region}_{kind}": found.text()
            for region, pair in self.regions.items()
            for kind, found in zip(("grad_cam", "occlusion"), pair, strict=True)
        }
        return known | {
            "n": self.n,
            "sanity_sentence": sanity_sentence(self.table),
            "regions_verdict": self.regions_verdict(),
            "regions_sentence": self.regions_sentence(),
        }

    def regions_verdict(self) -> str:
        """Say in a title's few words whether the maps fall on the hand, or why that is unknown."""
        if not has_contrast(self.table):
            return "the maps have no contrast and show nothing"
        if not passes(self.table):
            return "the maps fail their sanity check: they show the picture"
        on_hand = self._on_hand()
        if not on_hand[0].share.n:
            return "no hand is found to lay the maps on"
        said = {beside_chance(found) for found in on_hand}
        if len(said) > 1:
            return "Grad-CAM and occlusion do not agree on the hand"
        return f"the network looks at the hand {said.pop()}"

    def regions_sentence(self) -> str:
        """Say how much of the attention falls on the hand, and on what else is known of."""
        cams, occluded = self._on_hand()
        if not cams.share.n:
            return "No hand is found, or the maps have no contrast."
        shares = [found.share.text("%", scale=100) for found in (cams, occluded)]
        outline = ", by the outline found," if OFF_HAND in self.regions else ""
        said = (
            f"On the hand{outline} lie {cams.area * 100:.1f} % of the picture, {shares[0]} of "
            f"Grad-CAM and {shares[1]} of occlusion"
        )
        around = [
            f"{found.share.text('%', scale=100)} on the {region} ({found.area * 100:.1f} %), "
            f"{beside_chance(found)}"
            for region, (found, _) in self.regions.items()
            if region in ("marker", "border") and found.share.n
        ]
        return f"{said}; of Grad-CAM {', and '.join(around)}." if around else f"{said}."

    def _on_hand(self) -> tuple[Attention, Attention]:
        if OFF_HAND not in self.regions:
            return self.regions["hand"]
        cams, occluded = self.regions[OFF_HAND]
        return elsewhere(cams), elsewhere(occluded)


def look(
    of_seeds: Sequence[Run],
    images: NDArray[np.uint8],
    frame: pd.DataFrame,
    answer: Answer,
    data_folder: Path,
) -> Look:
    """Study where a run looks on some hands that it was not trained on.

    Parameters
    ----------
    of_seeds : sequence of Run
        The first is studied; the others, trained alike, say how far maps are reproduced.
    images : ndarray
        (n, s, s), uint8. Occlusion asks the network 64 times for each.
    frame : DataFrame
        n rows in the images' order: id, age_months, male.
    answer : {"age", "sex"}
    data_folder : Path
        If it holds phantoms, their regions are known.

    Returns
    -------
    Look
    """
    import torch

    run, *others = of_seeds
    sexes = frame["male"].to_numpy(bool)
    told = torch.as_tensor(sexes.astype(np.float32)) if run.config.sex_input else None
    pixels = predictor_of(run).normalise(images)

    def answers(pictures: NDArray[np.uint8]) -> NDArray[np.float64]:
        male = sexes if run.config.sex_input else None
        return predictor_of(run).predict(pictures, male)[COLUMNS[answer]]

    cams = grad_cam(predictor_of(run).network, pixels, answer, told)
    occluded = occlusion(answers, images)
    if is_phantom(data_folder):
        size, geometry = run.config.image_size_px, run.config.geometry
        masks = phantom_regions(data_folder, frame["id"], size, geometry)
    else:
        outlines = np.stack([hand_of(image) for image in images])
        # A hand that is not found leaves its picture out.
        off_hand = ~outlines & outlines.any(axis=(1, 2), keepdims=True)
        masks = {OFF_HAND: off_hand.astype(np.float32)}
    regions = {
        name: (attention(cams, mask), attention(occluded, mask)) for name, mask in masks.items()
    }
    return Look(
        answer=answer,
        averages=averages_by_band(images, cams, frame["age_months"]),
        occluded_averages=averages_by_band(images, occluded, frame["age_months"]),
        cases=images[:CASES],
        cams=cams[:CASES],
        occluded=occluded[:CASES],
        table=sanity(
            predictor_of(run).network,
            pixels,
            answer,
            told,
            [predictor_of(other).network for other in others],
        ),
        regions=regions,
        n=len(images),
    )
