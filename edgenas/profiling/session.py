"""Measuring sessions, which export models, time them in rounds, and store table rows. Stored rows are reused."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from edgenas.errors import MeasurementError
from edgenas.latency.device import Device
from edgenas.latency.table import LatencyTable
from edgenas.profiling.measurement import PROCESSES, Measurement, Name, pool, to_measurement, to_table
from edgenas.profiling.row_store import RowStore, StoredRows
from edgenas.profiling.timing_plan import Plan
from edgenas.profiling.transport import Job, Transport, part_progress
from edgenas.profiling.verdict import disturbed
from edgenas.records.latency import BLOCK, NETWORK
from edgenas.space.blocks.spec import BlockSpec
from edgenas.space.space import ClassifierSpace

Export = Callable[
    [Mapping[str, Sequence[BlockSpec]], Path, Callable[[int, int], None] | None],
    dict[str, Path],
]
"""Function that writes one ONNX file for each named list of specs into a folder, and returns their paths by name.

The third argument, if not None, is called with the number of finished steps and the number of all steps.
"""
Progress = Callable[[str, int, int], None]
"""Callback with the name of the activity, the number of finished steps and the number of all steps."""

MODELS_PER_PROCESS = 400
ROWS_FILE = "rows.jsonl"
NAMED_FAILURES = 5


def measure_networks(
    networks: Mapping[str, Path],
    device: Device,
    *,
    rounds: int,
    seed: int,
    out: Path,
    transport: Transport,
    quantiser_recipe: str = "none",
    processes: int = PROCESSES,
    progress: Progress | None = None,
) -> dict[str, Measurement]:
    """Time ONNX files on a device, interleaved, in several consecutive processes.

    Args:
        networks: ONNX files by name.
        device: device, with the settings that models are run with.
        rounds: repetitions of every model in all processes together.
        seed: seed of the inputs and of the order.
        out: file that the rows of every process are appended to. Rows of these files in it are not measured again.
        transport: connection to the device.
        quantiser_recipe: recipe of int8 files, see `QuantiserRecipe.latency_id`.
        processes: number of processes that share the rounds, at most `PROCESSES`. Fewer processes take less time to
            start and give a wider interval.
        progress: callback with `measuring`, the number of finished repetitions and the number of all repetitions.

    Raises:
        MeasurementError: a model could not be timed, or a row is implausible.
        TableError: a line of `out` is not a measurement.
    """
    # The digest is part of the name, because another file of the same name is another network.
    keys = {name: (NETWORK, _digest(path), 0, name) for name, path in networks.items()}
    file = RowStore(out, device, quantiser_recipe=quantiser_recipe)
    version = transport.runtime_version(file.last_version())
    while not (stored := file.read(version)).has(keys.values(), processes):
        step = None if progress is None else functools.partial(progress, "measuring")
        models = {keys[name]: path for name, path in networks.items()}
        version, failed = _in_processes(_jobs(models, stored, rounds, seed, processes), file, transport, step)
        _refuse(failed, len(networks), device)
    return {name: pool([to_measurement(row) for row in stored.rows(key).values()]) for name, key in keys.items()}


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def to_be_repeated(measured: Mapping[str, Measurement], transport: Transport) -> bool:
    """Return whether a session is to be discarded and measured once more, since most of its processes were disturbed.

    Results that are brought back by hand keep their warnings: no kit is carried to a device twice for that.
    """
    return not transport.carried and disturbed(measured)


def discount(out: Path, device: Device) -> None:
    """Mark the rows that `measure_networks` stored in `out` as invalid, so that the next call measures again."""
    RowStore(out, device).discount()


def _jobs(
    models: Mapping[Name, Path], stored: StoredRows, rounds: int, seed: int, processes: int = PROCESSES
) -> Iterator[tuple[int, list[Name], Job]]:
    """Yield the number, the models and the job of each process, without models that it has timed already.

    The position of a model in a process's memory changes its latency, by up to 13 % on one machine, until the process
    ends. So several processes time each model, and each process loads the models in another order.
    """
    for number in range(processes):
        names = [name for name in models if number not in stored.rows(name)]
        if names:
            names = [names[index] for index in np.random.default_rng((seed, number)).permutation(len(names))]
            yield number, names, Job(tuple(models[name] for name in names), -(-rounds // processes), seed + number)


def _in_processes(
    planned: Iterable[tuple[int, list[Name], Job]],
    file: RowStore,
    transport: Transport,
    progress: Callable[[int, int], None] | None,
) -> tuple[str, dict[Name, str]]:
    """Time models, and store each row when it is measured.

    Returns:
        Version of the runtime, and error messages of models that the device cannot run.
    """
    version = ""
    failed: dict[Name, str] = {}
    planned = list(planned)
    # Closed if storing a row fails, so that the timer on the device ends too.
    with contextlib.closing(transport.time([job for _, _, job in planned], file.device, progress)) as timed:
        for job, model, row in timed:
            number, names, _ = planned[job]
            if "error" in row:
                failed[names[model]] = row["error"]
            else:
                file.append(names[model], number, row)
                version = row["environment"]["runtime_version"]
    return version, failed


def _refuse(failed: Mapping[Name, str], models: int, device: Device) -> None:
    if not failed:
        return
    lines = [f"  {name[0]} {name[3]}: {error}" for name, error in list(failed.items())[:NAMED_FAILURES]]
    if len(failed) > len(lines):
        lines.append(f"  … and {len(failed) - len(lines)} more")
    raise MeasurementError(
        "\n".join([f"{device.name} cannot run {len(failed)} of {models} models:", *lines])
        + "\nThe others are measured and stored; the same command measures only missing models. "
        "If the device cannot be changed, leave these blocks out of the space."
    )


def profile(
    space: ClassifierSpace,
    plan: Plan,
    device: Device,
    *,
    export: Export,
    exporter_version: int | str,
    variant: str = "direct",
    quantiser_recipe: str = "none",
    rounds: int,
    seed: int,
    folder: Path,
    transport: Transport,
    progress: Progress | None = None,
) -> LatencyTable:
    """Measure a plan on a device and save the table. Rows in the folder are not measured again.

    The exporter version, the graph variant and the quantiser recipe are part of the table's identity.

    Args:
        space: space of the plan's networks.
        plan: blocks and networks to time.
        device: device, with the settings that models are run with.
        export: function that writes the models, see `Export`.
        exporter_version: version of the exporter behind `export`.
        variant: graph variant that `export` writes.
        quantiser_recipe: recipe that `export` quantises with, see `QuantiserRecipe.latency_id`.
        rounds: repetitions of every model.
        seed: seed of the inputs and of the order.
        folder: folder of table.csv, meta.json and the append-only rows.jsonl.
        transport: connection to the device.
        progress: callback with `exporting` or `measuring`, the number of finished steps and the number of all steps.

    Returns:
        Table of all rows in the folder that have this identity, those of the plan first.

    Raises:
        MeasurementError: a model could not be timed, or a row is implausible.
    """
    file = RowStore(folder / ROWS_FILE, device, exporter_version, variant, quantiser_recipe)
    models = _models_of(space, plan)
    version = transport.runtime_version(file.last_version())
    # Read again after measuring, because older rows are invalid if the runtime's version has changed.
    while not (stored := file.read(version)).has(models):
        version = _measure(models, stored, file, transport, export, rounds, seed, progress)
    # In the plan's order, since the order of measurement depends on interruptions and predictors must not.
    table = to_table(stored.records([*models, *sorted(stored.names() - models.keys())]))
    table.save(folder)
    return table


def _measure(
    models: Mapping[Name, Sequence[BlockSpec]],
    stored: StoredRows,
    file: RowStore,
    transport: Transport,
    export: Export,
    rounds: int,
    seed: int,
    progress: Progress | None,
) -> str:
    """Export and time missing models in parts, and return the runtime's version.

    Raises:
        MeasurementError: the device cannot run some models. The others are measured first.
    """
    version = ""
    failed: dict[Name, str] = {}
    file.path.parent.mkdir(parents=True, exist_ok=True)
    # Parts of the whole plan instead of missing models, so that a process has the same models after a kill.
    parts = [
        (seed + number * PROCESSES, [name for name in part if not stored.has([name])])
        for number, part in enumerate(_parts(list(models)))
    ]
    groups = [parts] if transport.carried else [[part] for part in parts]
    for number, group in enumerate(groups):
        names = [name for _, part in group for name in part]
        if not names:
            continue
        # Beside the rows, where the next start removes the files that a kill leaves.
        with tempfile.TemporaryDirectory(dir=file.path.parent, prefix=".models.") as temporary:
            paths = _export({name: models[name] for name in names}, export, Path(temporary), progress)
            measuring = None if progress is None else functools.partial(progress, "measuring")
            step = part_progress(measuring, number, len(groups))
            jobs = (
                job
                for part_seed, part in group
                for job in _jobs({n: paths[n] for n in part}, stored, rounds, part_seed)
            )
            version, unable = _in_processes(jobs, file, transport, step)
            failed |= unable
    _refuse(failed, len(models), file.device)
    return version


def _models_of(space: ClassifierSpace, plan: Plan) -> dict[Name, Sequence[BlockSpec]]:
    blocks: dict[Name, Sequence[BlockSpec]] = {(BLOCK, "", 0, block.key): [block] for block in plan.blocks}
    networks: dict[Name, Sequence[BlockSpec]] = {
        (NETWORK, space.structure_id, space.num_classes, arch.id): space.unroll(arch) for arch in plan.networks
    }
    return blocks | networks


def _parts(names: list[Name]) -> Iterator[list[Name]]:
    """Yield parts of nearly equal size, each timed in its own processes."""
    parts = -(-len(names) // MODELS_PER_PROCESS)
    for number in range(parts):
        # Every part has models of each kind and size, so that all kinds are measured under the same conditions.
        yield names[number::parts]


def _export(
    models: Mapping[Name, Sequence[BlockSpec]], export: Export, folder: Path, progress: Progress | None
) -> dict[Name, Path]:
    texts = {" ".join(map(str, name)): name for name in models}
    step = None if progress is None else functools.partial(progress, "exporting")
    # All in one call, so that an exporter can share its fixed cost and equal blocks.
    paths = export({text: models[name] for text, name in texts.items()}, folder, step)
    return {name: paths[text] for text, name in texts.items()}
