"""The fused inverted residual (EfficientNetV2's Fused-MBConv, arXiv 2104.00298): k×k convolution, then project 1×1.

One full convolution does the work of expand and depthwise. It needs more MACs, but early in a network, where channels
are few and images large, many devices run it faster.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from edgenas.space.blocks.expanding import ExpandingGenes, ExpandingSpec, expanded_channels
from edgenas.space.blocks.spec import Activation, BlockSpec, Conv, dimension
from edgenas.space.blocks.stage import Expands, Kernels, Stage
from edgenas.space.graph_variant import GraphVariant


@dataclass(frozen=True, order=True)
class FusedGenes(ExpandingGenes):
    """Kernel size and expand ratio, in text `fk3e4`."""

    prefix: ClassVar[str] = "f"


@dataclass(frozen=True)
class FusedSpec(ExpandingSpec):
    """Convolution k×k to the expanded channels, project 1×1; a shortcut where stride is 1 and channels stay."""

    kind: ClassVar[str] = "fused"
    switches: ClassVar[tuple[str, ...]] = ("residual",)
    activation: Activation = dimension("")

    @property
    def description(self) -> str:
        """The operators in words."""
        parts = [f"fused inverted residual {self.kernel} × {self.kernel}", f"{self.mid_channels} channels inside"]
        if self.stride > 1:
            parts.append(f"stride {self.stride}")
        if self.residual:
            parts.append("shortcut")
        return ", ".join([*parts, self.activation])

    @property
    def wide_elements(self) -> int:
        """Elements between the two convolutions."""
        return self.mid_channels * self.out_size**2

    def convs(self) -> list[Conv]:
        """Return the k×k convolution and the projection."""
        mid, size = self.mid_channels, self.out_size
        return [
            Conv(self.in_channels, mid, self.kernel, 1, size, bias=False, norm=True),
            Conv(mid, self.out_channels, 1, 1, size, bias=False, norm=True),
        ]

    def peak_activation_elements(self, variant: GraphVariant = "direct") -> int:
        """Return the largest of: convolving, projecting, adding; a shortcut keeps the input."""
        source, target = self.in_channels * self.in_size**2, self.out_channels * self.out_size**2
        if self.residual:
            return source + target + max(self.wide_elements, target)
        return self.wide_elements + max(source, target)

    def with_channels(self, into: int, out: int, inner: int) -> BlockSpec:
        """Return a block of other channels that adds where this one does."""
        return replace(self, in_channels=into, out_channels=into if self.residual else out, mid_channels=inner)


class FusedStage(Stage):
    """A stage of fused inverted residuals."""

    spec = FusedSpec
    genes = FusedGenes
    block: Literal["fused"] = "fused"
    kernel: Kernels
    expand: Expands

    def make_spec(self, before: BlockSpec, width: int, genes: FusedGenes, stride: int, name: str) -> FusedSpec:
        """Return the BlockSpec of one block."""
        return FusedSpec(
            in_channels=before.out_channels,
            in_size=before.out_size,
            mid_channels=expanded_channels(before.out_channels, genes.expand),
            out_channels=width,
            kernel=genes.kernel,
            stride=stride,
            activation=self.activation_of(genes),
            name=name,
        )


STAGE = FusedStage
