"""Elastic layers, whose weights of the largest size are cut to smaller sizes.

Their only state is weights. Sizes are arguments of `cut`, which returns tensors with the names of the plain modules in
`layers`. Slices are views, so gradients and running statistics are shared between subnets. `cut` takes the leading
channels (Slimmable networks, arXiv 1812.08928) and the centre of a kernel, which once-for-all (arXiv 1908.09791,
section 3.2) also multiplies by a trained matrix.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgenas.space.blocks.inverted_residual import Gate

Weights = dict[str, Tensor]
"""Tensors of a module by their names."""
Cut = dict[str, Weights]
"""Weights of each block of a network, by the block's name."""
OPEN_GATE = 255 / 256
"""The gate that squeeze-excite begins with where it is a choice: a factor whose rounding is below a bit of uint8."""


def prefixed(name: str, weights: Weights) -> Weights:
    """Return the same tensors with `name.` before each name."""
    return {f"{name}.{key}": tensor for key, tensor in weights.items()}


class ElasticConv(nn.Module):
    """Weight of a convolution, or of a linear layer if it is 1×1, of shape (max_out, max_in, max_kernel, max_kernel).

    If `transformed` lists the kernel sizes, a smaller kernel is a matrix times the flattened centre of the next larger
    kernel (once-for-all, section 3.2). The matrices are initialised as identities.
    """

    def __init__(
        self, max_in: int, max_out: int, max_kernel: int = 1, bias: bool = False, transformed: Sequence[int] = ()
    ):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(max_out, max_in, max_kernel, max_kernel))
        self.bias = nn.Parameter(torch.zeros(max_out)) if bias else None
        self.steps = tuple(pairwise(sorted(transformed, reverse=True)))
        self.transforms = nn.ParameterDict(
            {_transform(*step): nn.Parameter(torch.eye(step[1] ** 2)) for step in self.steps}
        )
        nn.init.kaiming_normal_(self.weight, mode="fan_out")

    def cut(self, in_channels: int, out_channels: int, kernel: int = 1) -> Weights:
        """Return the weight of shape (out, in, kernel, kernel), and the bias of shape (out,) if there is one."""
        weight = self.weight[:out_channels, :in_channels]
        for larger, smaller in self.steps:
            if larger > kernel:
                matrix = self.transforms[_transform(larger, smaller)]
                weight = F.linear(_centre(weight, smaller).flatten(2), matrix).view(*weight.shape[:2], smaller, smaller)
        weight = _centre(weight, kernel)
        # Depthwise convolutions of CPU libraries are many times slower on strided views.
        weights = {"weight": weight.contiguous()}
        return weights if self.bias is None else {**weights, "bias": self.bias[:out_channels]}

    def input_importance(self, sizes: Tensor | None = None) -> Tensor:
        """Return the L1 norm of the weights that read each input channel, times the channel's size, shape (max_in,).

        Args:
            sizes: mean absolute value of each input channel, shape (max_in,); None to leave it out.
        """
        norms = self.weight.abs().sum(dim=(0, 2, 3))
        return norms if sizes is None else norms * sizes

    def reorder_inputs(self, order: Tensor) -> None:
        """Permute the input channels in place."""
        _permute(self.weight, order, dim=1)

    def reorder_outputs(self, order: Tensor) -> None:
        """Permute the output channels in place."""
        _permute(self.weight, order, dim=0)
        if self.bias is not None:
            _permute(self.bias, order, dim=0)


def _permute(tensor: Tensor, order: Tensor, dim: int) -> None:
    tensor.copy_(tensor.index_select(dim, order))


def order_by_importance(importance: Tensor, edges: Sequence[int]) -> Tensor:
    """Return indices that sort the channels between consecutive edges, the most important first."""
    ends = [0, *edges, len(importance)]
    parts = [start + importance[start:stop].argsort(descending=True, stable=True) for start, stop in pairwise(ends)]
    return torch.cat(parts)


def _centre(weight: Tensor, kernel: int) -> Tensor:
    margin = (weight.shape[-1] - kernel) // 2
    return weight[:, :, margin : margin + kernel, margin : margin + kernel] if margin else weight


def _transform(larger: int, smaller: int) -> str:
    return f"{larger}to{smaller}"


class ElasticLinear(nn.Module):
    """Weight of a linear layer with elastic input, of shape (out, max_in)."""

    def __init__(self, max_in: int, out_features: int, bias: bool = True):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_features, max_in))
        self.bias = nn.Parameter(torch.zeros(out_features)) if bias else None
        nn.init.normal_(self.weight, std=max_in**-0.5)

    def cut(self, in_features: int) -> Weights:
        """Return the weight of shape (out, in), and the bias of shape (out,) if there is one."""
        weights = {"weight": self.weight[:, :in_features]}
        return weights if self.bias is None else {**weights, "bias": self.bias}


class ElasticNorm(nn.Module):
    """Scale, shift and running statistics of a batch norm, each of shape (max_channels,)."""

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, max_channels: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(max_channels))
        self.bias = nn.Parameter(torch.zeros(max_channels))
        self.register_buffer("running_mean", torch.zeros(max_channels))
        self.register_buffer("running_var", torch.ones(max_channels))

    def cut(self, channels: int) -> Weights:
        """Return the leading channels of scale, shift and running statistics."""
        return {
            "weight": self.weight[:channels],
            "bias": self.bias[:channels],
            "running_mean": self.running_mean[:channels],
            "running_var": self.running_var[:channels],
        }


class ElasticConvNorm(nn.Module):
    """Weights of a ConvNorm."""

    def __init__(self, max_in: int, max_out: int, max_kernel: int = 1, transformed: Sequence[int] = ()):
        super().__init__()
        self.conv = ElasticConv(max_in, max_out, max_kernel, transformed=transformed)
        self.norm = ElasticNorm(max_out)

    def cut(self, in_channels: int, out_channels: int, kernel: int = 1) -> Weights:
        """Return the weights of a ConvNorm of these sizes."""
        return {
            **prefixed("conv", self.conv.cut(in_channels, out_channels, kernel)),
            **prefixed("norm", self.norm.cut(out_channels)),
        }

    def reorder_outputs(self, order: Tensor) -> None:
        """Permute the output channels in place, including those of the batch norm."""
        self.conv.reorder_outputs(order)
        for tensor in (*self.norm.parameters(), *self.norm.buffers()):
            _permute(tensor, order, dim=0)


class ElasticSqueezeExcite(nn.Module):
    """Weights of a SqueezeExcite."""

    def __init__(self, max_channels: int, max_squeezed: int):
        super().__init__()
        self.squeeze = ElasticConv(max_channels, max_squeezed, bias=True)
        self.excite = ElasticConv(max_squeezed, max_channels, bias=True)

    @torch.no_grad()
    def open_gate(self, gate: Gate) -> None:
        """Set the weights so that the gate is `OPEN_GATE` for every input: nearly the identity.

        At a gate of exactly 1, a hard sigmoid has no gradient.
        """
        assert self.excite.bias is not None
        self.excite.weight.zero_()
        opened = 6 * OPEN_GATE - 3 if gate == "hardsigmoid" else math.log(OPEN_GATE / (1 - OPEN_GATE))
        self.excite.bias.fill_(opened)

    def cut(self, channels: int, squeezed: int) -> Weights:
        """Return the weights of a SqueezeExcite of these sizes."""
        return {
            **prefixed("squeeze", self.squeeze.cut(channels, squeezed)),
            **prefixed("excite", self.excite.cut(squeezed, channels)),
        }

    def reorder_channels(self, order: Tensor) -> None:
        """Permute the scaled channels in place."""
        self.squeeze.reorder_inputs(order)
        self.excite.reorder_outputs(order)

    def reorder_squeezed(self, order: Tensor) -> None:
        """Permute the channels between the two convolutions in place."""
        self.squeeze.reorder_outputs(order)
        self.excite.reorder_inputs(order)
