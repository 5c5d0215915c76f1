"""The inverted residual (MobileNetV2, arXiv 1801.04381; with squeeze-excite MobileNetV3, arXiv 1905.02244)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from edgenas.space.blocks.expanding import expanded_channels
from edgenas.space.blocks.inverted_residual import InvertedResidualSpec
from edgenas.supernet.blocks.base import Block, BlockModules, ElasticBlock
from edgenas.supernet.elastic_layers import (
    ElasticConvNorm,
    ElasticNorm,
    ElasticSqueezeExcite,
    Weights,
    order_by_importance,
    prefixed,
)
from edgenas.supernet.fake_quantisation import FoldedConv, Rounded, rounded_activation, rounded_squeeze_excite
from edgenas.supernet.layers import ConvNorm, MakeConvNorm, SqueezeExcite


class InvertedResidual(Block):
    """Module of an InvertedResidualSpec."""

    def __init__(self, spec: InvertedResidualSpec, conv_norm: MakeConvNorm = ConvNorm):
        super().__init__()
        mid, activation = spec.mid_channels, spec.activation
        self.expand = conv_norm(spec.in_channels, mid, activation=activation) if spec.expands else None
        self.depthwise = conv_norm(mid, mid, spec.kernel, spec.stride, groups=mid, activation=activation)
        self.se = None
        if spec.se_channels:
            self.se = SqueezeExcite(mid, spec.se_channels, spec.squeeze_activation, spec.gate)
        self.project = conv_norm(mid, spec.out_channels)
        self.residual = spec.residual

    def forward(self, x: Tensor) -> Tensor:
        """(n, in, h, w) to (n, out, h', w')."""
        y = x if self.expand is None else self.expand(x)
        y = self.depthwise(y)
        if self.se is not None:
            y = self.se(y)
        out: Tensor = self.project(y)
        return x + out if self.residual else out

    def fake_quantise(self, greatest: int) -> nn.Module:
        """Return the block with all weights and activations rounded, the sum of a shortcut included."""
        for name in ("expand", "depthwise"):
            layer = getattr(self, name)
            if layer is not None:
                self.set_submodule(name, FoldedConv(layer, rounded_activation(layer.activation), greatest))
        if self.se is not None:
            self.set_submodule("se", rounded_squeeze_excite(self.se, greatest))
        self.set_submodule("project", FoldedConv(self.project, Rounded(), greatest))
        return nn.Sequential(self, Rounded()) if self.residual else self

    @property
    def shortcut_norm(self) -> nn.BatchNorm2d | None:
        """The norm whose output is added to the shortcut; None for a block without one."""
        return self.project.norm if self.residual else None


class ElasticInvertedResidual(ElasticBlock):
    """Weights of every inverted residual that can stand at one position.

    Where squeeze-excite is a choice, its gate begins open, so that switching it on changes next to nothing.
    """

    def __init__(self, specs: Sequence[InvertedResidualSpec], kernel_transforms: bool):
        super().__init__()
        kernels = sorted({spec.kernel for spec in specs})
        mid = max(spec.mid_channels for spec in specs)
        max_in, out = max(spec.in_channels for spec in specs), max(spec.out_channels for spec in specs)
        self.squeezed = {(spec.mid_channels, spec.se_channels) for spec in specs if spec.se_channels}
        squeezed = max((se_channels for _, se_channels in self.squeezed), default=0)
        self.expand = ElasticConvNorm(max_in, mid) if any(spec.expands for spec in specs) else None
        self.depthwise = ElasticConvNorm(1, mid, kernels[-1], kernels if kernel_transforms else ())
        self.se = ElasticSqueezeExcite(mid, squeezed) if squeezed else None
        if self.se is not None and not all(spec.se_channels for spec in specs):
            self.se.open_gate(next(spec.gate for spec in specs if spec.se_channels))
        self.project = ElasticConvNorm(mid, out)

    def cut(self, spec: InvertedResidualSpec) -> Weights:
        """Return the weights of an InvertedResidual."""
        mid = spec.mid_channels
        weights = prefixed("depthwise", self.depthwise.cut(1, mid, spec.kernel))
        if self.expand is not None and spec.expands:
            weights |= prefixed("expand", self.expand.cut(spec.in_channels, mid))
        if self.se is not None and spec.se_channels:
            weights |= prefixed("se", self.se.cut(mid, spec.se_channels))
        return weights | prefixed("project", self.project.cut(mid, spec.out_channels))

    def sort_channels(self, ratios: Sequence[float], sizes: Tensor | None = None) -> None:
        """Sort the channels between expand and project, and those of squeeze-excite, by importance in place."""
        if self.expand is None:
            return
        widths = [expanded_channels(self.expand.conv.weight.shape[1], ratio) for ratio in ratios]
        order = order_by_importance(self.project.conv.input_importance(sizes), widths)
        self.expand.reorder_outputs(order)
        self.depthwise.reorder_outputs(order)
        self.project.conv.reorder_inputs(order)
        if self.se is not None:
            self.se.reorder_channels(order)
            squeezed = {se_channels for mid, se_channels in self.squeezed if mid in widths}
            self.se.reorder_squeezed(order_by_importance(self.se.excite.input_importance(), sorted(squeezed)))

    @property
    def last_norm(self) -> ElasticNorm:
        """The norm of the projection."""
        return self.project.norm


MODULES = BlockModules(InvertedResidualSpec, InvertedResidual, ElasticInvertedResidual)
