"""Sort the expanded channels of blocks by importance, so that narrower subnets keep the best ones.

Once-for-all (arXiv 1908.09791, section 3.3): importance is the L1 norm of the weights that read a channel. Where there
are images, it is multiplied by the mean absolute value of the channel on them, which keeps more accuracy
(examples/results/LOG.md). A permutation changes no subnet that uses all channels it moves.
"""

from __future__ import annotations

import re
from functools import partial

import torch
from torch import Tensor, nn

from edgenas.space.space import SearchSpace
from edgenas.supernet.blocks.base import ElasticBlock
from edgenas.supernet.supernet import SuperNet

IMAGES_AT_ONCE = 32


@torch.no_grad()
def sort_middle_channels(net: SuperNet, trained: int = 1, images: Tensor | None = None) -> None:
    """Sort the channels between expand and project of every block in place, and those of its squeeze-excite.

    Args:
        net: the supernet; its largest subnet computes the same as before.
        trained: number of the largest expand ratios that are trained already. Channels move only between two
            neighbouring widths of these, so subnets of the trained ratios at the greatest widths compute the same too.
        images: preprocessed images of the largest resolution, on which the size of a channel is measured; None to go
            by weights alone.
    """
    sizes = {} if images is None else channel_sizes(net, images)
    for position, block in net.blocks.items():
        assert isinstance(block, ElasticBlock)
        block.sort_channels(_trained_ratios(net.space, position, trained), sizes.get(position))


@torch.no_grad()
def channel_sizes(net: SuperNet, images: Tensor) -> dict[str, Tensor]:
    """Return the mean absolute value of every expanded channel in the largest subnet, by block: what is projected.

    Args:
        net: the supernet.
        images: preprocessed images of the largest resolution, at least one.
    """
    subnet, sizes = net.extract(net.space.largest).eval(), {}
    for position, block in subnet.blocks.items():
        if isinstance(project := getattr(block, "project", None), nn.Module):
            sizes[position] = torch.zeros_like(project.conv.weight[0, :, 0, 0])  # type: ignore[union-attr,index]
            project.register_forward_pre_hook(partial(_add_sizes, sizes[position]))
    like = next(net.parameters())
    for batch in torch.split(images, IMAGES_AT_ONCE):
        subnet(batch.to(like.device, like.dtype))
    return {position: total / len(images) for position, total in sizes.items()}


def _add_sizes(sums: Tensor, module: nn.Module, inputs: tuple[Tensor]) -> None:
    sums += inputs[0].abs().mean(dim=(2, 3)).sum(dim=0)


def _trained_ratios(space: SearchSpace, position: str, trained: int) -> list[float]:
    """Return the ratios of a block that are trained already, without the largest."""
    match = re.fullmatch(r"stage(\d+)_block(\d+)", position)
    if trained == 1 or not match:
        return []
    ratios = space.stages[int(match[1])].gene_choices[int(match[2])].get("expand", ())
    return list(map(float, ratios[max(len(ratios) - trained, 0) : -1]))
