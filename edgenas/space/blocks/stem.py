"""The stem: the first convolution of a network."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from edgenas.space.blocks.spec import Activation, BlockSpec, Conv, conv_out_size, dimension
from edgenas.space.graph_variant import GraphVariant


@dataclass(frozen=True)
class StemSpec(BlockSpec):
    """Convolution, batch norm, activation."""

    kind: ClassVar[str] = "stem"
    kernel: int = dimension("k")
    stride: int = dimension("s")
    activation: Activation = dimension("")

    @property
    def out_size(self) -> int:
        """Output height and width in pixels."""
        return conv_out_size(self.in_size, self.stride)

    @property
    def description(self) -> str:
        """The operators in words."""
        return f"convolution {self.kernel} × {self.kernel}, stride {self.stride}, {self.activation}"

    def convs(self) -> list[Conv]:
        """Return the one convolution."""
        return [Conv(self.in_channels, self.out_channels, self.kernel, 1, self.out_size, bias=False, norm=True)]

    def peak_activation_elements(self, variant: GraphVariant = "direct") -> int:
        """Return the elements of input and output."""
        return self.in_channels * self.in_size**2 + self.out_channels * self.out_size**2

    def with_channels(self, into: int, out: int, inner: int) -> BlockSpec:
        """Return a stem of other output channels; its input is always an image."""
        return replace(self, out_channels=out)
