"""Graphs rewritten so that ONNX Runtime's int8 kernels cover them. Onnx alone, no torch, no runtime.

The runtime has int8 kernels for Conv, Gemm, Add, Mul, GlobalAveragePool and Sigmoid, none for HardSwish, HardSigmoid
and ReduceMean: these would run in fp32 between a DequantizeLinear and a QuantizeLinear each, which made whole int8
networks slower than fp32 ones. Before quantising, `to_integer_graph` therefore writes (all equal in exact arithmetic)

    HardSwish(x)                    Mul(x, g(Add(x, 3)))    g(y) = HardSigmoid(y / 6) without shift: clip(y / 6, 0, 1)
    HardSigmoid(x), shift 0.5       g(Add(x, 3))            the 3 joins the bias of a convolution right before it
    ReduceMean over height, width   GlobalAveragePool
    Resize of a gate, its product   the product alone: int8 kernels multiply by a vector

and after quantising `drop_gates` takes g away: a value of 0 to 6 quantised to 0..255 saturates like g does, and
the same 0..255 read at a sixth of the scale is g's result.
"""

from __future__ import annotations

import copy
import math
from collections import Counter
from collections.abc import Collection, Mapping

import numpy as np
import onnx

from edgenas.deploy.onnx.graph_variants import averages_images, gather_gates

Range = tuple[float, float]

SHIFT, SPAN = 3.0, 6.0
"""HardSwish is x · clip(x + SHIFT, 0, SPAN) / SPAN (MobileNetV3, arXiv 1905.02244, section 5.2)."""
GATE, GATE_INPUT = (0.0, 1.0), (0.0, SPAN)


def to_integer_graph(model: onnx.ModelProto, in_float: Collection[str] = ()) -> onnx.ModelProto:
    """The same network of operators that have int8 kernels, as far as there are any.

    Args:
        model: fp32; left as it was.
        in_float: names of nodes that are to stay as they are.
    """
    rewritten = copy.deepcopy(model)
    graph = rewritten.graph
    gather_gates(graph)
    constants = {tensor.name: tensor for tensor in graph.initializer}
    weights = {name: onnx.numpy_helper.to_array(tensor) for name, tensor in constants.items()}
    readers = _readers(graph)
    nodes: list[onnx.NodeProto] = []
    for node in copy.deepcopy(list(graph.node)):
        if node.name in in_float:
            nodes.append(node)
        elif node.op_type == "HardSwish":
            nodes += _hard_swish(node, weights)
        elif node.op_type == "HardSigmoid" and _scales(node, 1 / SPAN, SHIFT / SPAN):
            nodes += _hard_sigmoid(node, weights, _before(node, nodes, readers, in_float))
        elif averages_images(node, constants):
            nodes.append(onnx.helper.make_node("GlobalAveragePool", node.input[:1], node.output, node.name))
        else:
            nodes.append(node)
    _replace(graph, nodes)
    del graph.initializer[:]
    graph.initializer.extend(onnx.numpy_helper.from_array(value, name) for name, value in weights.items())
    prune(graph)
    return rewritten


def narrow_ranges(ranges: Mapping[str, Range], form: onnx.ModelProto) -> dict[str, Range]:
    """Calibrated ranges of an integer form, its gates' as the form needs them.

    Inputs of HardSwish are clipped at -3, below which HardSwish is 0, so that quantisation steps become finer.

    Args:
        ranges: lowest and highest value by tensor.
        form: from `to_integer_graph`.
    """
    found = dict(ranges)
    readers = _readers(form.graph)
    made_by = {node.output[0]: node for node in form.graph.node}
    for gate in filter(_is_gate, form.graph.node):
        found[gate.input[0]], found[gate.output[0]] = GATE_INPUT, GATE
        shifted = made_by[gate.input[0]]
        scaled = next((node for node in form.graph.node if gate.output[0] in node.input), None)
        source = shifted.input[0]
        if shifted.op_type == "Add" and scaled is not None and source in scaled.input and readers[source] == 2:
            low, high = found[source]
            found[source] = (max(low, -SHIFT), max(high, 0.0))
    return found


def drop_gates(model: onnx.ModelProto) -> None:
    """Take the gates out of a quantised integer form, in place."""
    graph = model.graph
    made_by = {node.output[0]: node for node in graph.node}
    dropped: set[str] = set()
    for gate in filter(_is_gate, graph.node):
        before = made_by[gate.input[0]]
        behind = [node for node in graph.node if gate.output[0] in node.input]
        # A gate between fp32 operators stays.
        if before.op_type != "DequantizeLinear" or [node.op_type for node in behind] != ["QuantizeLinear"]:
            continue
        quantised = behind[0].output[0]
        for node in graph.node:
            node.input[:] = [before.input[0] if name == quantised else name for name in node.input]
        dropped |= {gate.name, behind[0].name}
    _replace(graph, copy.deepcopy([node for node in graph.node if node.name not in dropped]))
    prune(graph)


def open_borders(model: onnx.ModelProto) -> None:
    """Make inputs and outputs uint8, channels last, in place."""
    graph = model.graph
    source, target = graph.input[0], graph.output[0]
    if source.name != "pixels":
        (entry,) = [node for node in graph.node if source.name in node.input]
        turned = onnx.helper.make_node("Transpose", [source.name], entry.output, entry.name, perm=(0, 3, 1, 2))
        entry.CopyFrom(turned)
        source.CopyFrom(_channels_last(source))
    if target.name != "logits":
        quantised = _quantised_target(graph)
        graph.node.append(
            onnx.helper.make_node(
                "Transpose", [quantised], [target.name], f"{target.name}_Transpose", perm=(0, 2, 3, 1)
            )
        )
        target.CopyFrom(_channels_last(target))
    prune(graph)


def _quantised_target(graph: onnx.GraphProto) -> str:
    """The uint8 tensor that the graph's output is made of; nothing makes that output any more."""
    target = graph.output[0].name
    (leaving,) = [node for node in graph.node if target in node.output]
    if leaving.op_type == "DequantizeLinear":
        graph.node.remove(leaving)
        return str(leaving.input[0])
    # A stem that stays fp32 is quantised by who reads it; by which scale, no latency depends on.
    leaving.output[0] = f"{target}/float"
    scale, zero, quantised = (f"{target}/{part}" for part in ("scale", "zero_point", "quantised"))
    graph.initializer.append(onnx.numpy_helper.from_array(np.array(SPAN / 255, np.float32), scale))
    graph.initializer.append(onnx.numpy_helper.from_array(np.array(0, np.uint8), zero))
    names = [leaving.output[0], scale, zero]
    graph.node.append(onnx.helper.make_node("QuantizeLinear", names, [quantised], f"{target}_QuantizeLinear"))
    return quantised


def _channels_last(port: onnx.ValueInfoProto) -> onnx.ValueInfoProto:
    batch, channels, height, width = (size.dim_value for size in port.type.tensor_type.shape.dim)
    return onnx.helper.make_tensor_value_info(port.name, onnx.TensorProto.UINT8, (batch, height, width, channels))


def prune(graph: onnx.GraphProto) -> None:
    """Remove what nothing reads, in place: nodes, then constants. Runtimes warn of unused constants."""
    kept: list[onnx.NodeProto] = []
    wanted = {port.name for port in graph.output}
    for node in reversed(copy.deepcopy(list(graph.node))):
        if wanted & set(node.output):
            wanted |= set(node.input)
            kept.append(node)
    _replace(graph, kept[::-1])
    constants = copy.deepcopy([tensor for tensor in graph.initializer if tensor.name in wanted])
    del graph.initializer[:]
    graph.initializer.extend(constants)


def sort_by_execution(graph: onnx.GraphProto) -> None:
    """Bring the nodes in an order of execution, in place: each right before the first that reads it."""
    nodes = copy.deepcopy(list(graph.node))
    made_by = {name: node for node in nodes for name in node.output}
    ordered: dict[str, onnx.NodeProto] = {}

    def place(node: onnx.NodeProto) -> None:
        for name in node.input:
            if name in made_by and made_by[name].output[0] not in ordered:
                place(made_by[name])
        ordered.setdefault(node.output[0], node)

    # In the order of the fp32 file, whose nodes come first.
    for node in nodes:
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
            place(node)
    for node in nodes:
        place(node)
    _replace(graph, list(ordered.values()))


def name_by_block(graph: onnx.GraphProto) -> None:
    """Give nodes at the input and output, which a quantiser calls after these, their block's name, in place."""
    places = [block_of(node) for node in graph.node if "/" in node.name]
    first = graph.input[0].name
    for node in graph.node:
        if "/" not in node.name:
            node.name = f"{places[0 if node.name.startswith(first) else -1]}/{node.name}"


def block_of(node: onnx.NodeProto) -> str:
    """The stage and block that a node's name begins with, such as `stage2.block0`."""
    return str(node.name.split("/")[0])


def _hard_swish(node: onnx.NodeProto, weights: dict[str, np.ndarray]) -> list[onnx.NodeProto]:
    gate = f"{node.name}/gate"
    multiplied = onnx.helper.make_node("Mul", [node.input[0], gate], node.output, f"{node.name}/Mul")
    return [_shift(node, weights), _gate(node, f"{node.name}/shifted", gate), multiplied]


def _hard_sigmoid(
    node: onnx.NodeProto, weights: dict[str, np.ndarray], conv: onnx.NodeProto | None
) -> list[onnx.NodeProto]:
    if conv is None:
        return [_shift(node, weights), _gate(node, f"{node.name}/shifted", node.output[0])]
    weight, *bias = conv.input[1:]
    # torch leaves out biases that are all 0.
    old = weights[bias[0]] if bias else np.zeros(len(weights[weight]), np.float32)
    shifted = f"{node.name}/bias"
    weights[shifted] = old + np.float32(SHIFT)
    conv.input[:] = [*conv.input[:2], shifted]
    return [_gate(node, node.input[0], node.output[0])]


def _shift(node: onnx.NodeProto, weights: dict[str, np.ndarray]) -> onnx.NodeProto:
    weights[f"{node.name}/shift"] = np.array(SHIFT, np.float32)
    return onnx.helper.make_node(
        "Add", [node.input[0], f"{node.name}/shift"], [f"{node.name}/shifted"], f"{node.name}/Add"
    )


def _gate(node: onnx.NodeProto, source: str, target: str) -> onnx.NodeProto:
    return onnx.helper.make_node("HardSigmoid", [source], [target], f"{node.name}/Gate", alpha=1 / SPAN, beta=0.0)


def _is_gate(node: onnx.NodeProto) -> bool:
    return node.op_type == "HardSigmoid" and _scales(node, 1 / SPAN, 0.0)


def _before(
    node: onnx.NodeProto, nodes: list[onnx.NodeProto], readers: Counter[str], in_float: Collection[str]
) -> onnx.NodeProto | None:
    """The convolution that `node` alone reads, if that is what comes before it."""
    maker = next((other for other in nodes if node.input[0] in other.output), None)
    if maker is None or maker.op_type != "Conv" or maker.name in in_float:
        return None
    return maker if readers[node.input[0]] == 1 else None


def _readers(graph: onnx.GraphProto) -> Counter[str]:
    counted = Counter(name for node in graph.node for name in node.input)
    counted.update(port.name for port in graph.output)
    return counted


def _scales(node: onnx.NodeProto, alpha: float, beta: float) -> bool:
    """Whether a HardSigmoid is clip(alpha · x + beta, 0, 1)."""
    # Where a file leaves them out, ONNX has these defaults.
    found = {"alpha": 0.2, "beta": 0.5} | {attribute.name: attribute.f for attribute in node.attribute}
    return math.isclose(found["alpha"], alpha, abs_tol=1e-6) and math.isclose(found["beta"], beta, abs_tol=1e-6)


def _replace(graph: onnx.GraphProto, nodes: list[onnx.NodeProto]) -> None:
    del graph.node[:]
    graph.node.extend(nodes)
