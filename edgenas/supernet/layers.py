"""Elastic layers: weights of the greatest size, cut to the sizes a caller asks for.

They hold no state but weights: sizes are call arguments, and `cut` returns tensors under the names that the
plain modules of `subnet` give them. Slices are views, so gradients and running statistics flow back.
Leading channels are kept (Slimmable networks, arXiv 1812.08928) and the centre of a kernel, which once-for-all
(arXiv 1908.09791, section 3.2) multiplies with a learned matrix as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Weights = dict[str, Tensor]
"""Of a module, by their names in it."""
Cut = dict[str, Weights]
"""Of a network's blocks, by the names of these."""


def prefixed(name: str, weights: Weights) -> Weights:
    """The same tensors under `name.`."""
    return {f"{name}.{key}": tensor for key, tensor in weights.items()}


class ElasticConv(nn.Module):
    """A convolution's (or 1×1: a linear layer's) weight of shape (max_out, max_in, max_kernel, max_kernel).

    With `transformed`, the kernel sizes that it is cut to, a smaller kernel is a matrix times the centre of the next
    larger one, row by row as pixels are read (once-for-all, section 3.2); the matrices start as identities.
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
        """Weight (out, in, kernel, kernel), and bias (out,) if there is one."""
        weight = self.weight[:out_channels, :in_channels]
        for larger, smaller in self.steps:
            if larger > kernel:
                matrix = self.transforms[_transform(larger, smaller)]
                weight = F.linear(_centre(weight, smaller).flatten(2), matrix).view(*weight.shape[:2], smaller, smaller)
        weight = _centre(weight, kernel)
        # Sliced kernels are strided views, which the depthwise kernels of CPU libraries are many times slower on.
        weights = {"weight": weight.contiguous()}
        return weights if self.bias is None else {**weights, "bias": self.bias[:out_channels]}


def _centre(weight: Tensor, kernel: int) -> Tensor:
    margin = (weight.shape[-1] - kernel) // 2
    return weight[:, :, margin : margin + kernel, margin : margin + kernel] if margin else weight


def _transform(larger: int, smaller: int) -> str:
    return f"{larger}to{smaller}"


class ElasticLinear(nn.Module):
    """A linear layer's weight of shape (out, max_in): only its input is elastic."""

    def __init__(self, max_in: int, out_features: int, bias: bool = True):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_features, max_in))
        self.bias = nn.Parameter(torch.zeros(out_features)) if bias else None
        nn.init.normal_(self.weight, std=max_in**-0.5)

    def cut(self, in_features: int) -> Weights:
        """Weight (out, in), and bias (out,) if there is one."""
        weights = {"weight": self.weight[:, :in_features]}
        return weights if self.bias is None else {**weights, "bias": self.bias}


class ElasticNorm(nn.Module):
    """Batch norm's scale, shift and running statistics, each of shape (max_channels,)."""

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, max_channels: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(max_channels))
        self.bias = nn.Parameter(torch.zeros(max_channels))
        self.register_buffer("running_mean", torch.zeros(max_channels))
        self.register_buffer("running_var", torch.ones(max_channels))

    def cut(self, channels: int) -> Weights:
        """The leading channels of all four."""
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
        """Weights of a ConvNorm of these sizes."""
        return {
            **prefixed("conv", self.conv.cut(in_channels, out_channels, kernel)),
            **prefixed("norm", self.norm.cut(out_channels)),
        }


class ElasticSqueezeExcite(nn.Module):
    """Weights of a SqueezeExcite."""

    def __init__(self, max_channels: int, max_squeezed: int):
        super().__init__()
        self.squeeze = ElasticConv(max_channels, max_squeezed, bias=True)
        self.excite = ElasticConv(max_squeezed, max_channels, bias=True)

    def cut(self, channels: int, squeezed: int) -> Weights:
        """Weights of a SqueezeExcite of these sizes."""
        return {
            **prefixed("squeeze", self.squeeze.cut(channels, squeezed)),
            **prefixed("excite", self.excite.cut(squeezed, channels)),
        }
