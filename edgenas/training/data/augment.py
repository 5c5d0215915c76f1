"""Augmentation of whole batches of uint8 images; every image gets its own shift and flip, unlike in torchvision."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from edgenas.config.sections import AugmentConfig
from edgenas.training.distributed import SINGLE_PROCESS, Processes


def augment(
    images: Tensor, config: AugmentConfig, generator: torch.Generator, processes: Processes = SINGLE_PROCESS
) -> Tensor:
    """Shift every image by at most a fraction `shift` of its shorter side, and flip half of them if `flip`.

    Shifts are whole pixels and repeat the edges; a `shift` of less than a pixel shifts nothing.

    Args:
        images: uint8 (n, c, h, w), on any device.
        config: settings of the augmentation.
        generator: a CPU generator; draws do not depend on the device of the images.
        processes: the processes that share the batch; draws are for all of it, so they do not depend on the number.
    """
    if config.flip:
        images = _flip(images, generator, processes)
    return _shift(images, config.shift, generator, processes) if config.shift else images


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
