"""Augmentation of batches."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from edgenas.config.train_config import AugmentConfig
from edgenas.training.data.augment import _mixed, augment
from edgenas.training.distributed import Processes

FLIP = AugmentConfig(shift=0, flip=True)
CLASSES = 5
LEVELS = ["light", "medium", "strong"]


def level(name: str) -> AugmentConfig:
    return AugmentConfig.model_validate({"level": name}).for_images(50)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(count: int, channels: int, height: int, width: int) -> Tensor:
    return torch.randint(0, 256, (count, channels, height, width), dtype=torch.uint8, generator=generator(99))


def labels_of(images: Tensor) -> Tensor:
    return torch.arange(len(images)) % CLASSES


def changed_by(config: AugmentConfig, images: Tensor, seed: int = 0) -> Tensor:
    labels = labels_of(images)
    changed, same = augment(images, labels, config, CLASSES, generator(seed))
    assert same is labels
    return changed


def translated(image: Tensor, down: int, right: int) -> Tensor:
    """Return a shifted image: each pixel comes from (row - down, column - right), or from the nearest edge pixel."""
    height, width = image.shape[-2:]
    rows = (torch.arange(height) - down).clamp(0, height - 1)
    columns = (torch.arange(width) - right).clamp(0, width - 1)
    return image[:, rows][:, :, columns]


@pytest.mark.parametrize("shape", [(6, 1, 10, 10), (6, 3, 10, 14), (6, 3, 13, 8)])
@pytest.mark.parametrize("config", [AugmentConfig(shift=0.2, flip=True), AugmentConfig(shift=0.1), FLIP])
def test_shape_and_type_are_preserved(shape: tuple[int, ...], config: AugmentConfig) -> None:
    changed = changed_by(config, noise(*shape))
    assert (changed.shape, changed.dtype) == (shape, torch.uint8)


def test_without_shift_and_flip_nothing_changes() -> None:
    images = noise(4, 3, 8, 8)
    assert torch.equal(changed_by(AugmentConfig(shift=0, flip=False), images), images)


@pytest.mark.parametrize("size", [(10, 10), (10, 14)])
def test_shifts_are_translations_with_repeated_edges_in_both_directions(size: tuple[int, int]) -> None:
    images = noise(100, 3, *size)
    changed = changed_by(AugmentConfig(shift=0.2, flip=False), images)
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
    changed = changed_by(AugmentConfig(shift=share, flip=False), columns)
    # The values of the middle column are the columns that it came from.
    shifts = (changed[:, 0, side // 2, side // 2].int() - side // 2).abs()
    assert int(shifts.max()) <= share * side + 1e-6
    assert int(shifts.max()) == int(share * side + 1e-6)


def test_a_flip_mirrors_about_half_of_the_images_left_to_right() -> None:
    images = noise(1000, 1, 4, 6)
    changed = changed_by(FLIP, images)
    unchanged = (changed == images).flatten(1).all(1)
    mirrored = (changed == images.flip(-1)).flatten(1).all(1)
    assert torch.equal(unchanged, ~mirrored)
    # 500 ± 16 (one standard deviation).
    assert 420 < int(mirrored.sum()) < 580


def test_draws_repeat_by_generator() -> None:
    images, config = noise(50, 1, 10, 10), AugmentConfig(shift=0.2, flip=True)
    assert torch.equal(changed_by(config, images, 1), changed_by(config, images, 1))
    assert not torch.equal(changed_by(config, images, 1), changed_by(config, images, 2))


@pytest.mark.parametrize("name", LEVELS)
@pytest.mark.parametrize("shape", [(7, 1, 20, 20), (6, 3, 20, 28)])
def test_levels_keep_shape_and_type_and_draw_for_every_image(name: str, shape: tuple[int, ...]) -> None:
    images = noise(1, *shape[1:]).expand(shape)
    changed, targets = augment(images, labels_of(images), level(name), CLASSES, generator())
    assert (changed.shape, changed.dtype) == (shape, torch.uint8)
    assert len(changed.unique(dim=0)) == len(images)
    assert len(targets) == len(images)


@pytest.mark.parametrize("name", LEVELS)
def test_levels_repeat_by_generator_and_leave_torchs_own_alone(name: str) -> None:
    images, state = noise(8, 3, 20, 20), torch.get_rng_state()
    first, again, other = (augment(images, labels_of(images), level(name), CLASSES, generator(n)) for n in (1, 1, 2))
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[0], other[0])
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("name", LEVELS)
@pytest.mark.parametrize("count", [2, 3])
def test_processes_draw_what_one_would(name: str, count: int) -> None:
    images = noise(12, 3, 20, 20)
    labels = labels_of(images)
    whole = augment(images, labels, level(name), CLASSES, generator())
    for rank in range(count):
        share = slice(rank, None, count)
        part = augment(images[share], labels[share], level(name), CLASSES, generator(), Processes(rank, count))
        assert torch.equal(part[0], whole[0][share])
        assert torch.equal(part[1], whole[1][share])


def test_mixed_labels_are_the_shares_of_their_pixels() -> None:
    images = torch.tensor([0, 200])[torch.arange(400) // 200].to(torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 16, 16)
    labels = torch.arange(400) // 200
    mixed, targets = _mixed(images, labels, 2, 1.0, list(range(400)), torch.default_generator.manual_seed)
    assert torch.allclose(targets.sum(dim=1), torch.ones(400))
    assert torch.allclose(mixed.float().mean(dim=(1, 2, 3)) / 200, targets[:, 1], atol=0.003)
    # CutMix leaves both colours, mixup one between them.
    between = ((mixed > 0) & (mixed < 200)).flatten(1).all(dim=1).float().mean()
    both = ((mixed == 0).flatten(1).any(dim=1) & (mixed == 200).flatten(1).any(dim=1)).float().mean()
    assert 0.15 < float(between) < 0.6
    assert 0.3 < float(both) < 0.6


def test_half_of_the_pairs_are_mixed_by_level_strong() -> None:
    images = noise(400, 1, 8, 8)
    _, targets = augment(images, labels_of(images), level("strong"), CLASSES, generator())
    pairs_of_two_classes = labels_of(images)[:200] != labels_of(images)[200:]
    assert not pairs_of_two_classes.any()
    _, targets = augment(
        images, (labels_of(images) + torch.arange(400) // 200) % CLASSES, level("strong"), 5, generator()
    )
    mixed = float((targets.max(dim=1).values < 1).float().mean())
    assert 0.3 < mixed < 0.6


@pytest.mark.parametrize(
    ("stated", "images_a_class", "expected"),
    [
        ({}, 10, ("none", 0.1, False)),
        ({"shift": 0.2, "flip": True}, 10, ("none", 0.2, True)),
        ({"level": "light"}, 10, ("light", 0.0, True)),
        ({"level": "light", "flip": False, "shift": 0.1}, 10, ("light", 0.1, False)),
        ({"level": "auto"}, 50, ("medium", 0.0, True)),
        ({"level": "auto"}, 1e6, ("light", 0.0, True)),
        ({"level": "auto", "flip": False}, 50, ("medium", 0.0, False)),
    ],
)
def test_a_level_fixes_what_is_not_stated(stated: dict[str, object], images_a_class: float, expected: object) -> None:
    fixed = AugmentConfig.model_validate(stated).for_images(images_a_class)
    assert (fixed.level, fixed.shift, fixed.flip) == expected
    assert fixed.for_images(1) == fixed


def test_fewer_images_are_never_augmented_less() -> None:
    ranks = ["none", *LEVELS]
    levels = [AugmentConfig(level="auto").for_images(count).level for count in (1, 30, 99, 300, 1000, 5000, 10**6)]
    assert [ranks.index(str(name)) for name in levels] == sorted((ranks.index(str(n)) for n in levels), reverse=True)
