"""Saliency maps: Grad-CAM, occlusion, and sanity checks of both.

A map is (s, s), float32, not negative, and sums to one over the picture, so that the part that
falls on a region is a share. A map that is zero everywhere stays zero. Pixels given to a network
are (n, 1, s, s), float, normalised; the network is in evaluation mode.
"""

import copy
import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from h2a_lib.analysis.statistics.bootstrap import Estimate, mean_interval, number

if TYPE_CHECKING:
    from torch import Tensor, nn

    from h2a_lib.models.networks import HandNet

Answer = Literal["age", "sex"]
Maps = NDArray[np.float32]
# A coarser grid than ImageNet's 7 x 7 says little about a hand. Pictures of less than 224 pixels
# are therefore explained by an earlier layer than the usual last one.
LEAST_GRID = 7
# Along each side of a picture, of occlusion: as fine as the grid of Grad-CAM, or a little coarser.
PATCHES = 6
LAYERS = ("layer4", "layer3", "layer2", "layer1")
# Randomised from the answer down to the picture (Adebayo et al. 2018, section 4.1, "cascading").
STAGES = ("head", "layer4", "layer3", "layer2", "layer1", "conv1")
# A map with half of its ranks left when all weights are random shows the picture, not the network.
MOST_SIMILAR = 0.5
# Of the fully random network, on which the verdict rests: one draw of weights says little.
DRAWS = 3
# Enough hands for the interval of a mean rank correlation; 100 cost twice the time.
SANITY_HANDS = 50


def layer_for(size_px: int) -> str:
    """Return the deepest block of a ResNet whose grid is at least 7 x 7 for pictures of this size.

    The blocks' strides are 32, 16, 8 and 4 pixels; "layer1" if none is fine enough.
    """
    strides = zip(LAYERS, (32, 16, 8, 4), strict=True)
    # Rounded up, as the padded convolutions do: 100 px are 7 steps of 16.
    return next((name for name, stride in strides if size_px > (LEAST_GRID - 1) * stride), "layer1")


def grad_cam(
    network: "HandNet",
    pixels: "Tensor",
    answer: Answer,
    male: "Tensor | None" = None,
    layer: str | None = None,
) -> Maps:
    """Map what a network's answer rests on, from the activations of one block (see `layer_for`).

    The gradient of the answer times the activation, summed over channels. At the last block this is
    Grad-CAM (Selvaraju et al. 2017, ICCV, equations 1 and 2), since all places of a pooled block
    have one gradient. At an earlier one the gradient is kept for each place, not averaged over the
    picture (HiResCAM: Draelos and Carin 2020, arXiv:2011.08891, section 3.3): averaged, it no
    longer says where. (On pictures with a bright decoy and a faint sign of the age, rank
    correlation with the map of occlusion rose from 0.26 to 0.54 by this: docs/answers.md.)

    For sex the evidence for the sex that is called is kept. For age there is no "for": a region may
    speak for a younger or an older hand, so the absolute value is taken.
    """
    import torch
    import torch.nn.functional as F  # noqa: N812 (its usual name)

    stage = layer or layer_for(pixels.shape[-1])
    with network.record_maps(stage) as maps, torch.enable_grad():
        # A gradient that reaches the activations even if the weights are frozen.
        value = network(pixels.detach().requires_grad_(), male)[answer]
        (gradient,) = torch.autograd.grad(value.sum(), maps[stage])
    evidence = (gradient * maps[stage]).sum(dim=1, keepdim=True)
    if answer == "sex":
        evidence = torch.relu(evidence * torch.sign(value).view(-1, 1, 1, 1))
    evidence = F.interpolate(
        evidence.abs().detach(), pixels.shape[-2:], mode="bilinear", align_corners=False
    )
    return _to_shares(evidence[:, 0].float().numpy())


def occlusion(
    predict: Callable[[NDArray[np.uint8]], NDArray[np.float64]],
    images: NDArray[np.uint8],
) -> Maps:
    """Map how far a prediction moves when a patch is covered (Zeiler and Fergus 2014, section 4.2).

    Each image, (n, s, s) uint8, is cut into 6 x 6 patches, covered in turn by its median grey.
    """
    n, side, _ = images.shape
    edges = np.linspace(0, side, min(PATCHES, side) + 1).round().astype(int)
    before = predict(images)
    grey = np.median(images, axis=(1, 2)).astype(np.uint8)
    maps = np.zeros((n, side, side), np.float32)
    for top, bottom in itertools.pairwise(edges):
        for left, right in itertools.pairwise(edges):
            hidden = images.copy()
            hidden[:, top:bottom, left:right] = grey[:, None, None]
            moved = np.abs(predict(hidden) - before)
            maps[:, top:bottom, left:right] = moved[:, None, None]
    return _to_shares(maps)


def _to_shares(maps: Maps) -> Maps:
    total = maps.sum(axis=(1, 2), keepdims=True)
    return np.where(total > 0, maps / np.where(total > 0, total, 1), 0).astype(np.float32)


def similarity(a: Maps, b: Maps) -> NDArray[np.float64]:
    """Rank correlation (Spearman) of two maps of each hand, (n,); NaN for a flat map."""
    from scipy.stats import rankdata

    ranks = (rankdata(m.reshape(len(m), -1), axis=1) for m in (a, b))
    with np.errstate(invalid="ignore"):
        return np.array([np.corrcoef(*pair)[0, 1] for pair in zip(*ranks, strict=True)])


def randomised(
    network: "HandNet", last_stage: str, pixels: "Tensor | None" = None, seed: int = 0
) -> "HandNet":
    """Return a copy with initial weights from the answer down to `last_stage` of `STAGES`.

    The weights are drawn as a new network's are. The batch-norm statistics are measured on the
    pictures (if at least two), as training measures them before it evaluates a network: with
    statistics of other weights, or with none, all channels of a random network carry the picture's
    brightness, and the check would be of that.
    """
    import torch
    from torch import nn
    from torch.optim.swa_utils import update_bn

    copied = copy.deepcopy(network)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for stage in STAGES[: STAGES.index(last_stage) + 1]:
            for module in (m for part in _parts(copied, stage) for m in part.modules()):
                if isinstance(module, nn.Conv2d):
                    nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                elif hasattr(module, "reset_parameters"):
                    module.reset_parameters()
    if last_stage != "head" and pixels is not None and len(pixels) > 1:
        update_bn([pixels], copied.trunk)
    return copied.eval()


def _parts(network: "HandNet", stage: str) -> "list[nn.Module]":
    if stage == "head":
        heads = ("age_head", "sex_head", "read_sex")
        return [getattr(network, name) for name in heads if hasattr(network, name)]
    if stage == "conv1":
        return network.stem
    return [network.stages[stage]]


def sanity(
    network: "HandNet",
    pixels: "Tensor",
    answer: Answer,
    male: "Tensor | None" = None,
    retrained: "Sequence[HandNet]" = (),
    draws: int = DRAWS,
) -> pd.DataFrame:
    """Compare maps with those of the same network with random weights, stage by stage.

    First come "other hands" (the similarity that comes of hands being in the same place) and "other
    seeds" if `retrained` has networks: how reproducible the maps are (Arun et al. 2021, Radiology:
    Artificial Intelligence 3:e200267). The fully random network is drawn `draws` times and
    averaged. n are the hands, of at most `SANITY_HANDS`, whose maps have contrast.
    """
    pixels, male = pixels[:SANITY_HANDS], None if male is None else male[:SANITY_HANDS]
    layer = layer_for(pixels.shape[-1])
    original = grad_cam(network, pixels, answer, male, layer)

    def mean_similarity(networks: "Iterable[HandNet]") -> NDArray[np.float64]:
        return np.stack(
            [similarity(original, grad_cam(n, pixels, answer, male, layer)) for n in networks]
        ).mean(axis=0)

    rows = [_row("other hands", similarity(original, np.roll(original, 1, axis=0)))]
    if retrained:
        rows.append(_row("other seeds", mean_similarity(retrained)))
    for stage in STAGES:
        seeds = range(draws if stage == STAGES[-1] else 1)
        networks = (randomised(network, stage, pixels, seed) for seed in seeds)
        rows.append(_row(stage, mean_similarity(networks)))
    return pd.DataFrame(rows)


def _row(stage: str, values: NDArray[np.float64]) -> dict[str, object]:
    mean = mean_interval(values[~np.isnan(values)])
    return {"stage": stage} | mean.row("similarity") | {"n": mean.n}


def has_contrast(table: pd.DataFrame) -> bool:
    """Whether any map differs from place to place, so that it can be compared with another."""
    return bool(table.set_index("stage").loc[STAGES[-1], "n"] > 0)


def passes(table: pd.DataFrame) -> bool:
    """Whether the maps depend on the weights: little is left when all of them are random."""
    last = table.set_index("stage").loc[STAGES[-1]]
    return bool(last["similarity"] < MOST_SIMILAR and not last["similarity_high"] >= MOST_SIMILAR)


def sanity_sentence(table: pd.DataFrame) -> str:
    """Say whether the maps can serve as an explanation."""
    by_stage = table.set_index("stage")
    last = by_stage.loc[STAGES[-1]]
    if not has_contrast(table):
        return "Sanity check: the maps have no contrast, so they explain nothing."
    verdict = (
        "the maps depend on the trained weights"
        if passes(table)
        else "failed, since the maps show the image rather than the trained network"
    )
    references = [f"another hand's map {number(by_stage.loc['other hands', 'similarity'], 2)}"]
    if "other seeds" in by_stage.index:
        seeds = number(by_stage.loc["other seeds", "similarity"], 2)
        references.append(f"the same network trained with another seed {seeds}")
    positional = ""
    if by_stage.loc["other hands", "similarity"] >= MOST_SIMILAR:
        positional = " Maps of different hands are alike, so they say little about a single hand."
    correlation = Estimate.of(last, "similarity").text(digits=2)
    kept = f"the rank correlation with the original maps is {correlation}"
    return (
        f"Sanity check: with all weights random, {kept}, where we require less than "
        f"{MOST_SIMILAR:g}: {verdict}. For comparison: {'; '.join(references)}.{positional}"
    )


@dataclass(frozen=True)
class Attention:
    """The share of the maps that falls on a region, and its mean share of the picture's area."""

    share: Estimate
    area: float


def attention(maps: Maps, region: NDArray[np.floating]) -> Attention:
    """Measure the share of maps on a region, (n, s, s), the share of each pixel that belongs to it.

    Hands without the region, and maps that are zero, are left out.
    """
    has = (region.sum(axis=(1, 2)) > 0) & (maps.sum(axis=(1, 2)) > 0)
    share = (maps[has] * region[has]).sum(axis=(1, 2))
    area = float(region[has].mean()) if has.any() else float("nan")
    return Attention(mean_interval(share), area)


def complement(attention: Attention) -> Attention:
    """Turn the share on a region into the share on the rest of the picture."""
    share = attention.share
    rest = Estimate(1 - share.value, 1 - share.high, 1 - share.low, share.n)
    return Attention(rest, 1 - attention.area)


def against_chance(attention: Attention) -> str:
    """Compare a share with that of the area, which uninformative maps would have."""
    if attention.share.low > attention.area:
        return "more than by chance"
    below = attention.share.high < attention.area
    return "less than by chance" if below else "not distinguishable from chance"
