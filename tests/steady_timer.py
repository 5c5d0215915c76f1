"""A timer without noise: stands in for the kit's bench.py, and says what it was asked to time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from edgenas.latency.device import DeviceRun
from edgenas.profiling.transport import installed_runtime


class SteadyTimer:
    """Stands in for `run_bench`: every model takes what `us` says of it, in process after process.

    Attributes:
        asked: models, how they were run, and rounds, by process.
    """

    def __init__(self, us: float | Callable[[Path, int], float], warnings: Sequence[str] = ()) -> None:
        """Args: microseconds, or a function of the model and the number of the process; what every row warnings."""
        self._us, self._warnings = us, warnings
        self.asked: list[tuple[tuple[str, ...], DeviceRun, int]] = []

    def __call__(
        self,
        models: Sequence[Path],
        run: DeviceRun,
        *,
        rounds: int,
        seed: int,
        progress: Callable[[int, int], None] | None = None,
    ) -> list[dict[str, Any]]:
        number = len(self.asked)
        self.asked.append((tuple(model.name for model in models), run, rounds))
        times = [self._us(model, number) if callable(self._us) else self._us for model in models]
        return [self._row(index, us / 1e3, run, rounds, seed) for index, us in enumerate(times)]

    def _row(self, index: int, ms: float, run: DeviceRun, rounds: int, seed: int) -> dict[str, Any]:
        setting = {name: getattr(run, name) for name in ("threads", "provider", "optimisation_level", "spinning")}
        low = dict.fromkeys(("min", "p10", "p50", "mean"), ms) | {"std": 0.0}
        return {
            "schema_version": 1,
            "benchmark_info": {"index": index, "rounds": rounds, "seed": seed, **setting},
            "latency_ms": low | dict.fromkeys(("p90", "p95", "p99", "max"), 1.1 * ms),
            "ci_p50_ms": [ms, ms],
            "rounds_p50_ms": [ms] * rounds,
            "count": rounds,
            "call_overhead_ms": 0.002,
            "sentinel_p50_ms": 0.1,
            "sentinel_drift": 0.0,
            "warnings": list(self._warnings),
            "environment": {"runtime_version": installed_runtime(), "cpu": "Abacus"},
        }
