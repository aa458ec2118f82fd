"""Register hands, so that maps laid over them can be averaged; and phantoms' regions."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from h2a_lib.analysis.bands import band_of, masks_by_band
from h2a_lib.analysis.selection import is_phantom
from h2a_lib.errors import UserError
from h2a_lib.files import read_json
from h2a_lib.study.config import RunConfig

Images = NDArray[np.uint8]
# Where a registered hand's centre lies, and the root of its area; shares of the side.
CENTRE, ROOT_AREA = (0.5, 0.52), 0.55
# A hand is laid upright by at most this much: beyond it the axis is not the hand's.
MOST_DEGREES = 40
# A field has four sides, and they rarely hang together in more than two pieces.
MOST_BORDERS = 3


def hand_of(image: Images) -> NDArray[np.bool_]:
    """Find the hand, (s, s) bool: the largest bright region that is no border.

    Unexposed film around a collimated field is as bright as bone, so a region that covers more than
    half of the upper, left or right edge is taken for a border, and the rest is parted anew (Otsu
    1979). The lower edge is the wrist's. Empty where no region is a fiftieth of the picture.
    """
    side = image.shape[0]
    smooth = cv2.GaussianBlur(np.ascontiguousarray(image), (0, 0), max(0.5, side / 100))
    inside = np.ones(image.shape, bool)
    for _ in range(MOST_BORDERS + 1):
        if not inside.any():
            break
        level, _ = cv2.threshold(smooth[inside], 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
        bright = ((smooth > level) & inside).astype(np.uint8)
        count, regions, facts, _ = cv2.connectedComponentsWithStats(bright)
        if count < 2:
            break
        largest = regions == 1 + int(facts[1:, cv2.CC_STAT_AREA].argmax())
        if max(largest[0].mean(), largest[:, 0].mean(), largest[:, -1].mean()) <= 0.5:
            return largest if largest.mean() >= 0.02 else np.zeros(image.shape, bool)
        # With the blurred rim, which is neither border nor hand.
        rim = np.ones((3, 3), np.uint8)
        inside &= ~cv2.dilate(largest.astype(np.uint8), rim, iterations=max(1, side // 32)).astype(
            bool
        )
    return np.zeros(image.shape, bool)


def placement(image: Images) -> NDArray[np.float64]:
    """Find the shift, turn and scale that bring centre, long axis and area to fixed values.

    (2, 3), for `cv2.warpAffine`; the identity where no hand is found.
    """
    side = image.shape[0]
    y, x = np.nonzero(hand_of(image))
    if len(x) == 0:
        return np.eye(2, 3)
    centre = np.array([x.mean(), y.mean()])
    _, axes = np.linalg.eigh(np.cov(np.stack([x, y])))
    long = axes[:, 1] * np.sign(axes[1, 1] or 1)  # pointing down the picture
    degrees = float(np.degrees(np.arctan2(long[0], long[1])))
    degrees = -degrees if abs(degrees) <= MOST_DEGREES else 0.0
    scale = ROOT_AREA * side / np.sqrt(len(x))
    matrix = cv2.getRotationMatrix2D((float(centre[0]), float(centre[1])), degrees, scale)
    matrix[:, 2] += np.array(CENTRE) * side - centre
    return matrix


def place(pictures: NDArray, placements: NDArray[np.float64]) -> NDArray[np.float32]:
    """Move pictures or maps, (n, s, s), by their placements, (n, 2, 3); (n, s, s), float32."""
    side = pictures.shape[1]
    return np.stack(
        [
            cv2.warpAffine(np.asarray(picture, np.float32), matrix, (side, side))
            for picture, matrix in zip(pictures, placements, strict=True)
        ]
    )


def registered(images: Images) -> NDArray[np.float32]:
    """Move hands, (n, s, s), so that centre, long axis and area agree."""
    return place(images, np.stack([placement(image) for image in images]))


def averages_by_band(
    images: Images, maps: NDArray[np.float32], age_months: Sequence[float]
) -> list[tuple[str, int, NDArray[np.float32], NDArray[np.float32]]]:
    """Average registered hands, and the maps laid over them, by age band: (band, n, image, map).

    Both pictures are zero where n is 0.
    """
    placements = np.stack([placement(image) for image in images])
    placed_images, placed_maps = place(images, placements), place(maps, placements)
    averages = []
    for name, here in masks_by_band(age_months)[:-1]:
        n = int(here.sum())
        nothing = np.zeros(images.shape[1:], np.float32)
        mean_image, mean_map = (
            p[here].mean(0) if n else nothing for p in (placed_images, placed_maps)
        )
        averages.append((name, n, mean_image, mean_map))
    return averages


# The notebook needs them twice, and drawing a hundred phantoms takes seconds.
@lru_cache(maxsize=1)
def phantom_regions(
    data_folder: Path, ids: tuple[str, ...], size_px: int, geometry: str
) -> dict[str, NDArray[np.float32]]:
    """Return where things are in the pictures of phantoms, (n, s, s) shares of pixels.

    They are "marker", "border" (outside the exposed field) and "hand". Phantoms are drawn again
    from their seeds, so this is the truth and not a segmentation; a UserError if another version of
    the generator made the folder.
    """
    from h2a_lib import phantoms as phantom
    from h2a_lib.data import images
    from h2a_lib.phantoms.writing import render_arguments

    companion = read_json(data_folder / "phantom.json")
    if companion["version"] != phantom.VERSION:
        raise UserError(f"{data_folder}: made by another version of the phantoms; draw it again")
    wanted = {
        "marker": (phantom.MARKER,),
        "border": (phantom.BORDER,),
        "hand": (phantom.SOFT_TISSUE, phantom.BONE),
    }
    regions: dict[str, list[NDArray[np.float32]]] = {name: [] for name in wanted}
    for name in ids:
        drawn = phantom.render(
            *render_arguments(companion["seed"], int(name)), companion["height_px"]
        )
        for region, codes in wanted.items():
            mask = np.where(np.isin(drawn.regions, codes), 255, 0).astype(np.uint8)
            regions[region].append(images.resize(mask, size_px, geometry).astype(np.float32) / 255)
    return {name: np.stack(masks) for name, masks in regions.items()}


def known_marker(
    data_folder: Path, ids: Sequence[str], config: RunConfig
) -> NDArray[np.float32] | None:
    """Return where the lead marker of phantoms is, (n, s, s); None for other hands."""
    if not is_phantom(data_folder):
        return None
    return phantom_regions(data_folder, tuple(ids), config.image_size_px, config.geometry)["marker"]


def subset(frame: pd.DataFrame, most: int) -> NDArray[np.int64]:
    """Draw positions of at most `most` rows, sorted; the same hands whatever the rows' order.

    As many of each age band, as far as there are.
    """
    order = np.argsort(frame["id"].astype(str).to_numpy(), kind="stable")
    drawn = order[np.random.default_rng(0).permutation(len(frame))]
    band = pd.Series(band_of(frame["age_months"].to_numpy()[drawn]))
    rank_in_band = band.groupby(band).cumcount().to_numpy()
    return np.sort(drawn[np.argsort(rank_in_band, kind="stable")[:most]])
