"""Preprocess: the one description of how a picture becomes a network's input.

Training, evaluation, export, the kit's `run.py` and the bundle's manifest all carry this value.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from edgenas.errors import DataError

PRECISION_BITS = 22
"""Of the whole-numbered weights in Pillow's resampling (`Resample.c`)."""
RESIZED_AT_ONCE = 64


def resize(pictures: Tensor, height: int, width: int) -> Tensor:
    """Resize along rows, then along columns, each as Pillow does, to the bit: bilinear, antialiased, whole values.

    The device's `run.py` uses Pillow, so that networks are scored on the pixels that they will see.

    Args:
        pictures: uint8 (n, c, h, w).
        height: in pixels.
        width: in pixels.

    Returns:
        uint8 (n, c, height, width).
    """
    # Sums of bytes times whole weights stay below 2^53, so float64 is exact.
    if pictures.shape[-1] != width:
        pictures = _whole(pictures.double() @ _weights(pictures.shape[-1], width, pictures.device).T)
    if pictures.shape[-2] != height:
        pictures = _whole(_weights(pictures.shape[-2], height, pictures.device) @ pictures.double())
    return pictures


def _whole(sums: Tensor) -> Tensor:
    half = 1 << (PRECISION_BITS - 1)
    return sums.add_(half).div_(1 << PRECISION_BITS).floor_().clamp_(0, 255).to(torch.uint8)


@lru_cache(maxsize=128)
def _weights(length: int, size: int, device: torch.device) -> Tensor:
    """Pillow's weights of `length` pixels in each of `size` resized ones, float64 (size, length)."""
    weights = torch.zeros((size, length), dtype=torch.float64)
    scale = length / size
    support = max(scale, 1.0)
    for place in range(size):
        centre = (place + 0.5) * scale
        first, end = max(int(centre - support + 0.5), 0), min(int(centre + support + 0.5), length)
        own = [max(0.0, 1 - abs((x - centre + 0.5) * (1 / support))) for x in range(first, end)]
        total = sum(own)
        whole = [int(0.5 + weight / total * (1 << PRECISION_BITS)) for weight in own]
        weights[place, first:end] = torch.tensor(whole, dtype=torch.float64)
    return weights.to(device)


@dataclass(frozen=True)
class Preprocess:
    """Resize the shorter side to `size` (bilinear, antialiased), crop the centre, scale, normalise.

    A pixel of 0..255 becomes `(pixel / 255 - mean) / std`, by channel. Grey pictures are repeated into three
    channels. `presize` is a first resize and crop of the same kind, to the size at which picture files are kept for
    training; pictures that are given to `__call__` have had it already. With a `crop` below 1, the shorter side is
    resized to `size / crop`, rounded up, so that the crop keeps this share of it.
    """

    size: int
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)
    colour_order: str = "RGB"
    interpolation: str = "bilinear"
    presize: int | None = None
    crop: float = 1.0

    @property
    def shorter(self) -> int:
        """What the shorter side is resized to, before the crop."""
        # Less a little, since sizes that divide exactly may not do so in floating point.
        return math.ceil(self.size / self.crop - 1e-6)

    def to_json(self) -> dict[str, Any]:
        """As it stands in a manifest."""
        return dataclasses.asdict(self)

    def __call__(self, pictures: Tensor) -> Tensor:
        """uint8 (n, 1 or 3, h, w) to float32 (n, 3, size, size) in channels-last memory.

        Raises:
            DataError: another type or shape.
        """
        if pictures.dtype != torch.uint8 or pictures.ndim != 4 or pictures.shape[1] not in (1, 3):
            raise DataError(
                f"wanted uint8 pictures of shape (n, 1 or 3, h, w), got {pictures.dtype} {tuple(pictures.shape)}"
            )
        pixels = self._crop(self._resize(pictures)).float().div(255)
        pixels = pixels.expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)
        mean, std = (torch.tensor(v, device=pixels.device).view(1, 3, 1, 1) for v in (self.mean, self.std))
        return (pixels - mean) / std

    def _resize(self, pictures: Tensor) -> Tensor:
        height, width = pictures.shape[-2:]
        short, wanted = min(height, width), self.shorter
        if short == wanted:
            return pictures
        target = [max(wanted, round(side * wanted / short)) for side in (height, width)]
        return torch.cat([resize(part, *target) for part in torch.split(pictures, RESIZED_AT_ONCE)])

    def _crop(self, pictures: Tensor) -> Tensor:
        top, left = ((side - self.size) // 2 for side in pictures.shape[-2:])
        return pictures[..., top : top + self.size, left : left + self.size]
