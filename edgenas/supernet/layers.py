"""Layers that the modules of blocks are built from."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgenas.space.blocks.inverted_residual import Gate
from edgenas.space.blocks.spec import NORM_EPSILON, Activation, Padding, same_pads

ACTIVATIONS: dict[Activation, type[nn.Module]] = {
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "hardswish": nn.Hardswish,
    "silu": nn.SiLU,
}
GATES: dict[Gate, type[nn.Module]] = {"hardsigmoid": nn.Hardsigmoid, "sigmoid": nn.Sigmoid}


class SameConv(nn.Conv2d):
    """Strided convolution with TensorFlow's `same` padding, see `BlockSpec.padding`."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        (top, bottom), (left, right) = (
            same_pads(size, self.kernel_size[0], self.stride[0]) for size in input.shape[-2:]
        )
        return super()._conv_forward(F.pad(input, (left, right, top, bottom)), weight, bias)  # type: ignore[no-any-return]


class ConvNorm(nn.Module):
    """Convolution without bias, batch norm, and an optional activation."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int = 1,
        stride: int = 1,
        groups: int = 1,
        activation: Activation | None = None,
        *,
        padding: Padding = "symmetric",
        norm_epsilon: float = NORM_EPSILON,
    ):
        super().__init__()
        shape = (in_channels, out_channels, kernel, stride)
        if padding == "same" and stride > 1:
            self.conv: nn.Conv2d = SameConv(*shape, groups=groups, bias=False)
        else:
            self.conv = nn.Conv2d(*shape, kernel // 2, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(out_channels, norm_epsilon)
        self.activation = ACTIVATIONS[activation]() if activation else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Map shape (n, in, h, w) to (n, out, ceil(h / stride), ceil(w / stride))."""
        return self.activation(self.norm(self.conv(x)))  # type: ignore[no-any-return]


MakeConvNorm = Callable[..., ConvNorm]
"""ConvNorm or a subclass, possibly with bound arguments for padding and epsilon."""


class SqueezeExcite(nn.Module):
    """Channel attention (arXiv 1709.01507); by default with a hard sigmoid (MobileNetV3, arXiv 1905.02244, 5.3)."""

    def __init__(self, channels: int, squeezed: int, activation: Activation = "relu", gate: Gate = "hardsigmoid"):
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.squeeze = nn.Conv2d(channels, squeezed, 1)
        self.activation = ACTIVATIONS[activation]()
        self.excite = nn.Conv2d(squeezed, channels, 1)
        self.gate = GATES[gate]()

    def forward(self, x: Tensor) -> Tensor:
        """Scale an input of shape (n, c, h, w) by a gate of shape (n, c, 1, 1)."""
        gate: Tensor = self.gate(self.excite(self.activation(self.squeeze(self.pool(x)))))
        return x * gate


def num_parameters(module: nn.Module) -> int:
    """Return the number of trainable parameters."""
    return sum(parameter.numel() for parameter in module.parameters())


def module_device(module: nn.Module) -> torch.device:
    """Return the device of a module's parameters."""
    return next(module.parameters()).device
