"""The measurement of a front: networks spread over it are exported and timed together on every measured device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from edgenas.accuracy.scores import AccuracySource
from edgenas.progress import Progress
from edgenas.records.search import FrontNetwork
from edgenas.runs.run import Run
from edgenas.space.arch import Arch
from edgenas.space.graph_variant import GraphVariant
from edgenas.stages.candidate import Candidate, Files
from edgenas.stages.device_graphs import device_graphs
from edgenas.stages.front_files import FrontExporter, no_files, untrained_files
from edgenas.stages.front_int8 import FrontQuantiser, deployed_top1
from edgenas.stages.measuring import Session, session_timer
from edgenas.stages.scoring import run_subnets

ROWS = "verify"
"""Folder of the timer's rows, within the run folder."""


def measure_front(
    run: Run, front: Sequence[FrontNetwork], source: AccuracySource, variant: GraphVariant, progress: Progress
) -> tuple[Candidate, ...]:
    """Export and time networks of a front.

    Args:
        run: searched.
        front: networks of the search's front, of which at most `verify.networks` are measured.
        source: the source of their scores.
        variant: graph variant of fp32 files.
        progress: called with the current step, steps done and in all.

    Raises:
        DataError, ParityError: see `FrontExporter.files`.
        MeasurementError: see `SessionTimer.time`.
    """
    ranked = sorted(front, key=lambda network: network.val_top1)
    networks = [ranked[index] for index in _spread(len(ranked), run.config.verify.networks)]
    files = _files(run, networks, source, variant, progress)
    sessions = {device: _session(run, device, files, variant, progress) for device in run.devices.measured}
    return tuple(_candidate(arch, files[arch], sessions, run.devices.precisions) for arch in files)


def _spread(count: int, most: int) -> list[int]:
    """Return at most `most` of `count` positions, evenly spread, always with the last one, the most accurate."""
    return sorted(set(np.linspace(count - 1, 0, min(count, most)).round().astype(int).tolist()))


def _files(
    run: Run, front: Sequence[FrontNetwork], source: AccuracySource, variant: GraphVariant, progress: Progress
) -> dict[Arch, Files]:
    """Return the front's ONNX files; none where no device is measured."""
    devices, config = run.devices, run.config
    if not devices.measured:
        return no_files(front)
    if not config.has_weights:
        return untrained_files(front, run.networks, run.folder, variant, progress)
    quantiser = None
    if "int8" in devices.precisions:
        quantiser = FrontQuantiser(config.export, run.images, devices.measured.values(), run.folder)
    return FrontExporter(run_subnets(run), source, run.folder, variant, quantiser, progress).files(front)


def _session(run: Run, name: str, files: Mapping[Arch, Files], variant: GraphVariant, progress: Progress) -> Session:
    devices = run.devices.measured
    device = devices[name]
    recipe = device_graphs(device, devices.values(), variant).quantiser_recipe
    paths = {arch.id: run.folder / files[arch].path(device.run.precision) for arch in files}
    timer = session_timer(run, name, "measuring the front", progress, recipe)
    return timer.time(paths, run.folder / ROWS / f"{name}.jsonl")


def _candidate(arch: Arch, files: Files, sessions: Mapping[str, Session], precisions: set[str]) -> Candidate:
    int8_top1 = files.int8.val_top1 if files.int8 else None
    return Candidate(
        arch,
        files,
        deployed_top1(files.val_top1, int8_top1, precisions),
        {device: session.measured[arch.id] for device, session in sessions.items()},
        {device: session.slowdown for device, session in sessions.items()},
    )
