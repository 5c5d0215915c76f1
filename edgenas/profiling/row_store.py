"""Rows of the timer that were kept: an append-only file, one line for each model and process of the timer."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from edgenas.errors import MeasurementError, TableError, explained
from edgenas.files import SCHEMA_VERSION, append_jsonl, read_jsonl
from edgenas.latency.device import Device
from edgenas.latency.table import LatencyRow
from edgenas.profiling.measurement import PROCESSES, Name, to_identity, to_record
from edgenas.profiling.timer_rows import validate_row


@dataclass(frozen=True)
class Kept:
    """What a file holds of one identity.

    Attributes:
        lines: by model and number of the process.
        pooled: of models that an edgenas measured which kept only what all processes gave together.
    """

    lines: dict[Name, dict[int, dict[str, Any]]] = field(default_factory=dict)
    pooled: dict[Name, dict[str, Any]] = field(default_factory=dict)

    def rows(self, name: Name) -> dict[int, dict[str, Any]]:
        """The timer's rows of one model, by the number of the process."""
        return {number: line["timed"] for number, line in sorted(self.lines.get(name, {}).items())}

    def has(self, names: Iterable[Name], processes: int = PROCESSES) -> bool:
        """Return whether all of these were timed in at least as many processes."""
        return all(name in self.pooled or len(self.lines.get(name, {})) >= processes for name in names)

    def names(self) -> set[Name]:
        """What was timed in all processes."""
        return {name for name in (*self.lines, *self.pooled) if self.has([name])}

    def records(self, names: Iterable[Name]) -> list[dict[str, Any]]:
        """What a table is made of, see `to_record`, of models timed in all processes."""
        return [self._record(name) for name in names]

    def _record(self, name: Name) -> dict[str, Any]:
        rows = list(self.rows(name).values())
        if len(rows) < PROCESSES:
            return self.pooled[name]
        last = self.lines[name][PROCESSES - 1]
        return to_record(name, rows, last["identity"], last["measured_at"])


@dataclass(frozen=True)
class RowFile:
    """A file of rows; those of one device, in one setting, of models of one graph variant and quantiser recipe."""

    path: Path
    device: Device
    exporter_version: int | str = ""
    graph_variant: str = "direct"
    quantiser_recipe: str = "none"

    def append(self, name: Name, process: int, row: Mapping[str, Any]) -> None:
        """Keep what one process gave for one model."""
        runtime_version = row["environment"]["runtime_version"]
        line = {
            "schema_version": SCHEMA_VERSION,
            "name": list(name),
            "process": process,
            "identity": self._identity(runtime_version),
            "measured_at": datetime.datetime.now(datetime.UTC).date().isoformat(),
            "timed": {key: value for key, value in row.items() if key != "raw_samples_ms"},
        }
        append_jsonl(self.path, line)

    def discount(self) -> None:
        """Let nothing that stands in the file so far count any more."""
        append_jsonl(self.path, {"schema_version": SCHEMA_VERSION, "discounted": True})

    def last_version(self) -> str:
        """The runtime's version in the newest line; empty where there is none."""
        for line in reversed(read_jsonl(self.path)):
            if isinstance(identity := line.get("identity"), dict):
                return str(identity.get("runtime_version", ""))
        return ""

    def read(self, runtime_version: str) -> Kept:
        """What was kept under one version of the runtime.

        Raises:
            TableError: a line is none of ours.
        """
        identity = self._identity(runtime_version)
        kept = Kept()
        for number, line in enumerate(read_jsonl(self.path), start=1):
            if line.get("discounted") is True:
                kept = Kept()
                continue
            if "benchmark_info" in line:
                # An earlier edgenas appended the timer's rows as they came, without the number of the process.
                continue
            try:
                if line["identity"] == identity:
                    self._add(kept, line)
            except (KeyError, TypeError, ValueError, MeasurementError) as error:
                said = explained(error.errors()) if isinstance(error, ValidationError) else error
                raise TableError(f"{self.path}, row {number} is not a measurement ({said}): delete that line") from None
        return kept

    def _identity(self, runtime_version: str) -> dict[str, Any]:
        shared = (self.exporter_version, self.graph_variant, self.quantiser_recipe)
        return asdict(to_identity(self.device, runtime_version, *shared))

    def _add(self, kept: Kept, line: dict[str, Any]) -> None:
        if "row" in line:
            kept.pooled[TypeAdapter(LatencyRow).validate_python(line["row"]).name] = line
            return
        name, process = TypeAdapter(Name).validate_python(line["name"]), line["process"]
        if not isinstance(process, int) or not 0 <= process < PROCESSES:
            raise ValueError(f"process is {process!r}")
        if not isinstance(line["timed"], dict) or "error" in line["timed"]:
            raise ValueError("timed holds no numbers")
        validate_row(line["timed"], name[3], self.device.run)
        kept.lines.setdefault(name, {})[process] = line
