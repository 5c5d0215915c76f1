"""Augmentation of batches."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from edgenas.config.sections import AugmentConfig
from edgenas.training.data.augment import augment

FLIP = AugmentConfig(shift=0, flip=True)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(count: int, channels: int, height: int, width: int) -> Tensor:
    return torch.randint(0, 256, (count, channels, height, width), dtype=torch.uint8, generator=generator(99))


def translated(image: Tensor, down: int, right: int) -> Tensor:
    """Return a shifted image: each pixel comes from (row - down, column - right), or from the nearest edge pixel."""
    height, width = image.shape[-2:]
    rows = (torch.arange(height) - down).clamp(0, height - 1)
    columns = (torch.arange(width) - right).clamp(0, width - 1)
    return image[:, rows][:, :, columns]


@pytest.mark.parametrize("shape", [(6, 1, 10, 10), (6, 3, 10, 14), (6, 3, 13, 8)])
@pytest.mark.parametrize("config", [AugmentConfig(shift=0.2, flip=True), AugmentConfig(shift=0.1), FLIP])
def test_shape_and_type_are_preserved(shape: tuple[int, ...], config: AugmentConfig) -> None:
    changed = augment(noise(*shape), config, generator())
    assert (changed.shape, changed.dtype) == (shape, torch.uint8)


def test_without_shift_and_flip_nothing_changes() -> None:
    images = noise(4, 3, 8, 8)
    assert torch.equal(augment(images, AugmentConfig(shift=0, flip=False), generator()), images)


@pytest.mark.parametrize("size", [(10, 10), (10, 14)])
def test_shifts_are_translations_with_repeated_edges_in_both_directions(size: tuple[int, int]) -> None:
    images = noise(100, 3, *size)
    changed = augment(images, AugmentConfig(shift=0.2, flip=False), generator())
    offsets = [(down, right) for down in range(-2, 3) for right in range(-2, 3)]
    drawn = []
    for before, after in zip(images, changed, strict=True):
        matches = [offset for offset in offsets if torch.equal(translated(before, *offset), after)]
        assert len(matches) == 1
        drawn += matches
    assert {down for down, _ in drawn} == {right for _, right in drawn} == set(range(-2, 3))


@given(st.floats(0, 0.49), st.integers(4, 40))
def test_no_image_is_shifted_by_more_than_its_share(share: float, side: int) -> None:
    columns = torch.arange(side, dtype=torch.uint8).expand(64, 1, side, side)
    changed = augment(columns, AugmentConfig(shift=share, flip=False), generator())
    # The values of the middle column are the columns that it came from.
    shifts = (changed[:, 0, side // 2, side // 2].int() - side // 2).abs()
    assert int(shifts.max()) <= share * side + 1e-6
    assert int(shifts.max()) == int(share * side + 1e-6)


def test_a_flip_mirrors_about_half_of_the_images_left_to_right() -> None:
    images = noise(1000, 1, 4, 6)
    changed = augment(images, FLIP, generator())
    unchanged = (changed == images).flatten(1).all(1)
    mirrored = (changed == images.flip(-1)).flatten(1).all(1)
    assert torch.equal(unchanged, ~mirrored)
    # 500 ± 16 (one standard deviation).
    assert 420 < int(mirrored.sum()) < 580


def test_draws_repeat_by_generator() -> None:
    images, config = noise(50, 1, 10, 10), AugmentConfig(shift=0.2, flip=True)
    assert torch.equal(augment(images, config, generator(1)), augment(images, config, generator(1)))
    assert not torch.equal(augment(images, config, generator(1)), augment(images, config, generator(2)))
