"""A plain convolution with batch norm and activation, as between the blocks of MobileNetV4 (arXiv 2404.10518)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

from edgenas.space.blocks.genes import BlockGenes, gene
from edgenas.space.blocks.spec import Activation, BlockSpec, Conv, conv_out_size, dimension
from edgenas.space.blocks.stage import Kernels, Stage
from edgenas.space.graph_variant import GraphVariant


@dataclass(frozen=True, order=True)
class ConvGenes(BlockGenes):
    """Kernel size, in text `ck3`."""

    prefix: ClassVar[str] = "c"
    kernel: int = gene("k")


@dataclass(frozen=True)
class ConvSpec(BlockSpec):
    """Convolution k×k, batch norm, activation; without a shortcut."""

    kind: ClassVar[str] = "conv"
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
        stride = f", stride {self.stride}" if self.stride > 1 else ""
        return f"convolution {self.kernel} × {self.kernel}{stride}, {self.activation}"

    def convs(self) -> list[Conv]:
        """Return the one convolution."""
        return [Conv(self.in_channels, self.out_channels, self.kernel, 1, self.out_size, bias=False, norm=True)]

    def peak_activation_elements(self, variant: GraphVariant = "direct") -> int:
        """Return the elements of input and output."""
        return self.in_channels * self.in_size**2 + self.out_channels * self.out_size**2

    def with_channels(self, into: int, out: int, inner: int) -> BlockSpec:
        """Return a convolution of other channels."""
        return replace(self, in_channels=into, out_channels=out)


class ConvStage(Stage):
    """A stage of plain convolutions."""

    spec = ConvSpec
    genes = ConvGenes
    block: Literal["conv"] = "conv"
    kernel: Kernels

    @property
    def unwritten(self) -> list[Any]:
        """Stride, activation; the kind is in the text."""
        return [self.stride, self.fixed("activation")]

    def make_spec(self, before: BlockSpec, width: int, genes: ConvGenes, stride: int, name: str) -> ConvSpec:
        """Return the BlockSpec of one block."""
        return ConvSpec(
            in_channels=before.out_channels,
            in_size=before.out_size,
            out_channels=width,
            kernel=genes.kernel,
            stride=stride,
            activation=self.activation_of(genes),
            name=name,
        )


STAGE = ConvStage
