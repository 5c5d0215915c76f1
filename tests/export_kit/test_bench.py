"""The timer's estimators against a synthetic clock, and one real run of its command line."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from edgenas.files import shipped

BENCH = shipped("export") / "bench.py"


def load_bench():
    spec = importlib.util.spec_from_file_location("bench", BENCH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


bench = load_bench()


class SyntheticMachine:
    """A clock that only its own models move: true costs times noise, bursts of foreign load, and drift."""

    def __init__(self, *, noise: float = 0.0, bursts: float = 0.0, drift: float = 0.0, seed: int = 0) -> None:
        self.now = 0
        self.noise, self.bursts, self.drift = noise, bursts, drift
        self.rng = np.random.default_rng(seed)
        self.busy_until = 0.0
        self.calls: list[str] = []

    def clock(self) -> int:
        return self.now

    def model(self, name: str, cost_ns: float):
        def run() -> None:
            self.calls.append(name)
            if self.rng.random() < self.bursts / 1000:
                self.busy_until = self.now + 30e6
            factor = 3.0 if self.now < self.busy_until else 1.0
            factor *= 1 + self.drift * self.now / 1e9
            self.now += int(cost_ns * factor * np.exp(self.noise * abs(self.rng.standard_normal())))

        return run


def measure(machine: SyntheticMachine, costs: dict[str, float], rounds: int = 20) -> dict:
    runs = {name: machine.model(name, cost) for name, cost in costs.items()}
    visits = {name: bench.warm_up(run, machine.clock) for name, run in runs.items()}
    return bench.interleave(runs, visits, rounds, 0, machine.clock, lambda: None)


COSTS = {"small": 20_000.0, "middle": 300_000.0, "large": 5_000_000.0}


def test_a_quiet_machine_gives_the_true_costs() -> None:
    for name, timed in measure(SyntheticMachine(), COSTS).items():
        found = bench.statistics(timed)
        assert found["latency_ms"]["p50"] == pytest.approx(COSTS[name] / 1e6)
        assert found["latency_ms"]["std"] == pytest.approx(0)
        assert found["ci_p50_ms"] == pytest.approx([COSTS[name] / 1e6] * 2)
        assert len(found["rounds_p50_ms"]) == 20
        assert found["count"] == sum(map(len, timed))


def test_bursts_of_foreign_load_spoil_no_single_model() -> None:
    machine = SyntheticMachine(noise=0.01, bursts=1.0)
    for name, timed in measure(machine, COSTS).items():
        found = bench.statistics(timed)
        assert found["latency_ms"]["p50"] == pytest.approx(COSTS[name] / 1e6, rel=0.02)
        assert found["latency_ms"]["max"] > 2.5 * found["latency_ms"]["p50"]


def test_quantiles_equal_those_of_all_samples() -> None:
    timed = measure(SyntheticMachine(noise=0.1), COSTS)["small"]
    pooled = np.concatenate(timed) / 1e6
    found = bench.statistics(timed)["latency_ms"]
    assert [found[f"p{q}"] for q in (10, 50, 90, 95, 99)] == np.percentile(pooled, [10, 50, 90, 95, 99]).tolist()
    assert (found["mean"], found["min"], found["max"]) == (pooled.mean(), pooled.min(), pooled.max())


def test_the_confidence_interval_covers_the_true_median_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    covered = [
        low <= 1.0 <= high
        for low, high in (bench.confidence_interval(1 + 0.05 * rng.standard_normal(20)) for _ in range(200))
    ]
    # The bootstrap of a median of 20 is known to be a little off nominal (0.95).
    assert 0.90 <= np.mean(covered) <= 0.99


def test_a_drifting_machine_is_doubted_a_steady_one_is_not() -> None:
    steady = measure(SyntheticMachine(noise=0.01), COSTS)["small"]
    drifting = measure(SyntheticMachine(noise=0.01, drift=0.3), COSTS)["small"]
    assert bench.machine_doubts(steady, {}, {}) == []
    (doubt,) = bench.machine_doubts(drifting, {}, {})
    assert "sentinel drifted" in doubt
    assert "measure again" in doubt


@pytest.mark.parametrize(
    ("before", "after", "word"),
    [
        ({"governor": "powersave"}, {}, "powersave"),
        ({}, {"temperature_celsius": 91.0}, "91 °C"),
        (
            {"clock_s": 0.0, "busy_s": 5.0, "own_s": 1.0},
            {"clock_s": 10.0, "busy_s": 25.0, "own_s": 11.0},
            "1.0 cores busy",
        ),
    ],
)
def test_what_may_spoil_a_measurement_is_said(before: dict, after: dict, word: str) -> None:
    steady = measure(SyntheticMachine(), {"sentinel": 1e5})["sentinel"]
    (doubt,) = bench.machine_doubts(steady, before, after)
    assert word in doubt


def test_rounds_that_differ_are_a_doubt_about_the_model() -> None:
    assert bench.model_doubts([[1000], [1010], [990]]) == []
    assert "rounds differ" in bench.model_doubts([[1000], [2000], [500]])[0]


def test_every_round_visits_every_model_in_an_order_of_its_own() -> None:
    machine = SyntheticMachine()
    runs = {name: machine.model(name, 1e6) for name in "abcdef"}
    bench.interleave(runs, dict.fromkeys(runs, 1), 10, 0, machine.clock, lambda: None)
    per_visit = 1 + bench.UNTIMED_RUNS
    visits = machine.calls[::per_visit]
    rounds = [tuple(visits[start : start + 6]) for start in range(0, 60, 6)]
    assert all(sorted(one) == list("abcdef") for one in rounds)
    assert len(set(rounds)) > 5


@pytest.mark.parametrize(("typical_ns", "runs"), [(1e3, 200), (1e5, 40), (3e6, 5), (2e8, 2), (9e9, 1), (0, 200)])
def test_visits_are_short_and_bounded(typical_ns: float, runs: int) -> None:
    assert bench.runs_per_visit(typical_ns) == runs


def test_warming_up_goes_on_until_times_settle() -> None:
    machine = SyntheticMachine()
    state = {"runs": 0}

    def run() -> None:
        state["runs"] += 1
        machine.now += 1_000_000 if state["runs"] > 20 else 50_000_000 // state["runs"]

    assert bench.warm_up(run, machine.clock) == 5
    assert state["runs"] > 20


def make_model(path: Path, shape: list, dtype: int = TensorProto.FLOAT) -> Path:
    values = [helper.make_tensor_value_info(name, dtype, shape) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "tiny", [values[0]], [values[1]])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


def run_command(*words: object) -> subprocess.CompletedProcess:
    command = [sys.executable, "-W", "error", str(BENCH), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_the_command_line_times_a_folder_and_names_what_fails(tmp_path) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    make_model(folder / "a.onnx", ["batch", 8, 4, 4])
    make_model(folder / "b.onnx", [1, "height"])
    (folder / "c.onnx").write_bytes(b"no model")
    out = tmp_path / "rows.jsonl"
    done = run_command(folder, folder / "a.onnx", "--rounds", 4, "--out", out)
    rows = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert done.returncode == 1
    assert [row["benchmark_info"]["model"] for row in rows] == ["a.onnx", "b.onnx", "c.onnx", "a.onnx"]
    assert [row["benchmark_info"]["index"] for row in rows] == [0, 1, 2, 3]
    assert "only the batch may be left open" in rows[1]["error"]
    assert "error" in rows[2]
    assert "c.onnx" in done.stderr
    lines = [line.split() for line in done.stderr.splitlines() if line.startswith("progress ")]
    assert lines[-1] == ["progress", lines[-1][2], lines[-1][2]]
    for row in (rows[0], rows[3]):
        latency = row["latency_ms"]
        assert 0 < latency["min"] <= latency["p10"] <= latency["p50"] <= latency["p90"] <= latency["max"] < 1e3
        assert len(row["raw_samples_ms"]) == min(row["count"], 200)
        assert row["environment"]["runtime_version"]
        assert row["memory"]["peak_rss_bytes"] > 1e6
        assert 0 < row["call_overhead_ms"] < 1


def test_nodes_that_fall_to_another_provider_are_named(tmp_path) -> None:
    done = run_command(make_model(tmp_path / "m.onnx", [1, 4]), "--provider", "cuda", "--rounds", 1)
    (row,) = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 1
    assert "CUDAExecutionProvider" in row["error"]


def test_fallback_is_found_in_the_runtimes_profile(tmp_path, monkeypatch) -> None:
    path = make_model(tmp_path / "m.onnx", [1, 4])
    args = bench.parser().parse_args([str(path)])
    bench.refuse_fallback(path, args)
    monkeypatch.setitem(bench.PROVIDERS, "cpu", "CPUExecutionProvider")
    session = bench.open_session

    def elsewhere(model, args, profile: str = ""):
        opened = session(model, args, profile)
        bench.PROVIDERS["cpu"] = "OtherExecutionProvider"
        return opened

    monkeypatch.setattr(bench, "open_session", elsewhere)
    with pytest.raises(ValueError, match=r"1 nodes do not run on OtherExecutionProvider: .*CPUExecutionProvider"):
        bench.refuse_fallback(path, args)


@pytest.mark.skipif("AzureExecutionProvider" not in ort.get_available_providers(), reason="runs no node itself")
def test_a_provider_that_runs_no_node_is_refused(tmp_path) -> None:
    done = run_command(make_model(tmp_path / "m.onnx", [1, 4]), "--provider", "azure", "--rounds", 1)
    (row,) = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 1
    assert "1 nodes do not run on AzureExecutionProvider: " in row["error"]
    assert "(CPUExecutionProvider)" in row["error"]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda model: setattr(model.graph.node[0], "op_type", "Levitate"), "Levitate"),
        (lambda model: setattr(model.opset_import[0], "version", 999), "Opset 999"),
        (lambda model: setattr(model, "ir_version", 999), "IR version: 999"),
    ],
)
def test_an_operator_or_opset_that_the_runtime_lacks_is_named_in_one_line(tmp_path, change, named) -> None:
    path = make_model(tmp_path / "m.onnx", [1, 4])
    model = onnx.load(path)
    change(model)
    onnx.save(model, path)
    done = run_command(path, "--rounds", 1)
    (row,) = [json.loads(line) for line in done.stdout.splitlines()]
    (told,) = [line for line in done.stderr.splitlines() if not line.startswith("progress ")]
    assert told == f"bench: m.onnx: {row['error']}"
    assert row["error"].startswith(f"onnxruntime {ort.__version__} cannot run it: ")
    assert named in row["error"]
    assert "install a newer one" in row["error"]
    assert "onnxruntime_src" not in row["error"]


def test_an_empty_folder_is_the_users_mistake(tmp_path) -> None:
    done = run_command(tmp_path)
    assert done.returncode == 2
    assert "no .onnx file" in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a disk that is always full")
def test_a_full_disk_is_told_in_one_line(tmp_path) -> None:
    done = run_command(make_model(tmp_path / "m.onnx", [1, 4]), "--rounds", 1, "--out", "/dev/full")
    assert done.returncode == 1
    assert "bench: the rows cannot be written to /dev/full" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_embedded_models_are_what_their_comment_says() -> None:
    empty = onnx.load_from_string(bench.EMPTY_MODEL)
    sentinel = onnx.load_from_string(bench.SENTINEL_MODEL)
    onnx.checker.check_model(empty)
    onnx.checker.check_model(sentinel)
    assert [node.op_type for node in empty.graph.node] == ["Identity"]
    assert [node.op_type for node in sentinel.graph.node] == ["MatMul"] * 4
    assert not sentinel.graph.initializer


def test_the_timer_needs_only_numpy_and_the_runtime() -> None:
    words = [
        line.split()[1].partition(".")[0]
        for line in BENCH.read_text(encoding="utf-8").splitlines()
        if line.startswith(("import ", "from "))
    ]
    assert {word for word in words if word not in sys.stdlib_module_names} == {"numpy", "onnxruntime"}


def test_models_that_take_pixels_are_given_bytes_of_every_value() -> None:
    port = SimpleNamespace(name="picture", type="tensor(uint8)", shape=["batch", 32, 32, 3])
    value = bench.random_input(port, np.random.default_rng(0))
    assert (value.shape, value.dtype) == ((1, 32, 32, 3), np.uint8)
    assert (value.min(), value.max()) == (0, 255)
