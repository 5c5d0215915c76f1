"""ONNX files that other tools wrote: measured for what they are, or refused with the reason."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest
from damaging import call
from kit_scripts import load_script
from onnx import TensorProto, helper, numpy_helper

from edgenas.cli.inspection_display import print_inspection
from edgenas.deploy.inspection import inspect as inspection
from edgenas.deploy.inspection import memory_growth
from edgenas.deploy.inspection.graph_cost import read_graph
from edgenas.deploy.inspection.inspect import inspect_model
from edgenas.deploy.inspection.memory_growth import MemoryGrowth, measure_memory_growth
from edgenas.errors import MeasurementError, UserError
from edgenas.profiling.timer_rows import validate_row

node, tensor = helper.make_node, helper.make_tensor_value_info
Model = onnx.ModelProto
SETTING = {"threads": 1, "provider": "cpu", "optimisation_level": "all", "spinning": False, "seed": 0}


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    return load_script("bench")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is measured in a process of its own, which takes its time to start."""
    monkeypatch.setattr(inspection, "measure_memory_growth", lambda path, threads: None)


def weight(*shape: int, dtype: type = np.float32) -> TensorProto:
    values = np.random.default_rng(0).standard_normal(shape) * 0.1
    return numpy_helper.from_array(values.astype(dtype), "w")


def model(nodes: list, inputs: list, outputs: list, *weights: TensorProto, ml: bool = False) -> Model:
    graph = helper.make_graph(nodes, "g", inputs, outputs, list(weights))
    opsets = [helper.make_opsetid("", 17), *[helper.make_opsetid("ai.onnx.ml", 3)] * ml]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


def convolution(batch: int | str | None, kind: int = TensorProto.FLOAT, dtype: type = np.float32) -> Model:
    conv = node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1], name="c")
    shapes = [batch, 3, 16, 16], [batch, 8, 16, 16]
    return model(
        [conv], [tensor("x", kind, shapes[0])], [tensor("y", kind, shapes[1])], weight(8, 3, 3, 3, dtype=dtype)
    )


def sequence() -> Model:
    split = node("SplitToSequence", ["x"], ["s"], axis=1, keepdims=1)
    output = helper.make_tensor_sequence_value_info("s", TensorProto.FLOAT, [1, 1])
    return model([split], [tensor("x", TensorProto.FLOAT, [1, 4])], [output])


def classifier() -> Model:
    """As skl2onnx writes one: labels as text, and a sequence of maps from them to probabilities."""
    labels = ["cat", "dog", "emu"]
    nodes = [
        node("Softmax", ["x"], ["p"]),
        node("ZipMap", ["p"], ["probabilities"], domain="ai.onnx.ml", classlabels_strings=labels),
        node("ArgMax", ["p"], ["place"], axis=1, keepdims=0),
        node("LabelEncoder", ["place"], ["label"], domain="ai.onnx.ml", keys_int64s=[0, 1, 2], values_strings=labels),
    ]
    each = helper.make_map_type_proto(TensorProto.STRING, helper.make_tensor_type_proto(TensorProto.FLOAT, []))
    outputs = [
        tensor("label", TensorProto.STRING, ["N"]),
        helper.make_value_info("probabilities", helper.make_sequence_type_proto(each)),
    ]
    return model(nodes, [tensor("x", TensorProto.FLOAT, ["N", 3])], outputs, ml=True)


def two_heads() -> Model:
    nodes = [node("Relu", ["x"], ["a"]), node("Sigmoid", ["x"], ["b"])]
    ports = [tensor(name, TensorProto.FLOAT, [1, 8]) for name in "xab"]
    return model(nodes, ports[:1], ports[1:])


def tokens() -> Model:
    inputs = [tensor("x", TensorProto.INT64, [1, 16])]
    return model(
        [node("Gather", ["w", "x"], ["y"])], inputs, [tensor("y", TensorProto.FLOAT, [1, 16, 8])], weight(100, 8)
    )


def same_names() -> Model:
    nodes = [node("MatMul", ["x", "w"], ["a"], name="q/Linear"), node("Relu", ["a"], ["y"], name="q/Linear")]
    ports = [tensor(name, TensorProto.FLOAT, [1, 8]) for name in "xy"]
    return model(nodes, ports[:1], ports[1:], weight(8, 8))


def texts() -> Model:
    cast = node("Cast", ["x"], ["y"], to=TensorProto.FLOAT)
    return model([cast], [tensor("x", TensorProto.STRING, [1, 4])], [tensor("y", TensorProto.FLOAT, [1, 4])])


def sequence_in() -> Model:
    inputs = [helper.make_tensor_sequence_value_info("s", TensorProto.FLOAT, [1, 4])]
    return model(
        [node("ConcatFromSequence", ["s"], ["y"], axis=0)], inputs, [tensor("y", TensorProto.FLOAT, [None, 4])]
    )


RUN = {
    "sequence": sequence,
    "maps and texts": classifier,
    "two outputs": two_heads,
    "whole numbers": tokens,
    "fp16": lambda: convolution(1, TensorProto.FLOAT16, np.float16),
    "batch open by a symbol": lambda: convolution("N"),
    "batch open by -1": lambda: convolution(-1),
    "batch open by no size": lambda: convolution(None),
}
REFUSED = {
    "a batch of 0": (lambda: convolution(0), r"input 'x' has shape \[0, 3, 16, 16\], which is empty: export it"),
    "two nodes of one name": (same_names, r"two nodes"),
    "texts": (texts, r"input 'x' is a tensor\(string\)"),
    "a sequence": (sequence_in, r"input 's' is a seq\(tensor\(float\)\)"),
}
BATCHES = {1: 1, 8: 8, -1: 1, "N": 1}


def saved(value: Model, path: Path) -> Path:
    onnx.save(value, path)
    return path


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("make", RUN.values(), ids=RUN)
def test_any_model_that_runs_is_inspected(make: Callable[[], Model], tmp_path: Path) -> None:
    found = inspect_model(saved(make(), tmp_path / "m.onnx"), runs=10)
    assert found.p50_us > 0
    assert found.batch_size == 1
    assert sum(operator.time_us for operator in found.operators) == pytest.approx(found.p50_us)
    assert found.macs >= 0
    print_inspection(found)


@pytest.mark.parametrize("make", RUN.values(), ids=RUN)
def test_any_model_that_runs_is_timed(make: Callable[[], Model], bench: ModuleType, tmp_path: Path) -> None:
    run, batch = bench.load(saved(make(), tmp_path / "m.onnx"), argparse.Namespace(**SETTING))
    assert batch == 1
    for _ in range(3):
        run()


@pytest.mark.parametrize(("make", "says"), REFUSED.values(), ids=REFUSED)
def test_a_model_that_cannot_be_run_is_refused_with_the_reason(
    make: Callable[[], Model], says: str, bench: ModuleType, tmp_path: Path
) -> None:
    path = saved(make(), tmp_path / "m.onnx")
    with pytest.raises(UserError, match=says):
        inspect_model(path, runs=10)
    with pytest.raises(Exception, match=says) as error:
        bench.load(path, argparse.Namespace(**SETTING))
    assert "\n" not in bench.failure_message(error.value)


def test_a_refusal_is_a_mistake_of_the_user_and_one_line(tmp_path: Path) -> None:
    saved(same_names(), tmp_path / "m.onnx")
    ended = call("inspect", "m.onnx", "-q", cwd=tmp_path)
    assert (ended.code, ended.stdout, ended.stderr.count("\n")) == (2, "", 1)
    assert "two nodes have the name 'q/Linear'" in ended.stderr
    assert "give every node a unique name" in ended.stderr


@pytest.mark.usefixtures("quick")
def test_a_batch_is_stated_and_counted_in_full(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, eight = (inspect_model(saved(convolution(n), tmp_path / f"{n}.onnx"), runs=10) for n in (1, 8))
    assert (one.batch_size, eight.batch_size) == (1, 8)
    assert (eight.macs, eight.weight_bytes) == (8 * one.macs, one.weight_bytes)
    assert one.macs == 8 * 16 * 16 * 3 * 3 * 3
    assert one.peak_activation_bytes is not None
    assert eight.peak_activation_bytes == 8 * one.peak_activation_bytes
    print_inspection(eight)
    shown = capsys.readouterr().out
    assert "a batch of 8: all numbers are for 8 inputs at once" in shown
    assert "8 inputs at once" in shown.partition("memory")[2]
    print_inspection(one)
    assert "batch" not in capsys.readouterr().out


@pytest.mark.parametrize(("batch", "expected"), BATCHES.items())
def test_rows_state_the_batch_that_ran(batch: int | str, expected: int, bench: ModuleType, tmp_path: Path) -> None:
    path = saved(convolution(batch), tmp_path / "m.onnx")
    run, size = bench.load(path, argparse.Namespace(**SETTING))
    run()
    assert size == expected == read_graph(path).batch_size


def test_the_timer_writes_the_batch_down_and_says_what_it_means(
    bench: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "reserve_cores", lambda threads: {"affinity": [0], "nice": None})
    paths = [saved(convolution(batch), tmp_path / f"{place}.onnx") for place, batch in enumerate((8, 0, "N"))]
    args = argparse.Namespace(**SETTING, rounds=2, raw_samples=5)
    rows = bench.benchmark(paths, args)
    assert [row["benchmark_info"]["batch_size"] for row in rows] == [8, None, 1]
    assert ["error" in row for row in rows] == [False, True, False]
    assert bench.report_failures(rows) == 1
    errors = capsys.readouterr().err
    assert "0.onnx: a run takes a batch of 8 inputs, and the times are those of the whole batch" in errors
    assert "2.onnx" not in errors


def test_rows_of_a_timed_batch_are_refused() -> None:
    info = {key: SETTING[key] for key in ("threads", "provider", "optimisation_level", "spinning")}
    row: dict[str, Any] = {"schema_version": 1, "benchmark_info": {**info, "batch_size": 8}}
    with pytest.raises(MeasurementError, match="batch_size is 8, but latencies are of one input"):
        validate_row(row, "m.onnx", argparse.Namespace(**info))  # type: ignore[arg-type]


@pytest.mark.usefixtures("quick")
def test_weights_in_a_file_beside_are_read_or_missed(bench: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(convolution(1), path, save_as_external_data=True, location="w.bin", size_threshold=0)
    assert (tmp_path / "w.bin").exists()
    found = inspect_model(path, runs=10)
    assert found.weight_bytes == 8 * 3 * 3 * 3 * 4
    bench.load(path, argparse.Namespace(**SETTING))[0]()
    (tmp_path / "w.bin").unlink()
    with pytest.raises(UserError, match="has weights in other files, which cannot be read"):
        inspect_model(path, runs=10)
    with pytest.raises(Exception, match=r"w\.bin"):
        bench.load(path, argparse.Namespace(**SETTING))


def test_memory_is_measured_of_outputs_that_are_no_tensors(tmp_path: Path) -> None:
    grown = measure_memory_growth(saved(classifier(), tmp_path / "m.onnx"))
    assert grown is None or isinstance(grown, MemoryGrowth)


def test_what_the_process_refuses_is_passed_on_without_a_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(same_names(), tmp_path / "m.onnx")
    with pytest.raises(UserError, match="two nodes with same node name") as error:
        measure_memory_growth(path)
    assert "File" not in str(error.value)
    monkeypatch.setattr(memory_growth, "module_command", lambda *words: ["python3", "-c", "print(1 / 0)"])
    with pytest.raises(MeasurementError, match=r"ended with exit code 1: ZeroDivisionError: division by zero$"):
        measure_memory_growth(path)
