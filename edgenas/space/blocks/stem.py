"""The stem: the first convolution of a network."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from edgenas.space.blocks.single_conv import SingleConvSpec
from edgenas.space.blocks.spec import BlockSpec


@dataclass(frozen=True)
class StemSpec(SingleConvSpec):
    """Convolution, batch norm, activation."""

    kind: ClassVar[str] = "stem"

    @property
    def description(self) -> str:
        """The operators in words."""
        return f"convolution {self.kernel} × {self.kernel}, stride {self.stride}, {self.activation}"

    def with_channels(self, into: int, out: int, inner: int) -> BlockSpec:
        """Return a stem of other output channels; its input is always an image."""
        return replace(self, out_channels=out)
