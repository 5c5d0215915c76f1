"""How devices are reached: what the command line says of it, and which transport that makes for a device."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from edgenas.errors import ConfigError, one_of
from edgenas.latency.device import Device, probe
from edgenas.profiling.place import BROWSER, Place, parse_place
from edgenas.profiling.transport import Transport
from edgenas.profiling.transports.browser import BrowserTransport, find_browser
from edgenas.profiling.transports.local import LocalTransport
from edgenas.profiling.transports.offline import OfflineTransport
from edgenas.profiling.transports.ssh import SshTransport

THE_ONE_DEVICE = ""
Way = Place | Literal["browser"]
"""What `--on` says of a device."""


@dataclass(frozen=True)
class Reach:
    """Ways to devices. Said with every command that measures, and kept in no file: places hold names of people.

    Attributes:
        places: by device; under an empty name that of the only one.
        kit: zip to write with what has to be timed on devices that are not reached.
        results: zip that was brought back from one.
    """

    places: Mapping[str, Way] = field(default_factory=dict)
    kit: Path | None = None
    results: Path | None = None

    def check(self, names: Sequence[str]) -> None:
        """Refuse places of devices that there are not.

        Raises:
            ConfigError: the devices are listed.
        """
        for name in self.places:
            if name == THE_ONE_DEVICE and len(names) > 1:
                raise ConfigError(f"--on: there are several devices: say which, {names[0]}=ssh://…")
            if name not in (THE_ONE_DEVICE, *names):
                raise ConfigError(f"--on: {name!r} is no device of this run; {one_of(name, names)}")

    def check_kits(self, devices: Iterable[Device]) -> None:
        """Refuse kits where every device is reached from here: they would be passed over in silence.

        Raises:
            ConfigError: the devices are listed.
        """
        asked = [device for device in devices if device.is_measured]
        if (self.kit or self.results) and all(map(self._within_reach, asked)):
            names = ", ".join(device.name for device in asked) or "no device"
            said = "--pack" if self.kit else "--unpack"
            raise ConfigError(f"{said} is for devices out of reach, and of this run {names} can be timed: leave it out")

    def _within_reach(self, device: Device) -> bool:
        here = device.run.transport == "local" and not differences(device)
        return here or device.run.transport == BROWSER or self.place(device) is not None

    def place(self, device: Device) -> Way | None:
        """Where a device is, if that was said."""
        return self.places.get(device.name, self.places.get(THE_ONE_DEVICE))

    def as_reached(self, device: Device) -> Device:
        """The device, whose file says from now on how it is reached.

        Raises:
            ConfigError: see `transport`.
        """
        transport = self.transport(device)
        if isinstance(transport, BrowserTransport):
            return device.model_copy(update={"run": device.run.in_browser()})
        kind = {SshTransport: "ssh", OfflineTransport: "offline"}.get(type(transport), "local")
        return device.model_copy(update={"run": device.run.model_copy(update={"transport": kind})})

    def transport(self, device: Device) -> Transport:
        """The way to a device.

        Raises:
            ConfigError: none was said, and it is not this machine; or what a browser takes is not there.
        """
        if not device.is_measured:
            raise ConfigError(
                f"device {device.name} is known by a table alone (transport: table): name that table in the config, "
                "devices: [{table: …}]"
            )
        place = self.place(device)
        if place == BROWSER or device.run.transport == BROWSER:
            return _into_browser(device, place)
        if isinstance(place, Place):
            return SshTransport(place)
        differs = differences(device) if device.run.transport == "local" else ""
        if device.run.transport == "local" and not differs:
            return LocalTransport()
        if self.kit or self.results:
            return OfflineTransport(self.kit, self.results)
        hint = (
            f"say where it is with --on {device.name}=ssh://user@host, or take to it what --pack kit.zip writes "
            "(and go on with --unpack results.zip)"
        )
        if differs:
            raise ConfigError(f"{differs}: {hint}, or describe this machine with `edgenas devices probe`")
        raise ConfigError(f"device {device.name} is another machine, and places are kept in no file: {hint}")


def _into_browser(device: Device, place: Way | None) -> BrowserTransport:
    only = "models are timed in a browser only where edgenas runs"
    if device.run.transport not in ("local", BROWSER) or isinstance(place, Place):
        raise ConfigError(f"device {device.name}: {only}: install it on that machine, and say --on browser there")
    if differs := differences(device):
        raise ConfigError(
            f"{differs}, and {only}: describe the one on this machine with `edgenas devices probe FILE --on browser`"
        )
    return find_browser(device.run)


def differences(device: Device) -> str:
    """Return in words how a device differs from this machine in CPU, cores and ISA; empty where it does not."""
    here = probe()
    pairs = {name: (getattr(device, name), getattr(here, name)) for name in ("cpu", "cores", "isa")}
    # A long list of flags says most by those that differ.
    theirs, ours = pairs.pop("isa")
    if set(theirs) != set(ours):
        pairs["isa"] = (_beyond(theirs, ours), _beyond(ours, theirs))
    different = {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}
    if not different:
        return ""
    wanted, came = (", ".join(f"{name} {pair[side]}" for name, pair in different.items()) for side in (0, 1))
    return f"device {device.name} has {wanted}, but this machine has {came}"


def _beyond(flags: Sequence[str], others: Sequence[str]) -> str:
    """Return the flags that the other machine lacks, or those that it has alone."""
    more = [flag for flag in flags if flag not in others]
    return f"with {' '.join(more)}" if more else f"without {' '.join(flag for flag in others if flag not in flags)}"


def parse_reach(on: Sequence[str] = (), kit: Path | None = None, results: Path | None = None) -> Reach:
    """Read `--on NAME=ssh://…` or `NAME=browser` (or the place alone), `--pack` and `--unpack`.

    Raises:
        ConfigError: a place is none, or a device has two.
    """
    places: dict[str, Way] = {}
    for text in on:
        bare = text.startswith("ssh:") or "=" not in text
        name, _, place = (THE_ONE_DEVICE, "", text) if bare else text.partition("=")
        if name in places:
            raise ConfigError(f"--on: {name or 'the device'} is at two places")
        places[name] = "browser" if place == BROWSER else parse_place(place)
    return Reach(places, kit, results)
