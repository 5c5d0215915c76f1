"""Files: atomic writes, append-only records, schema versions, and where shipped data folders are.

Open formats only: YAML, JSON, JSONL, CSV, safetensors, ONNX.
"""

from __future__ import annotations

import contextlib
import csv
import errno
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
"""Version of every file format edgenas writes. Newer files are refused, older ones upgraded."""
MOST_YAML_BYTES = 2**18
PROBE_BYTES = 2**16
NO_TEXT = "it is no text in UTF-8"
FILE_NAME = r"\w[\w.-]{0,99}"
"""What runs and devices may be called, for files and folders are named after them."""


def file_name(name: str) -> str:
    """Pass on a name that can stand for a file.

    Raises:
        ValueError: it cannot.
    """
    if not re.fullmatch(FILE_NAME, name):
        cause = f": {found}" if (found := oddity(name)) else ""
        raise ValueError(
            f"wanted up to 100 letters, digits, _ . and -, beginning with a letter, got {shown(name)}{cause}"
        )
    return name


def user_path(path: str | Path) -> Path:
    """A path as a user wrote it, `~` standing for home. One of an unknown user is left as it is, and not found."""
    return Path(os.path.expanduser(path))


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


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a table atomically: `columns` of each row; what else a row has is left out.

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
    """Name the file in errors of the system: a full disk does not say which one was being written."""
    try:
        yield
    except OSError as error:
        # Where a folder of the path is a file, the error names that one itself.
        if error.errno is not None and not isinstance(error, FileExistsError | NotADirectoryError):
            error.filename = str(path)
        raise


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Created as any file is, so that the umask and the folder's access list hold; `mkstemp` makes private ones.
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
    """Write and remove a few bytes where a file or folder is to be made, before anything costly is done for it.

    Permissions alone do not tell: of root, of read-only disks, of full ones.

    Raises:
        OSError: nothing can be written there; the path, or the file in the place of one of its folders, is named.
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
    """Do the same for a file, which may replace another, but no folder.

    Raises:
        OSError: as above, or there is a folder.
    """
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    prove_writable(path)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write one JSON object, with its `schema_version`, atomically."""
    text = json.dumps({"schema_version": SCHEMA_VERSION, **value}, indent=2, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n")


def read_json(path: Path, again: str = "run its stage again") -> dict[str, Any]:
    """Read one JSON object of ours.

    Args:
        path: the file.
        again: what to do where it is missing or broken, in words.

    Raises:
        UserError: the file is missing, broken, or of a newer schema.
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
        raise UserError(f"{path}: wanted a JSON object, got {type(value).__name__}: delete it and {again}")
    check_schema(value, path)
    return value


def _unreadable(path: Path, error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return f"{path} does not exist"
    return f"{path} cannot be read: {error.strerror or error}"


def _parse_json(text: str | bytes) -> Any:
    """JSON of what we write: each key once, finite numbers of 64 bits, text that can be written again.

    Raises:
        ValueError, RecursionError: it is something else.
    """
    value = json.loads(
        text, parse_constant=_finite, parse_float=_finite, parse_int=_whole, object_pairs_hook=_each_key_once
    )
    if (rb"\u" if isinstance(text, bytes) else r"\u") in text:  # type: ignore[operator]
        # Halves of surrogate pairs can be read, but not be written or shown.
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    return value


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is no finite number")
    return value


def _whole(text: str) -> int:
    if len(text) > MOST_DIGITS + 1:
        raise ValueError(f"a number of {len(text)} digits")
    return int(text)


def _each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in keys if keys.count(key) > 1)!r} stands twice")
    return value


def check_schema(value: Mapping[str, Any], path: Path) -> None:
    """Refuse a file of a newer schema.

    Raises:
        UserError: `schema_version` is absent, no whole number, or newer than this edgenas knows.
    """
    version = value.get("schema_version")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise UserError(f"{path}: wanted a schema_version of 1 to {SCHEMA_VERSION}, got {shown(version)}")
    if version > SCHEMA_VERSION:
        raise UserError(
            f"{path} has schema_version {version}, this edgenas reads up to {SCHEMA_VERSION}: upgrade edgenas"
        )


def read_yaml(path: Path) -> dict[str, Any]:
    """Read one YAML mapping; see `parse_yaml`.

    Raises:
        UserError: the file is missing, empty, broken, or no mapping.
    """
    try:
        with open(path, "rb") as stream:
            # Never more than that: the path may be of a device that never ends.
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
        came = "an empty file" if value is None else type(value).__name__
        came += f", in which {cause}" if isinstance(value, str) and (cause := oddity(value)) else ""
        raise UserError(f"{path}: wanted a YAML mapping (key: value lines), got {came}")
    return value


def write_yaml(path: Path, value: Mapping[str, Any]) -> None:
    """Write one YAML mapping atomically, keys in the order given."""
    write_text(path, dump_yaml(dict(value)))


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows, one JSON object a line, atomically."""
    write_text(path, "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows))


def append_jsonl(path: Path, row: Mapping[str, Any]) -> None:
    """Append one row. A torn last line, left by a kill, is ended first so that the new row stands alone."""
    append_rows(path, [row])


def append_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Append rows as `append_jsonl` does one, and wait for the disk but once."""
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
    """Rows of an append-only file, oldest first; none if the file does not exist.

    A line that is no JSON object is passed over: a kill tore it, and its row is made again.

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


def parse_rows(data: bytes, place: str) -> list[dict[str, Any]]:
    """Rows of JSON lines; a line that is no JSON object is passed over. `place` says in messages where they are from.

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
                check_schema(row, Path(f"{place}, line {number}"))
            rows.append(row)
    return rows
