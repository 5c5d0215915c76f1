"""Measuring sessions of a run: a row of `sessions.jsonl` for each, with the sentinel's latency in it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from edgenas.profiling.measurement import Measurement
from edgenas.records.folder import SessionRow
from edgenas.records.ledger import Ledger
from edgenas.runs.run import Run

FILE = "sessions.jsonl"
State = Literal["kept", "disturbed", "withdrawn"]


def keep_session(
    run: Run,
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
    _ledger(run).append(row)


def sessions(run: Run, device: str) -> list[SessionRow]:
    """Return the sessions of a device, the oldest first.

    Raises:
        RunFolderError: a row is damaged.
    """
    return [row for row in _ledger(run).rows() if row.device == device]


def counted(rows: Sequence[SessionRow]) -> list[SessionRow]:
    """Return the sessions that count: those that were kept and not withdrawn since."""
    kept: list[SessionRow] = []
    for row in rows:
        if row.state == "kept":
            kept.append(row)
        elif row.state == "withdrawn":
            kept = [one for one in kept if one.files != row.files]
    return kept


def withdraw(run: Run, device: str, count: int = 1) -> None:
    """Withdraw the last sessions of a device that count: their files are measured again."""
    for row in counted(sessions(run, device))[-count:]:
        _ledger(run).append(row.model_copy(update={"state": "withdrawn"}))


def _ledger(run: Run) -> Ledger[SessionRow]:
    return Ledger(run.folder / FILE, SessionRow)


def sentinel_us(measured: Mapping[str, Measurement]) -> float:
    """Return the p50 of the sentinel in a session, in microseconds."""
    return float(np.median([one.sentinel_p50_us for one in measured.values()]))


def digest(files: Mapping[str, Path]) -> str:
    """Return the digest of the names and contents of files."""
    total = hashlib.sha256()
    for name, path in sorted(files.items()):
        total.update(name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()
