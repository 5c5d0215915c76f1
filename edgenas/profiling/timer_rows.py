"""Validation of the timer's rows, which come from devices that may be anyone's.

Rows pass that have the expected form, belong to the models that were sent, and hold finite numbers in ascending
quantiles. Only the fields that edgenas uses are taken from them, with bounded printable text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgenas.errors import MeasurementError, UserError, shortened, shown
from edgenas.files import check_schema
from edgenas.latency.device import DeviceRun

QUANTILES = ("min", "p10", "p50", "p90", "p95", "p99", "max")
LONGEST_MS = 1e7
LONGEST_TEXT = 300
MOST_ENTRIES = 100
MOST_ROUNDS = 100_000
SETTING = ("threads", "provider", "optimisation_level", "spinning")


def printable(text: Any, longest: int = LONGEST_TEXT) -> str:
    """Return untrusted text in a form to show and store, of bounded length and without control characters."""
    return "".join(letter if letter.isprintable() else " " for letter in str(text)[:longest])


def trusted(row: dict[str, Any]) -> dict[str, Any]:
    """Return the used fields of a validated row, with texts printable and lists bounded."""
    if "error" in row:
        return {key: row[key] for key in ("schema_version", "benchmark_info", "error") if key in row}
    used = ("latency_ms", "ci_p50_ms", "rounds_p50_ms", "count", "call_overhead_ms", "sentinel_p50_ms")
    fields = {key: row[key] for key in ("schema_version", *used, "sentinel_drift")}
    return fields | {
        "latency_ms": {key: row["latency_ms"][key] for key in ("mean", "std", *QUANTILES)},
        "benchmark_info": _plain(row["benchmark_info"]),
        "memory": _plain(row.get("memory")),
        "environment": _plain(row["environment"]),
        "warnings": [printable(warning) for warning in row["warnings"][:MOST_ENTRIES]],
    }


def _plain(value: Any) -> dict[str, Any]:
    """Return numbers, texts and lists of them by name, without all other values."""
    entries = list(value.items())[:MOST_ENTRIES] if isinstance(value, dict) else []
    return {printable(key, 50): _plain_value(entry) for key, entry in entries if not isinstance(entry, dict)}


def _plain_value(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain_value(entry) for entry in value[:MOST_ENTRIES] if not isinstance(entry, (list, dict))]
    return printable(value) if isinstance(value, str) else value


def validate_rows(rows: Sequence[dict[str, Any]], models: Sequence[Path], run: DeviceRun) -> list[dict[str, Any]]:
    """Return the rows in the order of `models`, each validated in every field that is used.

    Raises:
        MeasurementError: a row is missing, repeated, of another setting, or has impossible numbers.
    """
    by_index: dict[int, dict[str, Any]] = {}
    for row in rows:
        index = _index(row, len(models))
        if index in by_index:
            raise MeasurementError(f"bench.py gave two rows for {models[index].name}")
        by_index[index] = row
    missing = [model.name for index, model in enumerate(models) if index not in by_index]
    if missing:
        raise MeasurementError(f"bench.py gave no row for {shortened(missing)}")
    ordered = [by_index[index] for index in range(len(models))]
    for row, model in zip(ordered, models, strict=True):
        validate_row(row, model.name, run)
    return ordered


def _index(row: dict[str, Any], count: int) -> int:
    info = row.get("benchmark_info")
    index = info.get("index") if isinstance(info, dict) else None
    if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index < count:
        raise MeasurementError(f"bench.py gave a row with index {shown(index)}, expected 0 to {count - 1}")
    return index


def validate_row(row: dict[str, Any], name: str, run: DeviceRun) -> None:
    """Check every field that is used of one row: numbers, or the error of a model that could not be run.

    Raises:
        MeasurementError: it is of another setting, or has impossible numbers.
    """
    try:
        check_schema(row, Path(f"bench.py's row for {name}"))
    except UserError as error:
        raise MeasurementError(str(error)) from None
    if "error" in row:
        row["error"] = printable(row["error"], 500)
        return
    info = row.get("benchmark_info")
    if not isinstance(info, dict):
        raise MeasurementError(f"{name}: benchmark_info is {shown(info)}, expected an object")
    for field in SETTING:
        if info.get(field) != getattr(run, field):
            raise MeasurementError(f"{name}: {field} is {shown(info.get(field))}, expected {getattr(run, field)!r}")
    if info.get("batch_size", 1) != 1:
        raise MeasurementError(f"{name}: batch_size is {shown(info['batch_size'])}, but latencies are of one input")
    _validate_numbers(row, name)
    environment = row.get("environment")
    runtime = environment.get("runtime_version") if isinstance(environment, dict) else None
    if not isinstance(runtime, str) or not re.fullmatch(r"[\w.+-]{1,40}", runtime):
        raise MeasurementError(f"{name}: runtime_version is {shown(runtime)}, expected a version")
    if not isinstance(row.get("warnings"), list) or not all(isinstance(warning, str) for warning in row["warnings"]):
        raise MeasurementError(f"{name}: warnings is {shown(row.get('warnings'))}, expected a list of texts")


def _validate_numbers(row: dict[str, Any], name: str) -> None:
    latency = row.get("latency_ms")
    if not isinstance(latency, dict):
        raise MeasurementError(f"{name}: latency_ms is {shown(latency)}, expected an object")
    quantiles = [_duration(latency.get(q), f"{name}: latency_ms.{q}") for q in QUANTILES]
    if quantiles != sorted(quantiles):
        raise MeasurementError(f"{name}: quantiles do not ascend: {dict(zip(QUANTILES, quantiles, strict=True))}")
    _duration(latency.get("mean"), f"{name}: latency_ms.mean")
    _duration(latency.get("std"), f"{name}: latency_ms.std", zero=True)
    _duration(row.get("call_overhead_ms"), f"{name}: call_overhead_ms")
    _duration(row.get("sentinel_p50_ms"), f"{name}: sentinel_p50_ms")
    _duration(row.get("sentinel_drift"), f"{name}: sentinel_drift", zero=True)
    for field in ("ci_p50_ms", "rounds_p50_ms"):
        values = row.get(field)
        many = 2 if field == "ci_p50_ms" else MOST_ROUNDS
        if not isinstance(values, list) or not 1 <= len(values) <= many or (many == 2 and len(values) < 2):
            raise MeasurementError(f"{name}: {field} is {shown(values)}, expected a list of numbers")
        for value in values:
            _duration(value, f"{name}: {field}")
    count = row.get("count")
    if not isinstance(count, int) or isinstance(count, bool) or count < 1:
        raise MeasurementError(f"{name}: count is {shown(count)}, expected a whole number from 1")


def _duration(value: Any, field: str, *, zero: bool = False) -> float:
    number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if not number or value < 0 or value > LONGEST_MS or (value == 0 and not zero):
        raise MeasurementError(f"{field} is {shown(value)}, expected a finite number above zero")
    return float(value)
