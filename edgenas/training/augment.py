"""Augmentation of whole batches of uint8 pictures."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from edgenas.config import AugmentConfig


def augment(pictures: Tensor, config: AugmentConfig, generator: torch.Generator) -> Tensor:
    """Shift every picture by up to `shift` of its size (edges repeated), and flip half of them if `flip`.

    Args:
        pictures: uint8 (n, c, h, w), on any device.
        config: what to do.
        generator: a CPU generator; draws do not depend on the device of the pictures.
    """
    if config.flip:
        pictures = _flip(pictures, generator)
    return _shift(pictures, config.shift, generator) if config.shift else pictures


def _flip(pictures: Tensor, generator: torch.Generator) -> Tensor:
    flipped = torch.rand(len(pictures), generator=generator) < 0.5
    return torch.where(flipped.to(pictures.device).view(-1, 1, 1, 1), pictures.flip(-1), pictures)


def _shift(pictures: Tensor, share: float, generator: torch.Generator) -> Tensor:
    count, _, height, width = pictures.shape
    margin = math.ceil(share * min(height, width))
    padded = F.pad(pictures.float(), [margin] * 4, mode="replicate").to(torch.uint8)
    top, left = torch.randint(0, 2 * margin + 1, (2, count, 1), generator=generator).to(pictures.device)
    rows = top + torch.arange(height, device=pictures.device)
    columns = left + torch.arange(width, device=pictures.device)
    batch = torch.arange(count, device=pictures.device).view(-1, 1, 1)
    return padded[batch, :, rows[:, :, None], columns[:, None, :]].movedim(-1, 1)
