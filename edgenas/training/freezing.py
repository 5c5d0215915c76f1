"""Frozen stages: the first stages of a pretrained network keep their weights while it is fine-tuned.

They have the largest images, so going backward through them takes much of a step, and they are the most general
(arXiv 1411.1792). Of EfficientNet-Lite0 at 96 pixels, the stem and the first three stages take 40 % of a step.
"""

from __future__ import annotations

from edgenas.supernet.subnet import Subnet
from edgenas.supernet.supernet import SuperNet


def freeze(net: SuperNet | Subnet, stages: int) -> None:
    """Compute no gradients for the stem and the first stages of a network, and for all other blocks.

    Statistics of batch norm are still updated in training.

    Args:
        net: the network.
        stages: number of stages; 0 freezes nothing, not even the stem.
    """
    frozen = ("stem", *(f"stage{number}_" for number in range(stages))) if stages else ()
    for name, block in net.blocks.items():
        block.requires_grad_(not name.startswith(frozen))
