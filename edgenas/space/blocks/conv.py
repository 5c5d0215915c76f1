"""A plain convolution with batch norm and activation, as between the blocks of MobileNetV4 (arXiv 2404.10518)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from edgenas.space.blocks.genes import BlockGenes, gene
from edgenas.space.blocks.single_conv import SingleConvSpec
from edgenas.space.blocks.spec import BlockSpec
from edgenas.space.blocks.stage import Kernels, Stage


@dataclass(frozen=True, order=True)
class ConvGenes(BlockGenes):
    """Kernel size, in text `ck3`."""

    prefix: ClassVar[str] = "c"
    kernel: int = gene("k")


@dataclass(frozen=True)
class ConvSpec(SingleConvSpec):
    """Convolution k×k, batch norm, activation; without a shortcut."""

    kind: ClassVar[str] = "conv"

    @property
    def description(self) -> str:
        """The operators in words."""
        stride = f", stride {self.stride}" if self.stride > 1 else ""
        return f"convolution {self.kernel} × {self.kernel}{stride}, {self.activation}"

    def with_channels(self, into: int, out: int, inner: int) -> BlockSpec:
        """Return a convolution of other channels."""
        return replace(self, in_channels=into, out_channels=out)


class ConvStage(Stage):
    """A stage of plain convolutions."""

    spec = ConvSpec
    genes = ConvGenes
    block: Literal["conv"] = "conv"
    kernel: Kernels

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
