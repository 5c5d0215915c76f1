"""The store of the timer's rows: an append-only file with one line for each model and process of the timer."""

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
from edgenas.profiling.measurement import PROCESSES, Name, to_identity, to_record
from edgenas.profiling.timer_rows import validate_row


@dataclass(frozen=True)
class StoredRows:
    """The rows of one identity.

    Attributes:
        lines: lines of the file by model and number of the process.
    """

    lines: dict[Name, dict[int, dict[str, Any]]] = field(default_factory=dict)

    def rows(self, name: Name) -> dict[int, dict[str, Any]]:
        """Return the timer's rows of one model by the number of the process."""
        return {number: line["timed"] for number, line in sorted(self.lines.get(name, {}).items())}

    def has(self, names: Iterable[Name], processes: int = PROCESSES) -> bool:
        """Return whether all of these were timed in at least as many processes."""
        return all(len(self.lines.get(name, {})) >= processes for name in names)

    def names(self) -> set[Name]:
        """Return the models that were timed in all processes."""
        return {name for name in self.lines if self.has([name])}

    def records(self, names: Iterable[Name]) -> list[dict[str, Any]]:
        """Return the records that a table is made of (see `to_record`), of models timed in all processes."""
        return [self._record(name) for name in names]

    def _record(self, name: Name) -> dict[str, Any]:
        last = self.lines[name][PROCESSES - 1]
        return to_record(name, list(self.rows(name).values()), last["identity"], last["measured_at"])


@dataclass(frozen=True)
class RowStore:
    """A file of rows, and the identity of those that count.

    Attributes:
        path: the file.
        device: its device, in one setting.
        exporter_version: version of the exporter of the models.
        graph_variant: graph variant of the models.
        quantiser_recipe: quantiser recipe of the models.
    """

    path: Path
    device: Device
    exporter_version: int | str = ""
    graph_variant: str = "direct"
    quantiser_recipe: str = "none"

    def append(self, name: Name, process: int, row: Mapping[str, Any]) -> None:
        """Store the row that one process gave for one model."""
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
        """Mark all rows in the file as invalid."""
        append_jsonl(self.path, {"schema_version": SCHEMA_VERSION, "discounted": True})

    def last_version(self) -> str:
        """Return the runtime version of the newest row, or an empty text if there is none."""
        for line in reversed(read_jsonl(self.path)):
            if isinstance(identity := line.get("identity"), dict):
                return str(identity.get("runtime_version", ""))
        return ""

    def read(self, runtime_version: str) -> StoredRows:
        """Return the rows of one version of the runtime.

        Raises:
            TableError: a line is not a measurement.
        """
        identity = self._identity(runtime_version)
        stored = StoredRows()
        for number, line in enumerate(read_jsonl(self.path), start=1):
            if line.get("discounted") is True:
                stored = StoredRows()
                continue
            try:
                if line["identity"] == identity:
                    self._add(stored, line)
            except (KeyError, TypeError, ValueError, MeasurementError) as error:
                problem = explained(error.errors()) if isinstance(error, ValidationError) else error
                raise TableError(
                    f"{self.path}, row {number} is not a measurement ({problem}): delete that line"
                ) from None
        return stored

    def _identity(self, runtime_version: str) -> dict[str, Any]:
        shared = (self.exporter_version, self.graph_variant, self.quantiser_recipe)
        return asdict(to_identity(self.device, runtime_version, *shared))

    def _add(self, stored: StoredRows, line: dict[str, Any]) -> None:
        name, process = TypeAdapter(Name).validate_python(line["name"]), line["process"]
        if not isinstance(process, int) or not 0 <= process < PROCESSES:
            raise ValueError(f"process is {process!r}")
        if not isinstance(line["timed"], dict) or "error" in line["timed"]:
            raise ValueError("timed holds no numbers")
        validate_row(line["timed"], name[3], self.device.run)
        stored.lines.setdefault(name, {})[process] = line
