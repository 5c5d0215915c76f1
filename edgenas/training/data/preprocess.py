"""Preprocess: the one description of how an image becomes a network's input.

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
"""Images; their pixels are float64 meanwhile."""
BLOCK = 32
"""New pixels computed at once: each is made of few old ones, so most of the whole matrix is zero."""


def resize(images: Tensor, height: int, width: int) -> Tensor:
    """Resize along rows, then along columns, each as Pillow does, to the bit: bilinear, antialiased, whole values.

    The device's `run.py` uses Pillow, so that networks are scored on the pixels that they will see.

    Args:
        images: uint8 (n, c, h, w).
        height: in pixels.
        width: in pixels.

    Returns:
        uint8 (n, c, height, width).
    """
    old_height, old_width = images.shape[-2:]
    if old_width != width:
        sums = images.new_empty((*images.shape[:-1], width), dtype=torch.float64)
        pixels = images.double()
        for new, old, weights in _weights(old_width, width, images.device):
            sums[..., new] = pixels[..., old] @ weights.T
        images = _whole(sums)
    if old_height != height:
        sums = images.new_empty((*images.shape[:-2], height, width), dtype=torch.float64)
        pixels = images.double()
        for new, old, weights in _weights(old_height, height, images.device):
            sums[..., new, :] = weights @ pixels[..., old, :]
        images = _whole(sums)
    return images


def _whole(sums: Tensor) -> Tensor:
    return sums.add_(0.5).to(torch.uint8)


@lru_cache(maxsize=128)
def _weights(length: int, size: int, device: torch.device) -> tuple[tuple[slice, slice, Tensor], ...]:
    """Pillow's weights, in blocks: which of `size` new pixels, which of `length` old ones, float64 (new, old).

    They are whole multiples of 2^-22, so that sums of bytes times weights are exact in float64.
    """
    weights = torch.zeros((size, length), dtype=torch.float64)
    spans = [_span(length, size, place) for place in range(size)]
    for place, (first, own) in enumerate(spans):
        weights[place, first : first + len(own)] = torch.tensor(own, dtype=torch.float64) / (1 << PRECISION_BITS)
    blocks = []
    for begin in range(0, size, BLOCK):
        within = spans[begin : begin + BLOCK]
        new, old = slice(begin, begin + len(within)), slice(within[0][0], within[-1][0] + len(within[-1][1]))
        blocks.append((new, old, weights[new, old].to(device)))
    return tuple(blocks)


def _span(length: int, size: int, place: int) -> tuple[int, list[int]]:
    """The first old pixel that a new one is made of, and the weights of it and of those behind it, in 2^-22."""
    scale = length / size
    support = max(scale, 1.0)
    centre = (place + 0.5) * scale
    first, end = max(int(centre - support + 0.5), 0), min(int(centre + support + 0.5), length)
    shares = [max(0.0, 1 - abs((x - centre + 0.5) * (1 / support))) for x in range(first, end)]
    return first, [int(0.5 + share / sum(shares) * (1 << PRECISION_BITS)) for share in shares]


@dataclass(frozen=True)
class Preprocess:
    """Resize the shorter side to `size` (bilinear, antialiased), crop the centre, scale, normalise.

    A pixel of 0..255 becomes `(pixel / 255 - mean) / std`, by channel. Grey images are repeated into three
    channels. `presize` is a first resize and crop of the same kind, to the size at which image files are kept for
    training; images that are given to `__call__` have had it already. With a `crop` below 1, the shorter side is
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

    def __call__(self, images: Tensor) -> Tensor:
        """uint8 (n, 1 or 3, h, w) to float32 (n, 3, size, size) in channels-last memory.

        Raises:
            DataError: another type or shape.
        """
        if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] not in (1, 3):
            raise DataError(f"wanted uint8 images of shape (n, 1 or 3, h, w), got {images.dtype} {tuple(images.shape)}")
        pixels = self._crop(self._resize(images)).float().div(255)
        pixels = pixels.expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)
        mean, std = (torch.tensor(v, device=pixels.device).view(1, 3, 1, 1) for v in (self.mean, self.std))
        return (pixels - mean) / std

    def _resize(self, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        short, wanted = min(height, width), self.shorter
        if short == wanted:
            return images
        target = [max(wanted, round(side * wanted / short)) for side in (height, width)]
        return torch.cat([resize(part, *target) for part in torch.split(images, RESIZED_AT_ONCE)])

    def _crop(self, images: Tensor) -> Tensor:
        top, left = ((side - self.size) // 2 for side in images.shape[-2:])
        return images[..., top : top + self.size, left : left + self.size]
