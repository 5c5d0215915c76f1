"""Sessions and transport: resuming, subtraction, identity; the timer stands in as rows of known numbers."""

import json
from dataclasses import asdict
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from edgenas.errors import MeasurementError, TableError
from edgenas.files import read_jsonl
from edgenas.latency.device import Device, DeviceRun
from edgenas.latency.table import LatencyTable
from edgenas.profiling import session
from edgenas.profiling.plan import Plan, make_plan
from edgenas.profiling.record import pool, repeat_noise, to_measurement
from edgenas.profiling.session import PROCESSES, measure_networks, profile
from edgenas.profiling.transport import installed_runtime, run_bench, validate_rows
from edgenas.space.load import load_space

SPACE = load_space(Path(__file__).parents[1] / "latency" / "small_space.yaml")
DEVICE = Device(name="bench", cpu="c", os="o")
PLAN = make_plan(SPACE, 10, networks=3, seed=0)


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
        "doubts": ["loud"],
        "environment": {"runtime_version": version or installed_runtime(), "cpu": "c"},
    }


class FakeBench:
    """Stands in for run_bench: times every model at 50 µs and remembers how many it was given."""

    def __init__(self, version: str | None = None, fail_after: int | None = None) -> None:
        self.version, self.fail_after = version, fail_after
        self.timed: list[int] = []

    def __call__(self, models, run, *, rounds, seed, out, progress=None):
        if self.fail_after is not None and len(self.timed) >= self.fail_after:
            raise MeasurementError("power cut")
        self.timed.append(len(models))
        if progress:
            progress(1, 1)
        return [bench_row(index, version=self.version) for index in range(len(models))]


def fake_export(named, folder: Path, progress=None) -> dict[str, Path]:
    if progress:
        progress(len(named), len(named))
    return {name: folder / f"{name}.onnx" for name in named}


def run_profile(monkeypatch, folder: Path, bench: FakeBench, plan: Plan = PLAN, **changes) -> LatencyTable:
    monkeypatch.setattr(session, "run_bench", bench)
    options = {"export": fake_export, "exporter_version": 1, "rounds": 4, "seed": 0, "folder": folder} | changes
    return profile(SPACE, plan, 10, DEVICE, **options)


def test_a_profile_holds_every_block_and_network_once(monkeypatch, tmp_path) -> None:
    seen = []
    table = run_profile(monkeypatch, tmp_path, FakeBench(), progress=lambda *step: seen.append(step))
    assert set(table.blocks()) == {block.key for block in PLAN.blocks}
    assert {row.key for row in table.networks(SPACE.structure_id, 10)} == {arch.id for arch in PLAN.networks}
    assert LatencyTable.load(tmp_path).identity == table.identity
    assert table.circumstances["doubts"] == [f"{PROCESSES} of {PROCESSES} processes: loud"]
    assert {label for label, _, _ in seen} == {"exporting", "measuring"}


def test_the_call_overhead_is_subtracted_from_blocks_alone(monkeypatch, tmp_path) -> None:
    table = run_profile(monkeypatch, tmp_path, FakeBench())
    assert [row.p50_us for row in table.blocks().values()] == pytest.approx([48.0] * len(PLAN.blocks))
    assert [row.p50_us for row in table.networks(SPACE.structure_id, 10)] == pytest.approx([50.0] * 3)
    assert table.circumstances["call_overhead_us"] == pytest.approx(2.0)


def test_what_is_measured_is_not_measured_again(monkeypatch, tmp_path) -> None:
    first, second = FakeBench(), FakeBench()
    run_profile(monkeypatch, tmp_path, first, Plan(PLAN.blocks[:10], PLAN.networks[:1]))
    table = run_profile(monkeypatch, tmp_path, second)
    assert first.timed == [11] * PROCESSES
    assert second.timed == [len(PLAN.blocks) + len(PLAN.networks) - 11] * PROCESSES
    assert len(table.rows) == len(PLAN.blocks) + len(PLAN.networks)


def test_a_session_that_stops_between_chunks_goes_on(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(session, "MODELS_PER_PROCESS", 20)
    with pytest.raises(MeasurementError, match="power cut"):
        run_profile(monkeypatch, tmp_path, FakeBench(fail_after=2 * PROCESSES))
    rest = FakeBench()
    table = run_profile(monkeypatch, tmp_path, rest)
    kept = read_jsonl(tmp_path / "rows.jsonl")
    assert 0 < sum(rest.timed) < PROCESSES * (len(PLAN.blocks) + 3)
    assert len(kept) == len(table.rows) == len(PLAN.blocks) + 3


def test_rows_of_another_exporter_do_not_count(monkeypatch, tmp_path) -> None:
    run_profile(monkeypatch, tmp_path, FakeBench())
    again = FakeBench()
    table = run_profile(monkeypatch, tmp_path, again, exporter_version=2)
    assert len(table.rows) == len(PLAN.blocks) + len(PLAN.networks)
    assert again.timed == [len(table.rows)] * PROCESSES
    assert table.identity.exporter_version == 2


def test_when_the_runtime_turns_out_another_everything_is_measured_with_it(monkeypatch, tmp_path) -> None:
    run_profile(monkeypatch, tmp_path, FakeBench(), Plan(PLAN.blocks[:10], ()))
    other = FakeBench(version="0.0.1")
    table = run_profile(monkeypatch, tmp_path, other)
    everything = len(PLAN.blocks) + len(PLAN.networks)
    assert other.timed == [everything - 10] * PROCESSES + [10] * PROCESSES
    assert table.identity.runtime_version == "0.0.1"
    assert len(table.rows) == everything


def test_a_foreign_line_among_the_rows_is_named(monkeypatch, tmp_path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"hello": 1}\n', encoding="utf-8")
    with pytest.raises(TableError, match="row 1 is not a measurement"):
        run_profile(monkeypatch, tmp_path, FakeBench())


def test_a_doubt_in_few_processes_does_not_stand_against_their_median() -> None:
    loud, calm = to_measurement(bench_row(0)), to_measurement(bench_row(0) | {"doubts": []})
    assert pool([loud] * 2 + [calm] * 6).doubts == ()
    assert pool([calm] * 5 + [loud] * 3).doubts == ("3 of 8 processes: loud",)


def test_pooling_takes_medians_over_processes_and_every_round() -> None:
    rows = [to_measurement(bench_row(0, p50)) for p50 in (0.05, 0.06, 0.5)]
    pooled = pool(rows)
    assert pooled.p50_us == pytest.approx(60.0)
    assert pooled.rounds_p50_us == tuple(value for row in rows for value in row.rounds_p50_us)
    assert (pooled.ci_low_us, pooled.ci_high_us) == (pytest.approx(50.0), pytest.approx(500.0))
    assert pooled.count == 240


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
        (_with("latency_ms", None), "wanted an object"),
        (_with("latency_ms.max", 1e12), r"latency_ms\.max"),
        (_with("ci_p50_ms", [0.05]), "ci_p50_ms"),
        (_with("rounds_p50_ms", [True]), "rounds_p50_ms"),
        (_with("count", 0), "count is 0"),
        (_with("doubts", "none"), "doubts"),
        (_with("environment", {"runtime_version": "../../etc"}), "runtime_version"),
        (_with("environment", []), "runtime_version"),
        (_with("benchmark_info.threads", 8), "threads is 8, wanted 1"),
        (_with("benchmark_info.index", 7), "index 7, wanted 0 to 1"),
        (_with("benchmark_info.index", 0), r"two rows for a\.onnx"),
        (_with("benchmark_info", "x"), "index None"),
        (_with("schema_version", 2), "upgrade edgenas"),
        (_with("error", "out of memory"), r"b\.onnx could not be timed: out of memory"),
    ],
)
def test_hostile_rows_are_refused(row: dict, message: str) -> None:
    with pytest.raises(MeasurementError, match=message):
        validate_rows([bench_row(0), row], MODELS, DEVICE.run)


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
        progress=lambda *step: steps.append(step),
    )
    assert list(found) == ["one", "two"]
    for measurement in found.values():
        assert 0 < measurement.ci_low_us <= measurement.p50_us <= measurement.ci_high_us < 1e5
        assert len(measurement.rounds_p50_us) == PROCESSES
        assert json.dumps(asdict(measurement))
    assert steps[-1][1] == steps[-1][2]
    assert len(read_jsonl(tmp_path / "rows.jsonl")) == 2 * PROCESSES


def test_a_failing_timer_shows_the_end_of_its_words(tmp_path) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"no model")
    with pytest.raises(MeasurementError, match=r"(?s)exit code 1:.*broken\.onnx"):
        run_bench([path], DEVICE.run, rounds=1, seed=0, out=tmp_path / "rows.jsonl")
    assert not (tmp_path / "rows.jsonl").exists()
