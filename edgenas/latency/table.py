"""Latency tables: measured numbers with their circumstances, as a folder of table.csv and meta.json.

All times are microseconds. Rows of blocks have the cost of calling an empty model (`call_overhead_us` in
meta.json) subtracted, since a network pays it once and not once a block; rows of networks are whole calls.

Tables from elsewhere lack some of this. What their source does not state is `unknown` in the identity, which equals
nothing, not even itself, and an empty cell in a row.
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
"""The circumstance of tables from elsewhere: what p50_us holds. Only with it may cells be empty."""


_MAY_BE_ZERO = ("num_classes", "std_us", "repeat_noise")
CUT = "was the file cut short?"
MOST_COUNT = 2**53
"""Largest whole number that a float holds exactly."""
AGAIN = "make a new table with `edgenas profile` (in a run folder, delete latency/result.json before)"


def check_new(folder: Path) -> None:
    """Refuse a folder that no new table can be written to.

    Raises:
        TableError: there is such a folder already.
        OSError: nothing can be written there.
    """
    if os.path.lexists(folder):
        raise TableError(f"{folder} exists: choose another --out, or remove it")
    prove_writable(folder)


@dataclass(frozen=True)
class LatencyTable:
    """Rows of one identity, and the circumstances they were measured in."""

    identity: Identity
    circumstances: Mapping[str, Any]
    rows: tuple[LatencyRow, ...]

    @classmethod
    def load(cls, path: str | Path) -> LatencyTable:
        """Read a table by its folder or its table.csv.

        Raises:
            TableError: a file is missing, of a newer schema or broken; file, line and column are named.
        """
        folder = Path(path).parent if Path(path).name == "table.csv" else Path(path)
        identity, circumstances, announced = _read_meta(folder / "meta.json")
        rows = _read_rows(folder / "table.csv", sparse=STATISTIC in circumstances)
        if announced not in (None, len(rows)):
            raise TableError(f"{folder}: meta.json announces {shown(announced)} rows, table.csv has {len(rows)}: {CUT}")
        return cls(identity, circumstances, rows)

    def save(self, folder: Path) -> None:
        """Write table.csv and meta.json into `folder`, each atomically."""
        rows = ({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.to_json().items()} for row in self.rows)
        write_csv(folder / "table.csv", COLUMNS, rows)
        meta = {"identity": asdict(self.identity), "circumstances": dict(self.circumstances), "rows": len(self.rows)}
        write_json(folder / "meta.json", meta)

    def create(self, folder: Path) -> None:
        """Write the table as a new folder, whole or not at all.

        Raises:
            TableError: there is such a folder already.
        """
        check_new(folder)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name[:100]}.") as temporary:
            whole = Path(temporary) / "table"
            self.save(whole)
            os.rename(whole, folder)

    def blocks(self) -> dict[str, LatencyRow]:
        """Rows of blocks by key."""
        return {row.key: row for row in self.rows if row.kind == BLOCK}

    def networks(self, space_structure_id: str, num_classes: int) -> tuple[LatencyRow, ...]:
        """Rows of whole networks of one space and number of classes."""
        return tuple(row for row in self.rows if row.name[:3] == (NETWORK, space_structure_id, num_classes))

    def extended(self, rows: Iterable[LatencyRow]) -> LatencyTable:
        """A table with `rows` added; a row that is already there is replaced by its newer one."""
        merged = {row.name: row for row in (*self.rows, *rows)}
        return LatencyTable(self.identity, self.circumstances, tuple(merged.values()))


def table_names() -> list[str]:
    """Names of the shipped tables, `device/setting`."""
    root = shipped("latency_tables")
    return sorted(str(path.parent.relative_to(root).as_posix()) for path in root.glob("*/*/table.csv"))


def find_table(name_or_path: str | Path) -> LatencyTable:
    """A shipped table by name, or any by path.

    Raises:
        TableError: there is no such table, or it is broken.
    """
    known = str(name_or_path) in table_names()
    folder = shipped("latency_tables") / name_or_path if known else user_path(name_or_path)
    if not os.path.exists(folder):
        hint = one_of(str(name_or_path), table_names() or ["(none shipped)"])
        raise TableError(f"table {shown(str(name_or_path))} is neither shipped nor a folder; {hint}")
    return LatencyTable.load(folder)


def _read_meta(path: Path) -> tuple[Identity, dict[str, Any], Any]:
    """Identity, circumstances, and how many rows the table has (None in tables that do not say)."""
    try:
        meta = read_json(path, AGAIN)
    except UserError as error:
        raise TableError(str(error)) from None
    circumstances = meta.get("circumstances", {})
    if not isinstance(circumstances, dict):
        raise TableError(f"{path}: circumstances: expected an object, got {shown(circumstances)}")
    return _parse_identity(meta.get("identity"), path), circumstances, meta.get("rows")


def _parse_identity(value: Any, path: Path) -> Identity:
    wanted = {field.name for field in fields(Identity)}
    if not isinstance(value, dict) or set(value) != wanted:
        keys = ", ".join(sorted(value)) if isinstance(value, dict) else shown(value)
        raise TableError(f"{path}: identity: expected {', '.join(sorted(wanted))}, got {keys}")
    for name, came in value.items():
        legal: tuple[type, ...] = (str,)
        if name in ("threads", "exporter_version"):
            # Tables from elsewhere write `unknown` for what their source does not state.
            legal = (str, int)
        if name == "spinning":
            legal = (str, bool)
        if not isinstance(came, legal) or (bool not in legal and isinstance(came, bool)):
            raise TableError(f"{path}: identity.{name}: expected {legal[-1].__name__}, got {shown(came)}")
    return Identity(**value)


def _read_rows(path: Path, *, sparse: bool) -> tuple[LatencyRow, ...]:
    sheet = _read_sheet(path)
    if missing := [column for column in COLUMNS if column not in sheet.columns]:
        raise TableError(f"{sheet.header}: missing columns {', '.join(missing)}")
    seen: dict[tuple[str, str, int, str], int] = {}
    rows = []
    for number, texts in sheet.rows:
        row = _parse_row(texts, f"{path}, line {number}", sparse)
        if row.name in seen:
            raise TableError(f"{path}, line {number}: {row.key} stands already in line {seen[row.name]}: delete one")
        seen[row.name] = number
        rows.append(row)
    return tuple(rows)


def _read_sheet(path: Path) -> Sheet:
    if not os.path.lexists(path):
        raise TableError(f"{path} does not exist: {AGAIN}")
    try:
        return read_sheet(path)
    except UserError as error:
        raise TableError(str(error)) from None


def _parse_row(texts: Mapping[str, str], place: str, sparse: bool) -> LatencyRow:
    if texts["kind"] not in (BLOCK, NETWORK):
        raise TableError(f"{place}: kind: expected {BLOCK} or {NETWORK}, got {shown(texts['kind'])}")
    read: dict[str, Any] = {c: texts[c] if c in TEXT else _number(texts[c], c, place, sparse) for c in COLUMNS}
    return LatencyRow(**read)


def _number(text: str, column: str, place: str, sparse: bool = False) -> Any:
    if sparse and not text and column in MAY_BE_UNSTATED:
        return 0 if column in WHOLE else NOT_STATED
    try:
        value = parse_number(text)
        if column in WHOLE:
            value = _whole(value)
    except ValueError:
        kind = "a whole number" if column in WHOLE else "a number"
        raise TableError(f"{place}: {column}: expected {kind}, got {shown(text)}") from None
    if value < 0 or (value == 0 and column not in _MAY_BE_ZERO):
        raise TableError(f"{place}: {column}: expected a finite number above zero, got {shown(text)}")
    return value


def _whole(value: float) -> int:
    if value != int(value) or value > MOST_COUNT:
        raise ValueError("no whole number")
    return int(value)
