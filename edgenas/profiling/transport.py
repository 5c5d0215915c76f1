"""The protocol of transports: ways to have models timed on a device.

A `TransportKind` states which devices and places it serves. Opened for a device it gives a `Transport`, which takes
jobs and yields the rows of the kit's timer. Each kind is one module of `profiling.transports`, see
`TransportRegistry`.
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from edgenas.errors import ConfigError
from edgenas.latency.device import Device, Precision


@dataclass(frozen=True)
class Job:
    """The work of one process of the timer.

    Attributes:
        models: ONNX files, loaded in this order.
        rounds: repetitions of every model.
        seed: of inputs and of the order of repetitions.
    """

    models: tuple[Path, ...]
    rounds: int
    seed: int


class Timed(NamedTuple):
    """A validated row of one model in one job; times in milliseconds.

    The row of a model that the device cannot run holds an `error` instead of numbers; later jobs give no row for it.
    """

    job: int
    model: int
    row: dict[str, Any]


class Transport(Protocol):
    """An open way to one device.

    Attributes:
        carried: whether a person carries jobs to the device. All jobs are then passed in one call, and no session is
            repeated.
    """

    @property
    def carried(self) -> bool:
        """Return whether a person carries jobs to the device."""
        ...

    def runtime_version(self, measured: str) -> str:
        """Return the version of the device's runtime, as far as it is available before measuring.

        Args:
            measured: the version that the newest rows were measured with; empty where there are none.
        """
        ...

    def time(
        self, jobs: Sequence[Job], device: Device, progress: Callable[[int, int], None] | None = None
    ) -> Generator[Timed, None, None]:
        """Time the models of all jobs and yield rows as they come.

        Args:
            jobs: one process of the timer each, one after another.
            device: what the machine must be, and how models are run there.
            progress: called with repetitions done and in all.

        Raises:
            MeasurementError: the timer failed, a row is not credible, or the device cannot be reached.
        """
        ...


@dataclass(frozen=True)
class Access:
    """What the command line states about the way to one device.

    Attributes:
        place: value of `--on`, such as ssh://user@host; None where there is none.
        kit: zip to write with what has to be timed.
        results: zip that was brought back from the device.
    """

    place: str | None = None
    kit: Path | None = None
    results: Path | None = None


class TransportKind(ABC):
    """One kind of transport: the devices and places that it serves.

    Attributes:
        name: `run.transport` of device files.
        place_form: form of its places after `--on`; empty where it has none.
        providers: execution providers that it can run models with.
        on_this_machine: whether its devices are the machine that edgenas runs on.
        carried: see `Transport`.
        start_seconds: seconds that one process of its timer takes to start, beyond that of the local timer.
    """

    name: str
    place_form: str = ""
    providers: tuple[str, ...] = ("cpu",)
    on_this_machine: bool = False
    carried: bool = False
    start_seconds: float = 0.0

    @abstractmethod
    def serves(self, device: Device, access: Access) -> bool:
        """Return whether a device without a place can be timed in this way."""

    @abstractmethod
    def open(self, device: Device, access: Access) -> Transport:
        """Return the way to a device.

        Raises:
            ConfigError: something is missing, or the device is another machine.
        """

    def is_place(self, text: str) -> bool:
        """Return whether a value of `--on` is meant for this kind, well-formed or not."""
        return False

    def check_place(self, text: str) -> None:
        """Refuse a malformed place.

        Raises:
            ConfigError: the expected form is stated.
        """
        return

    def as_reached(self, device: Device) -> Device:
        """Return the device with the settings that hold when it is timed in this way."""
        return device.model_copy(update={"run": device.run.model_copy(update={"transport": self.name})})

    def not_served(self, device: Device) -> str:
        """Return why a device whose file names this kind is not served without further options."""
        return f"device {device.name} is another machine, and no file stores where it is"

    def current_version(self, measured: str) -> str:
        """Return the runtime version that a new measurement would have, as far as it is available without asking.

        Args:
            measured: the version that the device was measured with.
        """
        return measured

    def probe(self, place: str, name: str, threads: int, precision: Precision) -> Device:
        """Describe the machine at a place.

        Raises:
            ConfigError: this kind has no places, or something is missing.
            MeasurementError: the machine cannot be reached, or its answer is not credible.
        """
        raise ConfigError(f"--on: transport {self.name} has no places")


def installed_runtime() -> str:
    """Return the version of the installed ONNX Runtime; empty where no package states it."""
    for package in ("onnxruntime", "onnxruntime-gpu"):
        with contextlib.suppress(PackageNotFoundError):
            return version(package)
    return ""


def part_progress(
    progress: Callable[[int, int], None] | None, number: int, parts: int
) -> Callable[[int, int], None] | None:
    """Report the progress of one of several equal parts as that of the whole."""
    if progress is None:
        return None
    return lambda done, total: progress(number * total + done, parts * total)
