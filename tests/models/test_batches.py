"""Batches: gathered by position, changed only as asked, normalised as said."""

import numpy as np
import pytest
import torch

from h2a_lib.models.dataset import (
    DeviceDataset,
    PixelStatistics,
    augment,
    generator,
    normalise,
    split,
    steps_per_epoch,
)
from h2a_lib.study.config import Augment

CPU = torch.device("cpu")
OFF = {
    "rotation_degrees": 0,
    "scale": 0,
    "shift": 0,
    "flip": False,
    "brightness": 0,
    "contrast": 0,
}


def pixels(n: int = 6, size: int = 32) -> torch.Tensor:
    return torch.rand(n, 1, size, size, generator=torch.Generator().manual_seed(0))


def test_instance_normalisation_leaves_each_image_with_mean_0_and_sd_1():
    out = normalise(pixels() * 0.1 + 0.5, "instance", PixelStatistics(0, 1), training=True)
    torch.testing.assert_close(out.mean(dim=(1, 2, 3)), torch.zeros(6), atol=1e-4, rtol=0)
    torch.testing.assert_close(out.std(dim=(1, 2, 3)), torch.ones(6), atol=1e-2, rtol=0)


def test_batch_normalisation_of_pixels_is_of_the_batch_in_training_alone():
    batch = pixels()
    statistics = PixelStatistics(mean=0.25, sd=0.5)
    training = normalise(batch, "batch", statistics, training=True)
    assert training.mean().abs() < 1e-4
    evaluation = normalise(batch, "batch", statistics, training=False)
    torch.testing.assert_close(evaluation, (batch - 0.25) / 0.5)


@pytest.mark.parametrize("how", ["instance", "batch", "dataset"])
def test_what_is_read_from_a_hand_does_not_depend_on_its_neighbours(how):
    batch, statistics = pixels(), PixelStatistics(0.4, 0.2)
    together = normalise(batch, how, statistics, training=False)
    alone = normalise(batch[2:3], how, statistics, training=False)
    torch.testing.assert_close(together[2:3], alone)


def test_a_blank_image_stays_finite():
    for how in ("instance", "batch", "dataset"):
        assert torch.isfinite(
            normalise(torch.zeros(2, 1, 8, 8), how, PixelStatistics(0, 1e-6), training=True)
        ).all()


def test_pixel_statistics_equal_the_literal_ones_in_any_chunks():
    images = np.random.default_rng(0).integers(0, 256, (50, 9, 9), dtype=np.uint8)
    for chunk in (7, 50, 1024):
        result = PixelStatistics.of(images, chunk)
        assert result.mean == pytest.approx((images / 255).mean())
        assert result.sd == pytest.approx((images / 255).std())


def test_augmentation_that_is_all_off_changes_nothing():
    batch = pixels()
    assert torch.equal(augment(batch, Augment(**OFF), generator(CPU, 0)), batch)


@pytest.mark.parametrize(
    "on",
    [
        {"rotation_degrees": 20},
        {"scale": 0.2},
        {"shift": 0.2},
        {"flip": True},
        {"brightness": 0.2},
        {"contrast": 0.5},
    ],
)
def test_each_augmentation_changes_images_by_itself_and_repeats_with_its_seed(on):
    batch, how = pixels(), Augment(**(OFF | on))
    first, again = (augment(batch, how, generator(CPU, 3)) for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, batch)
    assert first.min() >= 0 and first.max() <= 1


def test_a_flip_is_exact():
    batch = pixels(40)
    out = augment(batch, Augment(**(OFF | {"flip": True})), generator(CPU, 0))
    flipped = [torch.equal(o, b.flip(-1)) for o, b in zip(out, batch, strict=True)]
    kept = [torch.equal(o, b) for o, b in zip(out, batch, strict=True)]
    assert sum(flipped) + sum(kept) == 40
    assert 10 < sum(flipped) < 30


def test_a_rotation_turns_a_bar_by_no_more_than_its_limit():
    bar = torch.zeros(200, 1, 65, 65)
    bar[:, :, 10:55, 30:35] = 1
    out = augment(bar, Augment(**(OFF | {"rotation_degrees": 15})), generator(CPU, 0))
    grid = torch.arange(65.0) - 32
    y, x = torch.meshgrid(grid, grid, indexing="ij")
    mass = out.sum(dim=(2, 3))
    xx, yy, xy = ((out * m).sum(dim=(2, 3)) / mass for m in (x * x, y * y, x * y))
    degrees = torch.rad2deg(0.5 * torch.atan2(2 * xy, yy - xx)).abs()
    assert degrees.max() <= 15.5
    assert degrees.max() > 12


@pytest.mark.parametrize("as_memory_map", [False, True])
def test_an_epoch_shows_each_hand_once_with_its_own_labels(tmp_path, as_memory_map):
    images = np.arange(23, dtype=np.uint8)[:, None, None].repeat(4, 1).repeat(4, 2)
    if as_memory_map:
        np.save(tmp_path / "images.npy", images)
        images = np.load(tmp_path / "images.npy", mmap_mode="r")
    hands = DeviceDataset(images, np.arange(23.0), np.arange(23) % 2 == 0, CPU)
    assert hands.is_resident is not as_memory_map
    rows = np.arange(2, 23)
    observed = list(hands.shuffled(rows, 5, generator(CPU, 1)))
    ages = torch.cat([batch.age_months for batch in observed])
    values = torch.cat([batch.pixels[:, 0, 0, 0] for batch in observed]) * 255
    torch.testing.assert_close(values, ages)
    assert sorted(ages.tolist()) == list(range(2, 23))
    assert all(b.male.tolist() == [float(a % 2 == 0) for a in b.age_months] for b in observed)


@pytest.mark.parametrize(
    ("n", "size", "sizes"), [(21, 5, [5, 5, 5, 6]), (20, 5, [5] * 4), (1, 5, [1])]
)
def test_no_batch_of_one_is_left_over(n, size, sizes):
    assert [len(part) for part in split(torch.arange(n), size)] == sizes
    assert steps_per_epoch(n, size) == len(sizes)


def test_lengths_that_do_not_match_are_an_error():
    with pytest.raises(ValueError, match="3 images, 2 ages"):
        DeviceDataset(np.zeros((3, 4, 4), np.uint8), np.zeros(2), np.zeros(3), CPU)


def test_random_generators_differ_by_purpose_and_agree_with_themselves():
    draws = [
        torch.rand(1, generator=generator(CPU, *purpose)).item()
        for purpose in ((0, "shuffle", 1), (0, "augment", 1), (1, "shuffle", 1), (0, "shuffle", 2))
    ]
    assert len(set(draws)) == 4
    assert torch.rand(1, generator=generator(CPU, 0, "shuffle", 1)).item() == draws[0]
