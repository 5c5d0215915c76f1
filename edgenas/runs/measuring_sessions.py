"""Measuring sessions of a run: a row of `sessions.jsonl` for each, with the sentinel's latency in it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edgenas.errors import RunFolderError, explained
from edgenas.files import SCHEMA_VERSION, append_jsonl, read_jsonl
from edgenas.profiling.measurement import Measurement
from edgenas.runs.folder import Run

FILE = "sessions.jsonl"


State = Literal["kept", "disturbed", "withdrawn"]


class SessionRow(BaseModel):
    """A row of sessions.jsonl.

    Attributes:
        device: which was measured.
        files: digest of the names and contents of the files that were timed.
        sentinel_p50_us: median over the session's processes.
        state: `kept`; `disturbed`, so that it is repeated and counts for nothing; `withdrawn`: sessions of these files
            so far count no more, because the files are measured again.
        repeated: whether this is the repetition of a disturbed session.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, allow_inf_nan=False)

    device: str
    files: str
    sentinel_p50_us: float = Field(gt=0)
    state: State
    repeated: bool


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
    _append(run, SessionRow(device=device, files=files, sentinel_p50_us=sentinel, state=state, repeated=repeated))


def sessions(run: Run, device: str) -> list[SessionRow]:
    """Return the sessions of a device, the oldest first.

    Raises:
        RunFolderError: a row is damaged.
    """
    path = run.folder / FILE
    rows = [_row(row, path, number) for number, row in enumerate(read_jsonl(path), start=1)]
    return [row for row in rows if row.device == device]


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
        _append(run, row.model_copy(update={"state": "withdrawn"}))


def _append(run: Run, row: SessionRow) -> None:
    append_jsonl(run.folder / FILE, {"schema_version": SCHEMA_VERSION, **row.model_dump()})


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
