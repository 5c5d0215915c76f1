"""The universal inverted bottleneck (MobileNetV4, arXiv 2404.10518): depthwise, expand 1×1, depthwise, project 1×1.

Each of the two depthwise convolutions may be absent, which gives the paper's four kinds: the inverted bottleneck (only
the middle one), ConvNext-like (only the first), ExtraDW (both), and FFN (neither).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import ClassVar, Literal, Self

from pydantic import model_validator

from edgenas.space.blocks.expanding import expanded_channels
from edgenas.space.blocks.genes import BlockGenes, gene
from edgenas.space.blocks.spec import LANES, Activation, BlockSpec, Conv, conv_out_size, dimension
from edgenas.space.blocks.stage import Expands, OptionalKernels, Stage
from edgenas.space.graph_variant import GraphVariant


@dataclass(frozen=True, order=True)
class UibGenes(BlockGenes):
    """Kernel sizes of the first and the middle depthwise convolution (0: none), expand ratio; in text `ua3k5e4`."""

    prefix: ClassVar[str] = "u"
    start: int = gene("a")
    middle: int = gene("k")
    expand: float = gene("e", fraction=True)


@dataclass(frozen=True)
class UibSpec(BlockSpec):
    """Depthwise `start` without activation, expand 1×1, depthwise `middle`, project 1×1.

    The stride is on the middle convolution, or on the first one if there is no middle one. There is a shortcut where
    stride is 1 and channels stay.
    """

    kind: ClassVar[str] = "uib"
    switches: ClassVar[tuple[str, ...]] = ("residual", "unaligned")
    mid_channels: int = dimension("m")
    start: int = dimension("a", optional=True)
    middle: int = dimension("k", optional=True)
    stride: int = dimension("s")
    activation: Activation = dimension("")

    @property
    def out_size(self) -> int:
        """Output height and width in pixels."""
        return conv_out_size(self.in_size, self.stride)

    @property
    def expand_size(self) -> int:
        """Height and width at the expand convolution."""
        return self.in_size if self.middle else self.out_size

    @property
    def residual(self) -> bool:
        """Whether the input is added to the output."""
        return self.stride == 1 and self.in_channels == self.out_channels

    @property
    def unaligned(self) -> bool:
        """Whether the channels of a depthwise convolution fill no whole number of vectors of `LANES`."""
        return any(conv.groups % LANES != 0 for conv in self.convs() if conv.groups > 1)

    @property
    def description(self) -> str:
        """The operators in words."""
        kernels = [f"{kernel} × {kernel}" if kernel else "none" for kernel in (self.start, self.middle)]
        parts = [f"universal inverted bottleneck {' and '.join(kernels)}", f"{self.mid_channels} channels inside"]
        if self.stride > 1:
            parts.append(f"stride {self.stride}")
        if self.residual:
            parts.append("shortcut")
        return ", ".join([*parts, self.activation])

    @property
    def wide_elements(self) -> int:
        """Elements of expanded channels that are written."""
        return self.mid_channels * (self.expand_size**2 + (self.out_size**2 if self.middle else 0))

    def convs(self) -> list[Conv]:
        """Return the first depthwise convolution, expand, the middle one, project."""
        channels, mid = self.in_channels, self.mid_channels
        convs = [
            Conv(channels, channels, self.start, channels, self.expand_size, bias=False, norm=True),
            Conv(channels, mid, 1, 1, self.expand_size, bias=False, norm=True),
            Conv(mid, mid, self.middle, mid, self.out_size, bias=False, norm=True),
            Conv(mid, self.out_channels, 1, 1, self.out_size, bias=False, norm=True),
        ]
        return [conv for conv in convs if conv.kernel]

    def peak_activation_elements(self, variant: GraphVariant = "direct") -> int:
        """Return the most of: the input and output of a convolution, the sum; a shortcut keeps the block's input."""
        source = self.in_channels * self.in_size**2
        outputs = [conv.out_channels * conv.out_size**2 for conv in self.convs()]
        kept = source if self.residual else 0
        steps = [source + outputs[0], *(kept + into + out for into, out in pairwise(outputs))]
        return max(*steps, source + 2 * outputs[-1] if self.residual else 0)

    def with_channels(self, into: int, out: int, inner: int) -> BlockSpec:
        """Return a block of other channels that adds where this one does."""
        return replace(self, in_channels=into, out_channels=into if self.residual else out, mid_channels=inner)


class UibStage(Stage):
    """A stage of universal inverted bottlenecks."""

    spec = UibSpec
    genes = UibGenes
    kernels = ("start", "middle")
    block: Literal["uib"] = "uib"
    start: OptionalKernels
    middle: OptionalKernels
    expand: Expands

    @model_validator(mode="after")
    def _a_stride_has_its_convolution(self) -> Self:
        first = self.gene_choices[0]
        if self.stride > 1 and 0 in first["start"] and 0 in first["middle"]:
            by_position = [list(choices["middle"]) for choices in self.gene_choices]
            example = [[kernel for kernel in by_position[0] if kernel] or [3], *by_position[1:]]
            raise ValueError(
                f"stride {self.stride} needs a depthwise convolution in the first block: leave 0 out of its choices of "
                f"start or middle, e.g. middle: {example}"
            )
        return self

    def make_spec(self, before: BlockSpec, width: int, genes: UibGenes, stride: int, name: str) -> UibSpec:
        """Return the BlockSpec of one block."""
        return UibSpec(
            in_channels=before.out_channels,
            in_size=before.out_size,
            mid_channels=expanded_channels(before.out_channels, genes.expand),
            out_channels=width,
            start=genes.start,
            middle=genes.middle,
            stride=stride,
            activation=self.activation_of(genes),
            name=name,
        )


STAGE = UibStage
