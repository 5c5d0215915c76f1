"""The graph variant of a run: a few networks are timed in every variant, and all fp32 devices share the fastest.

int8 has no variants: quantised, all three become the same graph.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from edgenas.deploy.onnx.exporter import export_variants
from edgenas.errors import ConfigError
from edgenas.latency.device import Device
from edgenas.profiling.measurement import Measurement
from edgenas.profiling.session import measure_networks
from edgenas.progress import Progress
from edgenas.records.profile import VariantRecord
from edgenas.runs.measuring_sessions import MeasuringSessions, digest
from edgenas.runs.run import Run
from edgenas.space.covering_samples import covering
from edgenas.space.graph_variant import VARIANT_OPERATORS, GraphVariant, supported_variants

FILE = "latency/graph_variant.json"
PLAIN: GraphVariant = "direct"
NETWORKS = 6
PROCESSES = 4
"""In which variants are compared, side by side in each: half as many as state the latency of one network."""
WORTH = 0.99
"""Share of the plain variant's latency that another must stay below to be taken."""
Measured = Mapping[tuple[GraphVariant, str], Measurement]
"""By variant and arch."""


def choose_variant(run: Run, num_classes: int, progress: Progress) -> GraphVariant:
    """Return the variant that the config names, or the fastest for `auto`, measured once and kept in the run folder.

    Variants that need an operator that a device lacks are left out. Where no device runs fp32, they are timed in fp32
    all the same: the fp32 file is bundled, and int8 is compared with it.

    Raises:
        ConfigError: the named variant needs an operator that a device lacks.
        MeasurementError: a device could not run one of the networks.
        RunFolderError: the folder names no valid variant.
    """
    named, variants = run.config.export.graph_variant, _variants(run)
    if named != "auto":
        if named not in variants:
            needed = ", ".join(VARIANT_OPERATORS[named])
            raise ConfigError(
                f"export.graph_variant: {named} needs {needed}, which a device lacks; expected {', '.join(variants)}"
            )
        return named
    path = run.folder / FILE
    if len(variants) > 1 and run.devices.measured and not path.exists():
        ratios = _measure_all(run, variants, num_classes, progress)
        VariantRecord(graph_variant=fastest_variant(list(ratios.values())), latency_ratio=ratios).write(path)
    chosen = variant_record(run)
    return variants[0] if chosen is None else chosen.graph_variant


def _variants(run: Run) -> tuple[GraphVariant, ...]:
    """Return the variants that all devices can run, the plainest first."""
    return supported_variants({entry for device in run.devices.all.values() for entry in device.unsupported})


def variant_record(run: Run) -> VariantRecord | None:
    """Return what was measured of the graph variants; None where the config names one, or there is no choice.

    Raises:
        RunFolderError: the file is damaged.
    """
    path = run.folder / FILE
    return VariantRecord.read(path, f"run `edgenas profile {run.folder}`") if path.exists() else None


def ratios_to_plain(measured: Measured) -> dict[GraphVariant, tuple[float, ...]]:
    """Return, by variant, the latency of each network over that of its plainest variant, timed side by side."""
    variants = tuple(dict.fromkeys(variant for variant, _ in measured))
    return {
        variant: tuple(
            found.p50_us / measured[variants[0], arch].p50_us
            for (own, arch), found in measured.items()
            if own == variant
        )
        for variant in variants
    }


def fastest_variant(ratios: Sequence[Mapping[GraphVariant, Sequence[float]]]) -> GraphVariant:
    """Return the variant of the lowest median ratio over all devices; the plainest unless another gains a percent."""
    variants = tuple(ratios[0])
    logs = {variant: float(np.mean([np.log(np.median(device[variant])) for device in ratios])) for variant in variants}
    best = min(variants, key=lambda variant: logs[variant])
    return best if logs[best] < np.log(WORTH) else variants[0]


def _measure_all(
    run: Run, variants: Sequence[GraphVariant], num_classes: int, progress: Progress
) -> dict[str, dict[GraphVariant, tuple[float, ...]]]:
    """Return latency ratios by device and variant."""
    archs = covering(run.space, NETWORKS, run.config.seed)
    networks = {arch.id: run.space.with_classes(num_classes).unroll(arch) for arch in archs}
    with tempfile.TemporaryDirectory(dir=_made(run.folder / "latency"), prefix=".models.") as folder:
        step = partial(progress, "exporting")
        files = export_variants(networks, Path(folder), step, variants=variants)
        devices = _fp32_devices(run).items()
        return {name: ratios_to_plain(_measure(run, device, files, progress)) for name, device in devices}


def _fp32_devices(run: Run) -> dict[str, Device]:
    """Return the fp32 devices; where there are none, all devices, set to fp32."""
    devices = run.devices.measured
    found = {name: device for name, device in devices.items() if device.run.precision == "fp32"}
    as_fp32 = {"precision": "fp32"}
    return found or {
        name: device.model_copy(update={"run": device.run.model_copy(update=as_fp32)})
        for name, device in devices.items()
    }


def _measure(run: Run, device: Device, files: Mapping[tuple[GraphVariant, str], Path], progress: Progress) -> Measured:
    texts = {f"{variant} {arch}": (variant, arch) for variant, arch in files}
    models = {text: files[name] for text, name in texts.items()}
    found = measure_networks(
        models,
        device,
        rounds=run.config.profile.rounds,
        seed=run.config.seed,
        out=_made(run.folder / "latency" / device.name) / "graph_variants.jsonl",
        transport=run.devices.transport(device.name),
        processes=PROCESSES,
        progress=lambda _, done, total: progress("comparing graph variants", done, total),
    )
    # A start that was killed before the variant was written down reads the same rows again.
    sessions, session = MeasuringSessions(run.folder), digest(models)
    if sessions.last(device.name, session) is None:
        sessions.keep(device.name, session, found)
    return {texts[text]: measurement for text, measurement in found.items()}


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
