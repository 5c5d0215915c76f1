"""Networks of timm: those of its classes EfficientNet and MobileNetV3."""

from __future__ import annotations

from typing import Any

from torch import nn

from edgenas.supernet.pretrained.source_layers import NamedModules
from edgenas.supernet.pretrained.source_network import Family, Parts, named_block, stated_input, unwrapped


def _efficientnet(net: Any) -> Parts:
    """The head's convolution comes before the pool."""
    return _parts(net, unwrapped("blocks", net.blocks), _named(net, "conv_head", "bn2", "classifier"))


def _mobilenetv3(net: Any) -> Parts:
    """The last block is the head's convolution before the pool; another layer follows the pool."""
    *blocks, last = unwrapped("blocks", net.blocks)
    return _parts(net, blocks, [last, *_named(net, "conv_head", "norm_head", "act2", "classifier")])


def _parts(net: Any, blocks: NamedModules, head: NamedModules) -> Parts:
    stem = _named(net, "conv_stem", "bn1")
    return Parts(stem, [named_block(*block) for block in blocks], head, *stated_input(net))


def _named(net: nn.Module, *names: str) -> NamedModules:
    return [(name, net.get_submodule(name)) for name in names]


FAMILIES = (
    Family("timm.models.efficientnet.EfficientNet", _efficientnet),
    Family("timm.models.mobilenetv3.MobileNetV3", _mobilenetv3),
)
