"""Measuring sessions: models are exported, timed in rounds, and become table rows; what is there is not redone."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from edgenas.files import append_jsonl
from edgenas.latency.device import Device, DeviceRun
from edgenas.latency.table import BLOCK, NETWORK, LatencyTable
from edgenas.profiling.plan import Plan
from edgenas.profiling.record import Measurement, Name, pool, read_records, to_measurement, to_record, to_table
from edgenas.profiling.transport import installed_runtime, run_bench
from edgenas.space.blocks import BlockSpec
from edgenas.space.space import SearchSpace

Export = Callable[
    [Mapping[str, Sequence[BlockSpec]], Path, Callable[[int, int], None] | None],
    dict[str, Path],
]
"""Writes one ONNX file for each named list of specs into a folder; returns their paths by name.

Its third argument, where not None, is called with steps done and steps in all.
"""
Progress = Callable[[str, int, int], None]
"""Called with what is being done, steps done, and steps in all."""

MODELS_PER_PROCESS = 400
PROCESSES = 8
"""In which models are timed, one after another; rounds are shared among them."""
ROWS_FILE = "rows.jsonl"
T = TypeVar("T")


def measure_networks(
    networks: Mapping[str, Path],
    device: Device,
    *,
    rounds: int,
    seed: int,
    out: Path,
    progress: Progress | None = None,
) -> dict[str, Measurement]:
    """Time ONNX files on a device, all of them interleaved, in several processes one after another.

    Args:
        networks: files by name.
        device: where and how.
        rounds: visits to every model, in all processes together.
        seed: of inputs and order.
        out: JSONL file that the timer's rows are appended to.
        progress: called with `measuring`, visits done and in all.

    Raises:
        MeasurementError: a model could not be timed, or a row is not credible.
    """
    step = None if progress is None else functools.partial(progress, "measuring")
    rows = _in_processes(networks, device.run, rounds, seed, out, step)
    return {name: pool([to_measurement(row) for row in own]) for name, own in rows.items()}


def _in_processes(
    models: Mapping[T, Path],
    run: DeviceRun,
    rounds: int,
    seed: int,
    out: Path,
    progress: Callable[[int, int], None] | None,
) -> dict[T, list[dict[str, Any]]]:
    """The timer's rows of every model, one from each of several processes.

    Where a process happens to put a model's memory moves its latency, by up to 13 % here, for as long as the
    process lives. So no single one decides, and each loads the models in an order of its own.
    """
    names = list(models)
    found: dict[T, list[dict[str, Any]]] = {name: [] for name in names}
    for number in range(PROCESSES):
        order = np.random.default_rng((seed, number)).permutation(len(names)).tolist()
        paths = [models[names[place]] for place in order]
        step = _chunk_progress(progress, number, PROCESSES)
        rows = run_bench(paths, run, rounds=-(-rounds // PROCESSES), seed=seed + number, out=out, progress=step)
        for place, row in zip(order, rows, strict=True):
            found[names[place]].append(row)
    return found


def profile(
    space: SearchSpace,
    plan: Plan,
    num_classes: int,
    device: Device,
    *,
    export: Export,
    exporter_version: int | str,
    rounds: int,
    seed: int,
    folder: Path,
    progress: Progress | None = None,
) -> LatencyTable:
    """Measure a plan on a device and save the table; what the folder already holds is not measured again.

    Args:
        space: the space of the plan's networks.
        plan: blocks and networks to time.
        num_classes: of the networks.
        device: where and how.
        export: writes the models, see `Export`.
        exporter_version: version of the form that `export` gives models; part of the table's identity.
        rounds: visits to every model.
        seed: of inputs and order.
        folder: where table.csv, meta.json and the append-only rows.jsonl are.
        progress: called with `exporting` or `measuring`, steps done and in all.

    Returns:
        The table of everything in the folder that has this identity.

    Raises:
        MeasurementError: a model could not be timed, or a row is not credible.
    """
    kept = folder / ROWS_FILE
    wanted = _wanted(space, plan, num_classes)
    version = installed_runtime()
    records = read_records(kept, device, exporter_version, version)
    while todo := {name: specs for name, specs in wanted.items() if name not in records}:
        timed = _time(todo, device, export, rounds, seed, progress)
        for name, rows in timed:
            append_jsonl(kept, to_record(name, rows, device, exporter_version))
            version = rows[-1]["environment"]["runtime_version"]
        # Read again: under another runtime version than the one expected, older rows count no more.
        records = read_records(kept, device, exporter_version, version)
    table = to_table(records.values())
    table.save(folder)
    return table


def _time(
    todo: Mapping[Name, Sequence[BlockSpec]],
    device: Device,
    export: Export,
    rounds: int,
    seed: int,
    progress: Progress | None,
) -> Iterator[tuple[Name, list[dict[str, Any]]]]:
    """Export and time, chunk by chunk; what a finished chunk gave is handed out before the next begins."""
    chunks = list(_chunks(list(todo)))
    for number, names in enumerate(chunks):
        with tempfile.TemporaryDirectory(prefix="edgenas-profile-") as temporary:
            paths = _export({name: todo[name] for name in names}, export, Path(temporary), progress)
            measuring = None if progress is None else functools.partial(progress, "measuring")
            step = _chunk_progress(measuring, number, len(chunks))
            rows = _in_processes(paths, device.run, rounds, seed + number, Path(temporary) / "bench.jsonl", step)
        yield from rows.items()


def _wanted(space: SearchSpace, plan: Plan, num_classes: int) -> dict[Name, Sequence[BlockSpec]]:
    blocks: dict[Name, Sequence[BlockSpec]] = {(BLOCK, "", 0, block.key): [block] for block in plan.blocks}
    networks: dict[Name, Sequence[BlockSpec]] = {
        (NETWORK, space.structure_id, num_classes, arch.id): space.unroll(arch, num_classes) for arch in plan.networks
    }
    return blocks | networks


def _chunks(names: list[T]) -> Iterator[list[T]]:
    """Parts of nearly equal size, each timed in a process of its own."""
    parts = -(-len(names) // MODELS_PER_PROCESS)
    for number in range(parts):
        # Every part holds some of each kind and size, so that none is measured under other conditions only.
        yield names[number::parts]


def _export(
    todo: Mapping[Name, Sequence[BlockSpec]], export: Export, folder: Path, progress: Progress | None
) -> dict[Name, Path]:
    texts = {f"m{place:04d}": name for place, name in enumerate(todo)}
    step = None if progress is None else functools.partial(progress, "exporting")
    # All in one call: an exporter can share its fixed cost and equal blocks among them.
    paths = export({text: todo[name] for text, name in texts.items()}, folder, step)
    return {name: paths[text] for text, name in texts.items()}


def _chunk_progress(
    progress: Callable[[int, int], None] | None, number: int, chunks: int
) -> Callable[[int, int], None] | None:
    if progress is None:
        return None
    return lambda done, total: progress(number * total + done, chunks * total)
