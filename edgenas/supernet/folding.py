"""A subnet as it is scored: batch norms folded into the convolutions before them."""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from edgenas.supernet.subnet import ConvNorm, Subnet


@torch.no_grad()
def folded(subnet: Subnet) -> nn.Sequential:
    """What computes the same as a frozen subnet, but for rounding, with fewer passes over activations.

    Args:
        subnet: in eval mode; unchanged.
    """
    assert not subnet.training
    blocks = copy.deepcopy(subnet.blocks)
    for module in list(blocks.modules()):
        if isinstance(module, ConvNorm):
            module.conv = fuse_conv_bn_eval(module.conv, module.norm)
            module.norm = nn.Identity()  # type: ignore[assignment]
        elif isinstance(module, nn.ReLU | nn.Hardswish):
            # Nobody else reads what a convolution gives.
            module.inplace = True
    return nn.Sequential(*blocks.values()).requires_grad_(False)
