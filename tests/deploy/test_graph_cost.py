"""Counts over ONNX graphs: the exporter's files against the costs of BlockSpecs, and small graphs worked by hand."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from spaces import EVERY_SPACE, SPACES_OF_ALL_BLOCKS, random_archs

from edgenas.deploy.inspection.graph_cost import node_macs, peak_activation_bytes, read_graph
from edgenas.deploy.onnx.exporter import export_variants
from edgenas.errors import UserError
from edgenas.space.blocks import parse_block
from edgenas.space.blocks.spec import BlockSpec
from edgenas.space.cost import cost
from edgenas.space.space import SearchSpace

THIN = parse_block("ir_i5_r1_o5_m5_k3_s1_se8_relu")
"""So thin that squeeze-excite's squeezed vector outdoes its tensor."""


def networks(spaces: Mapping[str, SearchSpace], count: int) -> dict[str, Sequence[BlockSpec]]:
    """Random networks by space and arch."""
    found = {}
    for preset, space in spaces.items():
        for arch in random_archs(space, count):
            found[f"{preset} {arch}"] = space.with_classes(10).unroll(arch)
    return found


def check_counts(nets: dict[str, Sequence[BlockSpec]], folder: Path) -> None:
    for (variant, name), path in export_variants(nets, folder).items():
        graph, paper = read_graph(path), cost(nets[name], variant)
        assert graph.macs == paper.macs, (variant, name)
        assert graph.weight_bytes == paper.weight_bytes, (variant, name)
        assert peak_activation_bytes(graph) == paper.peak_activation_bytes, (variant, name)


def test_counts_over_exported_graphs_equal_the_costs_of_their_specs(tmp_path: Path) -> None:
    """MACs, weights, and the liveness count, which knows nothing of blocks."""
    check_counts({**networks(SPACES_OF_ALL_BLOCKS, 2), THIN.key: [THIN]}, tmp_path)


@pytest.mark.slow
def test_counts_over_many_exported_graphs_equal_the_costs_of_their_specs(tmp_path: Path) -> None:
    ends = {
        f"{space.name} {arch}": space.with_classes(100).unroll(arch)
        for space in EVERY_SPACE.values()
        for arch in (space.smallest, space.largest)
    }
    check_counts({**networks(EVERY_SPACE, 8), **ends}, tmp_path)


def save(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    inputs: dict[str, Sequence[int | str]],
    outputs: dict[str, Sequence[int | str]],
    weights: dict[str, np.ndarray] | None = None,
) -> Path:
    """A float model of these nodes."""
    ports = [
        [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name, shape in side.items()]
        for side in (inputs, outputs)
    ]
    constants = [onnx.numpy_helper.from_array(value, name) for name, value in (weights or {}).items()]
    graph = onnx.helper.make_graph(nodes, "hand", *ports, initializer=constants)
    opsets = [onnx.helper.make_opsetid("", 18), onnx.helper.make_opsetid("other", 1)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opsets, ir_version=10), path)
    return path


node = onnx.helper.make_node


def peak(path: Path, nodes: Sequence[onnx.NodeProto], size: int = 100, **weights: np.ndarray) -> int | None:
    """Peak in floats of a model from `x` to `y`, both of `size`."""
    counted = peak_activation_bytes(read_graph(save(path, nodes, {"x": [1, size]}, {"y": [1, size]}, weights)))
    return None if counted is None else counted // 4


def test_a_chain_keeps_one_input_and_one_output(tmp_path: Path) -> None:
    assert peak(tmp_path / "m.onnx", [node("Softmax", ["x"], ["a"]), node("Softmax", ["a"], ["y"])]) == 200


def test_an_activation_alone_behind_its_operator_takes_no_memory(tmp_path: Path) -> None:
    folded = [node("Softmax", ["x"], ["a"]), node("Relu", ["a"], ["b"]), node("Add", ["b", "b"], ["y"])]
    assert peak(tmp_path / "m.onnx", folded) == 200


def test_an_activation_of_what_is_read_again_takes_memory(tmp_path: Path) -> None:
    kept = [node("Softmax", ["x"], ["a"]), node("Relu", ["a"], ["b"]), node("Add", ["a", "b"], ["y"])]
    assert peak(tmp_path / "m.onnx", kept) == 300


def test_an_activation_never_overwrites_the_input(tmp_path: Path) -> None:
    assert peak(tmp_path / "m.onnx", [node("Relu", ["x"], ["y"])]) == 200


def test_a_shortcut_keeps_its_source_alive_and_the_sum_is_memory_of_its_own(tmp_path: Path) -> None:
    nodes = [node("Softmax", ["x"], ["a"]), node("Softmax", ["a"], ["b"]), node("Add", ["x", "b"], ["y"])]
    assert peak(tmp_path / "m.onnx", nodes) == 300


def test_a_view_is_no_memory_but_keeps_its_source_alive(tmp_path: Path) -> None:
    shape = np.array([1, 4, 25], np.int64)
    back = np.array([1, 100], np.int64)
    nodes = [node("Softmax", ["x"], ["a"]), node("Reshape", ["a", "s"], ["b"]), node("Reshape", ["b", "t"], ["y"])]
    assert peak(tmp_path / "m.onnx", nodes, s=shape, t=back) == 200


def test_what_is_computed_of_weights_alone_is_no_activation(tmp_path: Path) -> None:
    nodes = [node("Relu", ["w"], ["v"]), node("Add", ["x", "v"], ["y"])]
    assert peak(tmp_path / "m.onnx", nodes, w=np.ones((1, 100), np.float32)) == 200


def test_a_value_quantised_at_once_is_memory_in_its_quantised_form(tmp_path: Path) -> None:
    scale, zero = np.array(0.1, np.float32), np.array(0, np.uint8)
    parts = [node("QuantizeLinear", ["x", "s", "z"], ["q"]), node("DequantizeLinear", ["q", "s", "z"], ["d"])]
    parts += [node("Softmax", ["d"], ["a"]), node("QuantizeLinear", ["a", "s", "z"], ["r"])]
    parts += [node("DequantizeLinear", ["r", "s", "z"], ["y"])]
    # 100 floats and 100 bytes at first, then 100 bytes and 100 bytes.
    assert peak(tmp_path / "m.onnx", parts, s=scale, z=zero) == 125


def test_the_peak_of_tensors_without_shapes_is_unknown(tmp_path: Path) -> None:
    nodes = [node("Mystery", ["x"], ["a"], domain="other"), node("Relu", ["a"], ["y"])]
    assert peak(tmp_path / "m.onnx", nodes) is None


@pytest.mark.parametrize(
    ("operator", "inputs", "weight", "output", "macs"),
    [
        # 8 outputs of 5×5, each of 4 channels · 3×3; in 2 groups of 2 channels; each of 8 channels alone.
        (node("Conv", ["x", "w"], ["y"]), [1, 4, 7, 7], [8, 4, 3, 3], [1, 8, 5, 5], 8 * 25 * 36),
        (node("Conv", ["x", "w"], ["y"], group=2), [1, 4, 7, 7], [8, 2, 3, 3], [1, 8, 5, 5], 8 * 25 * 18),
        (node("Conv", ["x", "w"], ["y"], group=8), [1, 8, 7, 7], [8, 1, 7, 7], [1, 8, 1, 1], 8 * 49),
        # Every input of 4·3·3 is added into 8 channels of 2×2.
        (node("ConvTranspose", ["x", "w"], ["y"], strides=[2, 2]), [1, 4, 3, 3], [4, 8, 2, 2], [1, 8, 6, 6], 36 * 32),
        (node("Gemm", ["x", "w"], ["y"]), [3, 5], [5, 7], [3, 7], 3 * 5 * 7),
        (node("Gemm", ["x", "w"], ["y"], transA=1), [5, 3], [5, 7], [3, 7], 3 * 5 * 7),
        (node("MatMul", ["x", "w"], ["y"]), [2, 3, 5], [5, 7], [2, 3, 7], 2 * 3 * 5 * 7),
        (node("Mul", ["x", "w"], ["y"]), [3, 5], [3, 5], [3, 5], 0),
    ],
)
def test_macs_worked_by_hand(
    operator: onnx.NodeProto, inputs: list[int], weight: list[int], output: list[int], macs: int, tmp_path: Path
) -> None:
    values = np.zeros(weight, np.float32)
    graph = read_graph(save(tmp_path / "m.onnx", [operator], {"x": inputs}, {"y": output}, {"w": values}))
    assert node_macs(graph.nodes[0], graph.tensors) == macs
    assert graph.weight_bytes == 4 * math.prod(weight)


def test_an_open_batch_counts_as_one_and_nodes_without_names_get_them(tmp_path: Path) -> None:
    nodes = [node("Relu", ["x"], ["a"]), node("Softmax", ["a"], ["b"], name="Relu_0"), node("Relu", ["b"], ["y"])]
    graph = read_graph(save(tmp_path / "m.onnx", nodes, {"x": ["N", 8]}, {"y": ["N", 8]}))
    assert graph.tensors["y"].shape == (1, 8)
    assert len({one.name for one in graph.nodes}) == 3
    assert graph.nodes[1].name == "Relu_0"


def test_what_is_no_model_is_refused_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "text.onnx").write_text("weights: none\n" * 9)
    (tmp_path / "empty.onnx").write_bytes(b"")
    for path, message in (
        (tmp_path / "nowhere.onnx", "does not exist"),
        (tmp_path, "is a folder"),
        (tmp_path / "text.onnx", "is not an ONNX model"),
        (tmp_path / "empty.onnx", "is not an ONNX model, or an empty one"),
    ):
        with pytest.raises(UserError, match=message) as raised:
            read_graph(path)
        assert str(path) in str(raised.value)
        assert "\n" not in str(raised.value)


def test_sizes_left_open_beside_the_batch_are_named(tmp_path: Path) -> None:
    path = save(tmp_path / "m.onnx", [node("Relu", ["x"], ["y"])], {"x": ["N", 3, "H", "W"]}, {"y": ["N", 3, "H", "W"]})
    with pytest.raises(UserError, match=r"input 'x' has shape \['N', 3, 'H', 'W'\]: only the batch may be open"):
        read_graph(path)


def test_weights_in_a_file_that_is_gone_are_named(tmp_path: Path) -> None:
    weights = {"w": np.ones((64, 64), np.float32)}
    path = save(tmp_path / "m.onnx", [node("MatMul", ["x", "w"], ["y"])], {"x": [1, 64]}, {"y": [1, 64]}, weights)
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    assert read_graph(path).macs == 64 * 64
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(UserError, match=r"weights in other files.*weights\.bin"):
        read_graph(path)
