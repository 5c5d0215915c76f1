"""Sessions and transport: resuming, subtraction, identity; the timer stands in as rows of known numbers."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from edgenas.errors import MeasurementError, TableError
from edgenas.files import read_jsonl
from edgenas.latency.device import Device, DeviceRun
from edgenas.latency.table import LatencyTable
from edgenas.profiling import session
from edgenas.profiling.measurement import (
    Measurement,
    pool,
    repeat_noise,
    to_identity,
    to_measurement,
    to_record,
    to_table,
)
from edgenas.profiling.session import PROCESSES, measure_networks, profile
from edgenas.profiling.timer_rows import validate_rows
from edgenas.profiling.timing_plan import Plan, make_plan
from edgenas.profiling.transport import Job, installed_runtime
from edgenas.profiling.transports.local import LocalTransport, run_bench
from edgenas.records.latency import NETWORK
from edgenas.space.loading import load_space
from edgenas.testing import FakeTransport

SPACE = load_space(Path(__file__).parents[1] / "latency" / "small_space.yaml")
DEVICE = Device(name="bench", cpu="c", os="o")
PLAN = make_plan(SPACE.with_classes(10), networks=3, seed=0)


def bench_row(index: int, p50: float = 0.05, version: str | None = None) -> dict:
    quantiles = {"min": p50, "p10": p50, "p50": p50, "p90": p50, "p95": 2 * p50, "p99": 2 * p50, "max": 3 * p50}
    return {
        "schema_version": 1,
        "benchmark_info": {"index": index, **DeviceRun().model_dump(exclude={"transport", "precision"})},
        "latency_ms": {"mean": p50, "std": 0.0, **quantiles},
        "ci_p50_ms": [p50, p50],
        "rounds_p50_ms": [p50, p50, 1.1 * p50, 1.1 * p50],
        "count": 80,
        "call_overhead_ms": 0.002,
        "sentinel_p50_ms": 0.1,
        "sentinel_drift": 0.01,
        "warnings": ["loud"],
        "environment": {"runtime_version": version or installed_runtime(), "cpu": "c"},
    }


@dataclass
class Bench(FakeTransport):
    """Times every model at about 50 µs.

    Attributes:
        cut_after: processes after which the power fails.
    """

    cut_after: int = 10**6

    def __post_init__(self) -> None:
        super().__post_init__()
        self.latency_us = self.about_50_us
        self.warnings = lambda job: ["loud"]

    def about_50_us(self, model: Path, job: Job) -> float:
        if len(self.timed) > self.cut_after:
            raise MeasurementError("power cut")
        # A time of its own for every model and process, so that mixing them up shows.
        return 50 + zlib.crc32(f"{model.name} {job.seed}".encode()) % 1000 / 1e3

    @property
    def counts(self) -> list[int]:
        """Models that each process timed."""
        return [len(job.models) for _, job in self.timed]


def fake_export(named, folder: Path, progress=None) -> dict[str, Path]:
    if progress:
        progress(len(named), len(named))
    return {name: folder / f"{name}.onnx" for name in named}


def run_profile(folder: Path, bench: Bench, plan: Plan = PLAN, **changes) -> LatencyTable:
    options = {"export": fake_export, "exporter_version": 1, "rounds": 4, "seed": 0, "folder": folder} | changes
    return profile(SPACE.with_classes(10), plan, DEVICE, transport=bench, **options)


def test_a_profile_holds_every_block_and_network_once(tmp_path) -> None:
    seen = []
    table = run_profile(tmp_path, Bench(), progress=lambda *step: seen.append(step))
    assert set(table.blocks()) == {block.key for block in PLAN.blocks}
    assert {row.key for row in table.networks(SPACE.structure_id, 10)} == {arch.id for arch in PLAN.networks}
    assert LatencyTable.load(tmp_path).identity == table.identity
    warning = f"{len(table.rows)} of {len(table.rows)} models, at worst: {PROCESSES} of {PROCESSES} processes: loud"
    assert table.circumstances["warnings"] == [warning]
    assert {label for label, _, _ in seen} == {"exporting", "measuring"}


def test_the_call_overhead_is_subtracted_from_blocks_alone(tmp_path) -> None:
    table = run_profile(tmp_path, Bench())
    assert [row.p50_us for row in table.blocks().values()] == pytest.approx([49.5] * len(PLAN.blocks), abs=1.001)
    assert [row.p50_us for row in table.networks(SPACE.structure_id, 10)] == pytest.approx([50.0] * 3, abs=1.001)
    assert table.circumstances["call_overhead_us"] == pytest.approx(0.5)


def test_measured_rows_are_not_measured_again(tmp_path) -> None:
    first, second = Bench(), Bench()
    run_profile(tmp_path, first, Plan(PLAN.blocks[:10], PLAN.networks[:1]))
    table = run_profile(tmp_path, second)
    assert first.counts == [11] * PROCESSES
    assert second.counts == [len(PLAN.blocks) + len(PLAN.networks) - 11] * PROCESSES
    assert len(table.rows) == len(PLAN.blocks) + len(PLAN.networks)


@pytest.mark.parametrize("processes", [1, 5, PROCESSES, PROCESSES + 3])
def test_a_session_resumes_after_the_last_process_that_ended(monkeypatch, tmp_path, processes) -> None:
    monkeypatch.setattr(session, "MODELS_PER_PROCESS", 20)
    undisturbed, everything = Bench(), len(PLAN.blocks) + len(PLAN.networks)
    table = run_profile(tmp_path / "straight", undisturbed)
    with pytest.raises(MeasurementError, match="power cut"):
        run_profile(tmp_path / "cut", Bench(cut_after=processes))
    rest = Bench()
    resumed = run_profile(tmp_path / "cut", rest)
    assert rest.counts == undisturbed.counts[processes:]
    assert sum(undisturbed.counts) == PROCESSES * everything
    assert resumed.rows == table.rows
    assert len(read_jsonl(tmp_path / "cut" / "rows.jsonl")) == PROCESSES * everything
    assert not list((tmp_path / "cut").glob(".*"))


def test_a_kill_in_the_middle_of_writing_rows_loses_only_those(tmp_path) -> None:
    table = run_profile(tmp_path / "straight", Bench())
    run_profile(tmp_path / "cut", Bench())
    path = tmp_path / "cut" / "rows.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-7]) + lines[-7][:100])
    rest = Bench()
    assert run_profile(tmp_path / "cut", rest).rows == table.rows
    assert rest.counts == [7]


def test_a_model_that_the_device_cannot_run_is_named_and_the_others_are_kept(tmp_path) -> None:
    everything, network = len(PLAN.blocks) + len(PLAN.networks), PLAN.networks[1].id
    with pytest.raises(
        MeasurementError, match=rf"cannot run 1 of {everything} models:\n  network {network}: no kernel"
    ):
        run_profile(tmp_path, unable := Bench(unable=lambda model: "no kernel for it" if network in model.name else ""))
    assert unable.counts == [everything] + [everything - 1] * (PROCESSES - 1)
    mended = Bench()
    table = run_profile(tmp_path, mended)
    assert mended.counts == [1] * PROCESSES
    assert len(table.rows) == everything


def test_rows_of_another_exporter_do_not_count(tmp_path) -> None:
    run_profile(tmp_path, Bench())
    again = Bench()
    table = run_profile(tmp_path, again, exporter_version=2)
    assert len(table.rows) == len(PLAN.blocks) + len(PLAN.networks)
    assert again.counts == [len(table.rows)] * PROCESSES
    assert table.identity.exporter_version == 2


def test_when_the_runtime_turns_out_another_everything_is_measured_with_it(tmp_path) -> None:
    run_profile(tmp_path, Bench(), Plan(PLAN.blocks[:10], ()))
    other = Bench(version="0.0.1")
    table = run_profile(tmp_path, other)
    everything = len(PLAN.blocks) + len(PLAN.networks)
    assert other.counts == [everything - 10] * PROCESSES + [10] * PROCESSES
    assert table.identity.runtime_version == "0.0.1"
    assert len(table.rows) == everything


def test_jobs_that_are_carried_to_a_device_come_in_one_call(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(session, "MODELS_PER_PROCESS", 20)

    @dataclass
    class Carried(Bench):
        carried = True
        calls: list[int] = field(default_factory=list)

        def time(self, jobs, device, progress=None):
            self.calls.append(len(jobs))
            yield from super().time(jobs, device, progress)

    in_parts, carried = Bench(), Carried()
    table = run_profile(tmp_path / "parts", in_parts)
    assert run_profile(tmp_path / "carried", carried).rows == table.rows
    assert carried.calls == [len(in_parts.counts)]
    assert carried.counts == in_parts.counts


FOREIGN = {
    "hello": lambda line: {"hello": 1},
    "no process": lambda line: line | {"process": PROCESSES},
    "no name": lambda line: line | {"name": ["block"]},
    "no numbers": lambda line: line | {"timed": None},
    "an error": lambda line: line | {"timed": {"schema_version": 1, "error": "x"}},
    "text": lambda line: line | {"timed": line["timed"] | {"call_overhead_ms": "2"}},
    "too fast": lambda line: line | {"timed": line["timed"] | {"rounds_p50_ms": [-1.0]}},
}


@pytest.mark.parametrize("change", FOREIGN.values(), ids=FOREIGN)
def test_a_foreign_line_among_the_rows_is_named(tmp_path, change) -> None:
    run_profile(tmp_path, Bench())
    path = tmp_path / "rows.jsonl"
    first, *rest = path.read_text().splitlines()
    path.write_text("\n".join([first, json.dumps(change(json.loads(first))), *rest]) + "\n")
    with pytest.raises(TableError, match="row 2 is not a measurement"):
        run_profile(tmp_path, Bench())


def test_a_warning_in_few_processes_does_not_stand_against_their_median() -> None:
    loud, calm = to_measurement(bench_row(0)), to_measurement(bench_row(0) | {"warnings": []})
    assert pool([loud] * 2 + [calm] * 6).warnings == ()
    assert pool([calm] * 5 + [loud] * 3).warnings == ("3 of 8 processes: loud",)


def test_a_table_names_each_kind_of_warning_once_with_the_worst_of_it() -> None:
    by_row = [["rounds differ by 11%", "hot"], ["rounds differ by 9%"], [], ["rounds differ by 103.5%", "hot"]]
    identity = asdict(to_identity(DEVICE, "1.31.1", 1))
    records = [
        to_record(
            (NETWORK, "s", 10, f"n{number}"), [bench_row(number) | {"warnings": warnings}], identity, "2026-01-01"
        )
        for number, warnings in enumerate(by_row)
    ]
    assert to_table(records).circumstances["warnings"] == [
        "2 of 4 models, at worst: 1 of 1 processes: hot",
        "3 of 4 models, at worst: 1 of 1 processes: rounds differ by 103.5%",
    ]


def test_the_drift_of_a_table_is_borne_with_as_warnings_are() -> None:
    rows = [bench_row(0) | {"sentinel_drift": drift} for drift in [0.9, 0.8] + [0.02] * 6]
    assert to_record((NETWORK, "s", 10, "n"), rows, {}, "2026-01-01")["sentinel_drift"] == pytest.approx(0.02)
    worse = [row | {"sentinel_drift": 0.7} for row in rows[:4]] + rows[4:]
    assert to_record((NETWORK, "s", 10, "n"), worse, {}, "2026-01-01")["sentinel_drift"] == pytest.approx(0.7)


def test_pooling_takes_medians_over_processes_and_every_round() -> None:
    rows = [to_measurement(bench_row(0, p50)) for p50 in (0.05, 0.06, 0.5)]
    pooled = pool(rows)
    assert pooled.p50_us == pytest.approx(60.0)
    assert pooled.rounds_p50_us == tuple(value for row in rows for value in row.rounds_p50_us)
    assert (pooled.ci_low_us, pooled.ci_high_us) == (pytest.approx(50.0), pytest.approx(500.0))
    assert pooled.count == 240


def test_the_interval_of_eight_processes_is_from_the_second_to_the_seventh_p50() -> None:
    own = [0.105, 0.9, 0.101, 0.104, 0.02, 0.103, 0.102, 0.106]
    pooled = pool([to_measurement(bench_row(0, p50_ms)) for p50_ms in own])
    assert (pooled.ci_low_us, pooled.ci_high_us) == (pytest.approx(101), pytest.approx(106))
    assert pooled.processes_p50_us == pytest.approx([1e3 * p50_ms for p50_ms in own])
    assert pool([to_measurement(bench_row(0, 0.1))]).processes_p50_us == pytest.approx([100.0])


def test_repeat_noise_compares_the_halves_of_the_rounds() -> None:
    assert repeat_noise([10, 10, 10, 11, 11, 11], 10.0) == pytest.approx(0.1)
    assert repeat_noise([10], 10.0) == 0.0


MODELS = [Path("a.onnx"), Path("b.onnx")]


def test_good_rows_pass_in_the_order_of_the_models() -> None:
    rows = validate_rows([bench_row(1), bench_row(0)], MODELS, DEVICE.run)
    assert [row["benchmark_info"]["index"] for row in rows] == [0, 1]


def _with(path: str, value: object) -> dict:
    row = bench_row(1)
    *parents, last = path.split(".")
    node = row
    for parent in parents:
        node = node[parent]
    node[last] = value
    return row


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (_with("latency_ms.p50", float("nan")), r"b\.onnx: latency_ms\.p50 is nan"),
        (_with("latency_ms.p50", -1.0), r"latency_ms\.p50 is -1\.0"),
        (_with("latency_ms.p50", 0), r"latency_ms\.p50 is 0"),
        (_with("latency_ms.p95", 1e-3), "do not ascend"),
        (_with("latency_ms.mean", "1"), r"latency_ms\.mean is '1'"),
        (_with("latency_ms", None), "expected an object"),
        (_with("latency_ms.max", 1e12), r"latency_ms\.max"),
        (_with("ci_p50_ms", [0.05]), "ci_p50_ms"),
        (_with("rounds_p50_ms", [True]), "rounds_p50_ms"),
        (_with("count", 0), "count is 0"),
        (_with("warnings", "none"), "warnings"),
        (_with("environment", {"runtime_version": "../../etc"}), "runtime_version"),
        (_with("environment", []), "runtime_version"),
        (_with("benchmark_info.threads", 8), "threads is 8, expected 1"),
        (_with("benchmark_info.index", 7), "index 7, expected 0 to 1"),
        (_with("benchmark_info.index", 0), r"two rows for a\.onnx"),
        (_with("benchmark_info", "x"), "index nothing"),
        (_with("schema_version", 2), "upgrade edgenas"),
    ],
)
def test_hostile_rows_are_refused(row: dict, message: str) -> None:
    with pytest.raises(MeasurementError, match=message):
        validate_rows([bench_row(0), row], MODELS, DEVICE.run)


def test_the_row_of_a_model_that_could_not_be_run_passes_with_its_error() -> None:
    row = {"schema_version": 1, "benchmark_info": {"index": 1}, "error": "out of memory" + 1000 * "!"}
    rows = validate_rows([bench_row(0), row], MODELS, DEVICE.run)
    assert rows[1]["error"].startswith("out of memory!")
    assert len(rows[1]["error"]) == 500


def test_a_missing_row_is_named() -> None:
    with pytest.raises(MeasurementError, match=r"no row for b\.onnx"):
        validate_rows([bench_row(0)], MODELS, DEVICE.run)


def make_model(path: Path) -> Path:
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 64]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "tiny", [values[0]], [values[1]])
    path.parent.mkdir(exist_ok=True)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


def test_networks_of_equal_file_names_are_timed_on_this_machine(tmp_path) -> None:
    networks = {name: make_model(tmp_path / name / "model.onnx") for name in ("one", "two")}
    steps = []
    found = measure_networks(
        networks,
        DEVICE,
        rounds=PROCESSES,
        seed=0,
        out=tmp_path / "rows.jsonl",
        transport=LocalTransport(),
        progress=lambda *step: steps.append(step),
    )
    assert list(found) == ["one", "two"]
    for measurement in found.values():
        assert 0 < measurement.ci_low_us <= measurement.p50_us <= measurement.ci_high_us < 1e5
        assert len(measurement.rounds_p50_us) == PROCESSES
        assert json.dumps(asdict(measurement))
    assert steps[-1][1] == steps[-1][2]
    assert len(read_jsonl(tmp_path / "rows.jsonl")) == 2 * PROCESSES


def test_a_measured_front_is_measured_again_only_for_other_files(tmp_path) -> None:
    networks = {name: make_model(tmp_path / name / f"{name}.onnx") for name in ("one", "two")}
    options = {"rounds": PROCESSES, "seed": 0, "out": tmp_path / "rows.jsonl"}

    def measured(bench: Bench) -> dict[str, Measurement]:
        return measure_networks(networks, DEVICE, **options, transport=bench)

    first = measured(Bench())
    session.discount(options["out"], DEVICE)
    with pytest.raises(MeasurementError, match="power cut"):
        measured(Bench(cut_after=3))
    rest, again, other = Bench(), Bench(), Bench()
    assert measured(rest) == measured(again) == first
    assert (rest.counts, again.counts) == ([2] * (PROCESSES - 3), [])
    networks["two"].write_bytes(networks["two"].read_bytes() + b"\x32\x00")
    measured(other)
    assert other.counts == [1] * PROCESSES


def test_fewer_processes_share_all_rounds_and_what_they_measured_is_kept(tmp_path) -> None:
    networks = {name: make_model(tmp_path / name / f"{name}.onnx") for name in ("one", "two")}
    options = {"rounds": 2 * PROCESSES, "seed": 0, "out": tmp_path / "rows.jsonl"}
    fewer, again, usual = Bench(), Bench(), Bench()
    found = measure_networks(networks, DEVICE, **options, processes=3, transport=fewer)
    assert fewer.counts == [2, 2, 2]
    assert all(len(measurement.processes_p50_us) == 3 for measurement in found.values())
    assert measure_networks(networks, DEVICE, **options, processes=3, transport=again) == found
    assert again.counts == []
    # Where more are wanted later, only the missing ones are made.
    measure_networks(networks, DEVICE, **options, transport=usual)
    assert usual.counts == [2] * (PROCESSES - 3)


def test_a_model_that_the_timer_cannot_run_does_not_stop_the_others(tmp_path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"no model")
    good = make_model(tmp_path / "good" / "good.onnx")
    rows = run_bench([tmp_path / "broken.onnx", good], DEVICE.run, rounds=1, seed=0)
    assert rows[0]["error"]
    assert rows[1]["latency_ms"]["p50"] > 0


def test_a_network_of_an_operator_that_the_device_lacks_is_named_and_the_others_are_kept(tmp_path) -> None:
    networks = {name: make_model(tmp_path / name / "model.onnx") for name in ("r16_w8-k3e1", "r24_w8-k3e1")}
    lacking = onnx.load(networks["r24_w8-k3e1"])
    lacking.graph.node[0].op_type = "Levitate"
    onnx.save(lacking, networks["r24_w8-k3e1"])
    out = tmp_path / "rows.jsonl"
    with pytest.raises(MeasurementError) as raised:
        measure_networks(networks, DEVICE, rounds=PROCESSES, seed=0, out=out, transport=LocalTransport())
    lines = str(raised.value).splitlines()
    assert lines[0] == f"{DEVICE.name} cannot run 1 of 2 models:"
    assert lines[1].startswith("  network r24_w8-k3e1: onnxruntime ")
    assert "Levitate" in lines[1]
    assert len(read_jsonl(out)) == PROCESSES


def test_a_failing_timer_shows_the_end_of_its_words(tmp_path) -> None:
    script = tmp_path / "timer.py"
    script.write_text("raise SystemExit('no disk')")
    with pytest.raises(MeasurementError, match=r"(?s)exit code 1:.*no disk"):
        run_bench([tmp_path / "any.onnx"], DEVICE.run, rounds=1, seed=0, timer=[sys.executable, str(script)])


def running(argument: str) -> list[int]:
    """Processes that have an argument of this text."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if argument.encode() in (folder / "cmdline").read_bytes().split(b"\0"):
                found.append(int(folder.name))
    return found


def until(done: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not done() and time.monotonic() < end:
        time.sleep(0.02)
    return done()


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="reads /proc")
@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGINT])
def test_the_timer_does_not_outlive_the_process_that_started_it(tmp_path, signal_number) -> None:
    model = make_model(tmp_path / "endless" / "model.onnx")
    code = (
        "from pathlib import Path; from edgenas.latency.device import DeviceRun; "
        "from edgenas.profiling.transports.local import run_bench; "
        f"run_bench([Path({str(model)!r})], DeviceRun(), rounds=10**6, seed=0, progress=lambda *step: print(*step))"
    )
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline()
        assert running(str(model))
        parent.send_signal(signal_number)
    assert until(lambda: not running(str(model)), seconds=20)


def test_of_memory_the_usual_growth_and_the_largest_process_are_kept() -> None:
    memory = [{"model_rss_bytes": grown, "peak_rss_bytes": peak} for grown, peak in ((7, 100), (9, 90), (0, 80))]
    found = pool([to_measurement(bench_row(0) | {"memory": one}) for one in (*memory, None)])
    assert (found.model_rss_bytes, found.process_rss_bytes) == (7, 100)


@pytest.mark.parametrize("memory", [None, "much", {}, {"model_rss_bytes": "7"}, {"model_rss_bytes": -1}, [7]])
def test_memory_that_is_missing_or_implausible_is_unknown(memory: object) -> None:
    found = to_measurement(bench_row(0) | {"memory": memory})
    assert (found.model_rss_bytes, found.process_rss_bytes) == (None, None)
