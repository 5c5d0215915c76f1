"""Modules of blocks, built once, through which a supernet runs weights that are lent for one forward pass."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn

from edgenas.space.blocks import BlockSpec
from edgenas.supernet.depthwise import quicken
from edgenas.supernet.layers import Weights
from edgenas.supernet.lean import lean_norms
from edgenas.supernet.shared_norm import share_norms
from edgenas.supernet.subnet import Subnet, build_block

Store = dict[str, Tensor | None]
MOST_SPARE = 4096
"""Kinds of blocks whose frames are kept; all are let go of when there are more."""


class Frame:
    """The module of a block without memory for weights.

    What torch's `functional_call` does for any module, for one whose tensors are known beforehand: the way of each
    tensor to its module is found once, not at every pass, which for small networks takes longer than computing.
    """

    def __init__(self, block: nn.Module):
        """Args: on the meta device; it is changed, and not to be used otherwise."""
        for module in block.modules():
            if isinstance(module, nn.BatchNorm2d):
                # A count of batches would be state of its own; running averages here use a fixed momentum.
                module.num_batches_tracked = None
            elif isinstance(module, nn.Conv2d):
                quicken(module)
        share_norms(block)
        lean_norms(block)
        self._block = block
        self._places: dict[str, tuple[Store, str]] = {
            f"{path}.{key}": (store, key)
            for path, module in block.named_modules()
            for store in (module._parameters, module._buffers)
            for key, tensor in store.items()
            if tensor is not None
        }
        self._empty = {name: store[key] for name, (store, key) in self._places.items()}

    def __call__(self, weights: Weights, x: Tensor, *, training: bool) -> Tensor:
        """Run `x` through the module with these weights, all of them by name; nothing of them is kept."""
        if self._block.training != training:
            self._block.train(training)
        try:
            for name, (store, key) in self._places.items():
                store[key] = weights[name]
            return self._block(x)  # type: ignore[no-any-return]
        finally:
            for name, (store, key) in self._places.items():
                store[key] = self._empty[name]


_spare: dict[BlockSpec, list[Frame]] = {}


def run_block(spec: BlockSpec, weights: Weights, x: Tensor, *, training: bool) -> Tensor:
    """What the module of a block makes of `x` with these weights, by their names in it.

    A frame is in one thread's hands at a time; a second thread at the same block has another.
    """
    # Modules are the same at every resolution.
    kind = dataclasses.replace(spec, in_size=0)
    try:
        frame = _spare[kind].pop()
    except (KeyError, IndexError):
        with torch.device("meta"):
            frame = Frame(build_block(spec))
    try:
        return frame(weights, x, training=training)
    finally:
        if len(_spare) > MOST_SPARE:
            _spare.clear()
        _spare.setdefault(kind, []).append(frame)


def run_subnet(subnet: Subnet, x: Tensor) -> Tensor:
    """A Subnet's forward pass, by its own weights, through the modules that supernets are trained through.

    They compute the same, and go backward in less time and memory.
    """
    for spec, block in zip(subnet.specs, subnet.blocks.values(), strict=True):
        own = {**dict(block.named_parameters()), **dict(block.named_buffers())}
        x = run_block(spec, own, x, training=subnet.training)
    return x
