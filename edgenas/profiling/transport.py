"""Transports: ways to have the kit's bench.py time models on a device.

All take the same list of jobs and give the same rows. `local` runs the timer here, `ssh` on another machine,
`browser` in a page on this one, and `offline` packs what has to be timed, and believes what was brought back.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from edgenas.latency.device import Device


@dataclass(frozen=True)
class Job:
    """What one process of the timer does.

    Attributes:
        models: ONNX files, loaded in this order.
        rounds: visits to every model.
        seed: of inputs and of the order of visits.
    """

    models: tuple[Path, ...]
    rounds: int
    seed: int


class Timed(NamedTuple):
    """A validated row, of one model in one job; times in milliseconds.

    Of a model that the device cannot run it holds an `error` instead of numbers; later jobs give no row of it.
    """

    job: int
    model: int
    row: dict[str, Any]


class Transport(Protocol):
    """A way to a device.

    Attributes:
        at_once: whether all jobs should be told in one call, for each means a journey.
    """

    @property
    def at_once(self) -> bool:
        """See above."""
        ...

    def runtime_version(self, kept: str) -> str:
        """Of the runtime there, as far as it is known before measuring.

        Args:
            kept: the version that the newest rows were measured with.
        """
        ...

    def time(
        self, jobs: Sequence[Job], device: Device, progress: Callable[[int, int], None] | None = None
    ) -> Generator[Timed, None, None]:
        """Time the models of all jobs and give rows as they come.

        Args:
            jobs: one process of the timer each, one after another.
            device: what the machine must be, and how models are run there.
            progress: called with visits done and in all.

        Raises:
            MeasurementError: the timer failed, a row is not credible, or the device cannot be reached.
        """
        ...


def installed_runtime() -> str:
    """Version of the ONNX Runtime that models are run with here; empty where no package tells it."""
    for package in ("onnxruntime", "onnxruntime-gpu"):
        with contextlib.suppress(PackageNotFoundError):
            return version(package)
    return ""


def part_progress(
    progress: Callable[[int, int], None] | None, number: int, parts: int
) -> Callable[[int, int], None] | None:
    """Tell the progress of one of several equal parts as that of the whole."""
    if progress is None:
        return None
    return lambda done, total: progress(number * total + done, parts * total)
