"""Functional execution of blocks, through modules that are built once and have no weights of their own."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from edgenas.space.blocks.spec import BlockSpec
from edgenas.supernet.blocks import build_block
from edgenas.supernet.blocks.base import Block
from edgenas.supernet.elastic_layers import Weights
from edgenas.supernet.subnet import Subnet
from edgenas.supernet.training_layers import TrainingConvNorm

Store = dict[str, Tensor | None]
MOST_FRAMES = 4096
"""Largest number of distinct blocks whose frames are cached. If there are more, all frames are dropped."""


class Frame:
    """Module of a block without memory for weights.

    It does the same as torch's `functional_call`, but looks up the place of each tensor once instead of at every call.
    In small networks the look-up takes longer than the computation.
    """

    def __init__(self, block: Block):
        """Wrap a block on the meta device, which must not be used elsewhere."""
        self._block = block
        self._stores: dict[str, tuple[Store, str]] = {
            f"{path}.{key}": (store, key)
            for path, module in block.named_modules()
            for store in (module._parameters, module._buffers)
            for key, tensor in store.items()
            if tensor is not None
        }
        self._empty = {name: store[key] for name, (store, key) in self._stores.items()}

    def __call__(self, weights: Weights, x: Tensor, *, training: bool) -> Tensor:
        """Return the module's output for `x` and weights by name. References to the weights are not kept."""
        if self._block.training != training:
            self._block.train(training)
        try:
            for name, (store, key) in self._stores.items():
                store[key] = weights[name]
            return self._block(x)  # type: ignore[no-any-return]
        finally:
            for name, (store, key) in self._stores.items():
                store[key] = self._empty[name]


_spare: dict[tuple[BlockSpec, float], list[Frame]] = {}
"""Frames by block and `norm_epsilon`, which may differ between equal blocks."""


def run_block(spec: BlockSpec, weights: Weights, x: Tensor, *, training: bool) -> Tensor:
    """Return the output of a block for `x` and weights by their names in the block's module.

    A frame is used by one thread at a time. A second thread gets another frame of the same block.
    """
    # Modules are the same at every resolution.
    shape = dataclasses.replace(spec, in_size=0), spec.norm_epsilon
    try:
        frame = _spare[shape].pop()
    except (KeyError, IndexError):
        with torch.device("meta"):
            frame = Frame(build_block(spec, TrainingConvNorm))
    try:
        return frame(weights, x, training=training)
    finally:
        if len(_spare) > MOST_FRAMES:
            _spare.clear()
        _spare.setdefault(shape, []).append(frame)


def run_subnet(subnet: Subnet, x: Tensor) -> Tensor:
    """Return the output of a Subnet, computed by the modules that supernets are trained with.

    They compute the same, and their backward pass takes less time and memory.
    """
    for spec, block in zip(subnet.specs, subnet.blocks.values(), strict=True):
        weights = {**dict(block.named_parameters()), **dict(block.named_buffers())}
        x = run_block(spec, weights, x, training=subnet.training)
    return x
