"""Normalisation of the inputs that the weights of a supernet and its subnets were trained with."""

from __future__ import annotations

import math
from dataclasses import dataclass

Channels = tuple[float, float, float]


@dataclass(frozen=True)
class Pixels:
    """Conversion of bytes to inputs, `(pixel / 255 - mean) / std` by channel.

    Attributes:
        mean: means of red, green and blue.
        std: standard deviations of red, green and blue.
        crop: share of the image's shorter side in the centre crop that is the input.
    """

    mean: Channels = (0.5, 0.5, 0.5)
    std: Channels = (0.5, 0.5, 0.5)
    crop: float = 1.0

    def kept_side(self, resolution: int) -> int:
        """Return the shorter side of images before the crop of an input of this resolution, in pixels."""
        # The subtraction makes up for inexact division in floating point.
        return math.ceil(resolution / self.crop - 1e-6)


IMAGENET = Pixels((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 0.875)
"""Normalisation of once-for-all's checkpoints, and of most other weights trained on ImageNet."""
