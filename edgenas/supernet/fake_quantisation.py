"""Fake-quantised layers, which compute ONNX Runtime's int8 operators in fp32 for quantisation-aware training.

Weights are rounded to int8 by output channel, and activations to uint8 (Jacob et al., arXiv 1712.05877, section 3).
Gradients pass the rounding unchanged and are 0 in saturation (straight-through estimator, arXiv 1308.3432). The
rounding is done by torch. HardSwish is split in the same way as by `edgenas.deploy.int8.integer_graph`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgenas.supernet.layers import ConvNorm, SqueezeExcite

LEVELS = 255
"""Number of steps in the range of a uint8 activation."""
AVERAGING = 0.05
"""Weight of a batch in the moving average of a range, for trainings of hundreds of steps."""
SHIFT, SPAN = 3.0, 6.0
"""HardSwish is x · clip(x + SHIFT, 0, SPAN) / SPAN (MobileNetV3, arXiv 1905.02244, section 5.2)."""

Convolution = ConvNorm | nn.Conv2d | nn.Linear


def rounded_weight(weight: Tensor, greatest: int) -> Tensor:
    """Return weights rounded to symmetric int8 by output channel, of shape (out, …).

    Args:
        weight: weights of shape (out, …).
        greatest: largest integer, 127 for 8 bits and 63 for 7 bits.
    """
    scale = weight.detach().abs().flatten(1).amax(1) / greatest
    scale = scale.clamp_min(torch.finfo(scale.dtype).tiny)
    zero = torch.zeros(len(scale), dtype=torch.int32, device=scale.device)
    return torch.fake_quantize_per_channel_affine(weight, scale, zero, 0, -greatest, greatest)


class Rounded(nn.Module):
    """Rounding to uint8, with a range that contains zero and follows the batches in train mode."""

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
        """Round an input of any shape."""
        observe, quantise = (torch.tensor([flag], dtype=torch.int64, device=x.device) for flag in (self.training, True))
        ranges = (self.low, self.high, self.scale, self.zero_point)
        return torch.fused_moving_avg_obs_fake_quant(x, observe, quantise, *ranges, AVERAGING, 0, LEVELS, -1)


class Gate(nn.Module):
    """Hard sigmoid as the rounding and saturation of its shifted input."""

    def forward(self, x: Tensor) -> Tensor:
        """Map an input of any shape to values from 0 to 1."""
        return torch.fake_quantize_per_tensor_affine(x + SHIFT, SPAN / LEVELS, 0, 0, LEVELS) / SPAN


class RoundedHardswish(nn.Module):
    """HardSwish with rounded input, gate and product."""

    def __init__(self) -> None:
        super().__init__()
        self.input, self.gate, self.output = Rounded(), Gate(), Rounded()

    def forward(self, x: Tensor) -> Tensor:
        """Apply the activation to an input of any shape."""
        # The result is 0 below -SHIFT, so the file's range ends at -SHIFT.
        x = self.input(x.clamp_min(-SHIFT))
        return self.output(x * self.gate(x))  # type: ignore[no-any-return]


class RoundedSilu(nn.Module):
    """SiLU with rounded input, sigmoid and product."""

    def __init__(self) -> None:
        super().__init__()
        self.input, self.gate, self.output = Rounded(), Rounded(), Rounded()

    def forward(self, x: Tensor) -> Tensor:
        """Apply the activation to an input of any shape."""
        x = self.input(x)
        return self.output(x * self.gate(torch.sigmoid(x)))  # type: ignore[no-any-return]


class FoldedConv(nn.Module):
    """Convolution or linear layer with folded batch norm and rounded weights, followed by another module."""

    def __init__(self, source: Convolution, following: nn.Module, greatest: int | None):
        super().__init__()
        self.source = source
        self.following = following
        self.greatest = greatest

    def forward(self, x: Tensor) -> Tensor:
        """Map an input to the shape of the source's output. Weights stay fp32 if `greatest` is None."""
        layer = self.source.conv if isinstance(self.source, ConvNorm) else self.source
        bias = self.source.norm.bias if isinstance(self.source, ConvNorm) else self.source.bias
        weight = layer.weight if self.greatest is None else rounded_weight(layer.weight, self.greatest)
        if isinstance(layer, nn.Linear):
            return self.following(F.linear(x, weight, bias))  # type: ignore[no-any-return]
        return self.following(layer._conv_forward(x, weight, bias))  # type: ignore[no-any-return]


def rounded_activation(activation: nn.Module) -> nn.Module:
    """Return an activation with rounded output."""
    if isinstance(activation, nn.Hardswish):
        return RoundedHardswish()
    return RoundedSilu() if isinstance(activation, nn.SiLU) else nn.Sequential(activation, Rounded())


def rounded_squeeze_excite(block: SqueezeExcite, greatest: int) -> nn.Module:
    """Return a squeeze-excite with rounded weights and activations. `block` is changed in place."""
    block.set_submodule("pool", nn.Sequential(block.pool, Rounded()))
    block.set_submodule("squeeze", FoldedConv(block.squeeze, rounded_activation(block.activation), greatest))
    block.set_submodule("activation", nn.Identity())
    is_hard = isinstance(block.gate, nn.Hardsigmoid)
    gate = Gate() if is_hard else nn.Sequential(Rounded(), block.gate, Rounded())
    block.set_submodule("excite", FoldedConv(block.excite, gate, greatest))
    block.set_submodule("gate", nn.Identity())
    return nn.Sequential(block, Rounded())
