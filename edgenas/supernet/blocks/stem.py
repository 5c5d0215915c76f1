"""The stem: the first convolution of a network. Its shape is fixed; only the image size varies."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from edgenas.space.blocks.stem import StemSpec
from edgenas.supernet.blocks.base import Block, BlockModules, ElasticBlock
from edgenas.supernet.elastic_layers import ElasticConvNorm, Weights, prefixed
from edgenas.supernet.fake_quantisation import FoldedConv, Rounded
from edgenas.supernet.layers import ConvNorm, MakeConvNorm


class Stem(Block):
    """Module of a StemSpec."""

    def __init__(self, spec: StemSpec, conv_norm: MakeConvNorm = ConvNorm):
        super().__init__()
        self.conv = conv_norm(spec.in_channels, spec.out_channels, spec.kernel, spec.stride, activation=spec.activation)

    def forward(self, x: Tensor) -> Tensor:
        """(n, in, h, w) to (n, out, h', w')."""
        return self.conv(x)  # type: ignore[no-any-return]

    def fake_quantise(self, greatest: int) -> nn.Module:
        """Return the block with its output rounded; its weights stay fp32, as in int8 files."""
        self.set_submodule("conv", FoldedConv(self.conv, self.conv.activation, None))
        return nn.Sequential(self, Rounded())


class ElasticStem(ElasticBlock):
    """Weights of the stem."""

    def __init__(self, specs: Sequence[StemSpec], kernel_transforms: bool):
        super().__init__()
        self.conv = ElasticConvNorm(specs[0].in_channels, specs[0].out_channels, specs[0].kernel)

    def cut(self, spec: StemSpec) -> Weights:
        """Return the weights of a Stem."""
        return prefixed("conv", self.conv.cut(spec.in_channels, spec.out_channels, spec.kernel))


MODULES = BlockModules(StemSpec, Stem, ElasticStem)
