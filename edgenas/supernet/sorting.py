"""Sort the expanded channels of blocks by importance, so that narrower subnets keep the best ones.

Once-for-all (arXiv 1908.09791, section 3.3): importance is the L1 norm of the weights that read a channel. Here it is
multiplied by the scale of the channel's batch norm. A permutation changes no subnet that uses all channels it moves.
"""

from __future__ import annotations

import re

import torch

from edgenas.space.space import SearchSpace
from edgenas.supernet.blocks.base import ElasticBlock
from edgenas.supernet.supernet import SuperNet


@torch.no_grad()
def sort_middle_channels(net: SuperNet, trained: int = 1) -> None:
    """Sort the channels between expand and project of every block in place, and those of its squeeze-excite.

    Args:
        net: the supernet; its largest subnet computes the same as before.
        trained: number of the largest expand ratios that are trained already. Channels move only between two
            neighbouring widths of these, so subnets of the trained ratios at the greatest widths compute the same too.
    """
    for position, block in net.blocks.items():
        assert isinstance(block, ElasticBlock)
        block.sort_channels(_trained_ratios(net.space, position, trained))


def _trained_ratios(space: SearchSpace, position: str, trained: int) -> list[float]:
    """Return the ratios of a block that are trained already, without the largest."""
    match = re.fullmatch(r"stage(\d+)_block(\d+)", position)
    if trained == 1 or not match:
        return []
    ratios = space.stages[int(match[1])].gene_choices[int(match[2])].get("expand", ())
    return list(map(float, ratios[max(len(ratios) - trained, 0) : -1]))
