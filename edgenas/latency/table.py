"""Latency tables: measured latencies and their circumstances, in a folder with table.csv and meta.json.

All times are microseconds. The latency of an empty model (`call_overhead_us` in meta.json) is subtracted from the rows
of blocks, since a network is called once and not once per block. Rows of networks are whole calls.

Imported tables lack some values. Fields of the identity that the source does not give are `unknown`, which never
compares equal, like NaN. Missing values of a row are empty cells.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from edgenas.errors import TableError, UserError, one_of, shown
from edgenas.files import prove_writable, read_json, shipped, user_path, write_csv, write_json
from edgenas.plain_csv import Sheet, parse_number, read_sheet
from edgenas.records.latency import (
    BLOCK,
    COLUMNS,
    MAY_BE_UNSTATED,
    NETWORK,
    NOT_STATED,
    TEXT,
    WHOLE,
    Identity,
    LatencyRow,
)

STATISTIC = "latency_statistic"
"""Circumstance of imported tables: the statistic in the column p50_us. Only these tables may have empty cells."""
_MAY_BE_ZERO = ("num_classes", "std_us", "repeat_noise")
CUT = "was the file cut short?"
MOST_COUNT = 2**53
"""Largest whole number that a float holds exactly."""
AGAIN = "make a new table with `edgenas profile` (in a run folder, delete latency/result.json before)"


def check_new(folder: Path) -> None:
    """Raise an error unless a new table can be written to `folder`.

    Raises:
        TableError: the folder exists.
        OSError: the folder cannot be written to.
    """
    if os.path.lexists(folder):
        raise TableError(f"{folder} exists: choose another --out, or remove it")
    prove_writable(folder)


@dataclass(frozen=True)
class LatencyTable:
    """Rows of one identity, and the circumstances of their measurement."""

    identity: Identity
    circumstances: Mapping[str, Any]
    rows: tuple[LatencyRow, ...]

    @classmethod
    def load(cls, path: str | Path) -> LatencyTable:
        """Read a table, given the path of its folder or of its table.csv.

        Raises:
            TableError: a file is missing, malformed or of a newer schema; file, line and column are named.
        """
        folder = Path(path).parent if Path(path).name == "table.csv" else Path(path)
        identity, circumstances, expected = _read_meta(folder / "meta.json")
        rows = _read_rows(folder / "table.csv", sparse=STATISTIC in circumstances)
        if expected not in (None, len(rows)):
            raise TableError(f"{folder}: meta.json states {shown(expected)} rows, table.csv has {len(rows)}: {CUT}")
        return cls(identity, circumstances, rows)

    def save(self, folder: Path) -> None:
        """Write table.csv and meta.json into `folder`, each atomically."""
        rows = ({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.to_json().items()} for row in self.rows)
        write_csv(folder / "table.csv", COLUMNS, rows)
        meta = {"identity": asdict(self.identity), "circumstances": dict(self.circumstances), "rows": len(self.rows)}
        write_json(folder / "meta.json", meta)

    def create(self, folder: Path) -> None:
        """Write the table atomically as a new folder.

        Raises:
            TableError: the folder exists.
        """
        check_new(folder)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name[:100]}.") as temporary:
            complete = Path(temporary) / "table"
            self.save(complete)
            os.rename(complete, folder)

    def blocks(self) -> dict[str, LatencyRow]:
        """Return the rows of blocks by key."""
        return {row.key: row for row in self.rows if row.kind == BLOCK}

    def networks(self, space_structure_id: str, num_classes: int) -> tuple[LatencyRow, ...]:
        """Return the rows of networks of one space and number of classes."""
        return tuple(row for row in self.rows if row.name[:3] == (NETWORK, space_structure_id, num_classes))

    def extended(self, rows: Iterable[LatencyRow]) -> LatencyTable:
        """Return a table with `rows` added; rows of the same name are replaced."""
        merged = {row.name: row for row in (*self.rows, *rows)}
        return LatencyTable(self.identity, self.circumstances, tuple(merged.values()))


def table_names() -> list[str]:
    """Return the names of the shipped tables, `device/setting`."""
    root = shipped("latency_tables")
    return sorted(str(path.parent.relative_to(root).as_posix()) for path in root.glob("*/*/table.csv"))


def find_table(name_or_path: str | Path) -> LatencyTable:
    """Load a shipped table by name, or any table by path.

    Raises:
        TableError: there is no such table, or it is malformed.
    """
    is_shipped = str(name_or_path) in table_names()
    folder = shipped("latency_tables") / name_or_path if is_shipped else user_path(name_or_path)
    if not os.path.exists(folder):
        hint = one_of(str(name_or_path), table_names() or ["(none shipped)"])
        raise TableError(f"table {shown(str(name_or_path))} is neither shipped nor a folder; {hint}")
    return LatencyTable.load(folder)


def _read_meta(path: Path) -> tuple[Identity, dict[str, Any], Any]:
    """Return identity, circumstances and the stated number of rows, None where it is not stated."""
    try:
        meta = read_json(path, AGAIN)
    except UserError as error:
        raise TableError(str(error)) from None
    circumstances = meta.get("circumstances", {})
    if not isinstance(circumstances, dict):
        raise TableError(f"{path}: circumstances: expected an object, got {shown(circumstances)}")
    return _parse_identity(meta.get("identity"), path), circumstances, meta.get("rows")


def _parse_identity(value: Any, path: Path) -> Identity:
    expected = {field.name for field in fields(Identity)}
    if not isinstance(value, dict) or set(value) != expected:
        keys = ", ".join(sorted(value)) if isinstance(value, dict) else shown(value)
        raise TableError(f"{path}: identity: expected {', '.join(sorted(expected))}, got {keys}")
    for name, entry in value.items():
        types: tuple[type, ...] = (str,)
        if name in ("threads", "exporter_version"):
            # Imported tables have `unknown` in fields that their source does not state.
            types = (str, int)
        if name == "spinning":
            types = (str, bool)
        if not isinstance(entry, types) or (bool not in types and isinstance(entry, bool)):
            raise TableError(f"{path}: identity.{name}: expected {types[-1].__name__}, got {shown(entry)}")
    return Identity(**value)


def _read_rows(path: Path, *, sparse: bool) -> tuple[LatencyRow, ...]:
    sheet = _read_sheet(path)
    if missing := [column for column in COLUMNS if column not in sheet.columns]:
        raise TableError(f"{sheet.header}: missing columns {', '.join(missing)}")
    line_of: dict[tuple[str, str, int, str], int] = {}
    rows = []
    for number, texts in sheet.rows:
        row = _parse_row(texts, f"{path}, line {number}", sparse)
        if row.name in line_of:
            earlier = line_of[row.name]
            raise TableError(f"{path}, line {number}: {row.key} is also in line {earlier}: delete one of the two")
        line_of[row.name] = number
        rows.append(row)
    return tuple(rows)


def _read_sheet(path: Path) -> Sheet:
    if not os.path.lexists(path):
        raise TableError(f"{path} does not exist: {AGAIN}")
    try:
        return read_sheet(path)
    except UserError as error:
        raise TableError(str(error)) from None


def _parse_row(texts: Mapping[str, str], location: str, sparse: bool) -> LatencyRow:
    if texts["kind"] not in (BLOCK, NETWORK):
        raise TableError(f"{location}: kind: expected {BLOCK} or {NETWORK}, got {shown(texts['kind'])}")
    values: dict[str, Any] = {c: texts[c] if c in TEXT else _number(texts[c], c, location, sparse) for c in COLUMNS}
    return LatencyRow(**values)


def _number(text: str, column: str, location: str, sparse: bool = False) -> Any:
    if sparse and not text and column in MAY_BE_UNSTATED:
        return 0 if column in WHOLE else NOT_STATED
    try:
        value = parse_number(text)
        if column in WHOLE:
            value = _whole(value)
    except ValueError:
        kind = "a whole number" if column in WHOLE else "a number"
        raise TableError(f"{location}: {column}: expected {kind}, got {shown(text)}") from None
    if value < 0 or (value == 0 and column not in _MAY_BE_ZERO):
        raise TableError(f"{location}: {column}: expected a finite number above zero, got {shown(text)}")
    return value


def _whole(value: float) -> int:
    if value != int(value) or value > MOST_COUNT:
        raise ValueError("not a whole number")
    return int(value)
