"""`edgenas inspect`: the operators that the runtime executed, by the blocks of the file."""

from __future__ import annotations

import json
import math
import re
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnxruntime.quantization import CalibrationDataReader, quantize_static
from spaces import SMALL
from typer.testing import CliRunner

from edgenas.cli.commands import app
from edgenas.cli.inspection_display import print_inspection
from edgenas.deploy.inspection import inspect as inspection
from edgenas.deploy.inspection.inspect import Inspection, inspect_model
from edgenas.deploy.inspection.memory_growth import STATUS, measure_memory_growth
from edgenas.deploy.inspection.node_times import (
    IDLE_NODES,
    MATRIX_SIDE,
    busy_model,
    idle_model,
    profile_nodes,
    refuse_fallback,
    without_profiler,
)
from edgenas.deploy.onnx.exporter import export_for_timing
from edgenas.errors import UserError
from edgenas.space.cost import cost

SPECS = SMALL.with_classes(10).unroll(SMALL.largest)
PLACES = [spec.name for spec in SPECS]
RUNS = 10
node = onnx.helper.make_node


@pytest.fixture(scope="module")
def fp32(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported network."""
    return export_for_timing({SMALL.largest.id: SPECS}, tmp_path_factory.mktemp("fp32"))[SMALL.largest.id]


@pytest.fixture(scope="module")
def int8(fp32: Path) -> Path:
    """The same network as the runtime's own quantiser leaves it."""

    class Noise(CalibrationDataReader):
        def __init__(self) -> None:
            self.left = [np.random.default_rng(0).standard_normal((1, 3, 24, 24)).astype(np.float32)]

        def get_next(self) -> dict[str, np.ndarray] | None:
            return {"pixels": self.left.pop()} if self.left else None

    path = fp32.with_name("int8.onnx")
    quantize_static(fp32, path, Noise(), per_channel=True)
    return path


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is measured in a process of its own, which takes its time to start."""
    monkeypatch.setattr(inspection, "measure_memory_growth", lambda path, threads: None)


@pytest.fixture(scope="module")
def found(fp32: Path) -> Inspection:
    """What inspecting the exported network finds."""
    return inspect_model(fp32, runs=RUNS)


def model(path: Path, nodes: Sequence[onnx.NodeProto], inputs: dict[str, list[int | str]], outputs: list[str]) -> Path:
    """A float model whose outputs have any shape."""
    ports = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name, shape in inputs.items()]
    ends = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in outputs]
    graph = onnx.helper.make_graph(nodes, "hand", ports, ends)
    opsets = [onnx.helper.make_opsetid("", 18), onnx.helper.make_opsetid("nowhere", 1)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opsets, ir_version=10), path)
    return path


def test_blocks_stand_in_order_with_the_macs_of_their_specs(found: Inspection) -> None:
    assert [block.name for block in found.blocks] == PLACES
    assert [block.macs for block in found.blocks] == [cost([spec]).macs for spec in SPECS]
    assert found.macs == cost(SPECS).macs
    assert found.weight_bytes == cost(SPECS).weight_bytes
    assert found.peak_activation_bytes == cost(SPECS).peak_activation_bytes
    assert found.metadata["arch"] == SMALL.largest.id


def test_operators_add_up_to_a_run_without_the_profiler(found: Inspection) -> None:
    assert math.isclose(sum(one.time_us for one in found.operators), found.p50_us)
    assert all(one.time_us > 0 for one in found.operators)
    assert found.p50_us <= found.p95_us
    assert found.circumstances["runs"] == RUNS


def test_every_executed_operator_is_counted_once(found: Inspection, fp32: Path, tmp_path: Path) -> None:
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(str(fp32), options, providers=["CPUExecutionProvider"])
    executed = onnx.load(tmp_path / "optimised.onnx").graph.node
    assert [one.op for one in found.operators] == [one.op_type for one in executed]


def test_operators_that_the_runtime_adds_are_of_the_block_around_them(found: Inspection) -> None:
    runs = [place for place, _ in groupby(one.block for one in found.operators)]
    assert runs == PLACES
    for one in found.operators:
        if one.op in ("ReorderInput", "ReorderOutput"):
            assert one.because
            assert one.macs == 0


def test_roles_say_which_convolution_of_the_block_it_is(found: Inspection) -> None:
    spec = next(spec for spec in SPECS if spec.name == "stage3.block1")
    roles = [one.role for one in found.operators if one.block == spec.name and one.macs]
    wide = f"{spec.kernel}×{spec.kernel}"
    assert roles == ["expand 1×1", f"depthwise {wide}", "se.squeeze 1×1", "se.excite 1×1", "project 1×1"]
    assert {one.role.split()[0] for one in found.operators if one.depthwise} == {"depthwise"}


def test_a_convolution_moves_its_weights_input_and_output(found: Inspection) -> None:
    """Of channels that fill the blocked layout's blocks on any machine, so that nothing is padded."""
    spec = next(spec for spec in SPECS if spec.name == "stage3.block1")
    expand = next(one for one in found.operators if one.block == spec.name and one.role.startswith("expand"))
    weights = spec.in_channels * spec.mid_channels + spec.mid_channels
    assert spec.in_channels % 16 == spec.mid_channels % 16 == 0
    assert expand.weight_bytes == 4 * weights
    assert expand.bytes_moved == 4 * (weights + (spec.in_channels + spec.mid_channels) * spec.in_size**2)
    assert expand.executed_macs == expand.macs


@pytest.mark.usefixtures("quick")
def test_quantised_operators_belong_to_the_same_blocks(int8: Path) -> None:
    quantised = inspect_model(int8, runs=RUNS)
    assert [block.name for block in quantised.blocks] == PLACES
    assert [block.macs for block in quantised.blocks] == [cost([spec]).macs for spec in SPECS]
    assert {"depthwise 5×5", "expand 1×1", "classifier"} <= {one.role for one in quantised.operators}
    paper = cost(SPECS)
    assert quantised.weight_bytes < 0.4 * paper.weight_bytes
    assert quantised.peak_activation_bytes == paper.peak_activation_bytes // 4


@pytest.mark.usefixtures("quick")
def test_foreign_models_are_grouped_by_the_beginning_of_names(tmp_path: Path) -> None:
    names = [f"/features/features.{number}/act/Softplus" for number in range(4)] + ["/classifier/Softplus"]
    nodes = [node("Softplus", [f"t{n}"], [f"t{n + 1}"], name=name) for n, name in enumerate(names)]
    found = inspect_model(model(tmp_path / "m.onnx", nodes, {"t0": ["N", 8]}, ["t5"]), runs=RUNS)
    assert found.metadata == {}
    assert [block.name for block in found.blocks] == [*(f"features/features.{n}" for n in range(4)), "classifier"]
    assert found.circumstances["grouped_by"] == "the beginning of node names"


@pytest.mark.usefixtures("quick")
def test_nodes_without_names_are_grouped_by_operator(tmp_path: Path) -> None:
    nodes = [node("Softplus", ["x"], ["a"]), node("Sqrt", ["a"], ["b"]), node("Softplus", ["b"], ["y"])]
    found = inspect_model(model(tmp_path / "m.onnx", nodes, {"x": [1, 8]}, ["y"]), runs=RUNS)
    assert {block.name: block.operators for block in found.blocks} == {"Softplus": 2, "Sqrt": 1}


@pytest.mark.usefixtures("quick")
def test_bodies_of_branches_are_counted_too(tmp_path: Path) -> None:
    end = onnx.helper.make_tensor_value_info("z", onnx.TensorProto.FLOAT, None)
    bodies = [onnx.helper.make_graph([node(op, ["x"], ["z"], name=op)], op, [], [end]) for op in ("Sqrt", "Exp")]
    nodes = [
        node("ReduceSum", ["x"], ["s"], keepdims=0),
        node("Cast", ["s"], ["c"], to=onnx.TensorProto.BOOL),
        node("If", ["c"], ["y"], then_branch=bodies[0], else_branch=bodies[1]),
    ]
    found = inspect_model(model(tmp_path / "m.onnx", nodes, {"x": [1, 8]}, ["y"]), runs=RUNS)
    assert {"If", "Sqrt"} <= {one.op for one in found.operators}


def test_nothing_is_left_behind(fp32: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By default the profiler writes into the working directory."""
    work, temporary = tmp_path / "work", tmp_path / "temporary"
    work.mkdir(), temporary.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    inspect_model(fp32, runs=RUNS)
    assert sorted(tmp_path.rglob("*")) == [temporary, work]


def test_an_operator_that_the_runtime_lacks_is_named(tmp_path: Path) -> None:
    path = model(tmp_path / "m.onnx", [node("Levitate", ["x"], ["y"], domain="nowhere")], {"x": [1, 8]}, ["y"])
    with pytest.raises(UserError, match=r"ONNX Runtime .* cannot run it: .*Levitate") as raised:
        inspect_model(path, runs=RUNS)
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_an_opset_that_the_runtime_lacks_is_named_and_the_newest_it_has(fp32: Path, tmp_path: Path) -> None:
    newer = onnx.load(fp32)
    newer.opset_import[0].version = 999
    onnx.save(newer, tmp_path / "m.onnx")
    wanted = r"m\.onnx: ONNX Runtime .* cannot run it: .*Opset 999 .* till opset \d+;"
    with pytest.raises(UserError, match=wanted) as raised:
        inspect_model(tmp_path / "m.onnx", runs=RUNS)
    assert "onnxruntime_src" not in str(raised.value)


@pytest.mark.skipif("AzureExecutionProvider" not in onnxruntime.get_available_providers(), reason="runs no node itself")
def test_nodes_that_fall_back_to_another_provider_are_named(fp32: Path) -> None:
    wanted = r"(\d+) of \1 nodes fall back from AzureExecutionProvider: \S*stem/\S+ \(CPUExecutionProvider\), .* more"
    with pytest.raises(UserError, match=wanted) as raised:
        inspect_model(fp32, runs=RUNS, provider="azure")
    assert str(fp32) in str(raised.value)


def test_a_single_node_elsewhere_is_enough() -> None:
    def event(name: str, provider: str) -> dict[str, object]:
        return {"cat": "Node", "name": f"{name}_kernel_time", "args": {"provider": provider}}

    both = [event("a", "XnnpackExecutionProvider"), event("b", "CPUExecutionProvider"), {"name": "model_run"}]
    refuse_fallback(both[:1], "m.onnx", "XnnpackExecutionProvider")
    with pytest.raises(UserError, match=r"m\.onnx: 1 of 2 nodes fall back from Xnn\w+: b \(CPUExecutionProvider\): "):
        refuse_fallback(both, "m.onnx", "XnnpackExecutionProvider")


def test_a_provider_that_is_not_there_is_named_with_those_that_are(fp32: Path) -> None:
    with pytest.raises(UserError, match=r"no execution provider 'levitation'; valid: .*cpu"):
        inspect_model(fp32, runs=RUNS, provider="levitation")


def test_the_profile_of_known_work() -> None:
    profile = profile_nodes(busy_model(), "the busy model", RUNS)
    square = 4 * MATRIX_SIDE**2
    assert {one.node.op_type: one.activation_bytes for one in profile.nodes} == {"MatMul": 3 * square, "Relu": 524288}
    assert all(one.profiled_us > 0 for one in profile.nodes)
    assert len(profile_nodes(idle_model(), "the idle model", RUNS).nodes) == IDLE_NODES


TIMES = st.lists(st.floats(0.5, 1e4), min_size=1, max_size=50).map(np.array)


@given(TIMES, st.floats(0, 5), st.floats(0.1, 1e5))
def test_times_without_the_profiler_add_up_and_keep_their_order(
    measured_us: np.ndarray, profiler_us: float, total_us: float
) -> None:
    times = without_profiler(measured_us, profiler_us, total_us)
    assert math.isclose(times.sum(), total_us, rel_tol=1e-9)
    assert (times > 0).all()
    assert (np.diff(times[np.argsort(measured_us)]) >= -1e-9 * total_us).all()


def test_what_the_profiler_adds_is_taken_off_every_operator_alike() -> None:
    """2 µs were added to each: in proportion, the short operator would keep most of its 2 µs."""
    np.testing.assert_allclose(without_profiler(np.array([3.0, 102.0]), 2.0, 101.0), [1.0, 100.0])


def test_bounds_and_reasons_of_a_hand_worked_model(found: Inspection) -> None:
    depthwise = next(one for one in found.operators if one.depthwise)
    fields = {"macs": 1000, "executed_macs": 1000, "bytes_moved": 1000, "weight_bytes": 100, "time_us": 10.0}
    one = replace(depthwise, **fields)
    # The ridge is at 10 MACs per byte: 1 of each is bound by memory, which would allow 1000 bytes in 1 µs.
    worked = replace(found, operators=(one,), p50_us=20.0, macs=4000, macs_per_us=1e4, bytes_per_us=1e3)
    assert worked.ridge == 10
    assert worked.bound(one) == "memory"
    assert worked.attained(one) == 0.1
    why = worked.why(one)
    assert "50.0% of the time for 25.0% of the MACs" in why
    assert "depthwise" in why
    assert "memory-bound: 1 MACs per byte, below the ridge of 10" in why
    assert "10% of what that bound allows" in why
    dense = replace(one, macs=20_000, depthwise=False)
    assert worked.bound(dense) == "arithmetic"
    assert worked.attained(dense) == 0.2


def test_the_slowest_operators_are_listed_with_reasons(found: Inspection) -> None:
    times = sorted((one.time_us for one in found.operators), reverse=True)
    slowest = found.to_json()["costliest"]
    assert [operator["time_us"] for operator in slowest] == times[:5]
    assert all("of the time" in operator["why"] and "-bound" in operator["why"] for operator in slowest)


@pytest.mark.skipif(not STATUS.exists(), reason="only Linux reports the memory of a process there")
def test_measured_memory_grows_by_a_models_weights(tmp_path: Path) -> None:
    side = 2048
    weight = onnx.numpy_helper.from_array(np.ones((side, side), np.float32), "w")
    path = model(tmp_path / "m.onnx", [node("MatMul", ["x", "w"], ["y"])], {"x": [1, side]}, ["y"])
    heavy = onnx.load(path)
    heavy.graph.initializer.append(weight)
    onnx.save(heavy, path)
    grown = measure_memory_growth(path)
    assert grown is not None
    assert 4 * side**2 <= grown.load_bytes <= grown.peak_bytes


def test_the_command_prints_blocks_slowest_operators_and_memory(fp32: Path, tmp_path: Path) -> None:
    drawn = tmp_path / "blocks.png"
    shown = CliRunner().invoke(app, ["inspect", str(fp32), "--runs", "10", "--plot", str(drawn)])
    assert shown.exit_code == 0, shown.output
    lines = shown.output.splitlines()
    assert [line.split()[0] for line in lines if "#" in line] == PLACES
    assert [line[0] for line in lines if line[:3] in ("1. ", "2. ", "3. ", "4. ", "5. ")] == list("12345")
    assert "the profiler adds" in shown.output
    assert f"{cost(SPECS).peak_activation_bytes / 1e3:,.1f} kB of activations" in shown.output
    assert drawn.read_bytes().startswith(b"\x89PNG")


def test_it_fits_into_a_terminal_of_80_columns(
    found: Inspection, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for key, value in {"COLUMNS": "80", "FORCE_COLOR": "1", "TERM": "xterm"}.items():
        monkeypatch.setenv(key, value)
    # Times and ceilings of an idle machine: on a busy one they are as long as the load makes them.
    idle = tuple(replace(one, time_us=10.0 + number) for number, one in enumerate(found.operators))
    # Numbers as long as they get.
    big = tuple(replace(one, macs=10**9, bytes_moved=10**9) for one in idle)
    steady = replace(found, p50_us=sum(one.time_us for one in idle), macs_per_us=1e9, bytes_per_us=1e9)
    for shown in (replace(steady, operators=idle), replace(steady, operators=big)):
        print_inspection(shown)
        lines = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out).splitlines()
        assert max(map(len, lines)) <= 80
        bars = [line for line in lines if "█" in line]
        assert [bar.split()[0] for bar in bars] == PLACES
        longest = max(bar.count("█") for bar in bars)
        assert longest >= 8
        assert bars[int(np.argmax([block.time_us for block in shown.blocks]))].count("█") == longest


@pytest.mark.usefixtures("quick")
def test_the_commands_json_is_all_of_it(fp32: Path) -> None:
    shown = CliRunner().invoke(app, ["inspect", str(fp32), "--runs", "10", "--json"])
    printed = json.loads(shown.output)
    assert [block["name"] for block in printed["blocks"]] == PLACES
    assert math.isclose(sum(block["share"] for block in printed["blocks"]), 1)
    assert {one["bound"] for one in printed["operators"]} <= {"memory", "arithmetic"}


def test_a_plot_that_is_no_png_is_refused_before_anything_is_run(tmp_path: Path) -> None:
    shown = CliRunner().invoke(app, ["inspect", str(tmp_path / "m.onnx"), "--plot", "plot.svg"])
    assert isinstance(shown.exception, UserError)
    assert "ends in .png" in str(shown.exception)
