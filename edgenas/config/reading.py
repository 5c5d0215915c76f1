"""YAML in, with overrides; resolved YAML out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from edgenas.config.run_config import RunConfig
from edgenas.config.sections import Section
from edgenas.errors import ConfigError, UserError, explained, shown
from edgenas.files import check_schema, read_yaml
from edgenas.plain_yaml import dump_yaml, parse_yaml

_SectionT = TypeVar("_SectionT", bound=Section)


def load_config(path: Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Read a config file and apply `key.key=value` overrides.

    Raises:
        ConfigError: unknown keys (the closest valid one is named), wrong values.
        SpaceError: the space does not load.
    """
    return build_config(read_yaml(path), str(path), overrides)


def build_config(value: dict[str, Any], origin: str, overrides: Sequence[str] = ()) -> RunConfig:
    """A config from what its YAML holds, with overrides; see `load_config`."""
    for override in overrides:
        _override(value, override)
    config = parse_config(value, origin)
    config.load_space()
    return config


def parse_config(value: Mapping[str, Any], origin: str) -> RunConfig:
    """A RunConfig from the mapping its YAML holds; `origin` stands in messages.

    Raises:
        ConfigError: unknown keys (the closest valid one is named), wrong values.
    """
    if "schema_version" in value:
        check_schema(value, Path(origin))
    try:
        return RunConfig.model_validate(value)
    except ValidationError as error:
        raise ConfigError(f"{origin}: {explained(error.errors(), [*config_keys(), *_sections()])}") from None


def build_section(section: type[_SectionT], value: Mapping[str, Any], origin: str) -> _SectionT:
    """One section of a config from what its YAML holds; `origin` stands in messages.

    Raises:
        ConfigError: unknown keys, wrong values.
    """
    try:
        return section.model_validate(value)
    except ValidationError as error:
        raise ConfigError(f"{origin}: {explained(error.errors())}") from None


def config_keys() -> list[str]:
    """Every key a config may hold, dotted."""
    return list(_keys(RunConfig, ""))


def _keys(section: type[BaseModel], prefix: str) -> list[str]:
    found = []
    for name, info in section.model_fields.items():
        # A section that may be left out is one of two types.
        types = get_args(info.annotation) if isinstance(info.annotation, UnionType) else (info.annotation,)
        inner = [one for one in types if isinstance(one, type) and issubclass(one, BaseModel)]
        found += _keys(inner[0], f"{prefix}{name}.") if inner else [prefix + name]
    return found


def _sections() -> set[str]:
    return {key.rpartition(".")[0] for key in config_keys() if "." in key}


def _override(value: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ConfigError(f"--set {override!r}: wanted key=value, like search.evaluations=200")
    *parents, last = key.strip().split(".")
    node: Any = value
    for parent in parents:
        node = node.setdefault(parent, {})
        if not isinstance(node, dict):
            raise ConfigError(f"--set {override!r}: {parent!r} holds no keys, it is {shown(node)}: set it as a whole")
    try:
        node[last] = parse_yaml(text)
    except UserError as error:
        raise ConfigError(f"--set {override!r}: the value is not valid YAML: {error}") from None


def dump_config(config: RunConfig) -> str:
    """The resolved config as YAML, every default written out."""
    return dump_yaml(config.model_dump(mode="json"))
