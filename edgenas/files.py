"""Files: atomic writes, append-only records, schema versions, and where shipped data folders are.

Open formats only: YAML, JSON, JSONL, CSV, safetensors, ONNX.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from edgenas.errors import RunFolderError, UserError

SCHEMA_VERSION = 1
"""Version of every file format edgenas writes. Newer files are refused, older ones upgraded."""


def shipped(folder: str) -> Path:
    """Path of a data folder that ships with edgenas: `devices`, `latency_tables` or `export`.

    In a wheel it lies inside the package, in a checkout at the top of the repository.
    """
    package = Path(__file__).resolve().parent
    for candidate in (package / "_data" / folder, package.parent / folder):
        if candidate.is_dir():
            return candidate
    raise RunFolderError(f"the shipped folder {folder!r} is missing beside {package}: reinstall edgenas")


def write_text(path: Path, text: str) -> None:
    """Write `text` so that a reader sees the old file or the new one, never half of it."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` atomically: into a temporary neighbour, flushed, then renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write one JSON object, with its `schema_version`, atomically."""
    text = json.dumps({"schema_version": SCHEMA_VERSION, **value}, indent=2, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Read one JSON object of ours.

    Raises:
        UserError: the file is missing, broken, or of a newer schema.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} does not exist") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UserError(f"{path} is not valid JSON ({error}): delete it and run its stage again") from None
    if not isinstance(value, dict):
        raise UserError(f"{path}: wanted a JSON object, got {type(value).__name__}")
    check_schema(value, path)
    return value


def check_schema(value: Mapping[str, Any], path: Path) -> None:
    """Refuse a file of a newer schema.

    Raises:
        UserError: `schema_version` is absent, no whole number, or newer than this edgenas knows.
    """
    version = value.get("schema_version")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise UserError(f"{path}: wanted a schema_version of 1 to {SCHEMA_VERSION}, got {version!r}")
    if version > SCHEMA_VERSION:
        raise UserError(
            f"{path} has schema_version {version}, this edgenas reads up to {SCHEMA_VERSION}: upgrade edgenas"
        )


def read_yaml(path: Path) -> dict[str, Any]:
    """Read one YAML mapping.

    Raises:
        UserError: the file is missing, empty, broken, or no mapping.
    """
    try:
        value = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} does not exist") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{path} cannot be read as YAML: {error}") from None
    if not isinstance(value, dict):
        came = "an empty file" if value is None else type(value).__name__
        raise UserError(f"{path}: wanted a YAML mapping (key: value lines), got {came}")
    return value


def write_yaml(path: Path, value: Mapping[str, Any]) -> None:
    """Write one YAML mapping atomically, keys in the order given."""
    write_text(path, yaml.safe_dump(dict(value), sort_keys=False, allow_unicode=True))


def append_jsonl(path: Path, row: Mapping[str, Any]) -> None:
    """Append one row. A torn last line, left by a kill, is ended first so that the new row stands alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    line = json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n"
    with open(path, "ab+") as stream:
        if stream.seek(0, os.SEEK_END) > 0:
            stream.seek(-1, os.SEEK_END)
            if stream.read(1) != b"\n":
                stream.write(b"\n")
        stream.write(line.encode("utf-8"))
        stream.flush()
        os.fsync(stream.fileno())


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """Rows of an append-only file, oldest first; none if the file does not exist.

    A line that a kill tore is passed over: its row was never finished, and is made again.
    """
    if not path.exists():
        return []
    rows = []
    for line in path.read_bytes().splitlines():
        try:
            row = json.loads(line)
        except (UnicodeDecodeError, json.JSONDecodeError):
            continue
        if isinstance(row, dict):
            rows.append(row)
    return rows
