"""Load spaces from YAML: shipped presets, files, and configs that narrow either."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from edgenas.errors import SpaceError, explained, one_of, shown
from edgenas.files import check_schema, read_yaml, user_path
from edgenas.space.blocks import DEFAULT_KIND, STAGES
from edgenas.space.blocks.genes import GeneValue, written
from edgenas.space.blocks.stage import Stage, are_lists
from edgenas.space.space import Head, SearchSpace, Stem

PRESETS = Path(__file__).parent / "presets"
NARROWED_IN_ALL_STAGES = ("depth", *dict.fromkeys(gene for stage in STAGES.values() for gene in stage.genes.names()))


def preset_names() -> list[str]:
    """Return the names of the shipped spaces."""
    return sorted(path.stem for path in PRESETS.glob("*.yaml"))


def load_space(source: str | Path | Mapping[str, Any]) -> SearchSpace:
    """Return a search space by preset name, by path of a YAML file, or from a config's mapping that narrows one.

    A mapping names its origin as `preset` (or `path`), then any genes to narrow: `resolution`; `depth` and the genes of
    blocks (`kernel`, `expand`) in every stage that has a choice of them; and `stages: {"2": {width: [40]}}` for one
    stage, counted from 0 as in block names.

    Raises:
        SpaceError: unknown preset, missing or broken file, or a value that the space does not have.
    """
    if isinstance(source, Mapping):
        return _narrow(source)
    is_preset = str(source) in preset_names()
    path = PRESETS / f"{source}.yaml" if is_preset else user_path(source)
    if not os.path.isfile(path):
        hint = one_of(str(source), preset_names())
        raise SpaceError(f"space {shown(str(source))} is neither a preset nor a file; {hint}")
    value = read_yaml(path)
    check_schema(value, path)
    return parse_space(value, str(path))


def parse_space(value: Mapping[str, Any], origin: str) -> SearchSpace:
    """Return the search space of a YAML file's mapping; messages name `origin`.

    Raises:
        SpaceError: the mapping does not describe a space.
    """
    try:
        return SearchSpace.model_validate(value)
    except ValidationError as error:
        raise SpaceError(f"{origin}: {explained(error.errors(), _space_keys(value))}") from None


def _space_keys(value: Mapping[str, Any]) -> list[str]:
    """Return every key that the YAML of a space may hold, dotted; of as many stages as `value` has."""
    stages = value.get("stages")
    parts: dict[str, type[BaseModel]] = {"stem": Stem, "head": Head}
    for number, stage in enumerate(stages if isinstance(stages, Sequence) else ()):
        kind = stage.get("block", DEFAULT_KIND) if isinstance(stage, Mapping) else DEFAULT_KIND
        parts[f"stages.{number}"] = STAGES.get(str(kind), Stage)
    return [
        *SearchSpace.model_fields,
        *(f"{part}.{name}" for part, kind in parts.items() for name in kind.model_fields),
    ]


def _narrow(source: Mapping[str, Any]) -> SearchSpace:
    _check_keys(source)
    origins = [source[key] for key in ("preset", "path") if source.get(key) is not None]
    if len(origins) != 1 or not isinstance(origins[0], str):
        raise SpaceError("space: expected either preset: NAME or path: FILE, and then the genes to narrow")
    return narrow_space(load_space(origins[0]), source)


def _check_keys(source: Mapping[str, Any]) -> None:
    valid = {"preset", "path", "resolution", "stages", *NARROWED_IN_ALL_STAGES}
    for key in source:
        if key not in valid:
            raise SpaceError(f"space: unknown key {key!r}; {one_of(str(key), valid)}")


def narrow_space(space: SearchSpace, source: Mapping[str, Any]) -> SearchSpace:
    """Return a space with the genes that a config's mapping narrows, whatever origin that names; see `load_space`.

    Raises:
        SpaceError: an unknown key, or a value that the space does not have.
    """
    _check_keys(source)
    stages = list(space.stages)
    for gene in NARROWED_IN_ALL_STAGES:
        if source.get(gene) is not None:
            stages = _narrow_everywhere(stages, gene, source[gene])
    by_number = source.get("stages") or {}
    if not isinstance(by_number, Mapping):
        raise SpaceError(f'space: stages: expected a mapping like {{"2": {{kernel: [3]}}}}, got {shown(by_number)}')
    for number, genes in by_number.items():
        stages = _narrow_one(stages, str(number), genes)
    resolution = _chosen(space.resolution, source.get("resolution"), "resolution")
    return parse_space({**space.model_dump(), "resolution": resolution, "stages": stages}, "space")


def _narrow_everywhere(stages: list[Stage], gene: str, values: Any) -> list[Stage]:
    present = sorted({value for stage in stages for choices in stage.choice_lists(gene) for value in choices})
    if not present:
        genes = sorted({name for stage in stages for name in stage.gene_names})
        raise SpaceError(f"space: {gene}: no stage has this gene; {one_of(gene, ['depth', *genes])}")
    if are_lists(values):
        raise SpaceError(
            f"space: {gene}: expected one list for all stages, got {shown(values)}; give the lists of blocks by stage, "
            f'like stages: {{"1": {{{gene}: {shown(values)}}}}}'
        )
    _chosen(present, values, gene)
    narrowed = []
    for number, stage in enumerate(stages):
        lists = stage.choice_lists(gene)
        left = [[value for value in choices if value in values] if len(choices) > 1 else choices for choices in lists]
        _check_left(lists, left, f"space: {gene} {values} leaves stage{number}")
        narrowed.append(stage.with_choices(gene, left) if all(lists) else stage)
    return narrowed


def _check_left(lists: Sequence[Sequence[GeneValue]], left: Sequence[Sequence[GeneValue]], leaves: str) -> None:
    for position, (choices, rest) in enumerate(zip(lists, left, strict=True)):
        if choices and not rest:
            place = f".block{position}" if len(lists) > 1 else ""
            raise SpaceError(f"{leaves}{place} none of its choices {list(choices)}")


def _narrow_one(stages: list[Stage], number: str, genes: Any) -> list[Stage]:
    names = [str(index) for index in range(len(stages))]
    if number not in names:
        raise SpaceError(f"space: stages has no {number!r}; {one_of(number, names)}")
    if not isinstance(genes, Mapping):
        raise SpaceError(f"space: stages.{number}: expected a mapping like {{kernel: [3]}}, got {shown(genes)}")
    stage = stages[int(number)]
    valid = ("width", "depth", *stage.gene_names)
    for gene, values in genes.items():
        if gene not in valid:
            raise SpaceError(f"space: stages.{number}.{gene}: {one_of(str(gene), valid)}")
        key, positions = f"stages.{number}.{gene}", 1 if gene in ("width", "depth") else stage.positions
        stage = stage.with_choices(gene, _chosen_lists(stage.choice_lists(gene), values, key, positions))
    return [*stages[: int(number)], stage, *stages[int(number) + 1 :]]


def _chosen_lists(lists: Sequence[Sequence[GeneValue]], values: Any, key: str, positions: int) -> list[list[GeneValue]]:
    """Return the choices that `values` lists, for all positions or for each, of a stage's choices."""
    if are_lists(values):
        if len(values) != positions:
            raise SpaceError(
                f"space: {key}: expected one list for all blocks, or {positions} lists, one for each block, got "
                f"{len(values)}"
            )
        each = enumerate(zip(lists if len(lists) > 1 else [lists[0]] * positions, values, strict=True))
        return [_chosen(choices, value, f"{key}.{position}") for position, (choices, value) in each]
    _chosen(sorted({value for choices in lists for value in choices}), values, key)
    left = [[value for value in choices if value in values] for choices in lists]
    _check_left(lists, left, f"space: {key}: {values} leaves it")
    return left


def _chosen(choices: Sequence[GeneValue], values: Any, key: str) -> list[GeneValue]:
    """Return the choices that `values` lists; all of them without `values`."""
    if values is None:
        return list(choices)
    legal = ", ".join(map(written, choices))
    if not isinstance(values, Sequence) or isinstance(values, str) or not values:
        raise SpaceError(f"space: {key}: expected a list of some of {legal}, got {shown(values)}")
    for value in values:
        if isinstance(value, bool) or value not in choices:
            raise SpaceError(f"space: {key}: {shown(value)} is none of {legal}{_closest(value, choices)}")
    return [choice for choice in choices if choice in values]


def _closest(value: Any, choices: Sequence[GeneValue]) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return ""
    numbers = [choice for choice in choices if not isinstance(choice, str)]
    return f"; the closest is {min(numbers, key=lambda choice: abs(choice - value)):g}" if numbers else ""
