"""Whole-network latencies from elsewhere: a CSV of archs, or of once-for-all settings, becomes a table."""

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
    """Read a CSV of one network a line.

    A network is named by a column `arch` (our text form) or by once-for-all's `ks`, `e`, `d` and `r`, lists with
    values between dashes, commas or spaces. Columns `std` (in the unit of the latency) and `count` are read where
    they are; others are passed over. A network of several lines (once-for-all settings that differ in inactive blocks
    only are one) gets the median of its latencies; the circumstances say how many these are, and how far apart.

    Args:
        path: the CSV file.
        space: space of the networks, with their number of classes.
        identity: of the table, `unknown` where nobody knows.
        latency_column: by default the one of latency_us, latency_ms, latency_s that is there.
        unit: of the latency: us, ms or s; by default what the column's name ends with.
        statistic: what the latencies are: p50, mean or unknown.

    Raises:
        TableError: file, line and column are named.
    """
    sheet = _sheet(path, latency_column)
    spelling = _spelling(sheet.columns, sheet.header)
    column, factor = _latency_column(sheet.columns, latency_column, unit, sheet.header)
    marks = {name: _mark(sheet, name) for name in (column, "std") if name in sheet.columns}
    read: dict[str, list[LatencyRow]] = {}
    for number, texts in sheet.rows:
        at = f"{path}, line {number}"
        arch = _arch(texts, spelling, space, at).id
        name = (NETWORK, space.structure_id, space.num_classes, arch)
        read.setdefault(arch, []).append(_row(texts, name, (column, factor), marks, statistic, at))
    circumstances = {"source": path.name, STATISTIC: statistic, **_repeated(list(read.values()))}
    return LatencyTable(identity, circumstances, tuple(map(_median, read.values())))


def _median(rows: Sequence[LatencyRow]) -> LatencyRow:
    """One row of a network's lines: the median of what they say, the sum of their counts if all have one."""
    medians: dict[str, Any] = {}
    for name in ("p50_us", "mean_us", "std_us"):
        values = [getattr(row, name) for row in rows]
        medians[name] = NOT_STATED if any(map(math.isnan, values)) else median(values)
    counts = [row.count for row in rows]
    return replace(rows[0], **medians, count=sum(counts) if all(counts) else 0)


def _repeated(networks: Sequence[Sequence[LatencyRow]]) -> dict[str, Any]:
    """Of networks on several lines: how many, and the median of (greatest - smallest) / median of their latencies."""
    several = [[row.p50_us for row in rows] for rows in networks if len(rows) > 1]
    if not several:
        return {}
    spread = median((max(values) - min(values)) / median(values) for values in several)
    return {"repeated_networks": len(several), "repeated_difference": spread}


def _sheet(path: Path, latency_column: str | None) -> Sheet:
    usual = [f"latency_{name}" for name in MICROSECONDS]
    try:
        sheet = read_sheet(path, ("arch", *OFA_COLUMNS, *usual, *_OPTIONAL, *filter(None, [latency_column])))
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


def _spelling(header: Sequence[str], place: str) -> tuple[str, ...]:
    """The columns that name a network."""
    if "arch" in header:
        return ("arch",)
    if missing := [name for name in OFA_COLUMNS if name not in header]:
        raise TableError(
            f"{place}: expected a column arch, or {', '.join(OFA_COLUMNS)}; missing {', '.join(missing)}; got "
            f"{shown(', '.join(header))}{slip('arch', header)}"
        )
    return OFA_COLUMNS


def _latency_column(header: Sequence[str], column: str | None, unit: str | None, place: str) -> tuple[str, float]:
    """The column of latencies, and how many microseconds one of its unit is."""
    usual = [f"latency_{name}" for name in MICROSECONDS]
    if column is None:
        found = [name for name in usual if name in header]
        if len(found) != 1:
            came = f"has {', '.join(found)}" if found else f"has none of {', '.join(usual)}"
            hint = "" if found else next(filter(None, (slip(name, header) for name in usual)), "")
            raise TableError(f"{place}: {came}: name one with --latency-column, and its --unit{hint}")
        column = found[0]
    if column not in header:
        raise TableError(f"{place}: no column {shown(column)}; {one_of(column, header)}")
    unit = unit or column.rpartition("_")[2]
    if unit not in MICROSECONDS:
        raise TableError(f"{place}: column {column}: of which unit? Say --unit {', '.join(MICROSECONDS)}")
    return column, MICROSECONDS[unit]


def _arch(texts: Mapping[str, str], spelling: tuple[str, ...], space: SearchSpace, place: str) -> Arch:
    try:
        if spelling == ("arch",):
            return space.parse(texts["arch"])
        return arch_from_ofa(space, {name: _numbers(texts[name], name, place) for name in spelling})
    except SpaceError as error:
        raise TableError(f"{place}, column {' '.join(spelling)}: {error}") from None


def _numbers(text: str, column: str, place: str) -> list[float]:
    """The values of `3-5-7`, `3,5,7` or `[3, 5, 7]`."""
    parts = re.split(r"[-,\s]+", text.strip(" []()"))
    if not all(re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,6})?", part) for part in parts):
        raise TableError(f"{place}, column {column}: expected numbers like 3-5-7 or 3,5,7, got {shown(text)}")
    if column == "r" and len(parts) != 1:
        raise TableError(f"{place}, column r: expected one resolution, got {shown(text)}")
    return [float(part) if "." in part else int(part) for part in parts]


def _row(
    texts: Mapping[str, str],
    name: tuple[str, str, int, str],
    latency: tuple[str, float],
    marks: Mapping[str, str],
    statistic: str,
    place: str,
) -> LatencyRow:
    column, factor = latency
    p50_us = factor * _positive(texts[column], column, place, marks[column])
    known: dict[str, Any] = {key: texts[key].strip() for key in _OPTIONAL if texts.get(key, "").strip()}
    kind, space, num_classes, key = name
    return LatencyRow(
        kind=kind,
        space=space,
        num_classes=num_classes,
        key=key,
        p50_us=p50_us,
        p95_us=NOT_STATED,
        mean_us=p50_us if statistic == "mean" else NOT_STATED,
        std_us=factor * _positive(known["std"], "std", place, marks["std"], zero=True)
        if "std" in known
        else NOT_STATED,
        ci_low_us=NOT_STATED,
        ci_high_us=NOT_STATED,
        count=_count(known["count"], place) if "count" in known else 0,
        rounds=0,
        repeat_noise=NOT_STATED,
    )


def _positive(text: str, column: str, place: str, mark: str, *, zero: bool = False) -> float:
    expected = f"{place}, column {column}: expected a finite number above zero, got {shown(text)}"
    try:
        value = parse_number(text, mark)
    except ValueError as error:
        raise TableError(f"{expected}: {error}") from None
    if value < 0 or (value == 0 and not zero):
        raise TableError(expected)
    return value


def _count(text: str, place: str) -> int:
    if not re.fullmatch(r"[0-9]{1,12}", text) or int(text) == 0:
        raise TableError(f"{place}, column count: expected a whole number above zero, got {shown(text)}")
    return int(text)
