"""Records: validated rows of the timer become a measurement, a row of a table."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from edgenas.latency.device import Device
from edgenas.latency.table import NETWORK, Identity, LatencyRow, LatencyTable
from edgenas.profiling.median_interval import FEWEST_PROCESSES, coverage, median_interval
from edgenas.quantities import LATENCY, P95, Quantity

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
"""How the timer's warnings of a passing disturbance begin. Others, of a governor say, hold for every session alike."""
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
    """What the timer found for one network, in microseconds; see LatencyRow for the common fields.

    `processes_p50_us` and `processes_p95_us` are those of the timer's processes, in the order in which they ran; one
    of a single process. `sentinel_p50_us` is that of the sentinel beside it, `flagged_processes` how many processes
    were disturbed, see `DISTURBANCES`.
    `model_rss_bytes` is by how much loading and warming up the network made a process grow, `process_rss_bytes` the
    most that a whole process took, the runtime and what was timed beside it included. None where the system does not
    tell.
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
    """A validated row of the timer (milliseconds) in microseconds."""
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
    """What a row says of memory, which nothing is decided by: what is no number of bytes counts as not told."""
    memory = row.get("memory")
    value = memory.get(key) if isinstance(memory, Mapping) else None
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < MOST_MEMORY else None


def pool(measurements: Sequence[Measurement]) -> Measurement:
    """One measurement of one network out of several processes': medians over them, rounds in their order.

    The interval of the p50 is that of order statistics of the processes' p50s, the 2nd and the 7th of eight, which
    holds the true median with a probability of 93.0 % (see `median_interval`). What differs between processes, such
    as where the model's memory lies, is most of what a p50 is uncertain by. Of fewer than five processes, it is the
    range that their own intervals span.
    """
    p50_us = float(np.median([m.p50_us for m in measurements]))
    ci_low_us, ci_high_us = _interval(measurements)
    grown = _told(m.model_rss_bytes for m in measurements)
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
        # Memory that one model gave back, another takes without growth: the median is of most processes.
        model_rss_bytes=int(np.median(grown)) if grown else None,
        process_rss_bytes=max(_told(m.process_rss_bytes for m in measurements), default=None),
    )


def _interval(measurements: Sequence[Measurement]) -> tuple[float, float]:
    if len(measurements) < FEWEST_PROCESSES:
        return min(m.ci_low_us for m in measurements), max(m.ci_high_us for m in measurements)
    return median_interval([m.p50_us for m in measurements])


def _told(values: Iterable[int | None]) -> list[int]:
    return [value for value in values if value is not None]


def _pooled_warnings(warnings: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """Warnings that stand against a median over processes: none while no more than a quarter of them has any."""
    flagged = [own for own in warnings if own]
    if len(flagged) <= TOLERATED_SHARE * len(warnings):
        return ()
    return tuple(f"{len(flagged)} of {len(warnings)} processes: {warning}" for warning in flagged[0])


def repeat_noise(rounds_p50_us: Sequence[float], p50_us: float) -> float:
    """|a - b| / p50 of the medians a and b of the first and the second half of the rounds' medians."""
    half = len(rounds_p50_us) // 2
    if half == 0:
        return 0.0
    return float(abs(np.median(rounds_p50_us[:half]) - np.median(rounds_p50_us[half:])) / p50_us)


def to_record(
    name: Name, rows: Sequence[Mapping[str, Any]], identity: Mapping[str, Any], measured_at: str
) -> dict[str, Any]:
    """What a table is made of, from the timer's rows of all processes: table row, identity, circumstances."""
    overhead_us = 1e3 * float(np.median([row["call_overhead_ms"] for row in rows]))
    found = pool([to_measurement(row) for row in rows])
    return {
        "identity": identity,
        "row": asdict(_latency_row(name, found, overhead_us)),
        "call_overhead_us": overhead_us,
        "sentinel_p50_us": 1e3 * float(np.median([row["sentinel_p50_ms"] for row in rows])),
        # As warnings: medians over processes bear with some that were disturbed.
        "sentinel_drift": float(
            np.quantile([row["sentinel_drift"] for row in rows], 1 - TOLERATED_SHARE, method="lower")
        ),
        "measured_at": measured_at,
        "environment": rows[-1]["environment"],
        "warnings": list(found.warnings),
    }


def network_row(space_structure_id: str, num_classes: int, arch: str, found: Measurement) -> LatencyRow:
    """A table's row of a whole network."""
    return _latency_row((NETWORK, space_structure_id, num_classes, arch), found, overhead_us=0.0)


def _latency_row(name: Name, found: Measurement, overhead_us: float) -> LatencyRow:
    kind, space, num_classes, key = name

    def net(value_us: float) -> float:
        if kind == NETWORK:
            return value_us
        # A block as quick as the empty model still costs something; zero would break logarithms and sums.
        return max(value_us - overhead_us, SMALLEST_NET_SHARE * overhead_us)

    return LatencyRow(
        kind=kind,
        space=space,
        num_classes=num_classes,
        key=key,
        p50_us=net(found.p50_us),
        p95_us=net(found.p95_us),
        mean_us=net(found.mean_us),
        std_us=found.std_us,
        ci_low_us=net(found.ci_low_us),
        ci_high_us=net(found.ci_high_us),
        count=found.count,
        rounds=len(found.rounds_p50_us),
        repeat_noise=found.repeat_noise,
    )


def to_identity(
    device: Device,
    runtime_version: str,
    exporter_version: int | str,
    variant: str = "direct",
    quantiser_recipe: str = "none",
) -> Identity:
    """What rows of a device share."""
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
    """The table of records of one identity; circumstances are those of all of them."""
    kept = list(records)
    environment = kept[-1]["environment"]
    dates = sorted({record["measured_at"] for record in kept})
    circumstances = {
        "measured_at": dates[-1],
        "first_measured_at": dates[0],
        **{key: environment.get(key) for key in DESCRIBED},
        **{key: environment[key] for key in IN_BROWSERS if key in environment},
        "call_overhead_us": float(np.median([record["call_overhead_us"] for record in kept])),
        "call_overhead_subtracted_from": "block rows",
        "ci_coverage": CI_COVERAGE,
        "sentinel_p50_us": float(np.median([record["sentinel_p50_us"] for record in kept])),
        "sentinel_drift": max(record["sentinel_drift"] for record in kept),
        "warnings": _worst_of_each_kind([record["warnings"] for record in kept]),
    }
    rows = tuple(LatencyRow(**record["row"]) for record in kept)
    return LatencyTable(Identity(**kept[-1]["identity"]), circumstances, rows)


def _worst_of_each_kind(warnings: Sequence[Sequence[str]]) -> list[str]:
    """Of every model's warnings those that differ in numbers alone as one, which tells how many models it is about."""
    kinds: dict[str, dict[int, str]] = {}
    for model, own in enumerate(warnings):
        for warning in own:
            found = kinds.setdefault(NUMBER.sub("#", warning), {})
            found[model] = max(found.get(model, warning), warning, key=_numbers)
    return [
        f"{len(found)} of {len(warnings)} models, at worst: {max(found.values(), key=_numbers)}"
        for _, found in sorted(kinds.items())
    ]


def _numbers(text: str) -> list[float]:
    return [float(number) for number in NUMBER.findall(text)]
