"""Architectures from the settings that once-for-all's tables and predictors write (Cai et al., arXiv 1908.09791)."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate
from typing import Any

import numpy as np

from edgenas.errors import SpaceError
from edgenas.space.arch import Arch, StageGenes
from edgenas.space.blocks.genes import plain_number
from edgenas.space.blocks.inverted_residual import InvertedResidualGenes
from edgenas.space.space import SearchSpace, listed

KEYS = ("ks", "e", "d", "r")


def arch_from_ofa(space: SearchSpace, settings: Mapping[str, Any]) -> Arch:
    """Return the arch of once-for-all's settings.

    Args:
        space: one of once-for-all's, see `edgenas spaces`.
        settings: `ks` and `e`, one value for each position of the stages after the first block (20 in the public
            spaces), `d`, one depth for each of these stages, and `r`, the resolution (a number or a list of one).

    Raises:
        SpaceError: a key is missing, a list has the wrong length, or a value is not in the space.
    """
    _check(space, settings)
    stages = space.stages[1:]
    starts = accumulate((stage.positions for stage in stages), initial=0)
    genes = [
        StageGenes(stage.width[-1], _blocks(settings, start, depth))
        for stage, start, depth in zip(stages, starts, settings["d"], strict=False)
    ]
    arch = Arch(int(np.ravel(settings["r"])[0]), (space.smallest.stages[0], *genes))
    space.encode([arch])
    return arch


def _blocks(settings: Mapping[str, Any], start: int, depth: int) -> tuple[InvertedResidualGenes, ...]:
    kernels, ratios = (settings[key][start : start + depth] for key in ("ks", "e"))
    return tuple(InvertedResidualGenes(int(k), plain_number(e)) for k, e in zip(kernels, ratios, strict=True))


def _check(space: SearchSpace, settings: Mapping[str, Any]) -> None:
    missing = [key for key in KEYS if key not in settings]
    if missing:
        raise SpaceError(f"once-for-all settings: expected ks, e, d and r, missing {', '.join(missing)}")
    stages = space.stages[1:]
    positions = sum(stage.positions for stage in stages)
    for key, length in {"ks": positions, "e": positions, "d": len(stages)}.items():
        if len(settings[key]) != length:
            raise SpaceError(
                f"once-for-all settings: expected {length} values for {key} in {space.name}, got {len(settings[key])}"
            )
    for number, (stage, depth) in enumerate(zip(stages, settings["d"], strict=True), start=1):
        if depth not in stage.depth:
            raise SpaceError(
                f"once-for-all settings: stage{number}.depth is {depth}, the space has {listed(stage.depth)}"
            )
