"""The timers' estimators against a synthetic clock, and one real run of bench.py's command line.

What bench.py does in a process, bench.mjs does in a page; both pass the tests that take a `timer`.
"""

import ast
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from kit_scripts import load_script
from onnx import TensorProto, helper

from edgenas.files import shipped

BENCH = shipped("export") / "bench.py"
MACHINE = Path(__file__).with_name("synthetic_machine.mjs")


bench = load_script("bench")


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
    repetition_runs = {name: bench.warm_up(run, machine.clock) for name, run in runs.items()}
    return bench.interleave(runs, repetition_runs, rounds, 0, machine.clock, lambda: None)


class Python:
    """bench.py as it is."""

    def measure(self, costs: dict[str, float], rounds: int = 20, **circumstances: float) -> dict:
        return measure(SyntheticMachine(**circumstances), costs, rounds)

    def plan(self, typical_ns: float) -> int:
        return bench.runs_per_repetition(typical_ns)

    def calls(self, names: str, rounds: int) -> list[str]:
        machine = SyntheticMachine()
        runs = {name: machine.model(name, 1e6) for name in names}
        bench.interleave(runs, dict.fromkeys(runs, 1), rounds, 0, machine.clock, lambda: None)
        return machine.calls

    def settle(self) -> tuple[int, int]:
        """Runs of a repetition, and runs that it took to find out, of a model that gets quicker for twenty runs."""
        machine, state = SyntheticMachine(), {"runs": 0}

        def run() -> None:
            state["runs"] += 1
            machine.now += 1_000_000 if state["runs"] > 20 else 50_000_000 // state["runs"]

        return bench.warm_up(run, machine.clock), state["runs"]


class JavaScript:
    """bench.mjs under node, with a synthetic machine there, on a clock as exact as bench.py's."""

    protocol: ClassVar = {
        "untimedRuns": bench.UNTIMED_RUNS,
        "minRuns": bench.MIN_RUNS,
        "maxRuns": bench.MAX_RUNS,
        "repetitionNs": bench.REPETITION_NS,
        "maxRepetitionNs": bench.MAX_REPETITION_NS,
        "warmUpBatches": bench.WARM_UP_BATCHES,
        "warmUpTolerance": bench.WARM_UP_TOLERANCE,
        "quantisation": 0.008,
        "settleNs": 0,
    }

    def ask(self, settle_ns: int = 0, **question: object) -> dict:
        command = ["node", str(MACHINE), str(BENCH.with_name("bench.mjs"))]
        text = json.dumps({**question, "protocol": {**self.protocol, "settleNs": settle_ns}})
        done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def measure(self, costs: dict[str, float], rounds: int = 20, **circumstances: float) -> dict:
        return self.ask(measure={"costs": costs, "rounds": rounds, **circumstances})["timed"]

    def plan(self, typical_ns: float) -> int:
        plan = self.ask(plan=[typical_ns, 0])
        assert plan["batch"] == 1
        return plan["samples"]

    def calls(self, names: str, rounds: int) -> list[str]:
        plans = {name: {"samples": 1, "batch": 1} for name in names}
        return self.ask(measure={"costs": dict.fromkeys(names, 1e6), "rounds": rounds, "plans": plans})["calls"]

    def settle(self) -> tuple[int, int]:
        found = self.ask(settle={})
        return found["samples"] * found["batch"], found["runs"]


needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="needs node, to run what runs in a page")


@pytest.fixture(params=[Python, pytest.param(JavaScript, marks=needs_node)])
def timer(request: pytest.FixtureRequest) -> Python | JavaScript:
    return request.param()


COSTS = {"small": 20_000.0, "middle": 300_000.0, "large": 5_000_000.0}


def test_a_quiet_machine_gives_the_true_costs(timer) -> None:
    for name, timed in timer.measure(COSTS).items():
        found = bench.statistics(timed)
        assert found["latency_ms"]["p50"] == pytest.approx(COSTS[name] / 1e6)
        assert found["latency_ms"]["std"] == pytest.approx(0)
        assert found["ci_p50_ms"] == pytest.approx([COSTS[name] / 1e6] * 2)
        assert len(found["rounds_p50_ms"]) == 20
        assert found["count"] == sum(map(len, timed))


def test_bursts_of_foreign_load_spoil_no_single_model(timer) -> None:
    for name, timed in timer.measure(COSTS, noise=0.01, bursts=1.0).items():
        found = bench.statistics(timed)
        assert found["latency_ms"]["p50"] == pytest.approx(COSTS[name] / 1e6, rel=0.02)
        assert found["latency_ms"]["max"] > 2.5 * found["latency_ms"]["p50"]


def test_the_sentinels_effect_on_the_clock_is_not_timed() -> None:
    machine, slow = SyntheticMachine(), {"until": 0}

    def sentinel() -> None:
        machine.now += 100_000
        slow["until"] = machine.now + 8_000_000

    def model() -> None:
        machine.now += 22_000 if machine.now < slow["until"] else 20_000

    runs, repetition_runs = {"0": model, "sentinel": sentinel}, {"0": 200, "sentinel": 40}
    timed = bench.interleave(runs, repetition_runs, 20, 0, machine.clock, lambda: None)
    assert {len(samples) for samples in timed["0"]} == {200}
    assert {ns for samples in timed["0"] for ns in samples} == {20_000}


def test_quantiles_equal_those_of_all_samples(timer) -> None:
    timed = timer.measure(COSTS, noise=0.1)["small"]
    pooled = np.concatenate(timed) / 1e6
    found = bench.statistics(timed)["latency_ms"]
    assert [found[f"p{q}"] for q in (10, 50, 90, 95, 99)] == np.percentile(pooled, [10, 50, 90, 95, 99]).tolist()
    assert (found["mean"], found["min"], found["max"]) == (pooled.mean(), pooled.min(), pooled.max())


def test_the_confidence_interval_covers_the_true_median_at_its_nominal_rate() -> None:
    rng = np.random.default_rng(0)
    covered = [
        low <= 1.0 <= high
        for low, high in (bench.confidence_interval(1 + 0.05 * rng.standard_normal(20)) for _ in range(200))
    ]
    # The bootstrap of a median of 20 is a little off nominal (0.95).
    assert 0.90 <= np.mean(covered) <= 0.99


def test_a_drifting_machine_is_flagged_a_steady_one_is_not(timer) -> None:
    steady = timer.measure(COSTS, noise=0.01)["small"]
    drifting = timer.measure(COSTS, noise=0.01, drift=0.3)["small"]
    assert bench.machine_warnings(steady, {}, {}) == []
    (warning,) = bench.machine_warnings(drifting, {}, {})
    assert "sentinel drifted" in warning
    assert "measure again" in warning


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
def test_disturbances_of_a_measurement_are_warnings(before: dict, after: dict, word: str) -> None:
    steady = measure(SyntheticMachine(), {"sentinel": 1e5})["sentinel"]
    (warning,) = bench.machine_warnings(steady, before, after)
    assert word in warning


def test_jumps_of_the_clock_are_flagged_and_left_out(timer) -> None:
    timed = timer.measure(COSTS, noise=0.01)["small"]
    truth = bench.statistics(timed)["latency_ms"]
    timed[3][0], timed[5][1], timed[7][2] = 3_600_000_000_000, -5_000_000_000, 0
    found = bench.statistics(timed)
    assert found["clock_jumps"] == 3
    assert found["count"] == sum(map(len, timed)) - 3
    assert found["latency_ms"]["p50"] == pytest.approx(truth["p50"], rel=1e-3)
    assert found["latency_ms"]["max"] == pytest.approx(truth["max"], rel=0.1)
    assert "clock jumped 3 times" in bench.model_warnings(timed)[0]


def test_a_machine_that_slept_through_a_whole_round_keeps_the_others() -> None:
    timed = [[1000, 1000], [10**13, 10**13], [1010, 1010]]
    assert bench.statistics(timed)["rounds_p50_ms"] == pytest.approx([1e-3, 1.01e-3])


def test_a_slow_model_is_not_a_jump_of_the_clock() -> None:
    assert bench.statistics([[9_000_000_000], [30_000_000_000]])["clock_jumps"] == 0


@pytest.mark.parametrize(
    ("before", "after", "word"),
    [
        ({"throttle_events": 4}, {"throttle_events": 5}, "throttled its clock"),
        ({"frequency_hz": 1_500_000_000}, {"frequency_hz": 600_000_000}, "from 1.50 to 0.60 GHz"),
    ],
)
def test_a_throttled_clock_is_flagged(before: dict, after: dict, word: str) -> None:
    steady = measure(SyntheticMachine(), {"sentinel": 1e5})["sentinel"]
    (warning,) = bench.machine_warnings(steady, before, after)
    assert word in warning
    assert bench.machine_warnings(steady, before, before) == []


def session_row(p50: float, **changes) -> dict:
    machine = SyntheticMachine()
    row = bench.statistics(measure(machine, {"m": p50 * 1e6}, rounds=5)["m"])
    fixed = {"call_overhead_ms": 0.002, "sentinel_p50_ms": 0.1, "sentinel_drift": 0.01, "warnings": []}
    memory = {"peak_rss_bytes": 10, "model_rss_bytes": None}
    return row | fixed | {"memory": memory, "benchmark_info": {"index": 0, "job": "x"}} | changes


def test_sessions_that_lie_apart_are_pooled_by_their_median_and_flagged() -> None:
    rows = [session_row(p50, warnings=["loud"]) for p50 in (0.10, 0.10, 0.16, 0.20)]
    found = bench.pool_sessions(rows)
    assert found["latency_ms"]["p50"] == pytest.approx(0.13)
    assert (found["latency_ms"]["min"], found["latency_ms"]["max"]) == pytest.approx((0.10, 0.20))
    assert found["sessions_p50_ms"] == pytest.approx([0.10, 0.10, 0.16, 0.20])
    assert found["ci_p50_ms"] == pytest.approx([0.10, 0.20])
    assert found["count"] == sum(row["count"] for row in rows)
    assert len(found["rounds_p50_ms"]) == 20
    assert found["memory"] == {"peak_rss_bytes": 10, "model_rss_bytes": None}
    assert found["warnings"][0] == "loud"
    assert "sessions differ" in found["warnings"][1]
    assert bench.pool_sessions([session_row(0.1)] * 4)["warnings"] == []


def test_rounds_that_differ_are_a_warning_about_the_model() -> None:
    assert bench.model_warnings([[1000], [1010], [990]]) == []
    assert "rounds differ" in bench.model_warnings([[1000], [2000], [500]])[0]


def test_every_round_times_every_model_in_a_new_order(timer) -> None:
    runs_each = 1 + bench.UNTIMED_RUNS
    order = timer.calls("abcdef", rounds=10)[::runs_each]
    rounds = [tuple(order[start : start + 6]) for start in range(0, 60, 6)]
    assert all(sorted(one) == list("abcdef") for one in rounds)
    assert len(set(rounds)) > 5


@pytest.mark.parametrize(("typical_ns", "runs"), [(1e3, 200), (1e5, 40), (3e6, 5), (2e8, 2), (9e9, 1), (0, 200)])
def test_repetitions_are_short_and_bounded(timer, typical_ns: float, runs: int) -> None:
    assert timer.plan(typical_ns) == runs


def make_cores(folder: Path, cores: dict[int, tuple[str, int | None]]) -> None:
    """A `/sys` whose logical cores have these siblings, as Linux lists them, and largest clock frequencies."""
    for core, (siblings, frequency) in cores.items():
        for name, text in (("topology/thread_siblings_list", siblings), ("cpufreq/cpuinfo_max_freq", frequency)):
            path = folder / f"cpu{core}" / name
            path.parent.mkdir(parents=True)
            if text is not None:
                path.write_text(f"{text}\n")


ADJACENT = {core: (f"{core // 2 * 2}-{core // 2 * 2 + 1}", None) for core in range(4)}
SPLIT = {core: (f"{core % 2},{core % 2 + 2}", None) for core in range(4)}
HYBRID = {**{core: (ADJACENT[core][0], 5000) for core in range(4)}, **{core: (str(core), 3800) for core in (4, 5)}}


@pytest.mark.parametrize(
    ("cores", "threads", "picked"),
    [
        (ADJACENT, 2, [3, 1]),
        (SPLIT, 2, [3, 2]),
        (HYBRID, 2, [3, 1]),
        (HYBRID, 4, [3, 1, 5, 4]),
        (ADJACENT, 1, [3]),
        # No more physical cores: hyperthreads share one rather than threads a hyperthread.
        (ADJACENT, 3, [3, 1, 2]),
        (ADJACENT, 9, [3, 1, 2, 0]),
    ],
)
def test_threads_take_physical_cores_before_hyperthreads(tmp_path, cores, threads, picked) -> None:
    make_cores(tmp_path, cores)
    assert bench.pick_cores(cores, threads, str(tmp_path)) == picked


def test_cores_outside_the_affinity_are_not_picked(tmp_path) -> None:
    make_cores(tmp_path, ADJACENT)
    assert bench.pick_cores({0, 2, 3}, 2, str(tmp_path)) == [3, 0]


def test_without_a_topology_every_core_counts_as_physical(tmp_path) -> None:
    assert bench.pick_cores({0, 1, 2}, 2, str(tmp_path)) == [2, 1]


def test_the_process_keeps_to_the_cores_that_were_picked(tmp_path, monkeypatch) -> None:
    make_cores(tmp_path, ADJACENT)
    allowed: list[set[int]] = [set(ADJACENT)]
    monkeypatch.setattr(bench.os, "sched_getaffinity", lambda process: allowed[-1], raising=False)
    monkeypatch.setattr(bench.os, "sched_setaffinity", lambda process, cores: allowed.append(set(cores)), raising=False)
    monkeypatch.setattr(bench.os, "nice", lambda step: 0)
    assert bench.reserve_cores(2, str(tmp_path))["affinity"] == [1, 3]


def test_the_warm_up_ends_when_times_are_stable(timer) -> None:
    runs_of_a_repetition, runs = timer.settle()
    assert runs_of_a_repetition == 5
    assert runs > 20


@needs_node
@pytest.mark.parametrize("resolution_ns", [5_000, 100_000])
@pytest.mark.parametrize("slow_until_ns", [0, 1e9])
def test_a_coarse_clock_is_noticed_and_makes_errors_below_a_percent(resolution_ns: int, slow_until_ns: float) -> None:
    costs = {"tiny": 700.0, **COSTS}
    # Also slow for longer than the warm-up: then the first samples are too short.
    how = {"rounds": 30, "resolution_ns": resolution_ns, "slow_until_ns": slow_until_ns}
    result = JavaScript().ask(measure={"costs": costs, **how})
    assert result["resolution_ns"] == resolution_ns
    for name, cost in costs.items():
        samples = np.concatenate(result["timed"][name][-5:])
        np.testing.assert_allclose(samples, cost, rtol=0.011)
        plan = result["plans"][name]
        # Long enough that one step of the clock is less than a percent, and not much longer.
        assert plan["batch"] * cost > 100 * resolution_ns
        assert plan["batch"] == 1 or (plan["batch"] - 1) * cost < 1.35 * 100 * resolution_ns
        assert len(samples) == 5 * plan["samples"]
    assert result["plans"]["large"]["batch"] == {5_000: 1, 100_000: 3}[resolution_ns]


@needs_node
def test_models_are_timed_only_when_a_browser_has_compiled_them_well() -> None:
    how = {"costs": COSTS, "rounds": 5, "slow_until_ns": 1.5e9}
    for settle_ns, factor in ((0, 2), (2e9, 1)):
        timed = JavaScript().ask(settle_ns, measure=how)["timed"]
        assert {name: np.median(rounds[0]) / COSTS[name] for name, rounds in timed.items()} == dict.fromkeys(
            COSTS, factor
        )


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
    assert not (tmp_path / "rows.jsonl.part").exists()
    assert "only the batch may be left open" in rows[1]["error"]
    assert "error" in rows[2]
    assert "c.onnx" in done.stderr
    lines = [line.split() for line in done.stderr.splitlines() if line.startswith("progress ")]
    assert lines[-1] == ["progress", lines[-1][2], lines[-1][2]]
    for row in (rows[0], rows[3]):
        latency = row["latency_ms"]
        assert 0 < latency["min"] <= latency["p10"] <= latency["p50"] <= latency["p90"] <= latency["max"] < 1e3
        assert 0 < len(row["raw_samples_ms"]) <= min(row["count"], bench.SESSIONS * 200)
        assert row["environment"]["runtime_version"]
        assert row["memory"]["peak_rss_bytes"] > 1e6
        assert len(row["sessions_p50_ms"]) == bench.SESSIONS
        assert row["session_spread"] >= 0
        assert 0 < row["call_overhead_ms"] < 1


def test_a_stopped_command_resumes_with_the_unfinished_session(tmp_path) -> None:
    model, out = make_model(tmp_path / "m.onnx", [1, 4]), tmp_path / "rows.jsonl"
    command = [sys.executable, str(BENCH), str(model), "--rounds", "40", "--sessions", "2", "--out", str(out)]
    part = tmp_path / "rows.jsonl.part"
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for _line in process.stderr:
            if part.exists() and part.read_text().endswith("\n"):
                break
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
    assert process.returncode == 130, rest
    assert "the same command resumes" in rest
    kept = part.read_text()
    assert kept.count("\n") == 1
    assert not out.exists()
    # A kill may tear what is written next.
    part.write_text(kept + '{"schema_version": 1, "bench')
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    (row,) = [json.loads(line) for line in out.read_text().splitlines()]
    assert row["sessions_p50_ms"][0] == json.loads(kept)["latency_ms"]["p50"]
    assert len(row["sessions_p50_ms"]) == 2
    assert not part.exists()


def test_a_model_that_memory_cannot_hold_is_found_and_the_others_are_timed(tmp_path, monkeypatch) -> None:
    args = bench.parser().parse_args(["--sessions", "1"])
    sizes = {f"m{number}": 10 for number in range(7)} | {"m3": 1000}
    sessions = []

    def killed_over_100(command, say) -> int:
        models = [word for word in command if word in sizes]
        sessions.append(len(models))
        if sum(sizes[model] for model in models) > 100:
            return -signal.SIGKILL
        out = command[command.index("--out") + 1]
        bench.write_rows([{"benchmark_info": {"index": i, "model": name}} for i, name in enumerate(models)], out)
        return 0

    monkeypatch.setattr(bench, "follow", killed_over_100)
    rows = bench.run_session([Path(name) for name in sizes], args, lambda line: None)
    assert [row["benchmark_info"]["model"] for row in rows] == list(sizes)
    assert [row["benchmark_info"]["index"] for row in rows] == list(range(7))
    assert ["memory is full" in row.get("error", "") for row in rows] == [name == "m3" for name in sizes]
    assert sessions[0] == 7


def test_a_failed_session_is_reported_with_its_last_lines(monkeypatch) -> None:
    def failing(command, say) -> int:
        say("no disk")
        return 7

    monkeypatch.setattr(bench, "follow", failing)
    with pytest.raises(bench.SessionFailed, match=r"(?s)exit code 7:.*no disk"):
        bench.run_session([Path("m.onnx")], bench.parser().parse_args([]), lambda line: None)


def test_a_missing_package_is_named_with_the_line_that_installs_it(tmp_path) -> None:
    (tmp_path / "onnxruntime.py").write_text("raise ImportError(\"No module named 'onnxruntime'\")")
    done = subprocess.run(
        [sys.executable, str(BENCH), "--probe"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3
    assert "No module named 'onnxruntime'" in done.stderr
    assert f"{sys.executable} -m pip install numpy onnxruntime" in done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_peak_memory_is_that_of_the_timer_and_not_of_its_parent(tmp_path) -> None:
    code = (
        "import subprocess, sys; held = b'x' * 600_000_000; "
        "done = subprocess.run([sys.executable, *sys.argv[1:]], capture_output=True, text=True); "
        "print(done.stdout, end=''); sys.exit(done.returncode)"
    )
    words = [str(BENCH), str(make_model(tmp_path / "m.onnx", [1, 8, 4, 4])), "--rounds", "2", "--sessions", "1"]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    memory = json.loads(done.stdout)["memory"]
    assert 0 <= memory["model_rss_bytes"] < memory["peak_rss_bytes"] < 400_000_000


def test_the_probe_describes_the_machine_without_names() -> None:
    done = run_command("--probe")
    found = json.loads(done.stdout)
    assert found["runtime_version"]
    assert found["cores"] == os.cpu_count()
    assert "CPUExecutionProvider" in found["providers"]
    assert platform.node() not in done.stdout


def test_nodes_that_fall_back_to_another_provider_are_named(tmp_path) -> None:
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
    (message,) = [line for line in done.stderr.splitlines() if not line.startswith("progress ")]
    assert message == f"bench: m.onnx: {row['error']}"
    assert row["error"].startswith(f"onnxruntime {ort.__version__} cannot run it: ")
    assert named in row["error"]
    assert "install a newer one" in row["error"]
    assert "onnxruntime_src" not in row["error"]


def test_an_empty_folder_is_a_usage_error(tmp_path) -> None:
    done = run_command(tmp_path)
    assert done.returncode == 2
    assert "no .onnx file" in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a disk that is always full")
def test_a_full_disk_is_reported_in_one_line(tmp_path) -> None:
    done = run_command(make_model(tmp_path / "m.onnx", [1, 4]), "--rounds", 1, "--out", "/dev/full")
    assert done.returncode == 1
    assert "bench: the rows cannot be written to /dev/full" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_embedded_models_match_their_comment() -> None:
    empty = onnx.load_from_string(bench.EMPTY_MODEL)
    sentinel = onnx.load_from_string(bench.SENTINEL_MODEL)
    onnx.checker.check_model(empty)
    onnx.checker.check_model(sentinel)
    assert [node.op_type for node in empty.graph.node] == ["Identity"]
    assert [node.op_type for node in sentinel.graph.node] == ["MatMul"] * 4
    assert not sentinel.graph.initializer


def test_the_timer_needs_only_numpy_and_the_runtime() -> None:
    tree = ast.parse(BENCH.read_text(encoding="utf-8"), feature_version=(3, 9))
    words = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    words += [str(node.module).partition(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert {word for word in words if word not in sys.stdlib_module_names} == {"numpy", "onnxruntime"}


def test_models_that_take_pixels_are_given_bytes_of_every_value() -> None:
    port = SimpleNamespace(name="image", type="tensor(uint8)", shape=["batch", 32, 32, 3])
    value = bench.random_input(port, np.random.default_rng(0))
    assert (value.shape, value.dtype) == ((1, 32, 32, 3), np.uint8)
    assert (value.min(), value.max()) == (0, 255)
