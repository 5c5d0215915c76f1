"""Rows of latency tables, and the setting that they were measured in. All times are microseconds."""

from __future__ import annotations

import math
import re
from dataclasses import asdict, dataclass, fields
from typing import Any

BLOCK, NETWORK = "block", "network"
UNKNOWN = "unknown"
NOT_STATED = math.nan
"""A number of a row that its source does not give; a count is 0 then."""


@dataclass(frozen=True)
class Identity:
    """The setting of a measurement: two latencies are comparable where it is equal."""

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
        """The name of a table's folder, e.g. `ort1.31-cpu-fp32-t1`: the fields in which tables of a device differ.

        Unknown fields are left out, but for the runtime.
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
        """Return the fields in which two identities differ, with both values. `unknown` differs from everything."""
        pairs = {name: (value, getattr(other, name)) for name, value in asdict(self).items()}
        return {name: pair for name, pair in pairs.items() if pair[0] != pair[1] or UNKNOWN in pair}


@dataclass(frozen=True)
class LatencyRow:
    """The measured latency of one block or network. Tables from elsewhere may lack all but the first five fields.

    Attributes:
        kind: `block` or `network`.
        space: structure_id of the network's space; empty for blocks.
        num_classes: number of classes of the network; 0 for blocks.
        key: `BlockSpec.key`, or `Arch.id`.
        p50_us: median of all timed runs; in tables from elsewhere the statistic that the circumstances name
            as `latency_statistic`.
        ci_low_us: lower end of the confidence interval of the p50, from order statistics of the processes' p50s: the
            2nd of eight. The circumstances state its coverage as `ci_coverage`.
        ci_high_us: its upper end: the 7th of eight.
        count: timed runs.
        rounds: repetitions that these runs were spread over.
        repeat_noise: |a - b| / p50, where a and b are the medians of the medians of the first and of the
            second half of the rounds: how far two sessions of half the length, one after the other, differ.
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
        """The key of the row, which a table holds once: kind, space, classes, key."""
        return (self.kind, self.space, self.num_classes, self.key)

    def to_json(self) -> dict[str, Any]:
        """Return the values by column; null where one is not stated."""
        return {name: None if _is_unstated(name, value) else value for name, value in asdict(self).items()}


COLUMNS = tuple(field.name for field in fields(LatencyRow))
WHOLE = ("num_classes", "count", "rounds")
"""Columns of whole numbers."""
TEXT = ("kind", "space", "key")
MAY_BE_UNSTATED = COLUMNS[5:]
"""Columns that tables from elsewhere may lack."""


def _is_unstated(column: str, value: Any) -> bool:
    return column in MAY_BE_UNSTATED and (value == 0 if column in WHOLE else math.isnan(value))
