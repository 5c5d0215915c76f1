"""Rewriting of ONNX graphs to operators that ONNX Runtime has int8 kernels for.

The runtime has int8 kernels for Conv, Gemm, Add, Mul, GlobalAveragePool and Sigmoid, but not for HardSwish, HardSigmoid
and ReduceMean. Those would run in fp32, each between a DequantizeLinear and a QuantizeLinear, which makes int8 networks
slower than fp32 networks. `to_integer_graph` therefore replaces operators before quantisation. The results are equal in
exact arithmetic:

    HardSwish(x)                    Mul(x, g(Add(x, 3)))    g(y) = clip(y / 6, 0, 1), a HardSigmoid without shift
    HardSigmoid(x), shift 0.5       g(Add(x, 3))            the 3 is added to the bias of a convolution before it
    ReduceMean over height, width   GlobalAveragePool
    Resize of a gate and Mul        Mul                     int8 kernels multiply by a vector

After quantisation, `drop_gates` removes g. Values of 0 to 6 that are quantised to 0..255 saturate like g, and the same
0..255 at a sixth of the scale is the result of g.

This module needs neither torch nor a runtime.
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
    """Return the same network with operators that have int8 kernels, as far as possible.

    Args:
        model: fp32 model, which is not changed.
        in_float: names of nodes that are not changed.
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


def narrow_ranges(ranges: Mapping[str, Range], integer_graph: onnx.ModelProto) -> dict[str, Range]:
    """Return the calibrated ranges with those that the gates of an integer graph need.

    Inputs of HardSwish are clipped at -3, below which HardSwish is 0. This makes the quantisation steps finer.

    Args:
        ranges: lowest and highest value by tensor.
        integer_graph: output of `to_integer_graph`.
    """
    narrowed = dict(ranges)
    nodes = integer_graph.graph.node
    readers = _readers(integer_graph.graph)
    producers = {node.output[0]: node for node in nodes}
    for gate in filter(_is_gate, nodes):
        narrowed[gate.input[0]], narrowed[gate.output[0]] = GATE_INPUT, GATE
        shifted = producers[gate.input[0]]
        scaled = next((node for node in nodes if gate.output[0] in node.input), None)
        source = shifted.input[0]
        if shifted.op_type == "Add" and scaled is not None and source in scaled.input and readers[source] == 2:
            low, high = narrowed[source]
            narrowed[source] = (max(low, -SHIFT), max(high, 0.0))
    return narrowed


def drop_gates(model: onnx.ModelProto) -> None:
    """Remove the gates of a quantised integer graph, in place."""
    graph = model.graph
    producers = {node.output[0]: node for node in graph.node}
    dropped: set[str] = set()
    for gate in filter(_is_gate, graph.node):
        before = producers[gate.input[0]]
        after = [node for node in graph.node if gate.output[0] in node.input]
        # Gates between fp32 operators are kept.
        if before.op_type != "DequantizeLinear" or [node.op_type for node in after] != ["QuantizeLinear"]:
            continue
        quantised = after[0].output[0]
        for node in graph.node:
            node.input[:] = [before.input[0] if name == quantised else name for name in node.input]
        dropped |= {gate.name, after[0].name}
    _replace(graph, copy.deepcopy([node for node in graph.node if node.name not in dropped]))
    prune(graph)


def make_ports_uint8(model: onnx.ModelProto) -> None:
    """Make the input and the output uint8 with channels last, in place. `pixels` and `logits` are not changed."""
    graph = model.graph
    source, target = graph.input[0], graph.output[0]
    if source.name != "pixels":
        (entry,) = [node for node in graph.node if source.name in node.input]
        transpose = onnx.helper.make_node("Transpose", [source.name], entry.output, entry.name, perm=(0, 3, 1, 2))
        entry.CopyFrom(transpose)
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
    """Return the uint8 tensor behind the graph's output, and remove the node that writes the output."""
    target = graph.output[0].name
    (last,) = [node for node in graph.node if target in node.output]
    if last.op_type == "DequantizeLinear":
        graph.node.remove(last)
        return str(last.input[0])
    # The output of a stem that stays fp32 is quantised by the next block. The latency does not depend on the scale.
    last.output[0] = f"{target}/float"
    scale, zero, quantised = (f"{target}/{part}" for part in ("scale", "zero_point", "quantised"))
    graph.initializer.append(onnx.numpy_helper.from_array(np.array(SPAN / 255, np.float32), scale))
    graph.initializer.append(onnx.numpy_helper.from_array(np.array(0, np.uint8), zero))
    names = [last.output[0], scale, zero]
    graph.node.append(onnx.helper.make_node("QuantizeLinear", names, [quantised], f"{target}_QuantizeLinear"))
    return quantised


def _channels_last(port: onnx.ValueInfoProto) -> onnx.ValueInfoProto:
    batch, channels, height, width = (size.dim_value for size in port.type.tensor_type.shape.dim)
    return onnx.helper.make_tensor_value_info(port.name, onnx.TensorProto.UINT8, (batch, height, width, channels))


def prune(graph: onnx.GraphProto) -> None:
    """Remove unused nodes and constants in place. Runtimes warn about unused constants."""
    used_nodes: list[onnx.NodeProto] = []
    used = {port.name for port in graph.output}
    for node in reversed(copy.deepcopy(list(graph.node))):
        if used & set(node.output):
            used |= set(node.input)
            used_nodes.append(node)
    _replace(graph, used_nodes[::-1])
    constants = copy.deepcopy([tensor for tensor in graph.initializer if tensor.name in used])
    del graph.initializer[:]
    graph.initializer.extend(constants)


def sort_by_execution(graph: onnx.GraphProto) -> None:
    """Sort the nodes in place so that each is right before the first node that reads it."""
    nodes = copy.deepcopy(list(graph.node))
    producers = {name: node for node in nodes for name in node.output}
    ordered: dict[str, onnx.NodeProto] = {}

    def append(node: onnx.NodeProto) -> None:
        for name in node.input:
            if name in producers and producers[name].output[0] not in ordered:
                append(producers[name])
        ordered.setdefault(node.output[0], node)

    # In the order of the fp32 file, whose nodes come first.
    for node in nodes:
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
            append(node)
    for node in nodes:
        append(node)
    _replace(graph, list(ordered.values()))


def name_by_block(graph: onnx.GraphProto) -> None:
    """Prefix the quantiser's nodes at the input and output with the name of their block, in place."""
    blocks = [block_of(node) for node in graph.node if "/" in node.name]
    first = graph.input[0].name
    for node in graph.node:
        if "/" not in node.name:
            node.name = f"{blocks[0 if node.name.startswith(first) else -1]}/{node.name}"


def block_of(node: onnx.NodeProto) -> str:
    """Return the stage and block that a node's name begins with, such as `stage2.block0`."""
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
    # torch does not export biases that are all 0.
    values = weights[bias[0]] if bias else np.zeros(len(weights[weight]), np.float32)
    shifted = f"{node.name}/bias"
    weights[shifted] = values + np.float32(SHIFT)
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
    """Return the convolution before `node` if only `node` reads it, else None."""
    producer = next((other for other in nodes if node.input[0] in other.output), None)
    if producer is None or producer.op_type != "Conv" or producer.name in in_float:
        return None
    return producer if readers[node.input[0]] == 1 else None


def _readers(graph: onnx.GraphProto) -> Counter[str]:
    """Return the number of readers of each tensor."""
    counts = Counter(name for node in graph.node for name in node.input)
    counts.update(port.name for port in graph.output)
    return counts


def _scales(node: onnx.NodeProto, alpha: float, beta: float) -> bool:
    """Return whether a HardSigmoid is clip(alpha · x + beta, 0, 1)."""
    # The defaults of ONNX.
    values = {"alpha": 0.2, "beta": 0.5} | {attribute.name: attribute.f for attribute in node.attribute}
    return math.isclose(values["alpha"], alpha, abs_tol=1e-6) and math.isclose(values["beta"], beta, abs_tol=1e-6)


def _replace(graph: onnx.GraphProto, nodes: list[onnx.NodeProto]) -> None:
    del graph.node[:]
    graph.node.extend(nodes)
