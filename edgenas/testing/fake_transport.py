"""A synthetic device of known latencies, as a transport: nothing is run, and no process is started."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from edgenas.deploy.inspection.graph_cost import read_graph
from edgenas.files import SCHEMA_VERSION
from edgenas.latency.device import Device, DeviceRun
from edgenas.profiling.measurement import PROCESSES
from edgenas.profiling.timer_rows import QUANTILES, SETTING, validate_row
from edgenas.profiling.transport import Access, Job, Timed, Transport, TransportKind, installed_runtime

MACS_PER_US, WEIGHT_BYTES_PER_US, START_US = 30e3, 20e3, 1.0
SENTINEL_US, CALL_OVERHEAD_US = 100.0, 0.5
MEMORY = {"model_rss_bytes": 2**20, "peak_rss_bytes": 2**26}
SPREAD = dict(zip(QUANTILES, (0.97, 0.98, 1.0, 1.05, 1.1, 1.15, 1.2), strict=True))
"""Quantiles of the runs of one process, as multiples of its p50."""


def graph_latency_us(model: Path, job: Job) -> float:
    """Return a latency in microseconds that grows with the MACs and the weight bytes of an ONNX file.

    Args:
        model: the file.
        job: ignored; every process takes as long.

    Raises:
        UserError: the file is missing, or not an ONNX model.
    """
    graph = read_graph(model)
    return START_US + graph.macs / MACS_PER_US + graph.weight_bytes / WEIGHT_BYTES_PER_US


@dataclass
class FakeTransport(TransportKind, Transport):
    """A synthetic device: a kind of transport, and the transport that it opens.

    Its rows pass the same validation as those of the timer. Noise depends on the seeds, the model's bytes and the job
    alone, so that a resumed run sees the measurements of an undisturbed one.

    Attributes:
        latency_us: true p50 in microseconds, of a model in a job. What it raises ends the measurement.
        unable: why the device cannot run a model; empty where it can.
        process_noise: standard deviation of the logarithm of latencies between processes.
        session_noise: likewise between sessions, which all models of a session and the sentinel share.
        warnings: of every row of a job. A process counts as disturbed by warnings that begin like
            `profiling.measurement.DISTURBANCES`.
        seed: of all noise.
        version: of the runtime, as rows state it.
        pause_seconds: wall-clock time that each process takes.
        instead_of: the kind whose devices it serves; None for devices with transport `fake`.
        timed: how models were run and the job of each process so far, without models that cannot be run.
    """

    latency_us: Callable[[Path, Job], float] = graph_latency_us
    unable: Callable[[Path], str] = lambda model: ""
    process_noise: float = 0.0
    session_noise: float = 0.0
    warnings: Callable[[Job], Sequence[str]] = lambda job: ()
    seed: int = 0
    version: str = field(default_factory=installed_runtime)
    pause_seconds: float = 0.0
    instead_of: TransportKind | None = None
    timed: list[tuple[DeviceRun, Job]] = field(default_factory=list)

    carried = False
    on_this_machine = True

    def __post_init__(self) -> None:
        self.name = "fake" if self.instead_of is None else self.instead_of.name

    def device(self, name: str = "fake", **run: Any) -> Device:
        """Return a device that this transport serves; `run` holds fields of `DeviceRun`."""
        return Device(name=name, cpu="synthetic", os="none", run=DeviceRun(transport=self.name, **run))

    def serves(self, device: Device, access: Access) -> bool:
        """Return whether the device is synthetic, or one of the kind that is replaced; see `TransportKind`."""
        if self.instead_of is not None:
            return self.instead_of.serves(device, access)
        return device.run.transport == self.name

    def open(self, device: Device, access: Access) -> FakeTransport:
        """Return this object; see `TransportKind`."""
        return self

    def not_served(self, device: Device) -> str:
        """Return why a device is not served; see `TransportKind`."""
        return super().not_served(device) if self.instead_of is None else self.instead_of.not_served(device)

    def current_version(self, measured: str) -> str:
        """Return the version of the installed runtime; see `TransportKind`."""
        return installed_runtime()

    def runtime_version(self, measured: str) -> str:
        """Return the version of the installed runtime; see `Transport`."""
        return installed_runtime()

    def time(
        self, jobs: Sequence[Job], device: Device, progress: Callable[[int, int], None] | None = None
    ) -> Generator[Timed, None, None]:
        """Yield rows of all jobs; a model that the device cannot run is not tried again. See `Transport`."""
        failed: set[Path] = set()
        for number, job in enumerate(jobs):
            indices = [index for index, model in enumerate(job.models) if model not in failed]
            if not indices:
                continue
            self.timed.append((device.run, replace(job, models=tuple(job.models[index] for index in indices))))
            if progress is not None:
                progress(number + 1, len(jobs))
            time.sleep(self.pause_seconds)
            for index in indices:
                row = self._row(index, job, device.run)
                validate_row(row, job.models[index].name, device.run)
                failed |= {job.models[index]} if "error" in row else set()
                yield Timed(number, index, row)

    def _row(self, index: int, job: Job, run: DeviceRun) -> dict[str, Any]:
        model = job.models[index]
        setting = {key: getattr(run, key) for key in SETTING}
        info = {"index": index, "model": model.name, "rounds": job.rounds, "seed": job.seed, **setting}
        head = {"schema_version": SCHEMA_VERSION, "benchmark_info": info}
        if problem := self.unable(model):
            return {**head, "error": problem}
        session = self._factor(self.session_noise, "session", job.seed // PROCESSES)
        digest = hashlib.sha256(model.read_bytes()).hexdigest() if self.process_noise else ""
        p50_ms = self.latency_us(model, job) * session * self._factor(self.process_noise, digest, job.seed) / 1e3
        sentinel_us = SENTINEL_US * session * self._factor(self.process_noise, "sentinel", job.seed)
        return {
            **head,
            "latency_ms": {key: ratio * p50_ms for key, ratio in SPREAD.items()} | {"mean": p50_ms, "std": 0.0},
            "ci_p50_ms": [p50_ms, p50_ms],
            "rounds_p50_ms": [p50_ms] * job.rounds,
            "count": 10 * job.rounds,
            "call_overhead_ms": CALL_OVERHEAD_US / 1e3,
            "sentinel_p50_ms": sentinel_us / 1e3,
            "sentinel_drift": 0.0,
            "memory": MEMORY,
            "warnings": list(self.warnings(job)),
            "environment": {"runtime_version": self.version, "cpu": "synthetic", "os": "none"},
        }

    def _factor(self, noise: float, *key: str | int) -> float:
        """Return a log-normal factor that the seed and the key alone decide."""
        if not noise:
            return 1.0
        entropy = hashlib.sha256(repr((self.seed, *key)).encode()).digest()
        return float(np.exp(noise * np.random.default_rng(list(entropy)).standard_normal()))
