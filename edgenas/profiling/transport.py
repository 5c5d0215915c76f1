"""Transports: how the timer of the deploy kit is run on a device, and how its rows are believed.

What comes back is hostile until validated: only rows of the expected form, for the models that were sent, with
finite numbers in a sensible order pass.
"""

from __future__ import annotations

import contextlib
import errno
import math
import os
import re
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import IO, Any

from edgenas.errors import MeasurementError
from edgenas.files import check_schema, read_jsonl, shipped
from edgenas.latency.device import DeviceRun

TAIL_LINES = 15
THREAD_VARIABLES = ("OMP_", "MKL_", "OPENBLAS_", "KMP_", "GOMP_", "ORT_")
QUANTILES = ("min", "p10", "p50", "p90", "p95", "p99", "max")
LONGEST_MS = 1e7


def run_bench(
    models: Sequence[Path],
    run: DeviceRun,
    *,
    rounds: int,
    seed: int,
    progress: Callable[[int, int], None] | None = None,
) -> list[dict[str, Any]]:
    """Time models on this machine in one process of the kit's bench.py.

    Args:
        models: ONNX files; the timer's output lies beside the first while it runs.
        run: threads, provider and the like.
        rounds: visits to every model.
        seed: of inputs and order.
        progress: called with visits done and in all.

    Returns:
        One validated row a model, in the order given; times in milliseconds. The row of a model that the device
        cannot run holds an `error` instead of numbers.

    Raises:
        MeasurementError: the timer failed, or a row is not credible.
    """
    with tempfile.TemporaryDirectory(dir=models[0].parent, prefix=".timer.") as folder:
        fresh = Path(folder) / "rows.jsonl"
        code, tail = _run(_command(models, run, rounds, seed, fresh), progress)
        rows = read_jsonl(fresh)
    # With exit code 1 the timer says that there are models it could not run; their rows say which.
    if code != 0 and not (code == 1 and any("error" in row for row in rows)):
        full = "\nFree some space and run the same command again." if os.strerror(errno.ENOSPC) in tail else ""
        raise MeasurementError(f"bench.py ended with exit code {code}:\n{tail}{full}")
    return validate_rows(rows, models, run)


def installed_runtime() -> str:
    """Version of the ONNX Runtime that models are run with here; empty where no package tells it."""
    for package in ("onnxruntime", "onnxruntime-gpu"):
        with contextlib.suppress(PackageNotFoundError):
            return version(package)
    return ""


def _command(models: Sequence[Path], run: DeviceRun, rounds: int, seed: int, out: Path) -> list[str]:
    options = {
        "--threads": run.threads,
        "--provider": run.provider,
        "--optimisation-level": run.optimisation_level,
        "--rounds": rounds,
        "--seed": seed,
        "--out": out,
    }
    flags = [str(word) for option in options.items() for word in option]
    bench = shipped("export") / "bench.py"
    return [sys.executable, str(bench), *map(str, models), *flags, *["--spinning"] * run.spinning]


def _run(command: list[str], progress: Callable[[int, int], None] | None) -> tuple[int, str]:
    """Exit code and the end of standard error."""
    # Variables that set the threads of other libraries would leak this process's choices into the timer.
    environment = {k: v for k, v in os.environ.items() if not k.startswith(THREAD_VARIABLES)}
    tail: deque[str] = deque(maxlen=TAIL_LINES)
    with subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    ) as process:
        assert process.stderr is not None
        try:
            _follow(process.stderr, tail, progress)
        except BaseException:
            process.kill()
            raise
    return process.returncode, "".join(tail)


def _follow(stream: IO[str], tail: deque[str], progress: Callable[[int, int], None] | None) -> None:
    for line in stream:
        words = line.split()
        if len(words) == 3 and words[0] == "progress" and words[1].isdigit() and words[2].isdigit():
            if progress:
                progress(int(words[1]), int(words[2]))
        else:
            tail.append(line)


def validate_rows(rows: Sequence[dict[str, Any]], models: Sequence[Path], run: DeviceRun) -> list[dict[str, Any]]:
    """The rows in the order of `models`, each believed only after a look at all that is used of it.

    Raises:
        MeasurementError: a row is missing, twice there, of another setting, or has numbers that no measurement
            gives.
    """
    by_index: dict[int, dict[str, Any]] = {}
    for row in rows:
        index = _index(row, len(models))
        if index in by_index:
            raise MeasurementError(f"bench.py gave two rows for {models[index].name}")
        by_index[index] = row
    missing = [model.name for index, model in enumerate(models) if index not in by_index]
    if missing:
        raise MeasurementError(f"bench.py gave no row for {', '.join(missing[:5])}")
    ordered = [by_index[index] for index in range(len(models))]
    for row, model in zip(ordered, models, strict=True):
        validate_row(row, model.name, run)
    return ordered


def _index(row: dict[str, Any], count: int) -> int:
    info = row.get("benchmark_info")
    index = info.get("index") if isinstance(info, dict) else None
    if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index < count:
        raise MeasurementError(f"bench.py gave a row with index {index!r}, wanted 0 to {count - 1}")
    return index


def validate_row(row: dict[str, Any], name: str, run: DeviceRun) -> None:
    """Look at all that is used of one row: numbers, or the error of a model that could not be run.

    Raises:
        MeasurementError: it is of another setting, or has numbers that no measurement gives.
    """
    try:
        check_schema(row, Path(f"bench.py's row for {name}"))
    except ValueError as error:
        raise MeasurementError(str(error)) from None
    if "error" in row:
        row["error"] = str(row["error"])[:500]
        return
    info = row.get("benchmark_info")
    if not isinstance(info, dict):
        raise MeasurementError(f"{name}: benchmark_info is {info!r}, wanted an object")
    for field in ("threads", "provider", "optimisation_level", "spinning"):
        if info.get(field) != getattr(run, field):
            raise MeasurementError(f"{name}: {field} is {info.get(field)!r}, wanted {getattr(run, field)!r}")
    _validate_numbers(row, name)
    environment = row.get("environment")
    runtime = environment.get("runtime_version") if isinstance(environment, dict) else None
    if not isinstance(runtime, str) or not re.fullmatch(r"[\w.+-]{1,40}", runtime):
        raise MeasurementError(f"{name}: runtime_version is {runtime!r}, wanted a version")
    if not isinstance(row.get("doubts"), list) or not all(isinstance(doubt, str) for doubt in row["doubts"]):
        raise MeasurementError(f"{name}: doubts is {row.get('doubts')!r}, wanted a list of texts")


def _validate_numbers(row: dict[str, Any], name: str) -> None:
    latency = row.get("latency_ms")
    if not isinstance(latency, dict):
        raise MeasurementError(f"{name}: latency_ms is {latency!r}, wanted an object")
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
        if not isinstance(values, list) or not values or (field == "ci_p50_ms" and len(values) != 2):
            raise MeasurementError(f"{name}: {field} is {values!r}, wanted a list of numbers")
        for value in values:
            _duration(value, f"{name}: {field}")
    count = row.get("count")
    if not isinstance(count, int) or isinstance(count, bool) or count < 1:
        raise MeasurementError(f"{name}: count is {count!r}, wanted a whole number from 1")


def _duration(value: Any, place: str, *, zero: bool = False) -> float:
    number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if not number or value < 0 or value > LONGEST_MS or (value == 0 and not zero):
        raise MeasurementError(f"{place} is {value!r}, wanted a finite number above zero")
    return float(value)
