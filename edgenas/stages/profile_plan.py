"""The blocks and networks that are timed on each device: all of the config, or as many as its minutes allow."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from edgenas.latency.device import Device
from edgenas.latency.few_shot import informative_networks
from edgenas.latency.predictor import LatencyPredictor
from edgenas.profiling.device_time import allow, guessed_seconds
from edgenas.profiling.measurement import PROCESSES
from edgenas.profiling.session import measure_networks
from edgenas.profiling.timing_plan import Plan, least_blocks, make_plan
from edgenas.progress import Progress
from edgenas.runs.run import Run
from edgenas.space.graph_variant import GraphVariant
from edgenas.stages.device_graphs import device_graphs, timing_export


def profile_lines(run: Run) -> list[str]:
    """Return what profiling will time on each device, and how long that will take, a line each."""
    config, num_classes = run.config.profile, run.num_classes
    plan = _plan(run, num_classes, config.blocks, config.networks)
    seconds = guessed_seconds(run.space.with_classes(num_classes), plan, config.rounds)
    blocks = f"{len(plan.blocks)} blocks and " if plan.blocks else ""
    what = f"{blocks}{len(plan.networks)} networks, {config.rounds} repetitions of each"
    took = f"about {seconds / 60:.1f} minutes of a server's core, several times that of a small board's"
    if config.minutes is not None:
        took = f"or as much of it as {config.minutes:g} minutes hold"
    return [f"{name}: {what}, {took}" for name in run.devices.measured]


def device_plan(
    run: Run,
    device: Device,
    variant: GraphVariant,
    num_classes: int,
    base: LatencyPredictor | None,
    progress: Progress,
) -> Plan:
    """Return the plan for one device; with a base, its networks are the most informative on how the device differs.

    Raises:
        ConfigError: the minutes are too few for the least that a predictor needs.
        MeasurementError: the device could not run the smallest or the largest network.
    """
    config = run.config.profile
    whole = _plan(run, num_classes, config.blocks, config.networks)
    if config.minutes is None:
        return _informative(whole, base, run.config.seed)
    smallest_us, largest_us = _ends_us(run, device, variant, num_classes, progress)
    allowed = allow(
        config.minutes,
        blocks=len(whole.blocks),
        least_blocks=min(len(whole.blocks), least_blocks(run.space.with_classes(num_classes))),
        networks=config.networks,
        rounds=config.rounds,
        smallest_us=smallest_us,
        largest_us=largest_us,
    )
    return _informative(_plan(run, num_classes, allowed.blocks or None, allowed.networks), base, run.config.seed)


def _informative(plan: Plan, base: LatencyPredictor | None, seed: int) -> Plan:
    if base is None:
        return plan
    return replace(plan, networks=tuple(informative_networks(base, len(plan.networks), seed)))


def _plan(run: Run, num_classes: int, blocks: int | None, networks: int) -> Plan:
    plan = make_plan(run.space.with_classes(num_classes), blocks=blocks, networks=networks, seed=run.config.seed)
    # Blocks come from the other device's table, so they are not measured again.
    return plan if run.config.profile.base is None else replace(plan, blocks=())


def _ends_us(
    run: Run, device: Device, variant: GraphVariant, num_classes: int, progress: Progress
) -> tuple[float, float]:
    """Return latencies of the smallest and the largest network, timed once and kept in the run folder."""
    graphs = device_graphs(device, run.devices.all.values(), variant)
    ends = (run.space.smallest, run.space.largest)
    folder = run.folder / "latency" / device.name
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".models.") as temporary:
        named = {arch.id: run.space.with_classes(num_classes).unroll(arch) for arch in ends}
        measured = measure_networks(
            timing_export(graphs, progress)(named, Path(temporary), None),
            device,
            rounds=PROCESSES,
            seed=run.config.seed,
            out=folder / "ends.jsonl",
            transport=run.devices.transport(device.name),
            quantiser_recipe=graphs.quantiser_recipe,
            progress=lambda _, done, total: progress("timing the smallest and the largest", done, total),
        )
    smallest, largest = (measured[arch.id].p50_us for arch in ends)
    return smallest, largest
