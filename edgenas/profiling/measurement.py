"""Measurements: validated rows of the timer become a measurement, and a row of a table."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from edgenas.latency.device import Device
from edgenas.latency.table import LatencyTable
from edgenas.profiling.median_interval import FEWEST_PROCESSES, coverage, median_interval
from edgenas.quantities import LATENCY, P95, Quantity
from edgenas.records.latency import NETWORK, Identity, LatencyRow

PROCESSES = 8
"""In which models are timed, one after another; rounds are shared among them."""
CI_COVERAGE = coverage(PROCESSES)
"""Exact probability that the interval of all processes holds the true median: 238/256 of eight."""
DISTURBANCES = (
    "the sentinel drifted",
    "rounds differ",
    "other programs kept",
    "the processor throttled",
    "the clock fell",
)
"""Beginnings of the timer's warnings of a passing disturbance. Others, such as of a governor, hold in every session."""
SMALLEST_NET_SHARE = 0.01
TOLERATED_SHARE = 0.25
MOST_MEMORY = 2**50
DESCRIBED = ("cpu", "cores", "os", "python", "governor", "frequency_hz", "temperature_celsius", "foreign_load")
IN_BROWSERS = ("browser", "isolated", "clock_resolution_us")
NUMBER = re.compile(r"\d+(?:\.\d+)?", re.ASCII)
Name = tuple[str, str, int, str]
"""Kind, space, number of classes, key: see LatencyRow.name."""


@dataclass(frozen=True)
class Measurement:
    """The measured latency of one network, in microseconds; see LatencyRow for the common fields.

    Attributes:
        processes_p50_us: p50 of each process of the timer, in the order in which they ran.
        processes_p95_us: likewise the p95.
        sentinel_p50_us: p50 of the sentinel in the same processes.
        flagged_processes: number of disturbed processes, see `DISTURBANCES`.
        model_rss_bytes: growth of a process while the network was loaded and warmed up; None where the system does not
            state it.
        process_rss_bytes: largest size of a process, with the runtime and the other networks in it; None likewise.
    """

    p50_us: float
    p95_us: float
    mean_us: float
    std_us: float
    ci_low_us: float
    ci_high_us: float
    count: int
    rounds_p50_us: tuple[float, ...]
    repeat_noise: float
    warnings: tuple[str, ...]
    processes_p50_us: tuple[float, ...]
    processes_p95_us: tuple[float, ...]
    sentinel_p50_us: float
    flagged_processes: int
    model_rss_bytes: int | None = None
    process_rss_bytes: int | None = None

    def value_us(self, quantity: Quantity) -> float:
        """Return the value of a measured quantity, in microseconds."""
        return {LATENCY: self.p50_us, P95: self.p95_us}[quantity]

    def processes_us(self, quantity: Quantity) -> tuple[float, ...]:
        """Return the values of a measured quantity in each process of the timer, in microseconds."""
        return {LATENCY: self.processes_p50_us, P95: self.processes_p95_us}[quantity]


def to_measurement(row: Mapping[str, Any]) -> Measurement:
    """Return a validated row of the timer (milliseconds) in microseconds."""
    latency = row["latency_ms"]
    rounds = tuple(1e3 * value for value in row["rounds_p50_ms"])
    p50_us = 1e3 * latency["p50"]
    return Measurement(
        p50_us=p50_us,
        p95_us=1e3 * latency["p95"],
        mean_us=1e3 * latency["mean"],
        std_us=1e3 * latency["std"],
        ci_low_us=1e3 * row["ci_p50_ms"][0],
        ci_high_us=1e3 * row["ci_p50_ms"][1],
        count=row["count"],
        rounds_p50_us=rounds,
        repeat_noise=repeat_noise(rounds, p50_us),
        warnings=tuple(row["warnings"]),
        processes_p50_us=(p50_us,),
        processes_p95_us=(1e3 * latency["p95"],),
        sentinel_p50_us=1e3 * row["sentinel_p50_ms"],
        flagged_processes=1 if any(warning.startswith(DISTURBANCES) for warning in row["warnings"]) else 0,
        model_rss_bytes=_bytes(row, "model_rss_bytes"),
        process_rss_bytes=_bytes(row, "peak_rss_bytes"),
    )


def _bytes(row: Mapping[str, Any], key: str) -> int | None:
    """Return a memory size of a row. No decision depends on it, so values that are no number of bytes are ignored."""
    memory = row.get("memory")
    value = memory.get(key) if isinstance(memory, Mapping) else None
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < MOST_MEMORY else None


def pool(measurements: Sequence[Measurement]) -> Measurement:
    """Return one measurement of a network from those of several processes: medians over them, and all their rounds.

    The interval of the p50 is that of order statistics of the processes' p50s, the 2nd and the 7th of eight, which
    holds the true median with a probability of 93.0 % (see `median_interval`). Most of the uncertainty of a p50 is
    between processes, such as by the place of the model in memory. For fewer than five processes, the interval is the
    range of the processes' own intervals.
    """
    p50_us = float(np.median([m.p50_us for m in measurements]))
    ci_low_us, ci_high_us = _interval(measurements)
    growths = _stated(m.model_rss_bytes for m in measurements)
    rounds = tuple(value for m in measurements for value in m.rounds_p50_us)
    return Measurement(
        p50_us=p50_us,
        p95_us=float(np.median([m.p95_us for m in measurements])),
        mean_us=float(np.median([m.mean_us for m in measurements])),
        std_us=float(np.median([m.std_us for m in measurements])),
        ci_low_us=ci_low_us,
        ci_high_us=ci_high_us,
        count=sum(m.count for m in measurements),
        rounds_p50_us=rounds,
        repeat_noise=repeat_noise(rounds, p50_us),
        warnings=_pooled_warnings([m.warnings for m in measurements]),
        processes_p50_us=tuple(m.p50_us for m in measurements),
        processes_p95_us=tuple(m.p95_us for m in measurements),
        sentinel_p50_us=float(np.median([m.sentinel_p50_us for m in measurements])),
        flagged_processes=sum(m.flagged_processes for m in measurements),
        # A model may use memory that another one freed, without growth: the median holds for most processes.
        model_rss_bytes=int(np.median(growths)) if growths else None,
        process_rss_bytes=max(_stated(m.process_rss_bytes for m in measurements), default=None),
    )


def _interval(measurements: Sequence[Measurement]) -> tuple[float, float]:
    if len(measurements) < FEWEST_PROCESSES:
        return min(m.ci_low_us for m in measurements), max(m.ci_high_us for m in measurements)
    return median_interval([m.p50_us for m in measurements])


def _stated(values: Iterable[int | None]) -> list[int]:
    return [value for value in values if value is not None]


def _pooled_warnings(warnings: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """Return the warnings of a median over processes; none while at most a quarter of the processes has any."""
    flagged = [messages for messages in warnings if messages]
    if len(flagged) <= TOLERATED_SHARE * len(warnings):
        return ()
    return tuple(f"{len(flagged)} of {len(warnings)} processes: {warning}" for warning in flagged[0])


def repeat_noise(rounds_p50_us: Sequence[float], p50_us: float) -> float:
    """Return |a - b| / p50, with the medians a and b of the first and the second half of the rounds' medians."""
    half = len(rounds_p50_us) // 2
    if half == 0:
        return 0.0
    return float(abs(np.median(rounds_p50_us[:half]) - np.median(rounds_p50_us[half:])) / p50_us)


def to_record(
    name: Name, rows: Sequence[Mapping[str, Any]], identity: Mapping[str, Any], measured_at: str
) -> dict[str, Any]:
    """Return the record that a table is made of, from the rows of all processes: row, identity, circumstances."""
    overhead_us = 1e3 * float(np.median([row["call_overhead_ms"] for row in rows]))
    measurement = pool([to_measurement(row) for row in rows])
    return {
        "identity": identity,
        "row": asdict(_latency_row(name, measurement, overhead_us)),
        "call_overhead_us": overhead_us,
        "sentinel_p50_us": 1e3 * float(np.median([row["sentinel_p50_ms"] for row in rows])),
        # As for warnings: medians over processes are robust to a few disturbed ones.
        "sentinel_drift": float(
            np.quantile([row["sentinel_drift"] for row in rows], 1 - TOLERATED_SHARE, method="lower")
        ),
        "measured_at": measured_at,
        "environment": rows[-1]["environment"],
        "warnings": list(measurement.warnings),
    }


def network_row(space_structure_id: str, num_classes: int, arch: str, measurement: Measurement) -> LatencyRow:
    """Return the row of a whole network in a table."""
    return _latency_row((NETWORK, space_structure_id, num_classes, arch), measurement, overhead_us=0.0)


def _latency_row(name: Name, measurement: Measurement, overhead_us: float) -> LatencyRow:
    kind, space, num_classes, key = name

    def net(value_us: float) -> float:
        if kind == NETWORK:
            return value_us
        # A block with the latency of the empty model still takes time; zero would break logarithms and sums.
        return max(value_us - overhead_us, SMALLEST_NET_SHARE * overhead_us)

    return LatencyRow(
        kind=kind,
        space=space,
        num_classes=num_classes,
        key=key,
        p50_us=net(measurement.p50_us),
        p95_us=net(measurement.p95_us),
        mean_us=net(measurement.mean_us),
        std_us=measurement.std_us,
        ci_low_us=net(measurement.ci_low_us),
        ci_high_us=net(measurement.ci_high_us),
        count=measurement.count,
        rounds=len(measurement.rounds_p50_us),
        repeat_noise=measurement.repeat_noise,
    )


def to_identity(
    device: Device,
    runtime_version: str,
    exporter_version: int | str,
    variant: str = "direct",
    quantiser_recipe: str = "none",
) -> Identity:
    """Return the identity that rows of a device share."""
    run = device.run
    return Identity(
        device=device.name,
        runtime=run.runtime,
        runtime_version=runtime_version,
        provider=run.provider,
        precision=run.precision,
        threads=run.threads,
        optimisation_level=run.optimisation_level,
        spinning=run.spinning,
        exporter_version=exporter_version,
        quantiser_recipe=quantiser_recipe,
        graph_variant=variant,
    )


def to_table(records: Iterable[Mapping[str, Any]]) -> LatencyTable:
    """Return the table of records of one identity, with the circumstances of all of them."""
    records = list(records)
    environment = records[-1]["environment"]
    dates = sorted({record["measured_at"] for record in records})
    circumstances = {
        "measured_at": dates[-1],
        "first_measured_at": dates[0],
        **{key: environment.get(key) for key in DESCRIBED},
        **{key: environment[key] for key in IN_BROWSERS if key in environment},
        "call_overhead_us": float(np.median([record["call_overhead_us"] for record in records])),
        "call_overhead_subtracted_from": "block rows",
        "ci_coverage": CI_COVERAGE,
        "sentinel_p50_us": float(np.median([record["sentinel_p50_us"] for record in records])),
        "sentinel_drift": max(record["sentinel_drift"] for record in records),
        "warnings": _worst_of_each_kind([record["warnings"] for record in records]),
    }
    rows = tuple(LatencyRow(**record["row"]) for record in records)
    return LatencyTable(Identity(**records[-1]["identity"]), circumstances, rows)


def _worst_of_each_kind(warnings: Sequence[Sequence[str]]) -> list[str]:
    """Return one message for the warnings of all models that differ in numbers only, with the number of models."""
    kinds: dict[str, dict[int, str]] = {}
    for model, messages in enumerate(warnings):
        for message in messages:
            by_model = kinds.setdefault(NUMBER.sub("#", message), {})
            by_model[model] = max(by_model.get(model, message), message, key=_numbers)
    return [
        f"{len(by_model)} of {len(warnings)} models, at worst: {max(by_model.values(), key=_numbers)}"
        for _, by_model in sorted(kinds.items())
    ]


def _numbers(text: str) -> list[float]:
    return [float(number) for number in NUMBER.findall(text)]
