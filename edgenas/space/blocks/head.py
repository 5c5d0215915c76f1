"""The head: from the last block's output to logits."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from edgenas.space.blocks.spec import Activation, BlockSpec, Conv, dimension
from edgenas.space.graph_variant import GraphVariant


@dataclass(frozen=True)
class HeadSpec(BlockSpec):
    """Conv 1×1, global average pool, an optional linear feature layer with activation, classifier.

    `features == 0` means no feature layer; `out_channels` is the number of classes.
    """

    kind: ClassVar[str] = "head"
    width: int = dimension("w")
    features: int = dimension("f", optional=True)
    activation: Activation = dimension("")

    @property
    def out_size(self) -> int:
        """1: the output is a vector of logits."""
        return 1

    @property
    def description(self) -> str:
        """The operators in words."""
        return f"head: {self.width} channels, pooled, {self.activation}, classifier"

    def convs(self) -> list[Conv]:
        """Return conv 1×1, feature layer, classifier."""
        conv = Conv(self.in_channels, self.width, 1, 1, self.in_size, bias=False, norm=True)
        classifier = Conv(self.features or self.width, self.out_channels, 1, 1, 1, bias=True, norm=False)
        if not self.features:
            return [conv, classifier]
        return [conv, Conv(self.width, self.features, 1, 1, 1, bias=False, norm=False), classifier]

    def peak_activation_elements(self, variant: GraphVariant = "direct") -> int:
        """Return the elements of the 1×1 convolution's input and output, or of the vectors after the pool."""
        conv = (self.in_channels + self.width) * self.in_size**2
        pooled = self.width * self.in_size**2 + self.width
        last = self.features or self.width
        return max(conv, pooled, self.width + self.features, last + self.out_channels)

    def with_channels(self, into: int, out: int, inner: int) -> BlockSpec:
        """Return a head of other inputs and classes; its width stays, since the graph's flattening states it."""
        return replace(self, in_channels=into, out_channels=out)
