"""Measuring sessions of a run: a row of `sessions.jsonl` for each, with the sentinel's latency in it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from edgenas.latency.device import Device
from edgenas.profiling.measurement import Measurement
from edgenas.profiling.session import discount
from edgenas.records.folder import SessionRow
from edgenas.records.ledger import Ledger
from edgenas.records.paths import SESSIONS

State = Literal["kept", "disturbed", "withdrawn"]


@dataclass(frozen=True)
class MeasuringSessions:
    """The measuring sessions of a run.

    Attributes:
        folder: the run folder.
    """

    folder: Path

    def of(self, device: str) -> list[SessionRow]:
        """Return the rows of a device, the oldest first.

        Raises:
            RunFolderError: a row is damaged.
        """
        return [row for row in self._ledger.rows() if row.device == device]

    def last(self, device: str, files: str) -> SessionRow | None:
        """Return the last row of a device that is about the files of a digest; None where there is none."""
        return next((row for row in reversed(self.of(device)) if row.files == files), None)

    def counted(self, device: str) -> list[SessionRow]:
        """Return the sessions of a device that count: those that were kept and not withdrawn since."""
        counted: list[SessionRow] = []
        for row in self.of(device):
            if row.state == "kept":
                counted.append(row)
            elif row.state == "withdrawn":
                counted = [session for session in counted if session.files != row.files]
        return counted

    def keep(
        self,
        device: str,
        files: str,
        measured: Mapping[str, Measurement],
        *,
        state: State = "kept",
        repeated: bool = False,
    ) -> None:
        """Append the row of a session; `files` is their digest."""
        sentinel = sentinel_us(measured)
        row = SessionRow(device=device, files=files, sentinel_p50_us=sentinel, state=state, repeated=repeated)
        self._ledger.append(row)

    def measure_again(self, devices: Mapping[str, Device], rows: Path, *, withdrawn: int) -> None:
        """Discard a folder's measured rows on every device: the next session measures its files again.

        Args:
            devices: the devices by name.
            rows: folder of the rows, a file for each device.
            withdrawn: number of sessions of each device, the last ones, that no longer count either.
        """
        for name, device in devices.items():
            for row in self.counted(name)[::-1][:withdrawn]:
                self._ledger.append(row.model_copy(update={"state": "withdrawn"}))
            discount(rows / f"{name}.jsonl", device)

    @property
    def _ledger(self) -> Ledger[SessionRow]:
        return Ledger(self.folder / SESSIONS, SessionRow)


def sentinel_us(measured: Mapping[str, Measurement]) -> float:
    """Return the p50 of the sentinel in a session, in microseconds."""
    return float(np.median([measurement.sentinel_p50_us for measurement in measured.values()]))


def digest(files: Mapping[str, Path]) -> str:
    """Return the digest of the names and contents of files."""
    total = hashlib.sha256()
    for name, path in sorted(files.items()):
        total.update(name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()
