"""Bundles edited as somebody would who knows how a manifest's digest is made."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from edgenas.deploy.bundle.manifest import digest_of


def read(bundle: Path) -> dict[str, Any]:
    return dict(json.loads((bundle / "manifest.json").read_text(encoding="utf-8")))


def reseal(bundle: Path, manifest: dict[str, Any]) -> None:
    sealed = manifest | {"digest": digest_of(manifest)}
    (bundle / "manifest.json").write_text(json.dumps(sealed), encoding="utf-8")


def copy_with(bundle: Path, folder: Path, **changes: Any) -> Path:
    """A copy of a bundle whose manifest says something else, and is sealed."""
    copied = shutil.copytree(bundle, folder)
    reseal(copied, read(copied) | changes)
    return copied


def paths_of(value: Any, depth: int = 4) -> list[tuple[str, ...]]:
    """Paths of all keys in nested objects, down to a depth."""
    if not isinstance(value, dict) or not depth:
        return []
    return [path for key in value for path in ((key,), *((key, *rest) for rest in paths_of(value[key], depth - 1)))]


def without(value: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    """The same nested objects, but for one key."""
    if len(path) == 1:
        return {key: inner for key, inner in value.items() if key != path[0]}
    return value | {path[0]: without(value[path[0]], path[1:])}
