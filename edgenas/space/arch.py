"""Arch: one network of a search space, as a frozen value with one text form.

The text is the identity used everywhere: table rows, evaluations, file names, the command line.

    r192_w16-k3e1_w24-k3e3-k5e4_w40-k3e6-k7e3
    │    │      └ further blocks and stages
    │    └ a stage: its width, then the genes of each block (here kernel size and expand ratio)
    └ input resolution in pixels

Each block kind defines its genes and their text, see `edgenas.space.blocks`. Only active blocks are written, so no two
texts name the same network.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

from edgenas.errors import SpaceError, as_typed, shown
from edgenas.space.blocks import parse_genes
from edgenas.space.blocks.genes import BlockGenes


@dataclass(frozen=True, order=True)
class StageGenes:
    """The choices for one stage: output channels, and the genes of each block (as many as its depth)."""

    width: int
    blocks: tuple[BlockGenes, ...]

    def __str__(self) -> str:
        return "-".join([f"w{self.width}", *map(str, self.blocks)])


@dataclass(frozen=True, order=True)
class Arch:
    """One network: input resolution in pixels and the genes of every stage."""

    resolution: int
    stages: tuple[StageGenes, ...]

    @cached_property
    def id(self) -> str:
        """The canonical text form, e.g. `r28_w16-k3e1_w24-k5e4-k3e3`."""
        return "_".join([f"r{self.resolution}", *map(str, self.stages)])

    def __str__(self) -> str:
        return self.id


def parse_arch(text: str) -> Arch:
    """Read the text form back, whatever space holds the arch (see `SearchSpace.parse`).

    Raises:
        SpaceError: the text does not have the form `r192_w16-k3e1_w24-k3e3-k5e4`.
    """
    try:
        return _parse(text)
    except SpaceError as error:
        plain = as_typed(text).lower()
        if plain == text.strip():
            raise
        try:
            suggestion = _parse(plain).id
        except SpaceError:
            raise error from None
        raise SpaceError(f"arch {shown(text)}: did you mean {suggestion!r}?") from None


def _parse(text: str) -> Arch:
    head, *stages = text.strip().split("_")
    if not re.fullmatch(r"r[0-9]{1,9}", head) or not stages:
        raise SpaceError(f"arch {shown(text)}: expected a text like 'r192_w16-k3e1_w24-k3e3-k5e4'")
    return Arch(int(head[1:]), tuple(_parse_stage(stage, text) for stage in stages))


def _parse_stage(token: str, text: str) -> StageGenes:
    width, *tokens = token.split("-")
    blocks = [genes for block in tokens if (genes := parse_genes(block)) is not None]
    if not re.fullmatch(r"w[0-9]{1,9}", width) or not tokens or len(blocks) < len(tokens):
        raise SpaceError(f"arch {shown(text)}: stage {shown(token)} is not of the form 'w24-k3e3-k5e4'")
    return StageGenes(int(width[1:]), tuple(blocks))
