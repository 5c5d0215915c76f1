"""Measuring in sessions: files are timed together, in new processes, and judged with the run's other sessions in mind.

A session whose networks were mostly disturbed is repeated once by itself before anything is decided. Its measurements
are discarded whatever the repetition gives, so that the better of two is never picked.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from edgenas.latency.device import Device
from edgenas.latency.table import LatencyTable
from edgenas.profiling.measurement import PROCESSES, Measurement
from edgenas.profiling.session import discount, measure_networks, to_be_repeated
from edgenas.profiling.transport import Transport
from edgenas.profiling.verdict import slowdown
from edgenas.progress import Progress
from edgenas.runs.measuring_sessions import MeasuringSessions, digest, sentinel_us
from edgenas.runs.run import Run


@dataclass(frozen=True)
class Session:
    """The measurements of one session.

    Attributes:
        measured: measurements by the files' names.
        slowdown: latency in the slowest session of the run over that in this one, see `verdict.slowdown`.
        sessions: number of sessions that this compares, including this one.
        repeated: whether this is the repetition of a disturbed session.
    """

    measured: dict[str, Measurement]
    slowdown: float
    sessions: int
    repeated: bool


@dataclass(frozen=True)
class SessionTimer:
    """Times files on one device of a run, session by session.

    Attributes:
        device: the device.
        transport: the way to it.
        sessions: the run's sessions.
        profiled_us: the sentinel's p50 in the session of the device's table; empty where the table does not state it.
        rounds: repetitions of every file in a session.
        seed: seed of the run.
        quantiser_recipe: recipe of int8 files, see `QuantiserRecipe.latency_id`.
        progress: called with what is being done, repetitions done and in all.
    """

    device: Device
    transport: Transport
    sessions: MeasuringSessions
    profiled_us: tuple[float, ...]
    rounds: int
    seed: int
    quantiser_recipe: str
    progress: Progress

    def time(self, files: Mapping[str, Path], out: Path, deciding: Collection[str] | None = None) -> Session:
        """Time files in one session, in new processes, and keep its sentinel.

        Args:
            files: ONNX files by name.
            out: file of rows; files of this content that it has rows of are not measured again.
            deciding: names of the files that a decision rests on; None for all. A session is repeated where most of
                these were disturbed.

        Raises:
            MeasurementError: see `measure_networks`.
            RunFolderError: a row of sessions.jsonl is damaged.
        """
        last, size = self.sessions.last(self.device.name, digest(files)), _size(out)
        measured = self._measure(files, out)
        if last is not None and last.state == "kept" and _size(out) == size:
            return self._compared(measured, repeated=last.repeated)
        repeated = last is not None and last.state == "disturbed"
        if not repeated and to_be_repeated({n: measured[n] for n in deciding or files}, self.transport):
            discount(out, self.device)
            self.sessions.keep(self.device.name, digest(files), measured, state="disturbed")
            measured, repeated = self._measure(files, out), True
        self.sessions.keep(self.device.name, digest(files), measured, repeated=repeated)
        return self._compared(measured, repeated=repeated)

    def add_sessions(self, path: Path, folder: Path, least_sessions: int) -> None:
        """Time one file in further sessions, so that the next session completes `least_sessions`.

        None is added where results have to be brought back from the device by hand.

        Args:
            path: the ONNX file.
            folder: folder for the rows.
            least_sessions: number of sessions that are compared at least.

        Raises:
            MeasurementError, RunFolderError: see `time`.
        """
        name = self.device.name
        while not self.transport.carried and (count := len(self._sentinels_us())) + 1 < least_sessions:
            files = {f"session {count}": path}
            measured = self._measure(files, folder / f"{name}-session-{count}.jsonl")
            self.sessions.keep(name, digest(files), measured)

    def _measure(self, files: Mapping[str, Path], out: Path) -> dict[str, Measurement]:
        return measure_networks(
            files,
            self.device,
            rounds=self.rounds,
            # Another seed for each session: results that a kit brought back for an earlier one are not taken again.
            seed=self.seed + PROCESSES * len(self.sessions.of(self.device.name)),
            out=out,
            transport=self.transport,
            quantiser_recipe=self.quantiser_recipe,
            progress=self.progress,
        )

    def _compared(self, measured: dict[str, Measurement], *, repeated: bool) -> Session:
        """Return a session that was kept, compared with the device's other sessions."""
        sentinels_us = self._sentinels_us()
        return Session(measured, slowdown(sentinel_us(measured), sentinels_us), len(sentinels_us), repeated)

    def _sentinels_us(self) -> list[float]:
        """Return the sentinel's p50 in every session that counts, the profile's first."""
        return [*self.profiled_us, *(row.sentinel_p50_us for row in self.sessions.counted(self.device.name))]


def session_timer(
    run: Run, device: str, label: str, progress: Progress, quantiser_recipe: str = "none"
) -> SessionTimer:
    """Return the timer of a measured device of a profiled run, whose progress has a label of its own."""
    return SessionTimer(
        run.devices.measured[device],
        run.devices.transport(device),
        MeasuringSessions(run.folder),
        _profiled_us(LatencyTable.load(run.folder / "latency" / device)),
        run.config.verify.rounds,
        run.config.seed,
        quantiser_recipe,
        lambda _, done, total: progress(label, done, total),
    )


def _profiled_us(table: LatencyTable) -> tuple[float, ...]:
    """Return the sentinel's p50 in the session of a table; nothing where the table does not state it."""
    sentinel = table.circumstances.get("sentinel_p50_us")
    return (float(sentinel),) if isinstance(sentinel, int | float) and sentinel > 0 else ()


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
