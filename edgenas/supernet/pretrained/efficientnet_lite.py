"""EfficientNet-Lite as the package efficientnet-lite-pytorch has it, whose names TensorFlow's checkpoints have, too."""

from __future__ import annotations

from typing import Any

from edgenas.supernet.pixels import Pixels
from edgenas.supernet.pretrained.source_layers import NamedModules
from edgenas.supernet.pretrained.source_network import BlockParts, Family, Parts

ORDER = ("_expand_conv", "_bn0", "_swish", "_depthwise_conv", "_bn1", "_swish", "_project_conv", "_bn2")
"""Layers of a block in the order of execution; a block without expansion lacks the first convolution."""
PIXELS = Pixels(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), crop=0.875)


def _parts(net: Any) -> Parts:
    blocks = []
    for number, block in enumerate(net._blocks):
        name = f"_blocks.{number}"
        order = ORDER if hasattr(block, "_expand_conv") else ORDER[3:]
        blocks.append(BlockParts("ir", name, [(f"{name}.{layer}", getattr(block, layer)) for layer in order]))
    head = _named(net, "_conv_head", "_bn1", "_swish", "_fc")
    return Parts(_named(net, "_conv_stem", "_bn0", "_swish"), blocks, head, net.input_image_size, PIXELS)


def _named(net: Any, *names: str) -> NamedModules:
    return [(name, getattr(net, name)) for name in names]


FAMILIES = (Family("efficientnet_lite_pytorch.model.EfficientNet", _parts),)
