"""Read configs from YAML with overrides, and write resolved configs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from edgenas.config.run_config import RunConfig
from edgenas.config.section import Section
from edgenas.errors import ConfigError, RunFolderError, UserError, explained, shown
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


def stored_config(path: Path) -> RunConfig:
    """Read the resolved config of a run folder.

    Raises:
        RunFolderError: the file was edited, or is of another version.
    """
    try:
        return parse_config(read_yaml(path), str(path))
    except ConfigError as error:
        raise RunFolderError(f"{error}: was the file edited, or written by another version?") from None


def build_config(value: dict[str, Any], origin: str, overrides: Sequence[str] = ()) -> RunConfig:
    """Return a config from the mapping of its YAML, with overrides; see `load_config`."""
    for override in overrides:
        _override(value, override)
    config = parse_config(value, origin)
    if not config.has_auto_space:
        config.load_space()
    return config


def parse_config(value: Mapping[str, Any], origin: str) -> RunConfig:
    """Return a config from the mapping of its YAML; `origin` names it in messages.

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
    """Return a section of a config from the mapping of its YAML; `origin` names it in messages.

    Raises:
        ConfigError: unknown keys, wrong values.
    """
    try:
        return section.model_validate(value)
    except ValidationError as error:
        raise ConfigError(f"{origin}: {explained(error.errors())}") from None


def config_keys() -> list[str]:
    """Return every valid key of a config, dotted."""
    return list(_keys(RunConfig, ""))


def _keys(section: type[BaseModel], prefix: str) -> list[str]:
    keys = []
    for name, info in section.model_fields.items():
        # An optional section is a union with None.
        types = get_args(info.annotation) if isinstance(info.annotation, UnionType) else (info.annotation,)
        sections = [kind for kind in types if isinstance(kind, type) and issubclass(kind, BaseModel)]
        keys += _keys(sections[0], f"{prefix}{name}.") if sections else [prefix + name]
    return keys


def _sections() -> set[str]:
    return {key.rpartition(".")[0] for key in config_keys() if "." in key}


def _override(value: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ConfigError(f"--set {override!r}: expected key=value, like search.evaluations=200")
    *parents, last = key.strip().split(".")
    node: Any = value
    for parent in parents:
        node = node.setdefault(parent, {})
        if not isinstance(node, dict):
            raise ConfigError(f"--set {override!r}: {parent!r} has no keys, it is {shown(node)}: set it as a whole")
    try:
        node[last] = parse_yaml(text)
    except UserError as error:
        raise ConfigError(f"--set {override!r}: the value is not valid YAML: {error}") from None


def dump_config(config: RunConfig) -> str:
    """Return the resolved config as YAML, with every default."""
    return dump_yaml(config.model_dump(mode="json"))
