"""Differences between two configs, for messages."""

from __future__ import annotations

from typing import Any

import yaml

from edgenas.config.reading import dump_config
from edgenas.config.run_config import RunConfig


def difference(old: RunConfig, new: RunConfig) -> str:
    """Describe the keys that differ between two configs."""
    before, after = (_flat(yaml.safe_load(dump_config(config))) for config in (old, new))
    keys = [key for key in {**before, **after} if before.get(key) != after.get(key)]
    return "; ".join(f"{key} was {before.get(key)!r}, is {after.get(key)!r}" for key in keys)


def _flat(value: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, inner in value.items():
        flat |= _flat(inner, f"{prefix}{key}.") if isinstance(inner, dict) else {prefix + key: inner}
    return flat
