"""A plain convolution with batch norm and activation."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from edgenas.space.blocks.conv import ConvSpec
from edgenas.supernet.blocks.base import Block, BlockModules, ElasticBlock
from edgenas.supernet.elastic_layers import ElasticConvNorm, Weights, prefixed
from edgenas.supernet.fake_quantisation import FoldedConv, rounded_activation
from edgenas.supernet.layers import ConvNorm, MakeConvNorm


class PlainConv(Block):
    """Module of a ConvSpec."""

    def __init__(self, spec: ConvSpec, conv_norm: MakeConvNorm = ConvNorm):
        super().__init__()
        self.conv = conv_norm(spec.in_channels, spec.out_channels, spec.kernel, spec.stride, activation=spec.activation)

    def forward(self, x: Tensor) -> Tensor:
        """(n, in, h, w) to (n, out, h', w')."""
        return self.conv(x)  # type: ignore[no-any-return]

    def fake_quantise(self, greatest: int) -> nn.Module:
        """Return the block with its weights and its output rounded."""
        self.set_submodule("conv", FoldedConv(self.conv, rounded_activation(self.conv.activation), greatest))
        return self


class ElasticPlainConv(ElasticBlock):
    """Weights of every plain convolution that can stand at one position."""

    def __init__(self, specs: Sequence[ConvSpec], kernel_transforms: bool):
        super().__init__()
        kernels = sorted({spec.kernel for spec in specs})
        max_in, out = max(spec.in_channels for spec in specs), max(spec.out_channels for spec in specs)
        self.conv = ElasticConvNorm(max_in, out, kernels[-1], kernels if kernel_transforms else ())

    def cut(self, spec: ConvSpec) -> Weights:
        """Return the weights of a PlainConv."""
        return prefixed("conv", self.conv.cut(spec.in_channels, spec.out_channels, spec.kernel))


MODULES = BlockModules(ConvSpec, PlainConv, ElasticPlainConv)
