"""A timer without noise and without processes, for tests of what is done with measurements."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from edgenas.deploy.int8.quantiser_recipe import parse_recipe
from edgenas.deploy.onnx.exporter import model_metadata
from edgenas.latency.device import DeviceRun
from edgenas.profiling.transport import installed_runtime


class SyntheticTimer:
    """Stands in for `run_bench`: bytes take time, and nothing else does.

    Attributes:
        given: precision, kind (block, network or deployed) and recipe of each model, in the order of timing.
    """

    def __init__(self) -> None:
        self.given: list[tuple[str, str, str]] = []

    def __call__(
        self,
        models: Sequence[Path],
        run: DeviceRun,
        *,
        rounds: int,
        seed: int,
        progress: Callable[[int, int], None] | None = None,
    ) -> list[dict[str, Any]]:
        for model in models:
            metadata = model_metadata(model)
            recipe = metadata.get("quantiser_recipe")
            kind = metadata["arch"].split()[0] if "for_timing" in metadata else "deployed"
            self.given.append((run.precision, kind, parse_recipe(recipe).latency_id if recipe else "none"))
        return [self.row(index, model, run) for index, model in enumerate(models)]

    def row(self, index: int, model: Path, run: DeviceRun) -> dict[str, Any]:
        # Faster than any machine is, so that what was measured elsewhere within a budget stays within it.
        p50 = 0.003 + model.stat().st_size / 2e7
        return {
            "schema_version": 1,
            "benchmark_info": {"index": index, **run.model_dump(exclude={"transport", "precision"})},
            "latency_ms": dict.fromkeys(("mean", "min", "p10", "p50", "p90", "p95", "p99", "max"), p50) | {"std": 0.0},
            "ci_p50_ms": [p50, p50],
            "rounds_p50_ms": [p50, p50],
            "count": 10,
            "call_overhead_ms": 0.0005,
            "sentinel_p50_ms": 0.1,
            "sentinel_drift": 0.0,
            "warnings": [],
            "environment": {"runtime_version": installed_runtime(), "cpu": "c", "os": "o"},
        }
