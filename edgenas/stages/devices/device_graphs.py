"""Graph settings of a device, by the precision it runs. They are part of its table's identity."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgenas.deploy.int8.quantiser_recipe import QuantiserRecipe
from edgenas.deploy.int8.quantize import quantise_for_timing
from edgenas.deploy.onnx.exporter import export_for_timing
from edgenas.latency.device import Device
from edgenas.profiling.session import Export
from edgenas.progress import Progress
from edgenas.space.blocks.spec import BlockSpec
from edgenas.space.graph_variant import PLAIN_VARIANT, GraphVariant
from edgenas.stages.devices.int8_export import run_recipes


@dataclass(frozen=True)
class Graphs:
    """Graph settings of the files for a device.

    Attributes:
        variant: variant of fp32 graphs; int8 graphs are made of the plain variant.
        recipe: recipe of int8 graphs, whose method does not matter here; None for fp32.
    """

    variant: GraphVariant
    recipe: QuantiserRecipe | None = None

    @property
    def quantiser_recipe(self) -> str:
        """The recipe as a table's identity states it."""
        return self.recipe.latency_id if self.recipe else "none"


def device_graphs(device: Device, devices: Iterable[Device], variant: GraphVariant) -> Graphs:
    """Return the graph settings of the files for one of a run's devices.

    Args:
        device: the device.
        devices: the measured devices of the run, which share one int8 file.
        variant: graph variant of the run's fp32 files.
    """
    return Graphs(PLAIN_VARIANT, run_recipes(devices)[0]) if device.run.precision == "int8" else Graphs(variant)


def timing_export(graphs: Graphs, progress: Progress) -> Export:
    """Return the function that writes models for timing, as a device is to run them."""

    def export(
        named: Mapping[str, Sequence[BlockSpec]], folder: Path, step: Callable[[int, int], None] | None
    ) -> dict[str, Path]:
        paths = export_for_timing(named, folder, step, variant=graphs.variant)
        if graphs.recipe is not None:
            for number, path in enumerate(paths.values()):
                progress("quantising", number, len(paths))
                quantise_for_timing(path, path, graphs.recipe)
            progress("quantising", len(paths), len(paths))
        return paths

    return export
