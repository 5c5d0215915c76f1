"""Rows of latency tables, and the settings that they were measured with. All times are microseconds."""

from __future__ import annotations

import math
import re
from dataclasses import asdict, dataclass, fields
from typing import Any

BLOCK, NETWORK = "block", "network"
UNKNOWN = "unknown"
NOT_STATED = math.nan
"""Value of a number that the source of a table does not state. An unstated count is 0."""


@dataclass(frozen=True)
class Identity:
    """Device, runtime and settings of a measurement. Latencies of different identities are not comparable."""

    device: str
    runtime: str
    runtime_version: str
    provider: str
    precision: str
    threads: int | str
    optimisation_level: str
    spinning: bool | str
    exporter_version: int | str
    quantiser_recipe: str = "none"
    graph_variant: str = "direct"

    @property
    def setting(self) -> str:
        """Return the folder name of a table within its device's folder, e.g. `ort1.31-cpu-fp32-t1`.

        Unknown fields other than the runtime are left out.
        """
        runtime = re.sub("^onnxruntime(?=$|-)", "ort", self.runtime)
        version = "" if self.runtime_version == UNKNOWN else ".".join(self.runtime_version.split(".")[:2])
        threads = UNKNOWN if self.threads == UNKNOWN else f"t{self.threads}"
        parts = [part for part in (self.provider, self.precision, threads) if part != UNKNOWN]
        if self.optimisation_level not in ("all", UNKNOWN):
            parts.append(self.optimisation_level)
        if self.graph_variant not in ("direct", UNKNOWN):
            parts.append(self.graph_variant)
        if self.spinning is True:
            parts.append("spin")
        return "-".join([f"{runtime}{version}", *parts])

    def differences(self, other: Identity) -> dict[str, tuple[Any, Any]]:
        """Return the fields in which two identities differ, with both values; `unknown` always differs."""
        pairs = {name: (value, getattr(other, name)) for name, value in asdict(self).items()}
        return {name: pair for name, pair in pairs.items() if pair[0] != pair[1] or UNKNOWN in pair}


@dataclass(frozen=True)
class LatencyRow:
    """Measured latency of one block or network. Imported tables may lack all values behind `p50_us`.

    Attributes:
        kind: `block` or `network`.
        space: structure_id of the network's space; empty for blocks.
        num_classes: number of classes of the network; 0 for blocks.
        key: `BlockSpec.key`, or `Arch.id`.
        p50_us: median of all timed runs; in imported tables the statistic that the circumstances name as
            `latency_statistic`.
        p95_us: 95 % quantile of all timed runs.
        mean_us: mean of all timed runs.
        std_us: standard deviation of all timed runs.
        ci_low_us: lower end of the confidence interval of the p50. It is an order statistic of the processes' p50s,
            the 2nd of eight. The circumstances state the coverage as `ci_coverage`.
        ci_high_us: upper end of the interval, the 7th of eight.
        count: number of timed runs.
        rounds: number of repetitions that the runs were spread over.
        repeat_noise: |a - b| / p50, where a and b are the medians of the rounds' medians in the first and in the
            second half of the rounds. It estimates how far two consecutive sessions of half the length differ.
    """

    kind: str
    space: str
    num_classes: int
    key: str
    p50_us: float
    p95_us: float
    mean_us: float
    std_us: float
    ci_low_us: float
    ci_high_us: float
    count: int
    rounds: int
    repeat_noise: float

    @property
    def name(self) -> tuple[str, str, int, str]:
        """Return kind, space, number of classes and key, which are unique within a table."""
        return (self.kind, self.space, self.num_classes, self.key)

    def to_json(self) -> dict[str, Any]:
        """Return the values by column, None where a value is not stated."""
        return {name: None if _is_unstated(name, value) else value for name, value in asdict(self).items()}


COLUMNS = tuple(field.name for field in fields(LatencyRow))
WHOLE = ("num_classes", "count", "rounds")
"""Columns of whole numbers."""
TEXT = ("kind", "space", "key")
MAY_BE_UNSTATED = COLUMNS[5:]
"""Columns that imported tables may lack."""


def _is_unstated(column: str, value: Any) -> bool:
    return column in MAY_BE_UNSTATED and (value == 0 if column in WHOLE else math.isnan(value))
