"""Preprocess: the single description of how an image becomes the input of a network.

Training, evaluation, export, the kit's `run.py` and the manifest of the bundle use this value.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from edgenas.errors import DataError

PRECISION_BITS = 22
"""Bits of the integer weights in Pillow's resampling (`Resample.c`)."""
RESIZED_AT_ONCE = 64
"""Images resized at once, since their pixels are float64 meanwhile."""
BLOCK = 32
"""New pixels computed at once. Each depends on few old ones, so most of the whole matrix is zero."""


def resize(images: Tensor, height: int, width: int) -> Tensor:
    """Resize rows, then columns, bit-identical to Pillow (bilinear, antialiased, rounded).

    `run.py` on the device uses Pillow, so networks are scored on the pixels of the device. torchvision's antialiased
    resize differs from Pillow by one level in 14 to 26 % of pixels.

    Args:
        images: uint8 (n, c, h, w).
        height: new height in pixels.
        width: new width in pixels.

    Returns:
        uint8 (n, c, height, width).
    """
    old_height, old_width = images.shape[-2:]
    if old_width != width:
        sums = images.new_empty((*images.shape[:-1], width), dtype=torch.float64)
        pixels = images.double()
        for new, old, weights in _weights(old_width, width, images.device):
            sums[..., new] = pixels[..., old] @ weights.T
        images = _rounded(sums)
    if old_height != height:
        sums = images.new_empty((*images.shape[:-2], height, width), dtype=torch.float64)
        pixels = images.double()
        for new, old, weights in _weights(old_height, height, images.device):
            sums[..., new, :] = weights @ pixels[..., old, :]
        images = _rounded(sums)
    return images


def _rounded(sums: Tensor) -> Tensor:
    return sums.add_(0.5).to(torch.uint8)


@lru_cache(maxsize=128)
def _weights(length: int, size: int, device: torch.device) -> tuple[tuple[slice, slice, Tensor], ...]:
    """Return Pillow's weights in blocks: slices of the new and of the old pixels, and float64 weights (new, old).

    Weights are multiples of 2^-22, so that sums of bytes times weights are exact in float64. They are cached, since
    computing them takes longer than using them for small images: 2.0 ms, against 0.8 ms to resize a batch of 64 from
    32 to 24 pixels.
    """
    weights = torch.zeros((size, length), dtype=torch.float64)
    spans = [_span(length, size, index) for index in range(size)]
    for index, (first, values) in enumerate(spans):
        weights[index, first : first + len(values)] = torch.tensor(values, dtype=torch.float64) / (1 << PRECISION_BITS)
    blocks = []
    for start in range(0, size, BLOCK):
        block = spans[start : start + BLOCK]
        new, old = slice(start, start + len(block)), slice(block[0][0], block[-1][0] + len(block[-1][1]))
        blocks.append((new, old, weights[new, old].to(device)))
    return tuple(blocks)


def _span(length: int, size: int, index: int) -> tuple[int, list[int]]:
    """Return the first old pixel that a new one depends on, and the weights from there on, in units of 2^-22."""
    scale = length / size
    support = max(scale, 1.0)
    centre = (index + 0.5) * scale
    first, end = max(int(centre - support + 0.5), 0), min(int(centre + support + 0.5), length)
    shares = [max(0.0, 1 - abs((x - centre + 0.5) * (1 / support))) for x in range(first, end)]
    return first, [int(0.5 + share / sum(shares) * (1 << PRECISION_BITS)) for share in shares]


@dataclass(frozen=True)
class Preprocess:
    """Resize the shorter side to `size` (bilinear, antialiased), crop the centre, scale, normalise.

    A pixel of 0..255 becomes `(pixel / 255 - mean) / std`, by channel. Grey images are repeated into three
    channels. `presize` is a first resize and crop of the same kind, to the size at which image files are kept for
    training; `__call__` expects images after it. With a `crop` below 1, the shorter side is resized to `size / crop`,
    rounded up, so that the crop keeps this fraction of it.
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
        """Return the length in pixels of the shorter side before the crop."""
        # The subtraction makes up for inexact division in floating point.
        return math.ceil(self.size / self.crop - 1e-6)

    def __call__(self, images: Tensor) -> Tensor:
        """Preprocess uint8 (n, 1 or 3, h, w) to float32 (n, 3, size, size) in channels-last memory.

        Raises:
            DataError: the images have another type or shape.
        """
        if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] not in (1, 3):
            raise DataError(
                f"expected uint8 images of shape (n, 1 or 3, h, w), got {images.dtype} {tuple(images.shape)}"
            )
        pixels = self._crop(self._resize(images)).float().div(255)
        pixels = pixels.expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)
        mean, std = (torch.tensor(v, device=pixels.device).view(1, 3, 1, 1) for v in (self.mean, self.std))
        return (pixels - mean) / std

    def _resize(self, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        short, target = min(height, width), self.shorter
        if short == target:
            return images
        new_size = [max(target, round(side * target / short)) for side in (height, width)]
        return torch.cat([resize(part, *new_size) for part in torch.split(images, RESIZED_AT_ONCE)])

    def _crop(self, images: Tensor) -> Tensor:
        top, left = ((side - self.size) // 2 for side in images.shape[-2:])
        return images[..., top : top + self.size, left : left + self.size]
