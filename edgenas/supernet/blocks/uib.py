"""The universal inverted bottleneck (MobileNetV4, arXiv 2404.10518)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from torch import Tensor, nn

from edgenas.space.blocks.expanding import expanded_channels
from edgenas.space.blocks.uib import UibSpec
from edgenas.supernet.blocks.base import Block, BlockModules, ElasticBlock
from edgenas.supernet.elastic_layers import ElasticConvNorm, ElasticNorm, Weights, order_by_importance, prefixed
from edgenas.supernet.fake_quantisation import FoldedConv, Rounded, rounded_activation
from edgenas.supernet.layers import ConvNorm, MakeConvNorm


class Uib(Block):
    """Module of a UibSpec."""

    def __init__(self, spec: UibSpec, conv_norm: MakeConvNorm = ConvNorm):
        super().__init__()
        channels, mid, act = spec.in_channels, spec.mid_channels, spec.activation
        stride = 1 if spec.middle else spec.stride
        self.start = conv_norm(channels, channels, spec.start, stride, groups=channels) if spec.start else None
        self.expand = conv_norm(channels, mid, activation=act)
        self.middle = None
        if spec.middle:
            self.middle = conv_norm(mid, mid, spec.middle, spec.stride, groups=mid, activation=act)
        self.project = conv_norm(mid, spec.out_channels)
        self.residual = spec.residual

    def forward(self, x: Tensor) -> Tensor:
        """Map an input of shape (n, in, h, w) to (n, out, h', w')."""
        y = self.expand(x if self.start is None else self.start(x))
        out: Tensor = self.project(y if self.middle is None else self.middle(y))
        return x + out if self.residual else out

    def fake_quantise(self, greatest: int) -> nn.Module:
        """Return the block with all weights and activations rounded, the sum of a shortcut included."""
        for name in ("start", "expand", "middle", "project"):
            layer = getattr(self, name)
            if layer is not None:
                self.set_submodule(name, FoldedConv(layer, rounded_activation(layer.activation), greatest))
        return nn.Sequential(self, Rounded()) if self.residual else self

    @property
    def shortcut_norm(self) -> nn.BatchNorm2d | None:
        """The norm whose output is added to the shortcut; None for a block without one."""
        return self.project.norm if self.residual else None


class ElasticUib(ElasticBlock):
    """Weights of every universal inverted bottleneck that can stand at one position; all four kinds share them."""

    def __init__(self, specs: Sequence[UibSpec], kernel_transforms: bool):
        super().__init__()
        mid = max(spec.mid_channels for spec in specs)
        max_in, out = max(spec.in_channels for spec in specs), max(spec.out_channels for spec in specs)
        self.start = _elastic_depthwise(max_in, (spec.start for spec in specs), kernel_transforms)
        self.expand = ElasticConvNorm(max_in, mid)
        self.middle = _elastic_depthwise(mid, (spec.middle for spec in specs), kernel_transforms)
        self.project = ElasticConvNorm(mid, out)

    def cut(self, spec: UibSpec) -> Weights:
        """Return the weights of a Uib."""
        mid = spec.mid_channels
        weights = prefixed("expand", self.expand.cut(spec.in_channels, mid))
        if self.start is not None and spec.start:
            weights |= prefixed("start", self.start.cut(1, spec.in_channels, spec.start))
        if self.middle is not None and spec.middle:
            weights |= prefixed("middle", self.middle.cut(1, mid, spec.middle))
        return weights | prefixed("project", self.project.cut(mid, spec.out_channels))

    def sort_channels(self, ratios: Sequence[float], sizes: Tensor | None = None) -> None:
        """Sort the channels between expand and project by importance in place."""
        widths = [expanded_channels(self.expand.conv.weight.shape[1], ratio) for ratio in ratios]
        order = order_by_importance(self.project.conv.input_importance(sizes), widths)
        self.expand.reorder_outputs(order)
        if self.middle is not None:
            self.middle.reorder_outputs(order)
        self.project.conv.reorder_inputs(order)

    @property
    def last_norm(self) -> ElasticNorm:
        """The norm of the projection."""
        return self.project.norm


def _elastic_depthwise(channels: int, kernels: Iterable[int], kernel_transforms: bool) -> ElasticConvNorm | None:
    """Return the weights of a depthwise convolution of several kernel sizes; None if 0 is the only one."""
    sizes = sorted(set(kernels) - {0})
    return ElasticConvNorm(1, channels, sizes[-1], sizes if kernel_transforms else ()) if sizes else None


MODULES = BlockModules(UibSpec, Uib, ElasticUib)
