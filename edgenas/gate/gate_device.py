"""The device that a gate measures on: the bundle's own, reached in the same ways as the devices of a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgenas.deploy.bundle.manifest_values import stated
from edgenas.errors import ConfigError
from edgenas.latency.device import Device
from edgenas.profiling.transport import Transport
from edgenas.profiling.transport_registry import TransportRegistry

LOCAL = "local"


def reached_device(manifest: Mapping[str, Any], name: str, transports: TransportRegistry) -> tuple[Device, Transport]:
    """Return a device of a bundle with the settings of its transport, and the way there.

    A device that was measured over SSH, or by a packed kit, is measured as this machine where it equals it and no other
    way is stated. Transports to other machines check the machine when they connect.

    Args:
        manifest: of the bundle.
        name: of the device.
        transports: registry, with what the command line states.

    Raises:
        ConfigError: no transport serves the device, or its models would run in another runtime than the bundle states.
        ManifestError: the manifest does not describe the device.
    """
    device = stated(manifest, Device, "devices", name)
    transports.check([device.name])
    access = transports.access(device)
    if access.place is None and not (access.kit or access.results):
        device = _without_place(device, transports)
    transports.check_kits([device])
    reached = transports.kind(device).as_reached(device)
    if reached.run.runtime != device.run.runtime:
        raise ConfigError(
            f"--on {access.place}: the bundle states the latency of {device.run.runtime} on {device.name}, not of "
            f"{reached.run.runtime}: leave the option out, or name another place"
        )
    return reached, transports.transport(device)


def _without_place(device: Device, transports: TransportRegistry) -> Device:
    """Return the device as this machine, unless its transport needs no place."""
    if transports.stated_kind(device).on_this_machine:
        return device
    return device.model_copy(update={"run": device.run.model_copy(update={"transport": LOCAL})})
