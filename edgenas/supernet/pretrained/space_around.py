"""The search space around a network: its largest architecture is the network, with choices of less in every gene."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby, product
from typing import Any

from edgenas.errors import SpaceError
from edgenas.space.blocks.expanding import expanded_channels
from edgenas.space.blocks.inverted_residual import SE_RATIO, SqueezeForm
from edgenas.space.blocks.spec import Conv, make_divisible
from edgenas.space.loading import parse_space
from edgenas.space.space import SearchSpace
from edgenas.supernet.pretrained.bounds import Bounds, check_effects
from edgenas.supernet.pretrained.source_layers import Layer
from edgenas.supernet.pretrained.source_network import SourceBlock, SourceNetwork

RESOLUTION_STEP, RESOLUTIONS = 32, 4
"""Default resolutions: the network's own, and smaller ones in steps of pixels."""
SQUEEZE_DIVISORS = (8, 1)
RATIO_DIGITS = 6
"""Most decimals of an expand ratio."""


def space_around(network: SourceNetwork, name: str, bounds: Bounds) -> SearchSpace:
    """Return the space around a network.

    Raises:
        SpaceError: no space holds the network, with the block and the cause; or the bounds make no space.
    """
    squeeze = _squeeze_shape(network.blocks)
    stages = [list(blocks) for _, blocks in groupby(_numbered(network.blocks), key=lambda numbered: numbered[0])]
    _check_effects(bounds, network.blocks, max(map(len, stages)))
    value = {
        "name": name,
        "description": f"{name} and networks of fewer layers, channels and pixels",
        "resolution": _resolutions(network.resolution, bounds.resolutions),
        "stem": {
            "width": network.stem.conv.out_channels,
            "kernel": network.stem.conv.kernel,
            "stride": network.stem.stride,
            "activation": _activation([network.stem]),
        },
        "stages": [_stage([block for _, block in stage], bounds, squeeze) for stage in stages],
        "head": _head(network.head),
        **_form(network),
    }
    space = parse_space(value, name)
    _check_same(space, network)
    return space


def _check_effects(bounds: Bounds, blocks: Sequence[SourceBlock], depth: int) -> None:
    """Refuse options that choose nothing in any block."""
    if bounds.squeeze_ratios and not any(block.squeeze for block in blocks):
        raise SpaceError("squeeze_ratios: the network has no squeeze-excite: leave the option out")
    genes = [_genes(block) for block in blocks]
    only_absent = bounds.kernels and not any(bounds.kernels)
    if only_absent and not any(block.get("start") and block.get("middle") for block in genes):
        raise SpaceError("kernels: 0 alone has no effect: no block of the network has two depthwise convolutions")
    expand = max(block.get("expand", 1) for block in genes)
    own = {
        "kernels": max(block.get(name, 0) for block in genes for name in ("kernel", "start", "middle")),
        # Default ratios are above that of a network without expansion.
        **({"expand_ratios": expand} if expand > 1 else {}),
        "depths": depth,
        "squeeze_ratios": SE_RATIO,
    }
    check_effects(bounds, own)


def _numbered(blocks: Iterable[SourceBlock]) -> Iterable[tuple[int, SourceBlock]]:
    """Yield blocks with the number of their stage: a stage ends before a stride and where what is fixed changes."""
    number, before = -1, None
    for block in blocks:
        fixed = (block.kind, block.layers[-1].conv.out_channels, _activation(_activated(block)), _squeeze_form(block))
        if fixed != before or any(layer.stride > 1 for layer in block.layers):
            number += 1
        before = fixed
        yield number, block


def _stage(blocks: Sequence[SourceBlock], bounds: Bounds, squeeze: dict[str, Any]) -> dict[str, Any]:
    width, first = blocks[0].layers[-1].conv.out_channels, blocks[0]
    widths = {make_divisible(width * share) for share in bounds.widths}
    depths = range(-(-len(blocks) // 2), len(blocks)) if bounds.depths is None else bounds.depths
    genes = [_genes(block) for block in blocks]
    return {
        **({"block": first.kind} if first.kind != "ir" else {}),
        "width": _up_to(width, widths),
        "depth": _up_to(len(blocks), depths),
        **{name: [_choices(name, each, bounds) for each in genes] for name in genes[0]},
        "stride": max(layer.stride for layer in first.layers),
        "activation": _activation_choices(_activation(_activated(first)), bounds),
        **_squeeze_fields(blocks, squeeze, bounds),
    }


def _genes(block: SourceBlock) -> dict[str, float]:
    """Return the genes of a block, by their names in its kind."""
    kernel = max(layer.conv.kernel for layer in block.layers)
    if block.kind == "conv":
        return {"kernel": kernel}
    expand = _ratio(_inputs(block), _expanded(block), block.name)
    if block.kind == "uib":
        first, middle = block.layers[0], block.layers[-2]
        kernels = [layer.conv.kernel if layer.depthwise else 0 for layer in (first, middle)]
        return {"start": kernels[0], "middle": kernels[1], "expand": expand}
    return {"kernel": kernel, "expand": expand}


def _ratio(in_channels: int, mid_channels: int, name: str) -> float:
    """Return the expand ratio of fewest decimals that gives these channels."""
    if mid_channels == in_channels:
        return 1
    for digits in range(RATIO_DIGITS):
        ratio = round(mid_channels / in_channels, digits)
        if ratio > 1 and expanded_channels(in_channels, ratio) == mid_channels:
            return ratio
    raise SpaceError(
        f"{name} expands {in_channels} channels to {mid_channels}: expected a greater multiple of 8, as in all spaces"
    )


def _choices(name: str, genes: dict[str, float], bounds: Bounds) -> list[float]:
    """Return the choices of a block's gene, up to the network's own value."""
    own = genes[name]
    if name == "expand":
        return _up_to(own, bounds.expand_ratios if own > 1 else ())
    # A convolution may be left out only where another one takes the stride.
    may_be_absent = name == "start" and genes["middle"] > 0
    return _up_to(own, [kernel for kernel in bounds.kernels if kernel > 0 or may_be_absent])


def _up_to(own: float, values: Iterable[float]) -> list[float]:
    """Return the network's own value after the smaller ones of some values."""
    return [*sorted({value for value in values if value < own}), own]


def _resolutions(own: int, given: Sequence[int] | None) -> list[int]:
    if given is not None:
        return sorted(set(given)) or [own]
    return [own - RESOLUTION_STEP * step for step in reversed(range(RESOLUTIONS)) if own > 2 * RESOLUTION_STEP * step]


def _activated(block: SourceBlock) -> tuple[Layer, ...]:
    """Return the layers with an activation, and a projection: all but the first depthwise one of the kind `uib`."""
    return block.layers[1:] if block.kind == "uib" and block.layers[0].depthwise else block.layers


def _activation(layers: Sequence[Layer]) -> str:
    """Return the activation of all layers but a block's last one, which has none, or of a block's only one."""
    *inner, last = layers
    activations = {layer.activation for layer in inner or [last]}
    if len(activations) != 1 or None in activations or (inner and last.activation):
        got = ", ".join(str(layer.activation) for layer in layers)
        raise SpaceError(f"{layers[0].name} and on: expected one activation, none after a projection, got {got}")
    return str(activations.pop())


def _squeeze_form(block: SourceBlock) -> tuple[str, str] | None:
    return (block.squeeze.activation, block.squeeze.gate) if block.squeeze else None


def _activation_choices(own: str, bounds: Bounds) -> str | list[str]:
    """Return the network's own activation, after those beside it if there are any."""
    others = [activation for activation in dict.fromkeys(bounds.activations) if activation != own]
    return [*others, own] if others else own


def _squeeze_fields(blocks: Sequence[SourceBlock], shape: dict[str, Any], bounds: Bounds) -> dict[str, Any]:
    """Return the fields of squeeze-excite of a stage; `shape` holds base and divisor, see `_squeeze_shape`."""
    squeeze = blocks[0].squeeze
    if squeeze is None:
        return {"squeeze_excite": False} if blocks[0].kind == "ir" else {}
    form = SqueezeForm(**shape, activation=squeeze.activation, gate=squeeze.gate)
    ratios = _up_to(SE_RATIO, bounds.squeeze_ratios)
    return {"squeeze_excite": ratios if len(ratios) > 1 else True, "squeeze": form.model_dump(exclude_defaults=True)}


def _squeeze_shape(blocks: Sequence[SourceBlock]) -> dict[str, Any]:
    """Return base and divisor with which squeeze-excite has the channels that all blocks have."""
    squeezing = [block for block in blocks if block.squeeze]
    for base, divisor in product(("expanded", "input"), SQUEEZE_DIVISORS):
        form = SqueezeForm(base=base, divisor=divisor)
        if all(_squeezed(block) == form.channels(_inputs(block), _expanded(block)) for block in squeezing):
            return {"base": base, "divisor": divisor}
    got = ", ".join(f"{_squeezed(block)} of {_inputs(block)} and {_expanded(block)}" for block in squeezing[:3])
    raise SpaceError(
        f"squeeze-excite has {got} channels in the first blocks: expected {SE_RATIO:.0%} of the inputs or of the "
        f"expanded ones in all blocks, perhaps rounded to a multiple of {SQUEEZE_DIVISORS[0]}"
    )


def _squeezed(block: SourceBlock) -> int | None:
    return block.squeeze.squeeze.conv.out_channels if block.squeeze else None


def _inputs(block: SourceBlock) -> int:
    return block.layers[0].conv.in_channels


def _expanded(block: SourceBlock) -> int:
    return block.layers[-1].conv.in_channels


def _head(layers: Sequence[Layer]) -> dict[str, Any]:
    conv, *features, _ = layers
    feature_layer: dict[str, Any] = {"features": 0}
    if features:
        shape = features[0].conv
        form = "norm" if shape.norm else "bias" if shape.bias else "plain"
        feature_layer = {"features": shape.out_channels, "feature_layer": form}
    activation = _same("activation of the head", [layer.activation for layer in (conv, *features)])
    return {"width": conv.conv.out_channels, **feature_layer, "activation": activation}


def _form(network: SourceNetwork) -> dict[str, Any]:
    """Return the properties of all convolutions: padding and the epsilon of batch norms."""
    layers = list(network.layers())
    paddings = [layer.padding for layer in layers if layer.padding]
    return {
        "padding": _same("padding", paddings or ["symmetric"]),
        "norm_epsilon": _same("epsilon of batch norms", [layer.epsilon for layer in layers if layer.norm]),
    }


def _same(what: str, values: Iterable[Any]) -> Any:
    distinct = list(dict.fromkeys(values))
    if len(distinct) != 1:
        raise SpaceError(f"the network has more than one {what} ({', '.join(map(str, distinct))}): expected one")
    return distinct[0]


def _check_same(space: SearchSpace, network: SourceNetwork) -> None:
    """Refuse a network whose convolutions are not those of the largest architecture."""
    specs = space.with_classes(network.num_classes).unroll(space.largest)
    ours = [(spec.name, conv) for spec in specs for conv in spec.convs()]
    theirs = list(network.layers())
    for (name, conv), layer in zip(ours, theirs, strict=False):
        if _shape(conv) != _shape(layer.conv):
            raise SpaceError(f"{layer.name} is {_words(layer.conv)}: spaces have {_words(conv)} there, in {name}")
    if len(ours) != len(theirs):
        raise SpaceError(f"the network has {len(theirs)} convolutions and linear layers: expected {len(ours)}")


def _words(conv: Conv) -> str:
    extras = [*(["bias"] if conv.bias else []), *(["batch norm"] if conv.norm else [])]
    return (
        f"a convolution {conv.kernel} × {conv.kernel} of {conv.in_channels} to {conv.out_channels} channels in "
        f"{conv.groups} groups with {' and '.join(extras) or 'neither bias nor batch norm'}"
    )


def _shape(conv: Conv) -> tuple[int | bool, ...]:
    return (conv.in_channels, conv.out_channels, conv.kernel, conv.groups, conv.bias, conv.norm)
