"""Modules of block kinds: each file holds one kind's standalone and elastic module.

They define how a kind computes, is cut out of shared weights, is sorted, and is quantised. The kind's genes, shapes and
costs are in the file of the same name in `edgenas.space.blocks`.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

from edgenas.space.blocks.fused import FusedSpec
from edgenas.space.blocks.head import HeadSpec
from edgenas.space.blocks.inverted_residual import InvertedResidualSpec
from edgenas.space.blocks.spec import BlockSpec
from edgenas.space.blocks.stem import StemSpec
from edgenas.supernet.blocks.base import Block
from edgenas.supernet.blocks.fused import ElasticFused, Fused
from edgenas.supernet.blocks.head import ElasticHead, Head
from edgenas.supernet.blocks.inverted_residual import ElasticInvertedResidual, InvertedResidual
from edgenas.supernet.blocks.stem import ElasticStem, Stem
from edgenas.supernet.layers import ConvNorm


class BlockModules(NamedTuple):
    """A kind's module in a subnet, built from a BlockSpec; and in a supernet, built from all BlockSpecs it serves."""

    standalone: Any
    elastic: Any


MODULES: dict[type[BlockSpec], BlockModules] = {
    StemSpec: BlockModules(Stem, ElasticStem),
    InvertedResidualSpec: BlockModules(InvertedResidual, ElasticInvertedResidual),
    FusedSpec: BlockModules(Fused, ElasticFused),
    HeadSpec: BlockModules(Head, ElasticHead),
}


def build_block(spec: BlockSpec, conv_norm: type[ConvNorm] = ConvNorm) -> Block:
    """Return the module of a BlockSpec, with fresh weights.

    Args:
        spec: its shapes.
        conv_norm: class of its convolutions with batch norm.
    """
    make = partial(conv_norm, padding=spec.padding, norm_epsilon=spec.norm_epsilon)
    block: Block = MODULES[type(spec)].standalone(spec, make)
    return block
