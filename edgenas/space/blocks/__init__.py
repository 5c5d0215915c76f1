"""Block kinds: each file holds one kind's genes, its stage, its BlockSpec with text form, shapes and costs.

A network is a tuple of BlockSpecs: stem, blocks, head. Supernet, cost, table keys and export read them, so shapes are
computed in one place. The text form of a BlockSpec is the key of latency tables, e.g.
`ir_i24_r56_o40_m96_k5_s2_se24_hardswish`. A new kind is a file in this package that assigns its stage to `STAGE`, and
a file in `supernet.blocks`.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from typing import Any

from edgenas.errors import SpaceError, one_of, shown
from edgenas.space.blocks.genes import BlockGenes
from edgenas.space.blocks.head import HeadSpec
from edgenas.space.blocks.spec import BlockSpec
from edgenas.space.blocks.stage import Stage
from edgenas.space.blocks.stem import StemSpec

DEFAULT_KIND = "ir"


def _shipped_stages() -> dict[str, type[Stage]]:
    """Return `STAGE` of every module of this package that has one, by its block kind."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    modules = [importlib.import_module(f"{__name__}.{name}") for name in names]
    return {module.STAGE.spec.kind: module.STAGE for module in modules if hasattr(module, "STAGE")}


STAGES = _shipped_stages()
"""Block kinds of stages, by the value of `block` in a space's YAML file."""
_SPECS: tuple[type[BlockSpec], ...] = (StemSpec, *(stage.spec for stage in STAGES.values()), HeadSpec)
SPECS = {spec.kind: spec for spec in _SPECS}
"""BlockSpecs by the kind that begins their text form."""


def parse_block(key: str) -> BlockSpec:
    """Read a table key back into its BlockSpec.

    Raises:
        SpaceError: unknown kind, or dimensions that do not fit it.
    """
    kind = key.split("_")[0]
    if kind not in SPECS:
        raise SpaceError(f"block {shown(key)}: unknown kind {shown(kind)}; {one_of(kind, SPECS)}")
    return SPECS[kind].parse(key)


def parse_genes(token: str) -> BlockGenes | None:
    """Return the genes that a block's token in an arch's text states, like `k3e4`; None if no kind has such a form."""
    return next((genes for stage in STAGES.values() if (genes := stage.genes.parse(token)) is not None), None)


def parse_stage(value: Any) -> Stage:
    """Return the stage of a mapping of its block kind, as a space's YAML file holds it.

    Raises:
        ValueError: not a mapping, an unknown block kind, or fields that do not fit it (pydantic's ValidationError).
    """
    if isinstance(value, Stage):
        return value
    if not isinstance(value, Mapping):
        raise ValueError(f"expected a mapping, got {shown(value)}")
    kind = value.get("block", DEFAULT_KIND)
    if not isinstance(kind, str) or kind not in STAGES:
        raise ValueError(f"block {shown(kind)} is unknown; {one_of(str(kind), STAGES)}")
    return STAGES[kind].model_validate(value)
