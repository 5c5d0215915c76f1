"""Spaces from YAML: shipped presets, files, and configs that narrow either."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from edgenas.errors import SpaceError, explained, one_of, shown
from edgenas.files import check_schema, read_yaml, user_path
from edgenas.space.space import Head, SearchSpace, Stage, Stem

PRESETS = Path(__file__).parent / "presets"
NARROWED_IN_ALL_STAGES = ("depth", "kernel", "expand")
NARROWED_IN_ONE_STAGE = ("width", "depth", "kernel", "expand")


def preset_names() -> list[str]:
    """Names of the shipped spaces."""
    return sorted(path.stem for path in PRESETS.glob("*.yaml"))


def load_space(source: str | Path | Mapping[str, Any]) -> SearchSpace:
    """A search space by preset name, by path of a YAML file, or from a config's mapping that narrows one.

    A mapping names its origin as `preset` (or `path`), then any genes to narrow: `resolution`; `depth`,
    `kernel` and `expand` in every stage that has a choice of them; and `stages: {"2": {width: [40]}}` for one
    stage, counted from 0 as in block names.

    Raises:
        SpaceError: unknown preset, missing or broken file, or a value that the space does not have.
    """
    if isinstance(source, Mapping):
        return _narrow(source)
    known = str(source) in preset_names()
    path = PRESETS / f"{source}.yaml" if known else user_path(source)
    if not os.path.isfile(path):
        hint = one_of(str(source), preset_names())
        raise SpaceError(f"space {shown(str(source))} is neither a preset nor a file; {hint}")
    value = read_yaml(path)
    check_schema(value, path)
    return parse_space(value, str(path))


def parse_space(value: Mapping[str, Any], origin: str) -> SearchSpace:
    """A search space from the mapping that its YAML holds; `origin` stands in messages.

    Raises:
        SpaceError: the mapping does not describe a space.
    """
    try:
        return SearchSpace.model_validate(value)
    except ValidationError as error:
        raise SpaceError(f"{origin}: {explained(error.errors(), _space_keys(value))}") from None


def _space_keys(value: Mapping[str, Any]) -> list[str]:
    """Every key that the YAML of a space may hold, dotted; of as many stages as `value` has."""
    stages = value.get("stages")
    count = len(stages) if isinstance(stages, Sequence) else 0
    parts: dict[str, type[BaseModel]] = {"stem": Stem, "head": Head}
    parts |= {f"stages.{number}": Stage for number in range(count)}
    return [
        *SearchSpace.model_fields,
        *(f"{part}.{name}" for part, kind in parts.items() for name in kind.model_fields),
    ]


def _narrow(source: Mapping[str, Any]) -> SearchSpace:
    known = {"preset", "path", "resolution", "stages", *NARROWED_IN_ALL_STAGES}
    for key in source:
        if key not in known:
            raise SpaceError(f"space: unknown key {key!r}; {one_of(str(key), known)}")
    origins = [source[key] for key in ("preset", "path") if source.get(key) is not None]
    if len(origins) != 1 or not isinstance(origins[0], str):
        raise SpaceError("space: wanted either preset: NAME or path: FILE, and then the genes to narrow")
    space = load_space(origins[0])
    stages = list(space.stages)
    for gene in NARROWED_IN_ALL_STAGES:
        if source.get(gene) is not None:
            stages = _narrow_everywhere(stages, gene, source[gene])
    narrowed = source.get("stages") or {}
    if not isinstance(narrowed, Mapping):
        raise SpaceError(f'space: stages: wanted a mapping like {{"2": {{kernel: [3]}}}}, got {shown(narrowed)}')
    for number, genes in narrowed.items():
        stages = _narrow_one(stages, str(number), genes)
    resolution = _kept(space.resolution, source.get("resolution"), "resolution")
    return parse_space({**space.model_dump(), "resolution": resolution, "stages": stages}, "space")


def _narrow_everywhere(stages: list[Stage], gene: str, wanted: Any) -> list[Stage]:
    present = sorted({value for stage in stages for value in getattr(stage, gene)})
    _kept(present, wanted, gene)
    narrowed = []
    for number, stage in enumerate(stages):
        choices = getattr(stage, gene)
        kept = [value for value in choices if value in wanted] if len(choices) > 1 else choices
        if not kept:
            raise SpaceError(f"space: {gene} {wanted} leaves stage{number} none of its choices {list(choices)}")
        narrowed.append(stage.model_copy(update={gene: tuple(kept)}))
    return narrowed


def _narrow_one(stages: list[Stage], number: str, genes: Any) -> list[Stage]:
    names = [str(index) for index in range(len(stages))]
    if number not in names:
        raise SpaceError(f"space: stages has no {number!r}; {one_of(number, names)}")
    if not isinstance(genes, Mapping):
        raise SpaceError(f"space: stages.{number}: wanted a mapping like {{kernel: [3]}}, got {shown(genes)}")
    stage = stages[int(number)]
    for gene, wanted in genes.items():
        if gene not in NARROWED_IN_ONE_STAGE:
            raise SpaceError(f"space: stages.{number}.{gene}: {one_of(str(gene), NARROWED_IN_ONE_STAGE)}")
        kept = tuple(_kept(getattr(stage, gene), wanted, f"stages.{number}.{gene}"))
        stage = stage.model_copy(update={gene: kept})
    return [*stages[: int(number)], stage, *stages[int(number) + 1 :]]


def _kept(choices: Sequence[float], wanted: Any, place: str) -> list[float]:
    if wanted is None:
        return list(choices)
    legal = ", ".join(f"{choice:g}" for choice in choices)
    if not isinstance(wanted, Sequence) or isinstance(wanted, str) or not wanted:
        raise SpaceError(f"space: {place}: wanted a list of some of {legal}, got {shown(wanted)}")
    for value in wanted:
        if isinstance(value, bool) or value not in choices:
            raise SpaceError(f"space: {place}: {shown(value)} is none of {legal}{_closest(value, choices)}")
    return [choice for choice in choices if choice in wanted]


def _closest(value: Any, choices: Sequence[float]) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return ""
    return f"; the closest is {min(choices, key=lambda choice: abs(choice - value)):g}"
