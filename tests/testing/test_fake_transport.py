"""The synthetic device: its truth is measured, its noise is what its fields state, and its rows are the timer's."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgenas.deploy.onnx.exporter import export_for_timing
from edgenas.errors import MeasurementError
from edgenas.profiling.measurement import DISTURBANCES, PROCESSES, Measurement
from edgenas.profiling.session import measure_networks
from edgenas.profiling.timer_rows import trusted, validate_row
from edgenas.profiling.transport import Job
from edgenas.profiling.verdict import disturbed
from edgenas.space.cost import cost
from edgenas.space.loading import load_space
from edgenas.testing import FakeTransport, graph_latency_us
from edgenas.testing.fake_transport import MACS_PER_US, SENTINEL_US, START_US, WEIGHT_BYTES_PER_US

MODELS = tuple(Path(f"{name}.onnx") for name in ("fast", "slow"))
SPACE = load_space("mobile-32")


def known_us(model: Path, job: Job) -> float:
    return 20.0 if model.stem == "fast" else 80.0


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    paths = {model.stem: tmp_path / model.name for model in MODELS}
    for path in paths.values():
        path.write_bytes(path.name.encode())
    return paths


def measured(transport: FakeTransport, files: dict[str, Path], out: Path, seed: int = 0) -> dict[str, Measurement]:
    return measure_networks(files, transport.device(), rounds=16, seed=seed, out=out, transport=transport)


def test_without_noise_the_truth_is_measured(files: dict[str, Path], tmp_path: Path) -> None:
    found = measured(FakeTransport(known_us), files, tmp_path / "rows.jsonl")
    assert {name: one.p50_us for name, one in found.items()} == pytest.approx({"fast": 20.0, "slow": 80.0})
    assert all(one.sentinel_p50_us == pytest.approx(SENTINEL_US) for one in found.values())


def test_processes_and_sessions_vary_as_much_as_stated(files: dict[str, Path], tmp_path: Path) -> None:
    transport = FakeTransport(known_us, process_noise=0.02, session_noise=0.1)
    seeds = range(0, 60 * PROCESSES, PROCESSES)
    sessions = [measured(transport, files, tmp_path / f"{seed}.jsonl", seed)["slow"] for seed in seeds]
    within = [np.std(np.log(one.processes_p50_us), ddof=1) for one in sessions]
    assert np.sqrt(np.mean(np.square(within))) == pytest.approx(0.02, rel=0.1)
    assert np.std([np.log(one.p50_us) for one in sessions]) == pytest.approx(0.1, rel=0.2)
    # The sentinel shares what a session does to all models.
    ratios = [one.p50_us / one.sentinel_p50_us for one in sessions]
    assert np.std(np.log(ratios)) < 0.02


def test_equal_seeds_and_jobs_give_equal_rows_in_any_order(files: dict[str, Path], tmp_path: Path) -> None:
    first, again, other = (
        FakeTransport(known_us, process_noise=0.1, session_noise=0.1, seed=seed) for seed in (0, 0, 1)
    )
    jobs = [Job(tuple(files.values()), 2, seed) for seed in range(3)]
    rows = [row for _, _, row in first.time(jobs, first.device())]
    assert [row for job in reversed(jobs) for _, _, row in again.time([job], again.device())] == rows[4:] + rows[
        2:4
    ] + rows[:2]
    assert [row["latency_ms"] for _, _, row in other.time(jobs, other.device())] != [row["latency_ms"] for row in rows]


def test_rows_are_those_of_the_timer(files: dict[str, Path]) -> None:
    transport = FakeTransport(known_us, process_noise=0.1)
    device = transport.device(threads=2, optimisation_level="basic")
    steps: list[tuple[int, int]] = []
    timed = list(transport.time([Job(tuple(files.values()), 4, 7)], device, lambda *step: steps.append(step)))
    assert [(one.job, one.model) for one in timed] == [(0, 0), (0, 1)]
    for _, _, row in timed:
        validate_row(row, "any", device.run)
        assert trusted(row)["latency_ms"] == row["latency_ms"]
        assert row["benchmark_info"]["threads"] == 2
    assert steps == [(1, 1)]


def test_a_model_that_it_cannot_run_is_not_tried_again(files: dict[str, Path], tmp_path: Path) -> None:
    transport = FakeTransport(known_us, unable=lambda model: "no kernel" if model.stem == "slow" else "")
    with pytest.raises(MeasurementError, match=r"fake cannot run 1 of 2 models:\n.*slow: no kernel"):
        measured(transport, files, tmp_path / "rows.jsonl")
    assert sum(len(job.models) for _, job in transport.timed) == PROCESSES + 1


def test_warnings_come_on_demand(files: dict[str, Path], tmp_path: Path) -> None:
    calm = measured(FakeTransport(known_us), files, tmp_path / "calm.jsonl")
    loud = measured(FakeTransport(known_us, warnings=lambda job: [DISTURBANCES[0]]), files, tmp_path / "loud.jsonl")
    assert (disturbed(calm), disturbed(loud)) == (False, True)


def test_the_usual_latency_grows_with_macs_and_weight_bytes(tmp_path: Path) -> None:
    blocks = {
        spec.key: [spec]
        for spec in (
            *SPACE.with_classes(10).unroll(SPACE.smallest)[1:3],
            SPACE.with_classes(10).unroll(SPACE.largest)[-1],
        )
    }
    paths = export_for_timing(blocks, tmp_path)
    for name, specs in blocks.items():
        expected = cost(specs)
        us = START_US + expected.macs / MACS_PER_US + expected.weight_bytes / WEIGHT_BYTES_PER_US
        assert graph_latency_us(paths[name], Job((), 1, 0)) == pytest.approx(us, rel=0.02)


def test_importing_the_package_loads_neither_pytest_nor_torch() -> None:
    code = "import sys, edgenas.testing; print(sorted({'pytest', 'torch', 'onnxruntime'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
