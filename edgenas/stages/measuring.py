"""Measuring in sessions: files are timed together, in new processes, and judged with the run's other sessions in mind.

A session whose networks were mostly disturbed is repeated once by itself before anything is decided. What it found is
discarded whatever the repetition finds, so that the better of two is never picked.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from edgenas.profiling.measurement import PROCESSES, Measurement
from edgenas.profiling.session import discount, measure_networks
from edgenas.profiling.verdict import disturbed, slowdown
from edgenas.progress import Progress
from edgenas.runs.measuring_sessions import counted, digest, keep_session, sentinel_us, sessions
from edgenas.runs.run import Run
from edgenas.stages.predictors import run_table


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


def measure_session(
    run: Run,
    device: str,
    files: Mapping[str, Path],
    *,
    out: Path,
    label: str,
    progress: Progress,
    quantiser_recipe: str = "none",
    deciding: Collection[str] | None = None,
    least_sessions: int = 1,
) -> Session:
    """Time files on a device of the run in one session, in new processes, and keep its sentinel.

    Args:
        run: profiled.
        device: its name.
        files: ONNX files by name.
        out: file of rows; what it holds of these very files is not measured again.
        label: label of the progress.
        progress: called with the label, repetitions done and in all.
        quantiser_recipe: recipe of int8 files, see `QuantiserRecipe.latency_id`.
        deciding: names of the files that a decision rests on; None for all. A session is repeated where most of these
            were disturbed.
        least_sessions: sessions that are compared at least, this one included. Where the run has fewer, one file is
            timed in further sessions first, unless results have to be brought back from the device by hand.

    Raises:
        MeasurementError: see `measure_networks`.
        RunFolderError: a row of sessions.jsonl is damaged.
    """
    known, key = run.devices.measured[device], digest(files)
    transport = run.devices.transport(device)

    def measure(files: Mapping[str, Path] = files, out: Path = out) -> dict[str, Measurement]:
        return measure_networks(
            files,
            known,
            rounds=run.config.verify.rounds,
            # Another seed for each session: results that a kit brought back for an earlier one are not taken again.
            seed=run.config.seed + PROCESSES * len(sessions(run, device)),
            out=out,
            transport=transport,
            quantiser_recipe=quantiser_recipe,
            progress=lambda _, done, total: progress(label, done, total),
        )

    profiled_us = _profiled_sentinel_us(run, device)

    def compared_us() -> list[float]:
        return [*profiled_us, *(row.sentinel_p50_us for row in counted(sessions(run, device)))]

    while not transport.carried and (count := len(compared_us())) + 1 < least_sessions:
        file = {f"session {count}": files[next(iter(deciding or files))]}
        keep_session(run, device, digest(file), measure(file, out.with_name(f"{device}-session-{count}.jsonl")))
    last = next((row for row in reversed(sessions(run, device)) if row.files == key), None)
    resumed, before = last is not None and last.state == "disturbed", _size(out)
    measured = measure()
    new = last is None or last.state != "kept" or _size(out) != before
    repeated = resumed if last is None or new else last.repeated
    # A kit is not carried to a device twice for that: its results keep their warnings.
    disturbed_session = disturbed({name: measured[name] for name in deciding or files})
    if new and disturbed_session and not resumed and not transport.carried:
        discount(out, known)
        keep_session(run, device, key, measured, state="disturbed")
        measured, repeated = measure(), True
    if new:
        keep_session(run, device, key, measured, repeated=repeated)
    sentinels_us = compared_us()
    return Session(measured, slowdown(sentinel_us(measured), sentinels_us), len(sentinels_us), repeated)


def _profiled_sentinel_us(run: Run, device: str) -> list[float]:
    """Return the sentinel's p50 in the session of a device's table; nothing where the table does not state it."""
    profiled = run_table(run, device).circumstances.get("sentinel_p50_us")
    return [float(profiled)] if isinstance(profiled, int | float) and profiled > 0 else []


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
