"""SourceNetwork: a trained network of another library, read as stem, blocks and head."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import nn

from edgenas.errors import SpaceError, shortened
from edgenas.space.space import IMAGE_CHANNELS
from edgenas.supernet.pixels import IMAGENET, Pixels
from edgenas.supernet.pretrained.source_layers import Layer, NamedModules, Squeeze, read_layers

SHORTCUTS = ("use_res_connect", "apply_residual", "has_skip")
"""Attributes of blocks that say whether the input is added to the output."""
BLOCKS = {
    "InvertedResidual": "ir",
    "_InvertedResidual": "ir",
    "MBConv": "ir",
    "MBConvBlock": "ir",
    "DepthwiseSeparableConv": "ir",
    "FusedMBConv": "fused",
    "EdgeResidual": "fused",
    "UniversalInvertedResidual": "uib",
    "ConvBnAct": "conv",
}
"""BlockParts kinds by the classes of other libraries."""
CONVOLUTIONS = {"ir": (2, 3), "fused": (2,), "uib": (2, 3, 4), "conv": (1,)}
"""Numbers of convolutions of each kind, without those of squeeze-excite."""
WITHOUT_SHORTCUT = ("conv",)
SUPPORTED = "MobileNetV2, MobileNetV3, MobileNetV4-Conv, MNASNet, EfficientNet (B0 to B7) and EfficientNet-Lite"


class BlockParts(NamedTuple):
    """Modules of a block, in the order of execution; `shortcut` is None where the source does not say."""

    kind: str
    name: str
    modules: NamedModules
    shortcut: bool | None = None


class Parts(NamedTuple):
    """The modules of a network, as a library's file lists them."""

    stem: NamedModules
    blocks: list[BlockParts]
    head: NamedModules
    resolution: int
    pixels: Pixels


def stated_input(module: Any) -> tuple[int, Pixels]:
    """Return the input size in pixels and the normalisation in `pretrained_cfg`, where timm's networks state them.

    A network without it has 224 pixels and the normalisation of ImageNet.
    """
    config = getattr(module, "pretrained_cfg", None)
    if config is None:
        return 224, IMAGENET
    return config["input_size"][-1], Pixels(tuple(config["mean"]), tuple(config["std"]), config["crop_pct"])


class Family(NamedTuple):
    """A class of networks of a library, by its full name, and the function that lists the parts of one."""

    class_name: str
    parts: Callable[[nn.Module], Parts]


@dataclass(frozen=True)
class SourceBlock:
    """A block: its kind in spaces, its name in the source, its convolutions, and squeeze-excite if it has one."""

    kind: str
    name: str
    layers: tuple[Layer, ...]
    squeeze: Squeeze | None


@dataclass(frozen=True)
class SourceNetwork:
    """A classifier: the stem, the blocks, and the head's layers, whose last one gives the logits."""

    stem: Layer
    blocks: tuple[SourceBlock, ...]
    head: tuple[Layer, ...]
    resolution: int
    pixels: Pixels

    @property
    def num_classes(self) -> int:
        """Number of logits."""
        return self.head[-1].conv.out_channels

    def layers(self) -> Iterator[Layer]:
        """Yield all layers in order, those of squeeze-excite before the last layer of their block."""
        yield self.stem
        for block in self.blocks:
            yield from block.layers[:-1]
            if block.squeeze:
                yield from (block.squeeze.squeeze, block.squeeze.excite)
            yield block.layers[-1]
        yield from self.head


def named_block(name: str, module: nn.Module) -> BlockParts:
    """Return the block of a module, by its class.

    Raises:
        SpaceError: spaces have no such block.
    """
    kind = type(module).__name__
    if kind not in BLOCKS:
        raise SpaceError(
            f"{name} is a {kind}: expected blocks of the classes {', '.join(BLOCKS)}; spaces have no other"
        )
    shortcut = next((bool(getattr(module, name)) for name in SHORTCUTS if hasattr(module, name)), None)
    return BlockParts(BLOCKS[kind], name, [(name, module)], shortcut)


def unwrapped(name: str, module: nn.Module) -> NamedModules:
    """Return the modules of an nn.Sequential, of those in it, too; else the module itself."""
    if type(module) is not nn.Sequential:
        return [(name, module)]
    return [leaf for child_name, child in module.named_children() for leaf in unwrapped(f"{name}.{child_name}", child)]


def read_network(module: nn.Module, families: tuple[Family, ...]) -> SourceNetwork:
    """Return the description of a network.

    Raises:
        SpaceError: the network is of another family, takes several inputs, or has a layer that spaces lack.
    """
    parts = family_of(type(module), families).parts(module)
    _check_inputs(module)
    stem, head = _convs(parts.stem, "stem"), _convs(parts.head, "head")
    if len(stem) != 1 or len(head) not in (2, 3):
        raise SpaceError(
            f"expected a stem of one convolution, and a head of a convolution, at most one more layer, and the "
            f"classifier; got {len(stem)} and {len(head)} layers"
        )
    if stem[0].conv.in_channels != IMAGE_CHANNELS:
        raise SpaceError(f"{stem[0].name} reads {stem[0].conv.in_channels} channels: expected images of 3")
    blocks = tuple(map(_block, parts.blocks))
    network = SourceNetwork(stem[0], blocks, tuple(head), parts.resolution, parts.pixels)
    _check_complete(module, network)
    return network


def family_of(network: type, families: tuple[Family, ...]) -> Family:
    """Return the family of a class of networks.

    Raises:
        SpaceError: the class is of another family.
    """
    classes = [f"{each.__module__}.{each.__qualname__}" for each in network.__mro__]
    for family in families:
        if family.class_name in classes:
            return family
    supported = ", ".join(family.class_name for family in families)
    raise SpaceError(f"the network is a {classes[0]}: expected one of {supported}")


def _check_inputs(module: nn.Module) -> None:
    parameters = inspect.signature(module.forward).parameters.values()
    needed = [
        each.name
        for each in parameters
        if each.default is each.empty and each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)
    ]
    if len(needed) != 1:
        raise SpaceError(f"the network takes {len(needed)} inputs ({', '.join(needed)}): expected images alone")


def _convs(modules: NamedModules, place: str) -> list[Layer]:
    layers = read_layers(modules)
    if any(isinstance(layer, Squeeze) for layer in layers):
        raise SpaceError(f"the {place} has squeeze-excite: expected it in blocks only")
    return [layer for layer in layers if isinstance(layer, Layer)]


def _block(block: BlockParts) -> SourceBlock:
    layers = read_layers(block.modules)
    squeezes = [layer for layer in layers if isinstance(layer, Squeeze)]
    convs = tuple(layer for layer in layers if isinstance(layer, Layer))
    # Squeeze-excite scales what the last convolution reads.
    if len(squeezes) > 1 or (squeezes and layers[-2:-1] != squeezes):
        raise SpaceError(f"{block.name}: expected at most one squeeze-excite, before the last convolution")
    if len(convs) == 1 and block.shortcut:
        raise SpaceError(
            f"{block.name} is one convolution with a shortcut, which spaces lack: EfficientNetV2 with such blocks is "
            f"not supported; expected a network of {SUPPORTED}"
        )
    if len(convs) not in CONVOLUTIONS[block.kind]:
        raise SpaceError(
            f"{block.name} has {len(convs)} convolutions beside squeeze-excite: expected "
            f"{' or '.join(map(str, CONVOLUTIONS[block.kind]))} in a block of its class"
        )
    first, last = convs[0].conv, convs[-1].conv
    kept = first.in_channels == last.out_channels and all(layer.stride == 1 for layer in convs)
    kept = kept and block.kind not in WITHOUT_SHORTCUT
    if block.shortcut is not None and block.shortcut != kept:
        raise SpaceError(
            f"{block.name} {'has a' if block.shortcut else 'lacks the'} shortcut: expected one in every "
            f"block that keeps size and channels, and in no other or in one of kind {', '.join(WITHOUT_SHORTCUT)}"
        )
    return SourceBlock(block.kind, block.name, convs, squeezes[0] if squeezes else None)


def _check_complete(module: nn.Module, network: SourceNetwork) -> None:
    """Refuse a network with weights that its description leaves out."""
    read = {name for layer in network.layers() for name in (layer.name, layer.norm)}
    left = [name for name in module.state_dict() if name.rpartition(".")[0] not in read]
    if left:
        raise SpaceError(f"the network has layers that spaces lack: {shortened(left)}")
