"""Augmentation of whole batches of uint8 images; every image gets its own draws.

Draws depend on the seed and the step only: a resumed training repeats them, and processes that share a batch draw what
one process would.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgenas.config.train_config import AugmentConfig, AugmentLevel
from edgenas.training.distributed import SINGLE_PROCESS, Processes

MIXUP_ALPHA, CUTMIX_ALPHA = 0.2, 1.0
"""Parameters of the Beta distributions (arXiv 1710.09412, section 3.1; arXiv 1905.04899, section 4.1)."""


@dataclass(frozen=True)
class LevelDraws:
    """What a level draws for every image, besides flips.

    Attributes:
        crop: smallest share of the area that a crop keeps; the crop is resized to the image's size.
        colour: largest relative change of brightness, contrast and saturation.
        trivial: whether one random operation of random strength is applied (TrivialAugment, arXiv 2103.10158).
        erasing: share of the images of which a rectangle is erased (arXiv 1708.04896).
        mixing: share of the pairs of images that are mixed with their labels, half by mixup and half by CutMix.
    """

    crop: float
    colour: float = 0.0
    trivial: bool = False
    erasing: float = 0.0
    mixing: float = 0.0


LEVELS: dict[AugmentLevel, LevelDraws] = {
    "light": LevelDraws(crop=0.5),
    "medium": LevelDraws(crop=0.35, colour=0.3),
    "strong": LevelDraws(crop=0.25, trivial=True, erasing=0.25, mixing=0.5),
}
"""What the levels above `none` draw."""


def augment(
    images: Tensor,
    labels: Tensor,
    config: AugmentConfig,
    num_classes: int,
    generator: torch.Generator,
    processes: Processes = SINGLE_PROCESS,
) -> tuple[Tensor, Tensor]:
    """Return augmented images and their labels.

    Shifts are by at most a fraction `shift` of the shorter side, in whole pixels, and repeat the edges. The transforms
    of a level are torchvision's. They draw once a call, so every image is a call of its own: on one core, 32 images of
    144 pixels take 10 ms at level `light` (as much as shifts), 26 ms at `medium` and 31 ms at `strong`.

    Args:
        images: uint8 (n, c, h, w), on any device.
        labels: int64 (n,), on the same device.
        config: settings of the augmentation, with a fixed level; see `AugmentConfig.for_images`.
        num_classes: number of classes.
        generator: a CPU generator; draws do not depend on the device of the images.
        processes: the processes that share the batch. Where each has an even number of its images, the result is a part
            of what one process would return.

    Returns:
        uint8 (n, c, h, w), and the labels as they are; or, where the level mixes images, class probabilities, float32
        (n, num_classes).
    """
    if config.flip:
        images = _flip(images, generator, processes)
    if config.shift:
        images = _shift(images, config.shift, generator, processes)
    if config.level in (None, "none"):
        return images, labels
    assert config.level in LEVELS, "the level of a training is fixed when it begins"
    draws = LEVELS[config.level]
    total = len(images) * processes.count
    seeds = torch.randint(2**62, (total,), generator=generator)[processes.rank :: processes.count].tolist()
    with _seeded() as seed:
        images = _transformed(images, draws, seeds, seed)
        return _mixed(images, labels, num_classes, draws.mixing, seeds, seed) if draws.mixing else (images, labels)


def _flip(images: Tensor, generator: torch.Generator, processes: Processes) -> Tensor:
    batch_size = len(images) * processes.count
    flipped = torch.rand(batch_size, generator=generator)[processes.rank :: processes.count] < 0.5
    return torch.where(flipped.to(images.device).view(-1, 1, 1, 1), images.flip(-1), images)


def _shift(images: Tensor, share: float, generator: torch.Generator, processes: Processes) -> Tensor:
    count, _, height, width = images.shape
    # The addition makes up for inexact products in floating point.
    margin = math.floor(share * min(height, width) + 1e-6)
    padded = F.pad(images.float(), [margin] * 4, mode="replicate").to(torch.uint8)
    drawn = torch.randint(0, 2 * margin + 1, (2, count * processes.count, 1), generator=generator)
    top, left = drawn[:, processes.rank :: processes.count].to(images.device)
    rows = top + torch.arange(height, device=images.device)
    columns = left + torch.arange(width, device=images.device)
    batch = torch.arange(count, device=images.device).view(-1, 1, 1)
    return padded[batch, :, rows[:, :, None], columns[:, None, :]].movedim(-1, 1)


@contextmanager
def _seeded() -> Iterator[Callable[[int], object]]:
    """Yield a function that seeds torch's global CPU generator, from which torchvision draws; then restore it."""
    with torch.random.fork_rng(devices=[]):
        yield torch.default_generator.manual_seed


def _transformed(images: Tensor, draws: LevelDraws, seeds: list[int], seed: Callable[[int], object]) -> Tensor:
    transform, changed = _transform(draws, images.shape[-2:]), []
    for image, number in zip(images, seeds, strict=True):
        seed(number)
        changed.append(transform(image))
    return torch.stack(changed)


def _transform(draws: LevelDraws, size: tuple[int, ...]) -> nn.Module:
    from torchvision.transforms import v2

    steps: list[nn.Module] = [v2.RandomResizedCrop(size, scale=(draws.crop, 1.0), antialias=True)]
    if draws.colour:
        steps.append(v2.ColorJitter(draws.colour, draws.colour, draws.colour))
    if draws.trivial:
        # What turning and moving leaves blank is grey, which normalisation maps near to zero.
        steps.append(v2.TrivialAugmentWide(fill=128))
    if draws.erasing:
        steps.append(v2.RandomErasing(draws.erasing, value=128))
    transform: nn.Module = v2.Compose(steps)
    return transform


def _mixed(
    images: Tensor, labels: Tensor, num_classes: int, share: float, seeds: list[int], seed: Callable[[int], object]
) -> tuple[Tensor, Tensor]:
    """Mix images in pairs by mixup or CutMix, and their labels alike; of an odd number, one stays as it is.

    An image and the one half a batch after it form a pair: then a share of a batch holds whole pairs.
    """
    from torchvision.transforms import v2

    ways = [v2.MixUp(alpha=MIXUP_ALPHA), v2.CutMix(alpha=CUTMIX_ALPHA), v2.Identity()]
    mix = v2.RandomChoice(ways, p=[share / 2, share / 2, 1 - share])
    mixed, targets, half = images.float(), F.one_hot(labels, num_classes).float(), len(images) // 2
    for first in range(half):
        pair = slice(first, first + half + 1, half)
        # A number of its own, since the draws of the image's transforms began with its seed.
        seed(seeds[first] + 1)
        mixed[pair], targets[pair] = mix(mixed[pair], targets[pair])
    return mixed.round().to(torch.uint8), targets
