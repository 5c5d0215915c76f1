"""The devices of a run: resolved when it starts, and stored in the run folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from edgenas.config.sections import DeviceConfig
from edgenas.errors import ConfigError, RunFolderError
from edgenas.files import write_text
from edgenas.latency.device import THIS_MACHINE, Device, DeviceRun, device_names, dump_device, load_device, probe
from edgenas.latency.table import find_table
from edgenas.profiling.transport import Transport
from edgenas.profiling.transport_registry import TransportRegistry, mounted_transports

FOLDER = "devices"


@dataclass(frozen=True)
class RunDevices:
    """The devices of a run, by name in the config's order: budgets refer to the first by default.

    Attributes:
        all: every device.
        tables: latency tables of the devices that are not measured, by device.
        reach: transports, as the running command states them.
    """

    all: Mapping[str, Device]
    tables: Mapping[str, str]
    reach: TransportRegistry

    @property
    def names(self) -> list[str]:
        """The names of all devices."""
        return list(self.all)

    @cached_property
    def measured(self) -> dict[str, Device]:
        """The devices that are measured, without those that are represented by a table."""
        return {name: device for name, device in self.all.items() if device.is_measured}

    @cached_property
    def precisions(self) -> set[str]:
        """The precisions that measured devices run; fp32 where none is measured."""
        return {device.run.precision for device in self.measured.values()} or {"fp32"}

    @property
    def carried(self) -> bool:
        """Whether a person carries a kit to a measured device."""
        return any(self.transport(name).carried for name in self.measured)

    @property
    def in_reach(self) -> bool:
        """Whether networks can be timed at any moment: some device is measured, and no kit is carried to one."""
        return bool(self.measured) and not self.carried

    def transport(self, name: str) -> Transport:
        """Return the transport of a device.

        Raises:
            ConfigError: no transport serves the device.
        """
        self.reach.check(self.names)
        self.reach.check_kits(self.all.values())
        return self.reach.transport(self.all[name])


def load_devices(folder: Path, configs: Sequence[DeviceConfig], reach: TransportRegistry) -> RunDevices:
    """Return the devices that a run folder holds.

    Raises:
        RunFolderError: some are missing.
        TableError: a file is broken.
    """
    # Numbered file names keep the order.
    devices = [load_device(path) for path in sorted((folder / FOLDER).glob("*.yaml"))]
    if len(devices) != len(configs):
        raise RunFolderError(
            f"{folder / FOLDER} holds {len(devices)} devices, expected the {len(configs)} of the config: "
            "put the missing ones back, or choose another --run folder"
        )
    tables = {
        device.name: config.table for device, config in zip(devices, configs, strict=True) if config.table is not None
    }
    return RunDevices({device.name: device for device in devices}, tables, reach)


def write_devices(folder: Path, devices: Sequence[Device]) -> None:
    """Keep the devices in a run folder."""
    for number, device in enumerate(devices):
        write_text(folder / FOLDER / f"{number:02d}-{device.name}.yaml", dump_device(device))


def resolve_device(name: str) -> Device:
    """Return the device of a config: this machine, a shipped one, or a file.

    Raises:
        TableError: no such device; the valid names are listed.
        ConfigError: its transport is not supported.
    """
    device = probe() if name == THIS_MACHINE else load_device(name)
    if device.is_measured:
        mounted_transports().stated_kind(device)
    return device


def resolve_devices(configs: Sequence[DeviceConfig], reach: TransportRegistry | None = None) -> list[Device]:
    """Return the devices of a config in its order, each with its transport.

    Raises:
        TableError: no such device; the valid names are listed.
        ConfigError: two devices have one name, or no transport serves one.
    """
    devices = [_resolved(config) for config in configs]
    names = [device.name for device in devices]
    reach = reach or mounted_transports()
    reach.check(names)
    reach.check_kits(devices)
    devices = [
        reach.as_reached(device) if config.device else device for config, device in zip(configs, devices, strict=True)
    ]
    for name in names:
        if names.count(name) > 1:
            sources = ", ".join(config.source for config in configs)
            raise ConfigError(f"devices: two of {sources} are called {name!r}: give one another name")
    return devices


def _resolved(config: DeviceConfig) -> Device:
    if config.table is not None:
        return _of_table(config.table, config.name)
    return _with_precision(resolve_device(str(config.device)), config)


def _with_precision(device: Device, config: DeviceConfig) -> Device:
    """Return a device with the config's precision, which is added to its name if the device's file has another."""
    precision = config.precision or device.run.precision
    default = device.name if precision == device.run.precision else f"{device.name}-{precision}"
    run = device.run.model_copy(update={"precision": precision})
    return device.model_copy(update={"name": config.name or default, "run": run})


def _of_table(source: str, name: str | None) -> Device:
    """Return the device that a latency table was measured on, as far as the table describes it; it is not measured."""
    table = find_table(source)
    name = name or table.identity.device
    if table.identity.device in device_names():
        device = load_device(table.identity.device)
    else:
        cpu, os = (str(table.circumstances.get(key) or "unknown") for key in ("cpu", "os"))
        device = Device(name=name, cpu=cpu, os=os)
    description = f"known by the latency table {source} alone, which states how its models were run"
    return device.model_copy(update={"name": name, "description": description, "run": DeviceRun(transport="table")})
