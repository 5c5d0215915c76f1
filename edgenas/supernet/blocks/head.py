"""The head: from the last block's output to logits. Only its input channels are elastic."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from edgenas.space.blocks.head import HeadSpec
from edgenas.supernet.blocks.base import Block, BlockModules, ElasticBlock
from edgenas.supernet.elastic_layers import ElasticConvNorm, ElasticLinear, Weights, prefixed
from edgenas.supernet.fake_quantisation import FoldedConv, Rounded, rounded_activation
from edgenas.supernet.layers import ACTIVATIONS, ConvNorm, MakeConvNorm


class Head(Block):
    """Module of a HeadSpec."""

    def __init__(self, spec: HeadSpec, conv_norm: MakeConvNorm = ConvNorm):
        super().__init__()
        self.conv = (
            conv_norm(spec.in_channels, spec.width, activation=spec.activation) if spec.first == "conv" else None
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        has_norm = spec.features > 0 and spec.feature_layer == "norm"
        self.features = conv_norm(spec.width, spec.features, activation=spec.activation) if has_norm else None
        is_linear = spec.features > 0 and spec.feature_layer != "norm"
        self.mix = nn.Linear(spec.width, spec.features, bias=spec.feature_layer == "bias") if is_linear else None
        self.activation = ACTIVATIONS[spec.activation]()
        self.classifier = nn.Linear(spec.features or spec.width, spec.out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """(n, in, h, w) to logits (n, classes)."""
        x = self.pool(x if self.conv is None else self.conv(x))
        x = torch.flatten(x if self.features is None else self.features(x), 1)
        if self.mix is not None:
            x = self.activation(self.mix(x))
        return self.classifier(x)  # type: ignore[no-any-return]

    def fake_quantise(self, greatest: int) -> nn.Module:
        """Return the block with all but its classifier rounded."""
        for name in ("conv", "features"):
            layer = getattr(self, name)
            if layer is not None:
                self.set_submodule(name, FoldedConv(layer, rounded_activation(layer.activation), greatest))
        self.set_submodule("pool", nn.Sequential(self.pool, Rounded()))
        if self.mix is not None:
            self.set_submodule("mix", FoldedConv(self.mix, rounded_activation(self.activation), greatest))
        self.set_submodule("activation", nn.Identity())
        return self


class ElasticHead(ElasticBlock):
    """Weights of the head."""

    def __init__(self, specs: Sequence[HeadSpec], kernel_transforms: bool):
        super().__init__()
        spec = max(specs, key=lambda spec: spec.in_channels)
        self.conv = ElasticConvNorm(spec.in_channels, spec.width) if spec.first == "conv" else None
        has_norm = spec.features > 0 and spec.feature_layer == "norm"
        self.features = ElasticConvNorm(spec.width, spec.features) if has_norm else None
        is_linear = spec.features > 0 and spec.feature_layer != "norm"
        self.mix = ElasticLinear(spec.width, spec.features, spec.feature_layer == "bias") if is_linear else None
        self.classifier = ElasticLinear(spec.features or spec.width, spec.out_channels)

    def cut(self, spec: HeadSpec) -> Weights:
        """Return the weights of a Head."""
        weights: Weights = {}
        if self.conv is not None:
            weights |= prefixed("conv", self.conv.cut(spec.in_channels, spec.width))
        if self.features is not None:
            weights |= prefixed("features", self.features.cut(spec.width, spec.features))
        if self.mix is not None:
            weights |= prefixed("mix", self.mix.cut(spec.width))
        return weights | prefixed("classifier", self.classifier.cut(spec.features or spec.width))


MODULES = BlockModules(HeadSpec, Head, ElasticHead)
