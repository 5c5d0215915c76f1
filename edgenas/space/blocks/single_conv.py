"""The common part of block kinds that are one convolution with batch norm and activation: dimensions and costs."""

from __future__ import annotations

from dataclasses import dataclass

from edgenas.space.blocks.spec import Activation, BlockSpec, Conv, conv_out_size, dimension
from edgenas.space.graph_variant import GraphVariant


@dataclass(frozen=True)
class SingleConvSpec(BlockSpec):
    """Convolution k×k, batch norm, activation; without a shortcut."""

    kernel: int = dimension("k")
    stride: int = dimension("s")
    activation: Activation = dimension("")

    @property
    def out_size(self) -> int:
        """Output height and width in pixels."""
        return conv_out_size(self.in_size, self.stride)

    def convs(self) -> list[Conv]:
        """Return the one convolution."""
        return [Conv(self.in_channels, self.out_channels, self.kernel, 1, self.out_size, bias=False, norm=True)]

    def peak_activation_elements(self, variant: GraphVariant = "direct") -> int:
        """Return the elements of input and output."""
        return self.in_channels * self.in_size**2 + self.out_channels * self.out_size**2
