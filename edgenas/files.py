"""Files: atomic writes, append-only records, schema versions, and shipped data folders.

Open formats only: YAML, JSON, JSONL, CSV, safetensors, ONNX.
"""

from __future__ import annotations

import contextlib
import csv
import errno
import hashlib
import io
import json
import math
import os
import re
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgenas.errors import RunFolderError, UserError, oddity, shown
from edgenas.plain_yaml import MOST_DIGITS, dump_yaml, parse_yaml

SCHEMA_VERSION = 1
"""Version of every file format that edgenas writes. Newer files are refused."""
MOST_YAML_BYTES = 2**18
PROBE_BYTES = 2**16
NO_TEXT = "it is not UTF-8 text"
FILE_NAME = r"\w[\w.-]{0,99}"
"""Names of runs and devices, which are also names of files and folders."""


def file_name(name: str) -> str:
    """Return a name that is valid as a file name.

    Raises:
        ValueError: the name is invalid.
    """
    if not re.fullmatch(FILE_NAME, name):
        cause = f": {problem}" if (problem := oddity(name)) else ""
        raise ValueError(
            f"expected up to 100 letters, digits, _ . and -, beginning with a letter, got {shown(name)}{cause}"
        )
    return name


def user_path(path: str | Path) -> Path:
    """Return a path with `~` expanded; a path of an unknown user stays unchanged."""
    return Path(os.path.expanduser(path))


def shipped(folder: str) -> Path:
    """Return the path of a data folder of edgenas: `devices`, `latency_tables` or `export`.

    In a wheel it is inside the package, in a checkout at the top of the repository.
    """
    package = Path(__file__).resolve().parent
    for candidate in (package / "_data" / folder, package.parent / folder):
        if candidate.is_dir():
            return candidate
    raise RunFolderError(f"the shipped folder {folder!r} is missing beside {package}: reinstall edgenas")


def write_text(path: Path, text: str) -> None:
    """Write `text` so that a reader sees the old file or the new one, never half of it."""
    write_bytes(path, text.encode("utf-8"))


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a table atomically, with `columns` of each row; other keys of a row are left out.

    Raises:
        KeyError: a row lacks a column.
    """
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(columns)
    table.writerows([row[column] for column in columns] for row in rows)
    write_text(path, text.getvalue())


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` atomically: into a temporary neighbour, flushed, then renamed."""
    with _naming(path):
        _write(path, data)


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Add the file name to errors of the system, which a full disk does not report."""
    try:
        yield
    except OSError as error:
        # If a folder of the path is a file, the error already names it.
        if error.errno is not None and not isinstance(error, FileExistsError | NotADirectoryError):
            error.filename = str(path)
        raise


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # `open` respects the umask and the folder's access list; `mkstemp` makes private files.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with open(temporary, "xb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def prove_writable(path: Path) -> None:
    """Check that a file or folder can be made, by writing and removing a few bytes, before any costly work.

    Permissions do not show this for root, read-only disks and full disks.

    Raises:
        OSError: nothing can be written there; the error names the path, or a file in place of one of its folders.
    """
    with _naming(path):
        folder = next(parent for parent in path.absolute().parents if os.path.lexists(parent))
        if not folder.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))
        probe = folder / f".{path.name}.{secrets.token_hex(4)}"
        try:
            with open(probe, "xb") as stream:
                stream.write(bytes(PROBE_BYTES))
                stream.flush()
                os.fsync(stream.fileno())
        finally:
            probe.unlink(missing_ok=True)


def prove_file(path: Path) -> None:
    """Check the same for a file, which may replace a file, but not a folder.

    Raises:
        OSError: nothing can be written there, or the path is a folder.
    """
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    prove_writable(path)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write one JSON object, with its `schema_version`, atomically."""
    text = json.dumps({"schema_version": SCHEMA_VERSION, **value}, indent=2, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n")


def read_json(path: Path, again: str = "run its stage again") -> dict[str, Any]:
    """Read one JSON object that edgenas wrote.

    Args:
        path: the file.
        again: advice for a missing or invalid file.

    Raises:
        UserError: the file is missing, invalid, or of a newer schema.
    """
    try:
        value = _parse_json(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: {again}") from None
    except OSError as error:
        raise UserError(_unreadable(path, error)) from None
    except (ValueError, RecursionError) as error:
        reason = NO_TEXT if isinstance(error, UnicodeError) else error
        raise UserError(f"{path} is not valid JSON ({reason}): delete it and {again}") from None
    if not isinstance(value, dict):
        raise UserError(f"{path}: expected a JSON object, got {type(value).__name__}: delete it and {again}")
    check_schema(value, path)
    return value


def _unreadable(path: Path, error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return f"{path} does not exist"
    return f"{path} cannot be read: {error.strerror or error}"


def _parse_json(text: str | bytes) -> Any:
    """Parse JSON with unique keys, finite numbers of 64 bits, and text that can be encoded.

    Raises:
        ValueError, RecursionError: the JSON is invalid.
    """
    value = json.loads(
        text, parse_constant=_finite, parse_float=_finite, parse_int=_whole, object_pairs_hook=_each_key_once
    )
    if (rb"\u" if isinstance(text, bytes) else r"\u") in text:  # type: ignore[operator]
        # Halves of surrogate pairs can be parsed, but not encoded.
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    return value


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is not a finite number")
    return value


def _whole(text: str) -> int:
    if len(text) > MOST_DIGITS + 1:
        raise ValueError(f"a number of {len(text)} digits")
    return int(text)


def _each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in keys if keys.count(key) > 1)!r} occurs twice")
    return value


def check_schema(value: Mapping[str, Any], path: Path) -> None:
    """Refuse a file of a newer schema.

    Raises:
        UserError: `schema_version` is absent, not a whole number, or newer than this edgenas supports.
    """
    version = value.get("schema_version")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise UserError(f"{path}: expected a schema_version of 1 to {SCHEMA_VERSION}, got {shown(version)}")
    if version > SCHEMA_VERSION:
        raise UserError(
            f"{path} has schema_version {version}, this edgenas reads up to {SCHEMA_VERSION}: upgrade edgenas"
        )


def read_yaml(path: Path) -> dict[str, Any]:
    """Read one YAML mapping; see `parse_yaml`.

    Raises:
        UserError: the file is missing, empty, invalid, or not a mapping.
    """
    try:
        with open(path, "rb") as stream:
            # The path may be a device file without an end.
            data = stream.read(MOST_YAML_BYTES + 1)
        if len(data) > MOST_YAML_BYTES:
            raise UserError(f"it is larger than {MOST_YAML_BYTES:,} bytes")
        value = parse_yaml(data.decode("utf-8-sig"))
    except OSError as error:
        raise UserError(_unreadable(path, error)) from None
    except UnicodeDecodeError:
        raise UserError(f"{path} cannot be read as YAML: {NO_TEXT}") from None
    except UserError as error:
        raise UserError(f"{path} cannot be read as YAML: {error}") from None
    if not isinstance(value, dict):
        given = "an empty file" if value is None else type(value).__name__
        if isinstance(value, str) and (cause := oddity(value)):
            given += f", in which {cause}"
        raise UserError(f"{path}: expected a YAML mapping (key: value lines), got {given}")
    return value


def write_yaml(path: Path, value: Mapping[str, Any]) -> None:
    """Write one YAML mapping atomically, keys in their order."""
    write_text(path, dump_yaml(dict(value)))


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows, one JSON object a line, atomically."""
    write_text(path, "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows))


def append_jsonl(path: Path, row: Mapping[str, Any]) -> None:
    """Append one row. A torn last line, left by a kill, is ended first so that the new row has its own line."""
    append_rows(path, [row])


def append_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Append several rows, with a single flush to the disk."""
    lines = "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows)
    with _naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _append(path, lines)


def _append(path: Path, lines: str) -> None:
    with open(path, "ab+") as stream:
        if stream.seek(0, os.SEEK_END) > 0:
            stream.seek(-1, os.SEEK_END)
            if stream.read(1) != b"\n":
                stream.write(b"\n")
        stream.write(lines.encode("utf-8"))
        stream.flush()
        os.fsync(stream.fileno())


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """Return the rows of an append-only file, oldest first; none if the file does not exist.

    A line that is not a JSON object is skipped: a kill tore it, and its row is made again.

    Raises:
        UserError: the file cannot be read, or a row is of a newer schema.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UserError(_unreadable(path, error)) from None
    return parse_rows(data, str(path))


def parse_rows(data: bytes, source: str) -> list[dict[str, Any]]:
    """Return the rows of JSON lines; a line that is not a JSON object is skipped. `source` names them in messages.

    Raises:
        UserError: a row is of a newer schema.
    """
    rows = []
    for number, line in enumerate(data.splitlines(), start=1):
        try:
            row = _parse_json(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(row, dict):
            if "schema_version" in row:
                check_schema(row, Path(f"{source}, line {number}"))
            rows.append(row)
    return rows


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
