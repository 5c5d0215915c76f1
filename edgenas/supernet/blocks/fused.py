"""The fused inverted residual (EfficientNetV2's Fused-MBConv, arXiv 2104.00298)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from edgenas.space.blocks.expanding import expanded_channels
from edgenas.space.blocks.fused import FusedSpec
from edgenas.supernet.blocks.base import Block, BlockModules, ElasticBlock
from edgenas.supernet.elastic_layers import ElasticConvNorm, ElasticNorm, Weights, order_by_importance, prefixed
from edgenas.supernet.fake_quantisation import FoldedConv, Rounded, rounded_activation
from edgenas.supernet.layers import ConvNorm, MakeConvNorm


class Fused(Block):
    """Module of a FusedSpec."""

    def __init__(self, spec: FusedSpec, conv_norm: MakeConvNorm = ConvNorm):
        super().__init__()
        channels = (spec.in_channels, spec.mid_channels)
        self.expand = conv_norm(*channels, spec.kernel, spec.stride, activation=spec.activation)
        self.project = conv_norm(spec.mid_channels, spec.out_channels)
        self.residual = spec.residual

    def forward(self, x: Tensor) -> Tensor:
        """(n, in, h, w) to (n, out, h', w')."""
        out: Tensor = self.project(self.expand(x))
        return x + out if self.residual else out

    def fake_quantise(self, greatest: int) -> nn.Module:
        """Return the block with all weights and activations rounded, the sum of a shortcut included."""
        self.set_submodule("expand", FoldedConv(self.expand, rounded_activation(self.expand.activation), greatest))
        self.set_submodule("project", FoldedConv(self.project, Rounded(), greatest))
        return nn.Sequential(self, Rounded()) if self.residual else self

    @property
    def shortcut_norm(self) -> nn.BatchNorm2d | None:
        """The norm whose output is added to the shortcut; None for a block without one."""
        return self.project.norm if self.residual else None


class ElasticFused(ElasticBlock):
    """Weights of every fused inverted residual that can stand at one position."""

    def __init__(self, specs: Sequence[FusedSpec], kernel_transforms: bool):
        super().__init__()
        kernels = sorted({spec.kernel for spec in specs})
        mid = max(spec.mid_channels for spec in specs)
        max_in, out = max(spec.in_channels for spec in specs), max(spec.out_channels for spec in specs)
        self.expand = ElasticConvNorm(max_in, mid, kernels[-1], kernels if kernel_transforms else ())
        self.project = ElasticConvNorm(mid, out)

    def cut(self, spec: FusedSpec) -> Weights:
        """Return the weights of a Fused."""
        mid = spec.mid_channels
        expand = prefixed("expand", self.expand.cut(spec.in_channels, mid, spec.kernel))
        return expand | prefixed("project", self.project.cut(mid, spec.out_channels))

    def sort_channels(self, ratios: Sequence[float], sizes: Tensor | None = None) -> None:
        """Sort the channels between the two convolutions by importance in place."""
        widths = [expanded_channels(self.expand.conv.weight.shape[1], ratio) for ratio in ratios]
        order = order_by_importance(self.project.conv.input_importance(sizes), widths)
        self.expand.reorder_outputs(order)
        self.project.conv.reorder_inputs(order)

    @property
    def last_norm(self) -> ElasticNorm:
        """The norm of the projection."""
        return self.project.norm


MODULES = BlockModules(FusedSpec, Fused, ElasticFused)
