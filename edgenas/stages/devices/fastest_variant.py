"""The graph variant of a run: a few networks are timed in every variant, and all fp32 devices share the fastest.

int8 has no variants: quantised, all three become the same graph.
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from edgenas.deploy.onnx.exporter import export_variants
from edgenas.errors import ConfigError
from edgenas.latency.device import Device
from edgenas.profiling.measurement import Measurement
from edgenas.profiling.session import measure_networks
from edgenas.profiling.transport import Transport
from edgenas.progress import Progress
from edgenas.records.paths import GRAPH_VARIANT
from edgenas.records.profile import VariantRecord
from edgenas.runs.devices import RunDevices
from edgenas.runs.measuring_sessions import MeasuringSessions, digest
from edgenas.runs.run import Run
from edgenas.space.covering_samples import covering
from edgenas.space.graph_variant import VARIANT_OPERATORS, GraphVariant, supported_variants
from edgenas.space.space import ClassifierSpace

VARIANT_NETWORKS = 6
VARIANT_PROCESSES = 4
"""Processes that time all variants side by side: half as many as time one network."""
WORTH = 0.99
"""Share of the plain variant's latency that another variant must stay below to be chosen."""
VariantMeasurements = Mapping[tuple[GraphVariant, str], Measurement]
"""Measurements by variant and architecture."""


def choose_variant(run: Run, progress: Progress) -> GraphVariant:
    """Return the variant that the config names, or the fastest for `auto`, measured once and kept in the run folder.

    Variants that need an operator that a device lacks are left out. Where no device runs fp32, they are timed in fp32
    all the same: the fp32 file is bundled, and int8 is compared with it.

    Raises:
        ConfigError: the named variant needs an operator that a device lacks.
        MeasurementError: a device could not run one of the networks.
        RunFolderError: the folder names no valid variant.
    """
    devices, configured = run.devices, run.config.export.graph_variant
    variants = supported_variants({operator for device in devices.all.values() for operator in device.unsupported})
    if configured != "auto":
        _require_supported(configured, variants)
        return configured
    if len(variants) > 1 and devices.measured and variant_record(run.folder) is None:
        comparison = VariantComparison(run.networks, variants, run.config.profile.rounds, run.config.seed, run.folder)
        ratios = comparison.ratios(devices, progress)
        VariantRecord(graph_variant=fastest_variant(list(ratios.values())), latency_ratio=ratios).write(
            run.folder / GRAPH_VARIANT
        )
    record = variant_record(run.folder)
    return variants[0] if record is None else record.graph_variant


def _require_supported(variant: GraphVariant, variants: Sequence[GraphVariant]) -> None:
    if variant not in variants:
        needed = ", ".join(VARIANT_OPERATORS[variant])
        raise ConfigError(
            f"export.graph_variant: {variant} needs {needed}, which a device lacks; expected {', '.join(variants)}"
        )


def variant_record(folder: Path) -> VariantRecord | None:
    """Return the comparison of graph variants in a run folder; None where the config names one, or has no choice.

    Raises:
        RunFolderError: the file is damaged.
    """
    path = folder / GRAPH_VARIANT
    return VariantRecord.read(path, f"run `edgenas profile {folder}`") if path.exists() else None


def ratios_to_plain(measured: VariantMeasurements) -> dict[GraphVariant, tuple[float, ...]]:
    """Return, by variant, the latency of each network over that of its plainest variant, timed side by side."""
    variants = tuple(dict.fromkeys(variant for variant, _ in measured))
    archs = tuple(dict.fromkeys(arch for _, arch in measured))
    return {
        variant: tuple(measured[variant, arch].p50_us / measured[variants[0], arch].p50_us for arch in archs)
        for variant in variants
    }


def fastest_variant(ratios: Sequence[Mapping[GraphVariant, Sequence[float]]]) -> GraphVariant:
    """Return the variant of the lowest median ratio over all devices; the plainest unless another gains a percent."""
    variants = tuple(ratios[0])
    logs = {variant: float(np.mean([np.log(np.median(device[variant])) for device in ratios])) for variant in variants}
    best = min(variants, key=lambda variant: logs[variant])
    return best if logs[best] < np.log(WORTH) else variants[0]


@dataclass(frozen=True)
class VariantComparison:
    """Times a few networks of a space in several graph variants, side by side.

    Attributes:
        space: the space.
        variants: the variants, the plainest first.
        rounds: repetitions of every file.
        seed: seed of the run.
        folder: the run folder.
    """

    space: ClassifierSpace
    variants: Sequence[GraphVariant]
    rounds: int
    seed: int
    folder: Path

    def ratios(self, devices: RunDevices, progress: Progress) -> dict[str, dict[GraphVariant, tuple[float, ...]]]:
        """Return latency ratios by device and variant."""
        networks = {arch.id: self.space.unroll(arch) for arch in covering(self.space, VARIANT_NETWORKS, self.seed)}
        with tempfile.TemporaryDirectory(dir=_make_folder(self.folder / "latency"), prefix=".models.") as folder:
            step = partial(progress, "exporting")
            files = export_variants(networks, Path(folder), step, variants=self.variants)
            return {
                device.name: ratios_to_plain(self._measure(files, device, devices.transport(device.name), progress))
                for device in _fp32_devices(devices.measured.values())
            }

    def _measure(
        self, files: Mapping[tuple[GraphVariant, str], Path], device: Device, transport: Transport, progress: Progress
    ) -> VariantMeasurements:
        models = {f"{variant} {arch}": path for (variant, arch), path in files.items()}
        measured = measure_networks(
            models,
            device,
            rounds=self.rounds,
            seed=self.seed,
            out=_make_folder(self.folder / "latency" / device.name) / "graph_variants.jsonl",
            transport=transport,
            processes=VARIANT_PROCESSES,
            progress=lambda _, done, total: progress("comparing graph variants", done, total),
        )
        # A start that was killed before the variant was written down reads the same rows again.
        sessions, session = MeasuringSessions(self.folder), digest(models)
        if sessions.last(device.name, session) is None:
            sessions.keep(device.name, session, measured)
        return {(variant, arch): measured[f"{variant} {arch}"] for variant, arch in files}


def _fp32_devices(devices: Collection[Device]) -> list[Device]:
    """Return the fp32 devices; where there are none, all devices, set to fp32."""
    in_fp32 = {"precision": "fp32"}
    return [device for device in devices if device.run.precision == "fp32"] or [
        device.model_copy(update={"run": device.run.model_copy(update=in_fp32)}) for device in devices
    ]


def _make_folder(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
