"""Measuring sessions: models are exported, timed in rounds, and become table rows; stored rows are used again."""

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
from edgenas.records.latency import BLOCK, NETWORK
from edgenas.space.blocks.spec import BlockSpec
from edgenas.space.space import ClassifierSpace

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
    """Time ONNX files on a device, all of them interleaved, in several processes one after another.

    Args:
        networks: files by name.
        device: the device, and how models are run there.
        rounds: repetitions of every model, in all processes together.
        seed: seed of inputs and order.
        out: file that every process's rows are appended to. Rows that it holds of these files are not measured again.
        transport: the way to the device.
        quantiser_recipe: of int8 files, see `QuantiserRecipe.latency_id`.
        processes: number of processes that share the rounds, at most `PROCESSES`. Fewer start faster and give a wider
            interval.
        progress: called with `measuring`, repetitions done and in all.

    Raises:
        MeasurementError: a model could not be timed, or a row is not credible.
        TableError: a line of `out` is not a measurement.
    """
    # Another file under the same name is another network, so its digest is part of the name.
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


def discount(out: Path, device: Device) -> None:
    """Let the rows that `measure_networks` stored in `out` no longer count: the next call measures again."""
    RowStore(out, device).discount()


def _jobs(
    models: Mapping[Name, Path], stored: StoredRows, rounds: int, seed: int, processes: int = PROCESSES
) -> Iterator[tuple[int, list[Name], Job]]:
    """Yield the number, the models and the job of each process, without models that it has timed already.

    The place of a model in a process's memory changes its latency, by up to 13 % on one machine, for as long as the
    process lives. So several processes time it, and each loads the models in another order.
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
    """Time models and store rows as they come.

    Returns:
        The runtime's version, and the reasons why the device cannot run some models.
    """
    version = ""
    failed: dict[Name, str] = {}
    planned = list(planned)
    # Closed when storing a row fails, so that the timer on the device ends, too.
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
    named = [f"  {name[0]} {name[3]}: {error}" for name, error in list(failed.items())[:NAMED_FAILURES]]
    more = [f"  … and {len(failed) - len(named)} more"] if len(failed) > len(named) else []
    raise MeasurementError(
        "\n".join([f"{device.name} cannot run {len(failed)} of {models} models:", *named, *more])
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
    """Measure a plan on a device and save the table; rows that the folder holds are not measured again.

    Args:
        space: the space of the plan's networks.
        plan: blocks and networks to time.
        device: the device, and how models are run there.
        export: writes the models, see `Export`.
        exporter_version: of the exporter behind `export`; part of the table's identity.
        variant: the graph variant that `export` writes; likewise.
        quantiser_recipe: that `export` quantises them by, see `QuantiserRecipe.latency_id`; likewise.
        rounds: repetitions of every model.
        seed: seed of inputs and order.
        folder: where table.csv, meta.json and the append-only rows.jsonl are.
        transport: the way to the device.
        progress: called with `exporting` or `measuring`, steps done and in all.

    Returns:
        The table of everything in the folder that has this identity, the plan first.

    Raises:
        MeasurementError: a model could not be timed, or a row is not credible.
    """
    file = RowStore(folder / ROWS_FILE, device, exporter_version, variant, quantiser_recipe)
    models = _models_of(space, plan)
    version = transport.runtime_version(file.last_version())
    # Read again after measuring: if the runtime has another version than expected, older rows do not count.
    while not (stored := file.read(version)).has(models):
        version = _measure(models, stored, file, transport, export, rounds, seed, progress)
    # In the plan's order: the order of measuring depends on interruptions, and predictors must not.
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
    """Export and time missing models part by part; return the runtime's version.

    Raises:
        MeasurementError: at the end, if the device cannot run some models.
    """
    version = ""
    failed: dict[Name, str] = {}
    file.path.parent.mkdir(parents=True, exist_ok=True)
    # Parts of the whole plan, not of missing models: a process has the same models before and after a kill.
    parts = [
        (seed + number * PROCESSES, [name for name in part if not stored.has([name])])
        for number, part in enumerate(_parts(list(models)))
    ]
    groups = [parts] if transport.carried else [[part] for part in parts]
    for number, group in enumerate(groups):
        names = [name for _, part in group for name in part]
        if not names:
            continue
        # Beside the rows, where the next start removes what a kill leaves.
        with tempfile.TemporaryDirectory(dir=file.path.parent, prefix=".models.") as temporary:
            paths = _export({name: models[name] for name in names}, export, Path(temporary), progress)
            measuring = None if progress is None else functools.partial(progress, "measuring")
            step = part_progress(measuring, number, len(groups))
            jobs = (job for own, part in group for job in _jobs({n: paths[n] for n in part}, stored, rounds, own))
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
        # Every part holds some models of each kind and size, so that no kind is measured under other conditions.
        yield names[number::parts]


def _export(
    todo: Mapping[Name, Sequence[BlockSpec]], export: Export, folder: Path, progress: Progress | None
) -> dict[Name, Path]:
    texts = {" ".join(map(str, name)): name for name in todo}
    step = None if progress is None else functools.partial(progress, "exporting")
    # All in one call: an exporter can share its fixed cost and equal blocks among them.
    paths = export({text: todo[name] for text, name in texts.items()}, folder, step)
    return {name: paths[text] for text, name in texts.items()}
