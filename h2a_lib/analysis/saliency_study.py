"""All that is said of where one network looks: maps, their sanity, and what they fall on."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from h2a_lib.analysis.registration import averages_by_band, hand_of, phantom_regions
from h2a_lib.analysis.saliency import (
    Answer,
    Attention,
    Maps,
    attention,
    grad_cam,
    occlusion,
    sanity,
    sanity_sentence,
)
from h2a_lib.analysis.selection import is_phantom
from h2a_lib.runs import Run

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
            "regions_sentence": self.regions_sentence(),
        }

    def regions_sentence(self) -> str:
        """Say how much of the attention falls off the hand."""
        if OFF_HAND in self.regions:
            cams, occluded = self.regions[OFF_HAND]
            shares = [found.share.text("%", scale=100) for found in (cams, occluded)]
            return (
                f"Off the hand, by the outline found, lie {cams.area * 100:.1f} % of the picture, "
                f"{shares[0]} of Grad-CAM and {shares[1]} of occlusion."
            )
        said = []
        for region in ("marker", "border"):
            found = self.regions[region][0]
            share = found.share.text("%", scale=100)
            if found.share.n == 0:
                continue
            more = (
                "more than" if found.share.low > found.area
                else "less than" if found.share.high < found.area
                else "as much as"
            )  # fmt: skip
            said.append(
                f"the {region} covers {found.area * 100:.1f} % of the picture and gets {share} "
                f"of Grad-CAM, {more} by chance"
            )
        text = "; ".join(said) or "no marker is seen"
        return f"{text[0].upper()}{text[1:]}."


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
    pixels = run.normalise(images)

    def answers(pictures: NDArray[np.uint8]) -> NDArray[np.float64]:
        return run.predict(pictures, sexes if run.config.sex_input else None)[COLUMNS[answer]]

    cams = grad_cam(run.network, pixels, answer, told)
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
        table=sanity(run.network, pixels, answer, told, [other.network for other in others]),
        regions=regions,
        n=len(images),
    )
