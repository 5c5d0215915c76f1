"""The measurement of a front: networks spread over it are exported and timed together on every measured device."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from edgenas.accuracy.scores import AccuracySource
from edgenas.accuracy.supernet_accuracy import SupernetAccuracy
from edgenas.progress import Progress
from edgenas.records.search import FrontNetwork
from edgenas.runs.devices import RunDevices
from edgenas.runs.measuring_sessions import MeasuringSessions
from edgenas.runs.run import Run
from edgenas.space.arch import Arch
from edgenas.space.graph_variant import GraphVariant
from edgenas.stages.devices.device_graphs import device_graphs
from edgenas.stages.devices.measuring import Session, SessionTimer, session_timer
from edgenas.stages.front.candidate import Candidate, Files
from edgenas.stages.front.front_files import FrontExporter, no_files, untrained_files
from edgenas.stages.front.front_int8 import FrontQuantiser, deployed_top1
from edgenas.stages.weights.run_accuracy import run_subnets

ROWS = "verify"
"""Folder of the timer's rows, within the run folder."""


@dataclass(frozen=True)
class FrontMeasurer:
    """Exports and times the networks of fronts.

    Attributes:
        folder: the run folder.
        devices: devices of the run.
        networks: greatest number of networks of a front that are measured.
        export: writes the files of networks.
        timers: a timer for each measured device.
    """

    folder: Path
    devices: RunDevices
    networks: int
    export: Callable[[Sequence[FrontNetwork]], dict[Arch, Files]]
    timers: Mapping[str, SessionTimer]

    def measure(self, front: Sequence[FrontNetwork]) -> tuple[Candidate, ...]:
        """Measure networks that are spread over a front, together on each device.

        Raises:
            DataError, ParityError: see `FrontExporter.files`.
            MeasurementError: see `SessionTimer.time`.
        """
        ranked = sorted(front, key=lambda network: network.val_top1)
        files = self.export([ranked[index] for index in _spread(len(ranked), self.networks)])
        sessions = {device: self._session(device, files) for device in self.timers}
        return tuple(_candidate(arch, files[arch], sessions, self.devices.precisions) for arch in files)

    def measure_again(self, *, withdrawn: int) -> None:
        """Discard the measured rows, so that the next front is measured as a whole.

        Args:
            withdrawn: number of sessions of each device, the last ones, that no longer count either.
        """
        rows = self.folder / ROWS
        MeasuringSessions(self.folder).measure_again(self.devices.measured, rows, withdrawn=withdrawn)

    def _session(self, device: str, files: Mapping[Arch, Files]) -> Session:
        precision = self.devices.measured[device].run.precision
        paths = {arch.id: self.folder / files[arch].path(precision) for arch in files if files[arch].refused is None}
        return self.timers[device].time(paths, self.folder / ROWS / f"{device}.jsonl")


def front_measurer(run: Run, source: AccuracySource, variant: GraphVariant, progress: Progress) -> FrontMeasurer:
    """Return the measurer of a run's fronts.

    Args:
        run: profiled, and trained where it has weights.
        source: the source of its accuracies.
        variant: graph variant of fp32 files.
        progress: called with the current step, steps done and in all.
    """
    devices = run.devices.measured
    timers = {
        name: session_timer(
            run,
            name,
            "measuring the front",
            progress,
            device_graphs(device, devices.values(), variant).quantiser_recipe,
        )
        for name, device in devices.items()
    }
    if not devices:
        export = no_files
    elif run.config.has_weights:
        export = _front_exporter(run, source, variant, progress).files
    else:
        export = partial(untrained_files, space=run.networks, folder=run.folder, variant=variant, progress=progress)
    return FrontMeasurer(run.folder, run.devices, run.config.verify.networks, export, timers)


def _front_exporter(run: Run, source: AccuracySource, variant: GraphVariant, progress: Progress) -> FrontExporter:
    quantiser = None
    if "int8" in run.devices.precisions:
        quantiser = FrontQuantiser(run.config.export, run.images, run.devices.measured.values(), run.folder)
    # The supernet that scored the front is not loaded a second time.
    subnets = source.subnets if isinstance(source, SupernetAccuracy) else run_subnets(run)
    return FrontExporter(subnets, source, run.folder, variant, quantiser, progress)


def _spread(count: int, most: int) -> list[int]:
    """Return at most `most` of `count` positions, evenly spread, always with the last one, the most accurate."""
    return sorted(set(np.linspace(count - 1, 0, min(count, most)).round().astype(int).tolist()))


def _candidate(arch: Arch, files: Files, sessions: Mapping[str, Session], precisions: set[str]) -> Candidate:
    if files.refused is not None:
        return Candidate(arch, files, files.val_top1, {})
    int8_top1 = files.int8.val_top1 if files.int8 else None
    return Candidate(
        arch,
        files,
        deployed_top1(files.val_top1, int8_top1, precisions),
        {device: session.measured[arch.id] for device, session in sessions.items()},
        {device: session.slowdown for device, session in sessions.items()},
    )
