"""Arch: one network of a search space, as a frozen value with one text form.

The text is the identity used everywhere: table rows, evaluations, file names, the command line.

    r192_w16-k3e1_w24-k3e3-k5e4_w40-k3e6-k7e3
    │    │      └ further blocks and stages
    │    └ a stage: its width, then the genes of each block (here kernel size and expand ratio)
    └ input resolution in pixels

Each block kind defines its genes and their text, see `edgenas.space.blocks`. Only active blocks are written, so no two
texts name the same network. An architecture of a pretrained network's own space begins with that network's name:
`efficientnet-lite1:r96_w16-k3e1_w24-k3e6-k3e6-k3e6`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property

from edgenas.errors import SpaceError, as_typed, shown
from edgenas.space.blocks import parse_genes
from edgenas.space.blocks.genes import BlockGenes

NETWORK_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@/+-]{0,99}")
"""Names of pretrained networks that an architecture's text can begin with."""


@dataclass(frozen=True, order=True)
class StageGenes:
    """The choices for one stage: output channels, and the genes of each block (as many as its depth)."""

    width: int
    blocks: tuple[BlockGenes, ...]

    def __str__(self) -> str:
        return "-".join([f"w{self.width}", *map(str, self.blocks)])


@dataclass(frozen=True, order=True)
class Arch:
    """One network: input resolution in pixels and the genes of every stage.

    Attributes:
        network: name of the pretrained network whose space it is in; empty for a run's own space. Architectures of one
            space are neighbours in the order, since blocks of different kinds have none.
        resolution: height and width of inputs in pixels.
        stages: genes of every stage.
    """

    network: str = field(default="", kw_only=True)
    resolution: int
    stages: tuple[StageGenes, ...]

    @cached_property
    def id(self) -> str:
        """The canonical text form, e.g. `r28_w16-k3e1_w24-k5e4-k3e3`."""
        network = f"{self.network}:" if self.network else ""
        return network + "_".join([f"r{self.resolution}", *map(str, self.stages)])

    @property
    def file_name(self) -> str:
        """The text form as a part of file names."""
        return as_file_name(self.id)

    def __str__(self) -> str:
        return self.id


def as_file_name(name: str) -> str:
    """Return the text of an architecture, or the name of a network, without characters that some file names lack."""
    return re.sub(r"[^\w.+-]", "-", name)


def parse_arch(text: str) -> Arch:
    """Read the text form back, whatever space holds the arch (see `SearchSpace.parse`).

    Raises:
        SpaceError: the text does not have the form `r192_w16-k3e1_w24-k3e3-k5e4`.
    """
    try:
        return _parse(text)
    except SpaceError as error:
        network, colon, plain = as_typed(text).rpartition(":")
        plain = network + colon + plain.lower()
        if plain == text.strip():
            raise
        try:
            suggestion = _parse(plain).id
        except SpaceError:
            raise error from None
        raise SpaceError(f"arch {shown(text)}: did you mean {suggestion!r}?") from None


def _parse(text: str) -> Arch:
    network, colon, genes = text.strip().rpartition(":")
    if colon and not NETWORK_NAME.fullmatch(network):
        raise SpaceError(
            f"arch {shown(text)}: expected the name of a pretrained network before the last colon, got {shown(network)}"
        )
    head, *stages = genes.split("_")
    if not re.fullmatch(r"r[0-9]{1,9}", head) or not stages:
        raise SpaceError(f"arch {shown(text)}: expected a text like 'r192_w16-k3e1_w24-k3e3-k5e4'")
    return Arch(int(head[1:]), tuple(_parse_stage(stage, text) for stage in stages), network=network)


def _parse_stage(token: str, text: str) -> StageGenes:
    width, *tokens = token.split("-")
    blocks = [genes for block in tokens if (genes := parse_genes(block)) is not None]
    if not re.fullmatch(r"w[0-9]{1,9}", width) or not tokens or len(blocks) < len(tokens):
        raise SpaceError(f"arch {shown(text)}: stage {shown(token)} is not of the form 'w24-k3e3-k5e4'")
    return StageGenes(int(width[1:]), tuple(blocks))
