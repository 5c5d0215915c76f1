"""The device that a gate measures on, reached in the same ways as the devices of a run, and the timing there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgenas.deploy.bundle.manifest_values import stated
from edgenas.errors import ConfigError
from edgenas.latency.device import Device
from edgenas.profiling.measurement import Measurement
from edgenas.profiling.session import discount, measure_networks, to_be_repeated
from edgenas.profiling.timer_rows import printable
from edgenas.profiling.transport import Transport
from edgenas.profiling.transport_registry import TransportRegistry
from edgenas.progress import Progress

LOCAL = "local"


@dataclass(frozen=True)
class TimedFile:
    """The latency of the deployed file in one session.

    Attributes:
        device: the device, as it was reached.
        measurement: latency over all processes of the session.
        repeated: whether an earlier session was disturbed, and discarded.
    """

    device: Device
    measurement: Measurement
    repeated: bool

    @property
    def remarks(self) -> list[str]:
        """Warnings, as sentences."""
        again = ["the first session was disturbed in most processes, and was repeated"] if self.repeated else []
        return [*again, *(f"warning: {printable(warning)}" for warning in self.measurement.warnings)]


def time_file(model: Path, device: Device, transport: Transport, rounds: int, progress: Progress | None) -> TimedFile:
    """Time a file in one session, and once more where most of its processes were disturbed.

    Raises:
        MeasurementError: the timer failed, or the device cannot be reached.
    """
    out = model.parent / "rows.jsonl"

    def measure() -> Measurement:
        files = {model.name: model}
        return measure_networks(files, device, rounds=rounds, seed=0, out=out, progress=progress, transport=transport)[
            model.name
        ]

    first = measure()
    if not to_be_repeated({model.name: first}, transport):
        return TimedFile(device, first, repeated=False)
    discount(out, device)
    return TimedFile(device, measure(), repeated=True)


def reached_device(manifest: Mapping[str, Any], name: str, transports: TransportRegistry) -> tuple[Device, Transport]:
    """Return a device of a bundle with the settings of its transport, and the way there.

    A device that was measured over SSH, or by a packed kit, is measured as this machine where it equals it and no other
    way is stated. Transports to other machines check the machine when they connect.

    Args:
        manifest: manifest of the bundle.
        name: name of the device.
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
