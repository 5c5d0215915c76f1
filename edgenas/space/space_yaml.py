"""Write a space as the YAML file that `load_space` reads, a stage in each line."""

from __future__ import annotations

from collections.abc import Iterator

from edgenas.plain_yaml import dump_yaml
from edgenas.space.blocks import DEFAULT_KIND
from edgenas.space.blocks.stage import Stage
from edgenas.space.space import SearchSpace


def dump_space(space: SearchSpace) -> str:
    """Return the text of a space's YAML file; values that are the default are left out."""
    return "".join(_lines(space))


def _lines(space: SearchSpace) -> Iterator[str]:
    value = space.model_dump(mode="json", exclude_defaults=True)
    yield dump_yaml({"schema_version": space.schema_version})
    for key in SearchSpace.model_fields:
        if key == "stages":
            yield "stages:\n"
            yield from (f"  - {_stage(stage)}" for stage in space.stages)
        elif key in value:
            yield dump_yaml({key: value[key]}, flow=None if isinstance(value[key], list | dict) else False)


def _stage(stage: Stage) -> str:
    value = stage.model_dump(mode="json", exclude_defaults=True)
    kind = {} if stage.spec.kind == DEFAULT_KIND else {"block": stage.spec.kind}
    order = dict.fromkeys(["width", "depth", *stage.genes.names(), *value])
    return dump_yaml({**kind, **{key: value[key] for key in order if key in value}}, flow=True)
