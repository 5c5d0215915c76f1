"""The run's devices: resolved when it starts, and kept as they were then."""

from __future__ import annotations

from collections.abc import Sequence

from edgenas.errors import ConfigError
from edgenas.files import write_text
from edgenas.latency.device import Device, dump_device, load_device, probe
from edgenas.pipeline.run import Run

HERE = "here"
"""The device name that stands for the machine edgenas runs on."""


def resolve_device(name: str) -> Device:
    """The device of a config: this machine, a shipped one, or a file.

    Raises:
        TableError: no such device; the valid names are listed.
    """
    return probe(HERE) if name == HERE else load_device(name)


def resolve_devices(names: Sequence[str]) -> list[Device]:
    """The devices of a config, in its order.

    Raises:
        TableError: no such device; the valid names are listed.
        ConfigError: two devices have one name.
    """
    devices = [resolve_device(name) for name in names]
    called = [device.name for device in devices]
    for name in called:
        if called.count(name) > 1:
            raise ConfigError(f"devices: two of {', '.join(names)} are called {name!r}: give one another name")
    return devices


def write_devices(run: Run, devices: Sequence[Device]) -> None:
    """Keep the devices in the run folder."""
    for number, device in enumerate(devices):
        write_text(run.folder / "devices" / f"{number:02d}-{device.name}.yaml", dump_device(device))


def run_devices(run: Run) -> dict[str, Device]:
    """The run's devices by name, in the config's order."""
    # Numbered file names keep the order: the first device is the one that budgets mean by default.
    devices = map(load_device, sorted((run.folder / "devices").glob("*.yaml")))
    return {device.name: device for device in devices}
