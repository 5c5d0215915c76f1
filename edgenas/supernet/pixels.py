"""What a network's weights take its input values to mean: a supernet and its subnets carry it."""

from __future__ import annotations

from dataclasses import dataclass

Channels = tuple[float, float, float]


@dataclass(frozen=True)
class Pixels:
    """How bytes became inputs where the weights were trained: `(pixel / 255 - mean) / std`, by channel.

    Attributes:
        mean: of red, green and blue.
        std: likewise.
        crop: share of the shorter side that the network sees, from the centre.
    """

    mean: Channels = (0.5, 0.5, 0.5)
    std: Channels = (0.5, 0.5, 0.5)
    crop: float = 1.0


IMAGENET = Pixels((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 0.875)
"""Of once-for-all's checkpoints, and of most others that were trained ImageNet."""
