"""Base classes of a block kind's two modules: standalone in a subnet, and elastic in a supernet."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple

from torch import Tensor, nn

from edgenas.space.blocks.spec import BlockSpec
from edgenas.supernet.elastic_layers import ElasticNorm, Weights


class Block(nn.Module, ABC):
    """Standalone module of a block, built from its BlockSpec. Input (n, in, h, w)."""

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """(n, in, h, w) to (n, out, h', w')."""

    @abstractmethod
    def fake_quantise(self, greatest: int) -> nn.Module:
        """Return the block with weights and activations rounded as in its int8 file; the block itself is changed.

        Args:
            greatest: greatest int8 weight.
        """

    @property
    def shortcut_norm(self) -> nn.BatchNorm2d | None:
        """The norm whose output is added to the shortcut; None for a block without one."""
        return None


class ElasticBlock(nn.Module, ABC):
    """Weights of every block that can stand at one position of a space."""

    @abstractmethod
    def cut(self, spec: Any) -> Weights:
        """Return views of the weights of the Block of a BlockSpec, by their names in it."""

    def sort_channels(self, ratios: Sequence[float], sizes: Tensor | None = None) -> None:
        """Sort the expanded channels in place by importance; blocks without elastic ones stay.

        Args:
            ratios: expand ratios whose channels stay together, ascending, without the largest.
            sizes: mean absolute value of each expanded channel, shape (mid,); None to go by weights alone.
        """

    @property
    def last_norm(self) -> ElasticNorm | None:
        """The norm whose output may be added to a shortcut; None for kinds without one."""
        return None


class BlockModules(NamedTuple):
    """A kind's module in a subnet, built from a BlockSpec; and in a supernet, built from all BlockSpecs it serves."""

    spec: type[BlockSpec]
    standalone: Any
    elastic: Any
