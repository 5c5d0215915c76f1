"""Subnet: a plain module built from BlockSpecs. It is what is scored, measured and exported.

One class here for each kind of BlockSpec. A supernet runs through the same modules, with weights sliced out of
its own (see `supernet`), so there is one forward pass in the project and no second one to agree with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from edgenas.errors import UncalibratedError
from edgenas.space.blocks import BlockSpec, HeadSpec, InvertedResidualSpec, StemSpec
from edgenas.supernet.pixels import Pixels

if TYPE_CHECKING:
    from edgenas.space.arch import Arch

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "hardswish": nn.Hardswish}


class ConvNorm(nn.Module):
    """Convolution without bias, then batch norm. Input (n, in, h, w)."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int = 1, stride: int = 1, groups: int = 1):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """(n, in, h, w) to (n, out, ceil(h / stride), ceil(w / stride))."""
        return self.norm(self.conv(x))  # type: ignore[no-any-return]


class Stem(nn.Module):
    """Module of a StemSpec."""

    def __init__(self, spec: StemSpec):
        super().__init__()
        self.conv = ConvNorm(spec.in_channels, spec.out_channels, spec.kernel, spec.stride)
        self.activation = ACTIVATIONS[spec.activation]()

    def forward(self, x: Tensor) -> Tensor:
        """(n, in, h, w) to (n, out, h', w')."""
        return self.activation(self.conv(x))  # type: ignore[no-any-return]


class SqueezeExcite(nn.Module):
    """Channel attention with a hard sigmoid (MobileNetV3, arXiv 1905.02244, section 5.3)."""

    def __init__(self, channels: int, squeezed: int):
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.squeeze = nn.Conv2d(channels, squeezed, 1)
        self.relu = nn.ReLU()
        self.excite = nn.Conv2d(squeezed, channels, 1)
        self.gate = nn.Hardsigmoid()

    def forward(self, x: Tensor) -> Tensor:
        """(n, c, h, w) scaled by a gate of shape (n, c, 1, 1)."""
        gate: Tensor = self.gate(self.excite(self.relu(self.squeeze(self.pool(x)))))
        return x * gate


class InvertedResidual(nn.Module):
    """Module of an InvertedResidualSpec."""

    def __init__(self, spec: InvertedResidualSpec):
        super().__init__()
        mid = spec.mid_channels
        self.expand = ConvNorm(spec.in_channels, mid) if spec.expands else None
        self.depthwise = ConvNorm(mid, mid, spec.kernel, spec.stride, groups=mid)
        self.se = SqueezeExcite(mid, spec.se_channels) if spec.se_channels else None
        self.project = ConvNorm(mid, spec.out_channels)
        self.activation = ACTIVATIONS[spec.activation]()
        self.residual = spec.residual

    def forward(self, x: Tensor) -> Tensor:
        """(n, in, h, w) to (n, out, h', w')."""
        y = x
        if self.expand is not None:
            y = self.activation(self.expand(y))
        y = self.activation(self.depthwise(y))
        if self.se is not None:
            y = self.se(y)
        out: Tensor = self.project(y)
        return x + out if self.residual else out


class Head(nn.Module):
    """Module of a HeadSpec."""

    def __init__(self, spec: HeadSpec):
        super().__init__()
        self.conv = ConvNorm(spec.in_channels, spec.width)
        self.activation = ACTIVATIONS[spec.activation]()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.mix = nn.Linear(spec.width, spec.features, bias=False) if spec.features else None
        self.classifier = nn.Linear(spec.features or spec.width, spec.out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """(n, in, h, w) to logits (n, classes)."""
        x = torch.flatten(self.pool(self.activation(self.conv(x))), 1)
        if self.mix is not None:
            x = self.activation(self.mix(x))
        return self.classifier(x)  # type: ignore[no-any-return]


def build_block(spec: BlockSpec) -> nn.Module:
    """The module of one BlockSpec, with fresh weights."""
    match spec:
        case StemSpec():
            return Stem(spec)
        case InvertedResidualSpec():
            return InvertedResidual(spec)
        case HeadSpec():
            return Head(spec)
    raise AssertionError(f"no module for block kind {spec.kind!r}")


def module_name(spec: BlockSpec) -> str:
    """`stage2.block1` as a module may be called: `stage2_block1`."""
    return spec.name.replace(".", "_")


class Subnet(nn.Module):
    """The network of one arch.

    Attributes:
        arch: the arch, or None for networks made of bare BlockSpecs for timing.
        specs: its BlockSpecs.
        pixels: what its input values mean.
        calibration_images: on how many training images its batch-norm statistics were recalibrated;
            0 means not at all: scoring and export refuse it.
    """

    def __init__(self, specs: Sequence[BlockSpec], arch: Arch | None = None, pixels: Pixels | None = None):
        super().__init__()
        self.arch = arch
        self.specs = tuple(specs)
        self.pixels = pixels or Pixels()
        self.calibration_images = 0
        self.blocks = nn.ModuleDict({module_name(spec): build_block(spec) for spec in specs})

    @property
    def resolution(self) -> int:
        """Input height and width in pixels."""
        return self.specs[0].in_size

    @property
    def calibrated(self) -> bool:
        """Whether batch-norm statistics are this subnet's own."""
        return self.calibration_images > 0

    def require_calibrated(self, purpose: str) -> None:
        """Refuse to go on with statistics that belong to other subnets.

        Raises:
            UncalibratedError: `calibrated` is false.
        """
        if not self.calibrated:
            raise UncalibratedError(
                f"{purpose} wants a calibrated subnet, {self.arch or 'this one'} has the supernet's batch-norm "
                "statistics: use edgenas.materialise(net, arch, images) instead of net.extract(arch)"
            )

    def forward(self, x: Tensor) -> Tensor:
        """Images (n, 3, resolution, resolution), preprocessed, to logits (n, classes)."""
        for block in self.blocks.values():
            x = block(x)
        return x


def num_parameters(module: nn.Module) -> int:
    """Trainable parameters."""
    return sum(parameter.numel() for parameter in module.parameters())


def module_device(module: nn.Module) -> torch.device:
    """Where a module's parameters are."""
    return next(module.parameters()).device
