"""Networks of torchvision: MobileNetV2, MobileNetV3, MNASNet and EfficientNet."""

from __future__ import annotations

from typing import Any

from edgenas.supernet.pretrained.source_network import BlockParts, Family, Parts, named_block, stated_input, unwrapped


def _features(net: Any) -> Parts:
    """`features` holds the stem, the blocks, perhaps in stages, and the last convolution."""
    stem, *blocks, last = ((f"features.{name}", module) for name, module in net.features.named_children())
    return Parts(
        [stem],
        [named_block(*block) for each in blocks for block in unwrapped(*each)],
        [last, ("classifier", net.classifier)],
        *stated_input(net),
    )


def _mnasnet(net: Any) -> Parts:
    """`layers` holds convolutions, norms and activations: of the stem, of a first block, and of the head."""
    layers = [(f"layers.{name}", module) for name, module in net.layers.named_children()]
    first = BlockParts("ir", "layers.3", layers[3:8])
    blocks = [named_block(*block) for each in layers[8:-3] for block in unwrapped(*each)]
    return Parts(layers[:3], [first, *blocks], [*layers[-3:], ("classifier", net.classifier)], *stated_input(net))


FAMILIES = (
    Family("torchvision.models.mobilenetv2.MobileNetV2", _features),
    Family("torchvision.models.mobilenetv3.MobileNetV3", _features),
    Family("torchvision.models.mnasnet.MNASNet", _mnasnet),
    Family("torchvision.models.efficientnet.EfficientNet", _features),
)
