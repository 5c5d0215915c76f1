"""Measures the shipped tables of our own timer: every setting of one device, for the spaces that come with edgenas.

    python latency_tables/measure.py devices/xeon-2c-amx.yaml --work F [--settings fp32-t1 int8-t2]
    python latency_tables/measure.py devices/xeon-2c-amx-web.yaml --work F --settings fp32-t1

A table holds 200 blocks of each space and whole networks of it; blocks that spaces share are measured once. Of
`ofa-mbv3-w1.0` blocks are measured at four resolutions and networks at all 25: the others are regressed. Nothing else
should run beside it. What F holds is not measured again.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

from edgenas.deploy.onnx.exporter import EXPORTER_VERSION
from edgenas.display import ProgressDisplay
from edgenas.files import prove_writable
from edgenas.latency.device import Device, load_device
from edgenas.latency.table import LatencyTable
from edgenas.latency.table_merge import merge_tables
from edgenas.profiling.session import profile
from edgenas.profiling.timing_plan import Plan, make_plan
from edgenas.profiling.transport_registry import TransportRegistry
from edgenas.space.graph_variant import GraphVariant
from edgenas.space.loading import load_space
from edgenas.stages.devices.device_graphs import device_graphs, timing_export

VARIANT: GraphVariant = "blocked"
BLOCKS, SEED = 200, 0
ROUNDS = {"cpu": 16, "wasm": 8}
"""By provider: a browser takes four times as long."""
SETTINGS = {f"{precision}-t{threads}": (precision, threads) for precision in ("fp32", "int8") for threads in (1, 2)}


@dataclass(frozen=True)
class Part:
    """What a table holds of one space."""

    space: str
    resolutions: tuple[int, ...] | None
    num_classes: int
    networks: int

    def plan(self) -> Plan:
        """Blocks at some resolutions, networks at all."""
        narrowed = {"preset": self.space, **({"resolution": list(self.resolutions)} if self.resolutions else {})}
        blocks = make_plan(
            load_space(narrowed).with_classes(self.num_classes), blocks=BLOCKS, networks=2, seed=SEED
        ).blocks
        whole = make_plan(load_space(self.space).with_classes(self.num_classes), networks=self.networks, seed=SEED)
        return replace(whole, blocks=blocks)


PARTS = (
    Part("ofa-mbv3-w1.0", (128, 160, 192, 224), 1000, 60),
    Part("mobile-32", None, 10, 40),
    Part("mobile-96", None, 10, 40),
)


def measure(device: Device, setting: str, work: Path) -> LatencyTable:
    """One table of all spaces."""
    precision, threads = SETTINGS[setting]
    own = device.model_copy(update={"run": device.run.model_copy(update={"precision": precision, "threads": threads})})
    graphs = device_graphs(own, [own], VARIANT)
    with ProgressDisplay() as progress:
        tables = [
            profile(
                load_space(part.space).with_classes(part.num_classes),
                part.plan(),
                own,
                export=timing_export(graphs, progress),
                exporter_version=EXPORTER_VERSION,
                variant=graphs.variant,
                quantiser_recipe=graphs.quantiser_recipe,
                rounds=ROUNDS[device.run.provider],
                seed=SEED,
                folder=work / device.name / setting / part.space,
                transport=TransportRegistry().transport(own),
                progress=progress,
            )
            for part in PARTS
        ]
    return merge_tables(tables, [part.space for part in PARTS])


def main() -> None:
    """Measure each setting and save its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("device")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--settings", nargs="+", choices=list(SETTINGS), default=list(SETTINGS))
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    arguments = parser.parse_args()
    device = load_device(arguments.device)
    for folder in (arguments.work, arguments.out):
        prove_writable(folder / device.name / "any")
    for setting in arguments.settings:
        table = measure(device, setting, arguments.work)
        folder = arguments.out / device.name / table.identity.setting
        table.save(folder)
        print(f"{folder}: {len(table.rows)} rows")


if __name__ == "__main__":
    main()
