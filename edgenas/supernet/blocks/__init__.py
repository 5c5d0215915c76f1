"""Modules of block kinds: each file holds one kind's standalone and elastic module, and assigns them to `MODULES`.

They define how a kind computes, is cut out of shared weights, is sorted, and is quantised. The kind's genes, shapes and
costs are in the file of the same name in `edgenas.space.blocks`.
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import partial

from edgenas.space.blocks.spec import BlockSpec
from edgenas.supernet.blocks.base import Block, BlockModules
from edgenas.supernet.layers import ConvNorm


def _shipped_modules() -> dict[type[BlockSpec], BlockModules]:
    """Return `MODULES` of every module of this package that has them, by the BlockSpec of its kind."""
    modules = [importlib.import_module(f"{__name__}.{found.name}") for found in pkgutil.iter_modules(__path__)]
    return {module.MODULES.spec: module.MODULES for module in modules if hasattr(module, "MODULES")}


MODULES = _shipped_modules()


def build_block(spec: BlockSpec, conv_norm: type[ConvNorm] = ConvNorm) -> Block:
    """Return the module of a BlockSpec, with fresh weights.

    Args:
        spec: its shapes.
        conv_norm: class of its convolutions with batch norm.
    """
    make = partial(conv_norm, padding=spec.padding, norm_epsilon=spec.norm_epsilon)
    block: Block = MODULES[type(spec)].standalone(spec, make)
    return block
