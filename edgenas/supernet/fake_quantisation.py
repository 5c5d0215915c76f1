"""Layers that compute in fp32 what ONNX Runtime's int8 operators compute: weights and activations rounded as there.

Simulated quantisation (Jacob et al., arXiv 1712.05877, section 3): weights are rounded to int8 by output channel,
activations to uint8. Gradients pass the rounding unchanged, and are 0 where it saturates (straight-through estimator,
arXiv 1308.3432). The roundings are torch's own. HardSwish is split as `edgenas.deploy.int8.integer_graph` splits it in
a file.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgenas.supernet.layers import ConvNorm, SqueezeExcite

LEVELS = 255
"""Steps of a uint8 activation's range."""
AVERAGING = 0.05
"""Weight of a batch in the moving average of a range. Trainings have hundreds of steps."""
SHIFT, SPAN = 3.0, 6.0
"""HardSwish is x · clip(x + SHIFT, 0, SPAN) / SPAN (MobileNetV3, arXiv 1905.02244, section 5.2)."""

Convolution = ConvNorm | nn.Conv2d | nn.Linear


def rounded_weight(weight: Tensor, greatest: int) -> Tensor:
    """Return weights (out, …) on the grid of int8, symmetric, by output channel."""
    scale = weight.detach().abs().flatten(1).amax(1) / greatest
    scale = scale.clamp_min(torch.finfo(scale.dtype).tiny)
    zero = torch.zeros(len(scale), dtype=torch.int32, device=scale.device)
    return torch.fake_quantize_per_channel_affine(weight, scale, zero, 0, -greatest, greatest)


class Rounded(nn.Module):
    """Values on the grid of uint8, whose range contains zero and, in train mode, moves with the batches."""

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
        """Any shape to the same."""
        follow, quantise = (torch.tensor([on], dtype=torch.int64, device=x.device) for on in (self.training, True))
        ranges = (self.low, self.high, self.scale, self.zero_point)
        return torch.fused_moving_avg_obs_fake_quant(x, follow, quantise, *ranges, AVERAGING, 0, LEVELS, -1)


class Gate(nn.Module):
    """Hard sigmoid; its input, shifted, is what is rounded, and saturates."""

    def forward(self, x: Tensor) -> Tensor:
        """Any shape to the same, 0 to 1."""
        return torch.fake_quantize_per_tensor_affine(x + SHIFT, SPAN / LEVELS, 0, 0, LEVELS) / SPAN


class RoundedHardswish(nn.Module):
    """HardSwish with its input, its gate, and the product rounded."""

    def __init__(self) -> None:
        super().__init__()
        self.input, self.gate, self.output = Rounded(), Gate(), Rounded()

    def forward(self, x: Tensor) -> Tensor:
        """Any shape to the same."""
        # Below -SHIFT the result is 0, so the file's range ends there.
        x = self.input(x.clamp_min(-SHIFT))
        return self.output(x * self.gate(x))  # type: ignore[no-any-return]


class RoundedSilu(nn.Module):
    """SiLU with its input, its sigmoid, and the product rounded."""

    def __init__(self) -> None:
        super().__init__()
        self.input, self.gate, self.output = Rounded(), Rounded(), Rounded()

    def forward(self, x: Tensor) -> Tensor:
        """Any shape to the same."""
        x = self.input(x)
        return self.output(x * self.gate(torch.sigmoid(x)))  # type: ignore[no-any-return]


class FoldedConv(nn.Module):
    """A convolution or linear layer whose batch norm is folded, its weights rounded; then the module `following`."""

    def __init__(self, source: Convolution, following: nn.Module, greatest: int | None):
        super().__init__()
        self.source = source
        self.following = following
        self.greatest = greatest

    def forward(self, x: Tensor) -> Tensor:
        """Map shapes as the source does; weights stay fp32 where `greatest` is None."""
        layer = self.source.conv if isinstance(self.source, ConvNorm) else self.source
        bias = self.source.norm.bias if isinstance(self.source, ConvNorm) else self.source.bias
        weight = layer.weight if self.greatest is None else rounded_weight(layer.weight, self.greatest)
        if isinstance(layer, nn.Linear):
            return self.following(F.linear(x, weight, bias))  # type: ignore[no-any-return]
        return self.following(layer._conv_forward(x, weight, bias))  # type: ignore[no-any-return]


def rounded_activation(activation: nn.Module) -> nn.Module:
    """Return an activation whose output is rounded."""
    if isinstance(activation, nn.Hardswish):
        return RoundedHardswish()
    return RoundedSilu() if isinstance(activation, nn.SiLU) else nn.Sequential(activation, Rounded())


def rounded_squeeze_excite(block: SqueezeExcite, greatest: int) -> nn.Module:
    """Return a squeeze-excite with weights and activations rounded; `block` is changed."""
    block.set_submodule("pool", nn.Sequential(block.pool, Rounded()))
    block.set_submodule("squeeze", FoldedConv(block.squeeze, rounded_activation(block.relu), greatest))
    block.set_submodule("relu", nn.Identity())
    block.set_submodule("excite", FoldedConv(block.excite, Gate(), greatest))
    block.set_submodule("gate", nn.Identity())
    return nn.Sequential(block, Rounded())
