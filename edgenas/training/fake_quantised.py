"""Fake quantisation: a subnet that computes in fp32 what its int8 file computes.

Simulated quantisation (Jacob et al., arXiv 1712.05877, section 3): weights are rounded to int8 by output channel,
activations to uint8 wherever the file of a recipe with both ends in fp32 rounds them. Gradients pass through the
rounding and stop where it saturates (straight-through estimator, arXiv 1308.3432). torch does the rounding. HardSwish
is decomposed as `edgenas.deploy.int8.integer_graph` does it in a file.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from edgenas.supernet.subnet import ConvNorm, Head, InvertedResidual, SqueezeExcite, Stem, Subnet

GREATEST_WEIGHT = {8: 127, 7: 64}
"""Largest int8 weight by number of bits, as in ONNX Runtime's quantiser; the smallest is its negative."""
LEVELS = 255
"""Steps in the range of a uint8 activation."""
AVERAGING = 0.05
"""Weight of a batch in the moving average of a range. Trainings have hundreds of steps."""
SHIFT, SPAN = 3.0, 6.0
"""HardSwish is x · clip(x + SHIFT, 0, SPAN) / SPAN (MobileNetV3, arXiv 1905.02244, section 5.2)."""

Convolution = ConvNorm | nn.Conv2d | nn.Linear


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
        network.blocks[name] = _fake_quantised_block(block, greatest)
    return network


def rounded_weight(weight: Tensor, greatest: int) -> Tensor:
    """Return weights of shape (out, …) rounded to symmetric int8 by output channel."""
    scale = weight.detach().abs().flatten(1).amax(1) / greatest
    scale = scale.clamp_min(torch.finfo(scale.dtype).tiny)
    zero = torch.zeros(len(scale), dtype=torch.int32, device=scale.device)
    return torch.fake_quantize_per_channel_affine(weight, scale, zero, 0, -greatest, greatest)


class Rounded(nn.Module):
    """Rounds values to uint8. The range contains zero and, in train mode, is a moving average over batches."""

    low: Tensor
    high: Tensor
    scale: Tensor
    zero_point: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("low", torch.tensor([torch.inf]))
        self.register_buffer("high", torch.tensor([-torch.inf]))
        self.register_buffer("scale", torch.ones(1))
        self.register_buffer("zero_point", torch.zeros(1, dtype=torch.int32))

    def forward(self, x: Tensor) -> Tensor:
        """Return the rounded values, of the same shape."""
        observe, quantise = (torch.tensor([on], dtype=torch.int64, device=x.device) for on in (self.training, True))
        ranges = (self.low, self.high, self.scale, self.zero_point)
        return torch.fused_moving_avg_obs_fake_quant(x, observe, quantise, *ranges, AVERAGING, 0, LEVELS, -1)


class Gate(nn.Module):
    """Hard sigmoid whose shifted input is rounded and saturates."""

    def forward(self, x: Tensor) -> Tensor:
        """Return values from 0 to 1, of the same shape."""
        return torch.fake_quantize_per_tensor_affine(x + SHIFT, SPAN / LEVELS, 0, 0, LEVELS) / SPAN


class RoundedHardswish(nn.Module):
    """HardSwish with rounded input, gate and product."""

    def __init__(self) -> None:
        super().__init__()
        self.input, self.gate, self.output = Rounded(), Gate(), Rounded()

    def forward(self, x: Tensor) -> Tensor:
        """Return the rounded product, of the same shape."""
        # Smaller inputs give 0, so the range of the file ends there.
        x = self.input(x.clamp_min(-SHIFT))
        return self.output(x * self.gate(x))  # type: ignore[no-any-return]


class FoldedConv(nn.Module):
    """A convolution or linear layer of a folded subnet with rounded weights, and the module that follows it."""

    def __init__(self, source: Convolution, following: nn.Module, greatest: int | None):
        super().__init__()
        self.source = source
        self.following = following
        self.greatest = greatest

    def forward(self, x: Tensor) -> Tensor:
        """Return the output of the source and the following module; weights stay fp32 where `greatest` is None."""
        layer = self.source.conv if isinstance(self.source, ConvNorm) else self.source
        bias = self.source.norm.bias if isinstance(self.source, ConvNorm) else self.source.bias
        weight = layer.weight if self.greatest is None else rounded_weight(layer.weight, self.greatest)
        if isinstance(layer, nn.Linear):
            return self.following(F.linear(x, weight, bias))  # type: ignore[no-any-return]
        y = F.conv2d(x, weight, bias, layer.stride, layer.padding, layer.dilation, layer.groups)
        return self.following(y)  # type: ignore[no-any-return]


def _fake_quantised_block(block: nn.Module, greatest: int) -> nn.Module:
    match block:
        case Stem():
            block.set_submodule("conv", FoldedConv(block.conv, nn.Identity(), None))
            return nn.Sequential(block, Rounded())
        case InvertedResidual():
            return _inverted_residual(block, greatest)
        case Head():
            return _head(block, greatest)
    raise AssertionError(f"no fake-quantised form of a {type(block).__name__}")


def _inverted_residual(block: InvertedResidual, greatest: int) -> nn.Module:
    # Two convolutions share one activation, but their ranges differ: each gets its own.
    if block.expand is not None:
        block.set_submodule("expand", FoldedConv(block.expand, _rounded(block.activation), greatest))
    block.set_submodule("depthwise", FoldedConv(block.depthwise, _rounded(block.activation), greatest))
    if block.se is not None:
        block.set_submodule("se", _squeeze_excite(block.se, greatest))
    block.set_submodule("project", FoldedConv(block.project, Rounded(), greatest))
    block.set_submodule("activation", nn.Identity())
    return nn.Sequential(block, Rounded()) if block.residual else block


def _squeeze_excite(block: SqueezeExcite, greatest: int) -> nn.Module:
    block.set_submodule("pool", nn.Sequential(block.pool, Rounded()))
    block.set_submodule("squeeze", FoldedConv(block.squeeze, _rounded(block.relu), greatest))
    block.set_submodule("relu", nn.Identity())
    block.set_submodule("excite", FoldedConv(block.excite, Gate(), greatest))
    block.set_submodule("gate", nn.Identity())
    return nn.Sequential(block, Rounded())


def _head(block: Head, greatest: int) -> nn.Module:
    block.set_submodule("conv", FoldedConv(block.conv, _rounded(block.activation), greatest))
    block.set_submodule("pool", nn.Sequential(block.pool, Rounded()))
    if block.mix is not None:
        block.set_submodule("mix", FoldedConv(block.mix, _rounded(block.activation), greatest))
    block.set_submodule("activation", nn.Identity())
    return block


def _rounded(activation: nn.Module) -> nn.Module:
    return RoundedHardswish() if isinstance(activation, nn.Hardswish) else nn.Sequential(activation, Rounded())
