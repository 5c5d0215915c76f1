"""The blocks of the chosen network, with the latency of each block on each device."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgenas.errors import TableError, UserError
from edgenas.latency.block_cost import BlockCosts, PaperCosts
from edgenas.latency.predictor import LatencyPredictor
from edgenas.latency.table import LatencyTable
from edgenas.report.formats import ms
from edgenas.space.arch import Arch, as_file_name
from edgenas.space.cost import cost
from edgenas.space.loading import load_space
from edgenas.space.space import SearchSpace


@dataclass(frozen=True)
class NetworkBlock:
    """A block of the chosen network.

    Attributes:
        name: its position, like `stage2.block1`.
        what: its operators in words.
        shape: of its output, like `14 × 14 × 24`.
        macs: multiply-accumulates of one image.
        latency_us: by device, None where it is neither measured nor within the measured range.
        measured: devices that it was timed on by itself; elsewhere its latency is regressed.
    """

    name: str
    what: str
    shape: str
    macs: int
    latency_us: dict[str, float | None]
    measured: frozenset[str]


def read_blocks(folder: Path, arch: Arch, num_classes: int, devices: tuple[str, ...]) -> tuple[NetworkBlock, ...]:
    """Return the blocks of a network of a run; none where the run folder lacks its space or latencies.

    Args:
        folder: of the run.
        arch: of its space or shelf.
        num_classes: of the network.
        devices: of the run.
    """
    try:
        space = load_space(folder / "space.yaml")
        own = load_space(folder / "shelf" / f"{as_file_name(arch.network)}.yaml") if arch.network else space
        specs = list(own.with_classes(num_classes).unroll(own.parse(arch.id)))
        costs = {device: _block_costs(folder / "latency" / device, space) for device in devices}
    except UserError:
        return ()
    latencies = {device: estimate.estimate_us(specs).tolist() for device, estimate in costs.items()}
    timed = {device: getattr(estimate, "measured_us", {}) for device, estimate in costs.items()}
    return tuple(
        NetworkBlock(
            name=spec.name,
            what=spec.description,
            shape=f"{spec.out_size} × {spec.out_size} × {spec.out_channels}",
            macs=cost([spec]).macs,
            latency_us={d: None if math.isnan(us[index]) else us[index] for d, us in latencies.items()},
            measured=frozenset(device for device, blocks in timed.items() if spec.key in blocks),
        )
        for index, spec in enumerate(specs)
    )


def block_rows(network: Sequence[NetworkBlock], devices: Sequence[str]) -> list[list[str]]:
    """Return a header, and a row for each block: its operators, MACs, and its latency on each device."""
    header = ["block", "operators", "output", "MACs", *(f"ms on {device}" for device in devices)]
    rows = [[b.name, b.what, b.shape, f"{b.macs:,}", *(_time(b, device) for device in devices)] for b in network]
    return [header, *rows]


def _time(block: NetworkBlock, device: str) -> str:
    return ms(block.latency_us[device]) + ("" if device in block.measured else " (regressed)")


def _block_costs(folder: Path, space: SearchSpace) -> BlockCosts | PaperCosts:
    """Return the predictor's latencies of blocks; without a readable predictor, the measured ones alone."""
    try:
        return LatencyPredictor.load(folder / "predictor.json", space).blocks_
    except TableError:
        measured = {key: row.p50_us for key, row in LatencyTable.load(folder).blocks().items()}
        return BlockCosts(measured, {})


def stages_of(arch: Arch) -> list[str]:
    """Return an architecture as readable lines: its pretrained network, its resolution, then a line for each stage."""
    lines = [arch.network] if arch.network else []
    lines.append(f"{arch.resolution} × {arch.resolution} pixels")
    for number, stage in enumerate(arch.stages):
        lines.append(f"stage {number}: {stage.width} channels, {' '.join(map(str, stage.blocks))}")
    return lines
