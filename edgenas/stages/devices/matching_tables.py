"""Checks that latency tables and predictors of a run folder belong to the run: files get copied and mixed up."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict

from edgenas.deploy.onnx.exporter import EXPORTER_VERSION
from edgenas.errors import TableError
from edgenas.latency.device import Device
from edgenas.latency.predictor import LatencyPredictor
from edgenas.latency.table import LatencyTable
from edgenas.profiling.measurement import to_identity
from edgenas.profiling.transport import TransportKind
from edgenas.space.graph_variant import GraphVariant
from edgenas.space.space import ClassifierSpace
from edgenas.stages.devices.device_graphs import device_graphs


def require_setting(
    table: LatencyTable, device: Device, kind: TransportKind, devices: Iterable[Device], variant: GraphVariant
) -> None:
    """Refuse a table that was measured in another setting than its device runs in now.

    Args:
        table: the table.
        device: its device.
        kind: transport of the device.
        devices: every measured device of the run, which share one int8 file.
        variant: graph variant of the run's fp32 files.

    Raises:
        TableError: names every field of the setting that differs.
    """
    measured = asdict(table.identity)
    graphs = device_graphs(device, devices, variant)
    version = _comparable_version(kind, table.identity.runtime_version)
    expected = asdict(to_identity(device, version, EXPORTER_VERSION, graphs.variant, graphs.quantiser_recipe))
    differing = [key for key, value in expected.items() if measured[key] != value]
    if differing:
        listed = "; ".join(f"{key}: expected {expected[key]}, got {measured[key]}" for key in differing)
        raise TableError(f"the latency table of {device.name} is of another setting ({listed})")


def require_networks(table: LatencyTable, device: str, space: ClassifierSpace) -> None:
    """Refuse a table without networks of the space and the number of classes.

    Raises:
        TableError: it has none.
    """
    if not table.networks(space.structure_id, space.num_classes):
        networks = f"networks of {space.structure_id} with {space.num_classes} classes"
        raise TableError(f"the latency table of {device}: expected {networks}, got none")


def require_classes(predictor: LatencyPredictor, device: str, num_classes: int) -> None:
    """Refuse a predictor of networks with another number of classes.

    Raises:
        TableError: it is of another number.
    """
    if predictor.space_.num_classes != num_classes:
        raise TableError(
            f"the latency predictor of {device}: expected {num_classes} classes, got {predictor.space_.num_classes}"
        )


def _comparable_version(kind: TransportKind, version: str) -> str:
    """Return the version that a new measurement would have, or the measured one where they differ by a suffix only."""
    installed = kind.current_version(version)
    same = version.startswith(installed) or installed.startswith(version)
    return version if same else installed
