"""The head: from the last block's output to logits."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from edgenas.space.blocks.spec import Activation, BlockSpec, Conv, dimension, option
from edgenas.space.graph_variant import GraphVariant

FeatureLayer = Literal["plain", "bias", "norm"]


@dataclass(frozen=True)
class HeadSpec(BlockSpec):
    """Conv 1×1, global average pool, an optional linear feature layer with activation, classifier.

    `features == 0` means no feature layer; `out_channels` is the number of classes.

    Attributes:
        feature_layer: what the feature layer has beside its weights: nothing, a bias, or batch norm.
        first: `pool` leaves out the convolution; then `width` equals `in_channels`.
    """

    kind: ClassVar[str] = "head"
    width: int = dimension("w")
    features: int = dimension("f", optional=True)
    activation: Activation = dimension("")
    feature_layer: FeatureLayer = option("plain", "bias", "norm", prefix="features")
    first: Literal["conv", "pool"] = option("conv", "pool")

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
        convs = [Conv(self.in_channels, self.width, 1, 1, self.in_size, bias=False, norm=True)]
        if self.features:
            bias, norm = self.feature_layer == "bias", self.feature_layer == "norm"
            convs.append(Conv(self.width, self.features, 1, 1, 1, bias=bias, norm=norm))
        convs.append(Conv(self.features or self.width, self.out_channels, 1, 1, 1, bias=True, norm=False))
        return convs if self.first == "conv" else convs[1:]

    def peak_activation_elements(self, variant: GraphVariant = "direct") -> int:
        """Return the elements of the 1×1 convolution's input and output, or of the vectors after the pool."""
        conv = (self.in_channels + self.width) * self.in_size**2 if self.first == "conv" else 0
        pooled = self.width * self.in_size**2 + self.width
        last = self.features or self.width
        return max(conv, pooled, self.width + self.features, last + self.out_channels)

    def with_channels(self, into: int, out: int, inner: int) -> BlockSpec:
        """Return a head of other inputs and classes; its width stays, since the graph's flattening states it."""
        return replace(self, in_channels=into if self.first == "conv" else self.in_channels, out_channels=out)
