"""Measuring sessions of a run: a row of `sessions.jsonl` for each, with the sentinel's latency in it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edgenas.errors import RunFolderError, explained
from edgenas.files import SCHEMA_VERSION, append_jsonl, read_jsonl
from edgenas.pipeline.run import Run
from edgenas.profiling.record import Measurement

FILE = "sessions.jsonl"


class SessionRow(BaseModel):
    """A row of sessions.jsonl.

    Attributes:
        device: which was measured.
        files: digest of the names and contents of the files that were timed.
        sentinel_p50_us: median over the session's processes.
        discarded: whether the session was disturbed, so that its latencies count for nothing.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, allow_inf_nan=False)

    device: str
    files: str
    sentinel_p50_us: float = Field(gt=0)
    discarded: bool


def keep_session(
    run: Run, device: str, files: str, measured: Mapping[str, Measurement], *, discarded: bool = False
) -> None:
    """Append the row of a session; `files` is their digest."""
    row = SessionRow(device=device, files=files, sentinel_p50_us=sentinel_us(measured), discarded=discarded)
    append_jsonl(run.folder / FILE, {"schema_version": SCHEMA_VERSION, **row.model_dump()})


def sessions(run: Run, device: str) -> list[SessionRow]:
    """Return the sessions of a device, the oldest first.

    Raises:
        RunFolderError: a row is damaged.
    """
    path = run.folder / FILE
    rows = [_row(row, path, number) for number, row in enumerate(read_jsonl(path), start=1)]
    return [row for row in rows if row.device == device]


def sentinel_us(measured: Mapping[str, Measurement]) -> float:
    """Return the p50 of the sentinel in a session, in microseconds."""
    return float(np.median([one.sentinel_p50_us for one in measured.values()]))


def digest(files: Mapping[str, Path]) -> str:
    """Return the digest of the names and contents of files."""
    total = hashlib.sha256()
    for name, path in sorted(files.items()):
        total.update(name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


def _row(row: dict[str, Any], path: Path, number: int) -> SessionRow:
    try:
        return SessionRow.model_validate(row)
    except ValidationError as error:
        raise RunFolderError(f"{path}, row {number}: {explained(error.errors())}: delete that line") from None
