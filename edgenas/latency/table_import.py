"""Import of network latencies from a CSV file with architectures or once-for-all settings."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from edgenas.errors import SpaceError, TableError, UserError, one_of, shown, slip
from edgenas.latency.table import STATISTIC, LatencyTable
from edgenas.plain_csv import Sheet, decimal_mark, parse_number, read_sheet
from edgenas.records.latency import NETWORK, NOT_STATED, Identity, LatencyRow
from edgenas.space.arch import Arch
from edgenas.space.ofa_settings import arch_from_ofa
from edgenas.space.space import ClassifierSpace, SearchSpace

MICROSECONDS = {"us": 1.0, "ms": 1e3, "s": 1e6}
OFA_COLUMNS = ("ks", "e", "d", "r")
STATISTICS = ("p50", "mean", "unknown")
_OPTIONAL = ("std", "count")


def import_networks(
    path: Path,
    space: ClassifierSpace,
    identity: Identity,
    *,
    latency_column: str | None = None,
    unit: str | None = None,
    statistic: str = "unknown",
) -> LatencyTable:
    """Read a CSV file with one network per line.

    A network is given by a column `arch` (edgenas's text form) or by once-for-all's `ks`, `e`, `d` and `r`. These are
    lists separated by dashes, commas or spaces. The columns `std` (in the unit of the latency) and `count` are optional
    and other columns are ignored. A network on several lines gets the median of its latencies. Once-for-all settings
    that differ only in inactive blocks are the same network. The circumstances state the number of repeated networks
    and their median relative difference.

    Args:
        path: path of the CSV file.
        space: space of the networks, with their number of classes.
        identity: identity of the table, with `unknown` in unknown fields.
        latency_column: column of the latencies; by default latency_us, latency_ms or latency_s.
        unit: unit of the latencies, us, ms or s; by default the end of the column's name.
        statistic: statistic of the latencies: p50, mean or unknown.

    Raises:
        TableError: the file is malformed; file, line and column are named.
    """
    sheet = _sheet(path, latency_column)
    arch_columns = _arch_columns(sheet.columns, sheet.header)
    column, factor = _latency_column(sheet.columns, latency_column, unit, sheet.header)
    marks = {name: _mark(sheet, name) for name in (column, "std") if name in sheet.columns}
    networks: dict[str, list[LatencyRow]] = {}
    for number, texts in sheet.rows:
        location = f"{path}, line {number}"
        arch = _arch(texts, arch_columns, space, location).id
        name = (NETWORK, space.structure_id, space.num_classes, arch)
        networks.setdefault(arch, []).append(_row(texts, name, (column, factor), marks, statistic, location))
    circumstances = {"source": path.name, STATISTIC: statistic, **_repeated(list(networks.values()))}
    return LatencyTable(identity, circumstances, tuple(map(_median, networks.values())))


def _median(rows: Sequence[LatencyRow]) -> LatencyRow:
    """Return one row for a network's lines, with the medians of their values and the sum of their counts."""
    medians: dict[str, Any] = {}
    for name in ("p50_us", "mean_us", "std_us"):
        values = [getattr(row, name) for row in rows]
        medians[name] = NOT_STATED if any(map(math.isnan, values)) else median(values)
    counts = [row.count for row in rows]
    return replace(rows[0], **medians, count=sum(counts) if all(counts) else 0)


def _repeated(networks: Sequence[Sequence[LatencyRow]]) -> dict[str, Any]:
    """Return the number of networks on several lines, and the median of (max - min) / median of their latencies."""
    repeated = [[row.p50_us for row in rows] for rows in networks if len(rows) > 1]
    if not repeated:
        return {}
    difference = median((max(values) - min(values)) / median(values) for values in repeated)
    return {"repeated_networks": len(repeated), "repeated_difference": difference}


def _sheet(path: Path, latency_column: str | None) -> Sheet:
    latencies = [f"latency_{name}" for name in MICROSECONDS]
    try:
        sheet = read_sheet(path, ("arch", *OFA_COLUMNS, *latencies, *_OPTIONAL, *filter(None, [latency_column])))
    except UserError as error:
        raise TableError(str(error)) from None
    if not sheet.rows:
        raise TableError(f"{path}: expected a line of column names and a line for each network, got 1 line(s)")
    return sheet


def _mark(sheet: Sheet, column: str) -> str:
    try:
        return decimal_mark(texts[column] for _, texts in sheet.rows)
    except ValueError as error:
        raise TableError(f"{sheet.path}, column {column}: {error}") from None


def _arch_columns(header: Sequence[str], location: str) -> tuple[str, ...]:
    """Return the columns that give the architecture."""
    if "arch" in header:
        return ("arch",)
    if missing := [name for name in OFA_COLUMNS if name not in header]:
        raise TableError(
            f"{location}: expected a column arch, or {', '.join(OFA_COLUMNS)}; missing {', '.join(missing)}; got "
            f"{shown(', '.join(header))}{slip('arch', header)}"
        )
    return OFA_COLUMNS


def _latency_column(header: Sequence[str], column: str | None, unit: str | None, location: str) -> tuple[str, float]:
    """Return the column of latencies, and the number of microseconds in its unit."""
    defaults = [f"latency_{name}" for name in MICROSECONDS]
    if column is None:
        present = [name for name in defaults if name in header]
        if len(present) != 1:
            actual = f"has {', '.join(present)}" if present else f"has none of {', '.join(defaults)}"
            hint = "" if present else next(filter(None, (slip(name, header) for name in defaults)), "")
            raise TableError(
                f"{location}: {actual}: name the column with --latency-column, and its unit with --unit{hint}"
            )
        column = present[0]
    if column not in header:
        raise TableError(f"{location}: column {shown(column)} not found; {one_of(column, header)}")
    unit = unit or column.rpartition("_")[2]
    if unit not in MICROSECONDS:
        units = ", ".join(MICROSECONDS)
        raise TableError(f"{location}: column {column}: its unit is unknown; set --unit to one of {units}")
    return column, MICROSECONDS[unit]


def _arch(texts: Mapping[str, str], columns: tuple[str, ...], space: SearchSpace, location: str) -> Arch:
    try:
        if columns == ("arch",):
            return space.parse(texts["arch"])
        return arch_from_ofa(space, {name: _numbers(texts[name], name, location) for name in columns})
    except SpaceError as error:
        raise TableError(f"{location}, column {' '.join(columns)}: {error}") from None


def _numbers(text: str, column: str, location: str) -> list[float]:
    """Return the values of `3-5-7`, `3,5,7` or `[3, 5, 7]`."""
    parts = re.split(r"[-,\s]+", text.strip(" []()"))
    if not all(re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,6})?", part) for part in parts):
        raise TableError(f"{location}, column {column}: expected numbers like 3-5-7 or 3,5,7, got {shown(text)}")
    if column == "r" and len(parts) != 1:
        raise TableError(f"{location}, column r: expected one resolution, got {shown(text)}")
    return [float(part) if "." in part else int(part) for part in parts]


def _row(
    texts: Mapping[str, str],
    name: tuple[str, str, int, str],
    latency: tuple[str, float],
    marks: Mapping[str, str],
    statistic: str,
    location: str,
) -> LatencyRow:
    column, factor = latency
    p50_us = factor * _positive(texts[column], column, location, marks[column])
    optional: dict[str, Any] = {key: texts[key].strip() for key in _OPTIONAL if texts.get(key, "").strip()}
    kind, space, num_classes, key = name
    return LatencyRow(
        kind=kind,
        space=space,
        num_classes=num_classes,
        key=key,
        p50_us=p50_us,
        p95_us=NOT_STATED,
        mean_us=p50_us if statistic == "mean" else NOT_STATED,
        std_us=factor * _positive(optional["std"], "std", location, marks["std"], zero=True)
        if "std" in optional
        else NOT_STATED,
        ci_low_us=NOT_STATED,
        ci_high_us=NOT_STATED,
        count=_count(optional["count"], location) if "count" in optional else 0,
        rounds=0,
        repeat_noise=NOT_STATED,
    )


def _positive(text: str, column: str, location: str, mark: str, *, zero: bool = False) -> float:
    message = f"{location}, column {column}: expected a finite number above zero, got {shown(text)}"
    try:
        value = parse_number(text, mark)
    except ValueError as error:
        raise TableError(f"{message}: {error}") from None
    if value < 0 or (value == 0 and not zero):
        raise TableError(message)
    return value


def _count(text: str, location: str) -> int:
    if not re.fullmatch(r"[0-9]{1,12}", text) or int(text) == 0:
        raise TableError(f"{location}, column count: expected a whole number above zero, got {shown(text)}")
    return int(text)
