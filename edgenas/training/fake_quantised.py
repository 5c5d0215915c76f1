"""A subnet that computes in fp32 what its int8 file computes, by a recipe with both ends in fp32.

Each block kind defines where its weights and activations are rounded (`edgenas.supernet.blocks`); the rounding layers
are in `edgenas.supernet.fake_quantisation`.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from edgenas.supernet.blocks.base import Block
from edgenas.supernet.fake_quantisation import Convolution
from edgenas.supernet.layers import ConvNorm
from edgenas.supernet.subnet import Subnet

GREATEST_WEIGHT = {8: 127, 7: 64}
"""Largest int8 weight by number of bits, as in ONNX Runtime's quantiser; the smallest is its negative."""


@torch.no_grad()
def fold_norms(subnet: Subnet) -> Subnet:
    """Return a copy in eval mode with batch norms folded into the convolutions; it has the same outputs and export.

    The remaining norms only add the biases of the convolutions, so folding the copy again changes no bit of it.
    """
    folded = copy.deepcopy(subnet).eval()
    for module in folded.modules():
        if isinstance(module, ConvNorm):
            fused, norm = fuse_conv_bn_eval(module.conv, module.norm), module.norm
            assert fused.bias is not None
            assert norm.running_mean is not None
            assert norm.running_var is not None
            module.conv.weight.copy_(fused.weight)
            norm.bias.copy_(fused.bias)
            norm.weight.fill_(1)
            norm.running_mean.zero_()
            # Normalisation divides by the root of variance + eps: by exactly 1.
            norm.running_var.fill_(1 - norm.eps)
    return folded


def fake_quantised(folded: Subnet, weight_bits: int = 8) -> nn.Module:
    """Return the fake-quantised form of a subnet from `fold_norms`.

    In train mode, ranges of activations are moving averages of the minimum and maximum of the batches (Jacob et al.,
    section 3.1). The first batch initialises them, so at least one batch is needed before eval mode. Batch norm never
    runs; only its bias is used.

    Args:
        folded: the subnet; the result shares its parameters, so training one trains the other.
        weight_bits: 8, or 7 for CPUs whose 16-bit sums would overflow.

    Returns:
        A module from preprocessed inputs (n, 3, r, r) to logits (n, classes).
    """
    greatest = GREATEST_WEIGHT[weight_bits]
    # Modules in the memo are not copied: blocks are copied, their convolutions are not.
    shared: dict[int, Any] = {id(module): module for module in folded.modules() if isinstance(module, Convolution)}
    network = copy.deepcopy(folded, shared)
    for name, block in network.blocks.items():
        assert isinstance(block, Block)
        network.blocks[name] = block.fake_quantise(greatest)
    return network
