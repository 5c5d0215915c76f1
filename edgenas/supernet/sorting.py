"""Sorting the middle channels of blocks by importance, so that narrower subnets keep the best ones.

Once-for-all (arXiv 1908.09791, section 3.3): importance is the L1 norm of the weights that read a channel. A
permutation changes no subnet that uses all channels it moves.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from edgenas.space.blocks import make_divisible
from edgenas.space.space import SE_REDUCTION, SearchSpace
from edgenas.supernet.supernet import ElasticInvertedResidual, SuperNet


@torch.no_grad()
def sort_middle_channels(net: SuperNet, settled: int = 1) -> None:
    """Sort the channels between expand and project of every block in place, and those of its squeeze-excite.

    Args:
        net: its largest subnet computes what it did.
        settled: how many of the largest expand ratios are trained already: channels are sorted among those that these
            do not tell apart, so that at the greatest widths they compute what they did, too.
    """
    for place, block in net.blocks.items():
        if isinstance(block, ElasticInvertedResidual) and block.expand is not None:
            widths = _settled_widths(net.space, place, block, settled)
            _sort_middle(block, _sorted(_importance(block.project.conv.weight), widths))
            if block.se is not None:
                squeezed = [make_divisible(width // SE_REDUCTION) for width in widths]
                _sort_squeezed(block, _sorted(_importance(block.se.excite.weight), squeezed))


def _importance(weight: Tensor) -> Tensor:
    """L1 norm of what reads every input channel of a (out, in, 1, 1) weight."""
    return weight.abs().sum(dim=(0, 2, 3))


def _settled_widths(space: SearchSpace, place: str, block: ElasticInvertedResidual, settled: int) -> list[int]:
    """Middle channels of the ratios that are trained already, but for the largest."""
    assert block.expand is not None
    stage = space.stages[int(place.partition("_")[0].removeprefix("stage"))]
    largest_in = block.expand.conv.weight.shape[1]
    ratios = sorted(stage.expand)[len(stage.expand) - settled : -1] if settled > 1 else []
    return [make_divisible(round(largest_in * ratio)) for ratio in ratios]


def _sorted(importance: Tensor, edges: list[int]) -> Tensor:
    """Indices that sort the channels between each two edges, most important first."""
    ends = [0, *edges, len(importance)]
    parts = [start + importance[start:stop].argsort(descending=True, stable=True) for start, stop in pairwise(ends)]
    return torch.cat(parts)


def _sort_middle(block: ElasticInvertedResidual, order: Tensor) -> None:
    assert block.expand is not None
    for part in (block.expand, block.depthwise):
        _permute(part.conv.weight, order, dim=0)
        for tensor in (*part.norm.parameters(), *part.norm.buffers()):
            _permute(tensor, order, dim=0)
    _permute(block.project.conv.weight, order, dim=1)
    if block.se is not None:
        assert isinstance(block.se.excite.bias, nn.Parameter)
        _permute(block.se.squeeze.weight, order, dim=1)
        _permute(block.se.excite.weight, order, dim=0)
        _permute(block.se.excite.bias, order, dim=0)


def _sort_squeezed(block: ElasticInvertedResidual, order: Tensor) -> None:
    assert block.se is not None
    assert isinstance(block.se.squeeze.bias, nn.Parameter)
    _permute(block.se.excite.weight, order, dim=1)
    _permute(block.se.squeeze.weight, order, dim=0)
    _permute(block.se.squeeze.bias, order, dim=0)


def _permute(tensor: Tensor, order: Tensor, dim: int) -> None:
    tensor.copy_(tensor.index_select(dim, order))
