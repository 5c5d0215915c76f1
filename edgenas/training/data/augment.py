"""Augmentation of whole batches of uint8 pictures."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from edgenas.config.sections import AugmentConfig
from edgenas.training.distributed import ALONE, Processes


def augment(
    pictures: Tensor, config: AugmentConfig, generator: torch.Generator, processes: Processes = ALONE
) -> Tensor:
    """Shift every picture by at most `shift` of its shorter side, and flip half of them if `flip`.

    Shifts are whole pixels and repeat the edges; where `shift` is less than a pixel, nothing is shifted.

    Args:
        pictures: uint8 (n, c, h, w), on any device.
        config: what to do.
        generator: a CPU generator; draws do not depend on the device of the pictures.
        processes: who else has a share of the batch: draws are for all of it, so they do not depend on the number.
    """
    if config.flip:
        pictures = _flip(pictures, generator, processes)
    return _shift(pictures, config.shift, generator, processes) if config.shift else pictures


def _flip(pictures: Tensor, generator: torch.Generator, processes: Processes) -> Tensor:
    whole = len(pictures) * processes.count
    flipped = torch.rand(whole, generator=generator)[processes.rank :: processes.count] < 0.5
    return torch.where(flipped.to(pictures.device).view(-1, 1, 1, 1), pictures.flip(-1), pictures)


def _shift(pictures: Tensor, share: float, generator: torch.Generator, processes: Processes) -> Tensor:
    count, _, height, width = pictures.shape
    # A little more, since shares that are whole pixels may not be so in floating point.
    margin = math.floor(share * min(height, width) + 1e-6)
    padded = F.pad(pictures.float(), [margin] * 4, mode="replicate").to(torch.uint8)
    drawn = torch.randint(0, 2 * margin + 1, (2, count * processes.count, 1), generator=generator)
    top, left = drawn[:, processes.rank :: processes.count].to(pictures.device)
    rows = top + torch.arange(height, device=pictures.device)
    columns = left + torch.arange(width, device=pictures.device)
    batch = torch.arange(count, device=pictures.device).view(-1, 1, 1)
    return padded[batch, :, rows[:, :, None], columns[:, None, :]].movedim(-1, 1)
