"""The device that a gate measures on: the bundle's own, reached in the same ways as the devices of a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgenas.deploy.bundle.manifest_values import stated
from edgenas.errors import ConfigError
from edgenas.latency.device import Device
from edgenas.profiling.place import BROWSER
from edgenas.profiling.reach import Reach, differences
from edgenas.profiling.timer_rows import printable
from edgenas.profiling.transport import Transport

LONGEST = 1000
"""Characters of a description of a device that a message shows."""


def reached_device(manifest: Mapping[str, Any], name: str, reach: Reach) -> tuple[Device, Transport]:
    """Return a device of a bundle as it is reached now, and the way there.

    A device that was measured over SSH, or by a packed kit, is also measured by a gate that runs on it. Whether the
    machine at a place is the device, its transport checks when it is asked.

    Args:
        manifest: of the bundle.
        name: of the device.
        reach: what the command line says.

    Raises:
        ConfigError: no place is given, and this machine is not the device; what differs is named.
        ManifestError: the manifest does not describe the device.
    """
    device = stated(manifest, Device, "devices", name)
    reach.check([device.name])
    packed = bool(reach.kit or reach.results)
    if device.run.transport == BROWSER:
        _refuse_another_machine(device, "run the gate on that machine")
    elif reach.place(device) == BROWSER:
        raise ConfigError(
            f"--on browser: the bundle states the latency of {device.run.runtime} on {device.name}, not of a browser"
        )
    elif reach.place(device) is None and not packed:
        way = (
            f"say where it is with --on {device.name}=ssh://user@host, or take to it what --pack kit.zip writes (and "
            "run the gate again with --unpack results.zip), or run the gate on that machine"
        )
        _refuse_another_machine(device, way)
        device = device.model_copy(update={"run": device.run.model_copy(update={"transport": "local"})})
    reach.check_kits([device])
    return reach.as_reached(device), reach.transport(device)


def _refuse_another_machine(device: Device, way: str) -> None:
    if differs := differences(device):
        # The device may be anyone's description.
        raise ConfigError(f"{printable(differs, LONGEST)}: {way}")
