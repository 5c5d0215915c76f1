"""The common part of block kinds that expand channels, convolve, and project: genes, dimensions, and the shortcut."""

from __future__ import annotations

from dataclasses import dataclass

from edgenas.space.blocks.genes import BlockGenes, gene
from edgenas.space.blocks.spec import BlockSpec, conv_out_size, dimension, make_divisible


@dataclass(frozen=True, order=True)
class ExpandingGenes(BlockGenes):
    """Kernel size and expand ratio, in text `k3e4` after the prefix of the kind."""

    kernel: int = gene("k")
    expand: float = gene("e", fraction=True)


@dataclass(frozen=True)
class ExpandingSpec(BlockSpec):
    """A block with `mid_channels` inside; it has a shortcut where stride is 1 and channels stay."""

    mid_channels: int = dimension("m")
    kernel: int = dimension("k")
    stride: int = dimension("s")

    @property
    def out_size(self) -> int:
        """Output height and width in pixels."""
        return conv_out_size(self.in_size, self.stride)

    @property
    def residual(self) -> bool:
        """Whether the input is added to the output."""
        return self.stride == 1 and self.in_channels == self.out_channels


def expanded_channels(in_channels: int, ratio: float) -> int:
    """Return the channels between expand and project, a multiple of 8."""
    return make_divisible(round(in_channels * ratio))
