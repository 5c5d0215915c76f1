"""The registry of transports: which one serves a device, given what the command line states."""

from __future__ import annotations

import contextlib
import importlib
import pkgutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from pathlib import Path

from edgenas.errors import ConfigError, one_of, shown
from edgenas.latency.device import Device
from edgenas.profiling.transport import Access, Transport, TransportKind

ONLY_DEVICE = ""
"""Key of a place that is given without a device's name."""


def shipped_kinds() -> tuple[TransportKind, ...]:
    """Return the kinds that edgenas ships: `KIND` of every module of `profiling.transports`."""
    from edgenas.profiling import transports

    names = sorted(module.name for module in pkgutil.iter_modules(transports.__path__))
    return tuple(importlib.import_module(f"{transports.__name__}.{name}").KIND for name in names)


@dataclass(frozen=True)
class TransportRegistry:
    """Kinds of transports, and where devices are. Given with every command that measures; places are never stored.

    Attributes:
        places: values of `--on` by device; `ONLY_DEVICE` stands for the only one.
        kit: zip to write with what has to be timed on devices that no other transport serves.
        results: zip that was brought back from one.
        kinds: in order of preference; None stands for `shipped_kinds`, which are imported on use.
    """

    places: Mapping[str, str] = field(default_factory=dict)
    kit: Path | None = None
    results: Path | None = None
    kinds: tuple[TransportKind, ...] | None = None

    def with_options(
        self, on: Sequence[str] = (), kit: Path | None = None, results: Path | None = None
    ) -> TransportRegistry:
        """Return a registry with the values of `--on`, `--pack` and `--unpack`.

        Args:
            on: `NAME=PLACE`, or a place alone.
            kit: see above.
            results: see above.

        Raises:
            ConfigError: a place is malformed, or a device has two.
        """
        places: dict[str, str] = {}
        for text in on:
            bare = "=" not in text or any(kind.is_place(text) for kind in self._kinds)
            name, _, place = (ONLY_DEVICE, "", text) if bare else text.partition("=")
            if name in places:
                raise ConfigError(f"--on: {name or 'the device'} has two places: give one")
            self.kind_of_place(place).check_place(place)
            places[name] = place
        return replace(self, places=places, kit=kit, results=results)

    def check(self, names: Sequence[str]) -> None:
        """Refuse places of unknown devices.

        Raises:
            ConfigError: the devices are listed.
        """
        for name, place in self.places.items():
            if name == ONLY_DEVICE and len(names) > 1:
                raise ConfigError(f"--on: there are several devices: state which, such as --on {names[0]}={place}")
            if name not in (ONLY_DEVICE, *names):
                raise ConfigError(f"--on: {name!r} is not a device of this run; {one_of(name, names)}")

    def check_kits(self, devices: Iterable[Device]) -> None:
        """Refuse a kit that would be ignored, because every device is served without one.

        Raises:
            ConfigError: the devices are listed.
        """
        measured = [device for device in devices if device.is_measured]
        if (self.kit or self.results) and not any(self.kind(device).carried for device in measured):
            names = ", ".join(device.name for device in measured) or "no device"
            option = "--pack" if self.kit else "--unpack"
            raise ConfigError(
                f"{option} is for devices out of reach, and of this run {names} can be timed: leave it out"
            )

    def access(self, device: Device) -> Access:
        """Return the stated options of the way to a device."""
        place = self.places.get(device.name, self.places.get(ONLY_DEVICE))
        return Access(place, self.kit, self.results)

    def kind(self, device: Device) -> TransportKind:
        """Return the kind that serves a device.

        Raises:
            ConfigError: there is none; the options that would help are named.
        """
        if not device.is_measured:
            raise ConfigError(
                f"device {device.name} is represented by a table alone (transport: table): name that table in the "
                "config, devices: [{table: …}]"
            )
        access, stated = self.access(device), self.stated_kind(device)
        if access.place is not None:
            return self.kind_of_place(access.place)
        kinds = [kind for kind in self._kinds if kind.serves(device, access)]
        if not kinds:
            raise ConfigError(f"{stated.not_served(device)}: {self._hint(device)}")
        # A kit is for devices that nothing else serves.
        return min(kinds, key=lambda kind: kind.carried)

    def stated_kind(self, device: Device) -> TransportKind:
        """Return the kind that a device file names, whether or not it can be opened now.

        Raises:
            ConfigError: there is none of that name.
        """
        by_name = {kind.name: kind for kind in reversed(self._kinds)}
        name = device.run.transport
        if name not in by_name:
            raise ConfigError(f"device {device.name}: transport {name!r} is not supported; {one_of(name, by_name)}")
        return by_name[name]

    def kind_of_place(self, place: str) -> TransportKind:
        """Return the kind that a place belongs to.

        Raises:
            ConfigError: there is none; the valid forms are listed.
        """
        for kind in self._kinds:
            if kind.is_place(place):
                return kind
        forms = ", or ".join(kind.place_form for kind in self._kinds if kind.place_form)
        raise ConfigError(f"--on: expected {forms}, got {shown(place)}")

    def as_reached(self, device: Device) -> Device:
        """Return the device with the settings of the transport that serves it now.

        Raises:
            ConfigError: see `transport`.
        """
        self.transport(device)
        return self.kind(device).as_reached(device)

    def transport(self, device: Device) -> Transport:
        """Return the way to a device.

        Raises:
            ConfigError: no transport serves it as it is run, or something that the transport needs is missing.
        """
        kind = self.kind(device)
        provider = kind.as_reached(device).run.provider
        if provider not in kind.providers:
            raise ConfigError(
                f"device {device.name} runs models with provider {provider}, and transport {kind.name} offers "
                f"{', '.join(kind.providers)}: run edgenas on that machine instead"
            )
        return kind.open(device, self.access(device))

    @property
    def _kinds(self) -> tuple[TransportKind, ...]:
        return shipped_kinds() if self.kinds is None else self.kinds

    def _hint(self, device: Device) -> str:
        forms = [kind.place_form for kind in self._kinds if kind.place_form and not kind.on_this_machine]
        places = "".join(f"give its place with --on {device.name}={form}, or " for form in forms)
        return (
            f"{places}take to it what --pack kit.zip writes (and continue with --unpack results.zip), or run this "
            "command on that machine. `edgenas devices probe` describes the machine that it runs on"
        )


_MOUNTED: ContextVar[TransportRegistry | None] = ContextVar("mounted transports", default=None)


@contextlib.contextmanager
def mounted(registry: TransportRegistry) -> Iterator[TransportRegistry]:
    """Let everything in the context that is given no registry use this one, commands included.

    For transports of other packages, and for tests: `mounted(TransportRegistry(kinds=(FakeTransport(),)))`.
    """
    token = _MOUNTED.set(registry)
    try:
        yield registry
    finally:
        _MOUNTED.reset(token)


def mounted_transports() -> TransportRegistry:
    """Return the mounted registry; by default that of the transports that edgenas ships."""
    return _MOUNTED.get() or TransportRegistry()
