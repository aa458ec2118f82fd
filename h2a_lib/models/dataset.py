"""Batches on the device: gather, augment, normalise. No loader workers on the hot path."""

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 (its usual name)
from torch import Tensor

from h2a_lib.data.hands import Hands
from h2a_lib.study.config import Augment

EPSILON = 1e-6
# Of the memory that is free on a GPU, what the images may take; the rest is the network's.
RESIDENT_SHARE = 0.5


def generator(device: torch.device, *purpose: int | str) -> torch.Generator:
    """Return a random generator that is fixed by what it is for, such as (seed, purpose, epoch).

    A training that goes on after a kill draws what the uninterrupted one drew, because the draw
    does not depend on how often was drawn before.
    """
    digest = hashlib.sha256(repr(purpose).encode()).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest[:8], "little") >> 1)


@dataclass(frozen=True)
class PixelStatistics:
    """Mean and standard deviation of the training images' pixels, on a scale of 0 to 1."""

    mean: float
    sd: float

    @classmethod
    def of(cls, images: np.ndarray, chunk: int = 1024) -> "PixelStatistics":
        """Measure images, uint8 (n, s, s), in chunks, exactly (in integers)."""
        total, squares = 0, 0
        for start in range(0, len(images), chunk):
            counts = np.bincount(np.asarray(images[start : start + chunk]).ravel(), minlength=256)
            values = np.arange(256, dtype=np.int64)
            total += int(counts @ values)
            squares += int(counts @ values**2)
        n = images.size
        mean = total / n
        variance = squares / n - mean**2
        return cls(mean=mean / 255, sd=max(math.sqrt(max(variance, 0.0)) / 255, EPSILON))


def normalise(
    pixels: Tensor,
    how: Literal["instance", "batch", "dataset"],
    statistics: PixelStatistics,
    training: bool,
) -> Tensor:
    """Centre and scale pixels, (n, 1, h, w), 0 to 1, by image, by batch or by the training set.

    Outside training "batch" uses the training set's statistics: the prediction for a hand must not
    depend on the other hands in its batch.
    """
    if how == "dataset" or (how == "batch" and not training):
        return (pixels - statistics.mean) / statistics.sd
    of = (1, 2, 3) if how == "instance" else (0, 1, 2, 3)
    centred = pixels - pixels.mean(of, keepdim=True)
    # torch.std_mean takes five times as long on a processor.
    sd = centred.square().mean(of, keepdim=True).sqrt_()
    return centred / (sd + EPSILON)


def augment(pixels: Tensor, how: Augment, random: torch.Generator) -> Tensor:
    """Change each image, (n, 1, h, w), 0 to 1: one affine resampling, brightness, contrast.

    Every change is uniform in its range. What comes in from outside the picture is black, as film
    is.
    """
    n = len(pixels)

    def uniform(limit: float) -> Tensor:
        return (torch.rand(n, generator=random, device=pixels.device) * 2 - 1) * limit

    angle = uniform(math.radians(how.rotation_degrees))
    # Log-uniform, so that growing and shrinking are equally likely.
    scale = torch.exp(uniform(math.log1p(how.scale)))
    shift_x, shift_y = uniform(2 * how.shift), uniform(2 * how.shift)
    mirror = torch.ones(n, device=pixels.device)
    if how.flip:
        mirror = torch.sign(uniform(1.0) + EPSILON)
    brightness, contrast = uniform(how.brightness), torch.exp(uniform(math.log1p(how.contrast)))
    cos, sin = torch.cos(angle) / scale, torch.sin(angle) / scale
    if how.rotation_degrees or how.scale or how.shift:
        # Where each pixel comes from, the picture reaching from -1 to 1; columns and rows
        # contribute alone. On a processor F.affine_grid took more than half of all this.
        columns, rows = (
            torch.arange(1 - side, side, 2, device=pixels.device) / side
            for side in (pixels.shape[-1], pixels.shape[-2])
        )
        of_columns = torch.stack([cos * mirror, sin], dim=1)[:, None] * columns[:, None]
        of_rows = torch.stack([-sin * mirror, cos], dim=1)[:, None] * rows[:, None]
        of_rows += torch.stack([shift_x, shift_y], dim=1)[:, None]
        grid = of_columns[:, None] + of_rows[:, :, None]
        pixels = F.grid_sample(pixels, grid, align_corners=False)
    elif how.flip:
        # No resampling where none is needed.
        flipped = pixels.flip(-1)
        pixels = torch.where(mirror.view(-1, 1, 1, 1) < 0, flipped, pixels)
    if how.brightness or how.contrast:
        mean = pixels.mean(dim=(1, 2, 3), keepdim=True)
        contrast, brightness = contrast.view(-1, 1, 1, 1), brightness.view(-1, 1, 1, 1)
        pixels = ((pixels - mean) * contrast + mean + brightness).clamp_(0, 1)
    return pixels


@dataclass(frozen=True)
class Batch:
    """Some hands on the device: pixels, (n, 1, s, s), 0 to 1; labels, (n,), male as 1 or 0."""

    pixels: Tensor
    age_months: Tensor
    male: Tensor


class DeviceDataset:
    """All images, (n, s, s), uint8, with their labels, on the device if they fit, else streamed.

    A memory map is read batch by batch in file order. A ValueError says that lengths differ.
    """

    def __init__(
        self, images: np.ndarray, age_months: np.ndarray, male: np.ndarray, device: torch.device
    ):
        if not len(images) == len(age_months) == len(male):
            raise ValueError(
                f"{len(images)} images, {len(age_months)} ages and {len(male)} sexes do not match"
            )
        self.device = device
        self._images = images
        self._resident = torch.from_numpy(np.array(images)).to(device) if self._fits() else None
        self._age_months = torch.tensor(np.asarray(age_months), dtype=torch.float32, device=device)
        self._male = torch.tensor(np.asarray(male), dtype=torch.float32, device=device)

    @classmethod
    def of(cls, hands: Hands, device: torch.device) -> "DeviceDataset":
        """Place a data set's images and labels."""
        labels = hands.labels
        return cls(hands.images, labels["age_months"].to_numpy(), labels["male"].to_numpy(), device)

    @property
    def is_resident(self) -> bool:
        """Whether all images lie on the device."""
        return self._resident is not None

    def _fits(self) -> bool:
        if self.device.type == "cuda":
            free, _ = torch.cuda.mem_get_info(self.device)
            return self._images.nbytes < free * RESIDENT_SHARE
        # On a CPU a memory map is as good as resident: the kernel keeps what fits.
        return not isinstance(self._images, np.memmap)

    def batch(self, rows: Tensor) -> Batch:
        """Gather the hands at positions `rows`, (n,), int64."""
        if self._resident is not None:
            images = self._resident[rows.to(self.device)]
        else:
            in_file_order, back = np.unique(rows.numpy(), return_inverse=True)
            images = torch.from_numpy(self._images[in_file_order][back])
            if self.device.type == "cuda":
                images = images.pin_memory().to(self.device, non_blocking=True)
        rows = rows.to(self.device)
        pixels = images.unsqueeze(1).to(torch.float32).div_(255)
        return Batch(pixels, self._age_months[rows], self._male[rows])

    def shuffled(
        self, rows: np.ndarray, batch_size: int, random: torch.Generator
    ) -> Iterator[Batch]:
        """Yield each of the hands at `rows` once, in an order drawn from `random` (on the CPU)."""
        return self.in_order(rows[torch.randperm(len(rows), generator=random).numpy()], batch_size)

    def in_order(self, rows: np.ndarray, batch_size: int) -> Iterator[Batch]:
        """Yield each of the hands at `rows` once, in their order."""
        order = torch.from_numpy(rows)
        if self._resident is not None:
            # All at once: a copy to a GPU waits for all it has still to do, in each batch anew.
            order = order.to(self.device)
        for part in split(order, batch_size):
            yield self.batch(part)


def split(order: Tensor, batch_size: int) -> list[Tensor]:
    """Cut into batches; a last one of a single hand is joined to the one before.

    Batch normalisation has no variance in a batch of one.
    """
    parts = list(order.split(batch_size))
    if len(parts) > 1 and len(parts[-1]) < 2:
        parts[-2:] = [torch.cat(parts[-2:])]
    return parts


def steps_per_epoch(n: int, batch_size: int) -> int:
    """Return how many batches `DeviceDataset.shuffled` yields of n hands."""
    return len(split(torch.empty(n), batch_size))
