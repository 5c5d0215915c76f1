"""Folding of batch norms into the convolutions before them."""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from edgenas.supernet.layers import ACTIVATIONS, ConvNorm
from edgenas.supernet.subnet import Subnet


@torch.no_grad()
def fold_batch_norms(module: nn.Module) -> None:
    """Fold the batch norms of a module in eval mode, in place. Outputs are the same up to rounding."""
    for layer in list(module.modules()):
        if isinstance(layer, ConvNorm):
            layer.conv = fuse_conv_bn_eval(layer.conv, layer.norm)
            layer.norm = nn.Identity()  # type: ignore[assignment]


def folded(subnet: Subnet) -> nn.Sequential:
    """Return a frozen copy for scoring, which makes fewer passes over activations.

    Args:
        subnet: subnet in eval mode, which is not changed.
    """
    assert not subnet.training
    blocks = copy.deepcopy(subnet.blocks)
    fold_batch_norms(blocks)
    for module in blocks.modules():
        if isinstance(module, tuple(ACTIVATIONS.values())):
            # Only the activation reads a convolution's output.
            module.inplace = True  # type: ignore[assignment]
    return nn.Sequential(*blocks.values()).requires_grad_(False)
