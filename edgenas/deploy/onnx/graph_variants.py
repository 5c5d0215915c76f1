"""Block graphs rewritten into the variants of `space.graph_variant`. Only onnx, no torch."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping

import numpy as np
import onnx

from edgenas.deploy.onnx.block_graphs import BlockGraph
from edgenas.errors import UserError, one_of, shown
from edgenas.space.blocks.inverted_residual import GATE_OPERATORS
from edgenas.space.blocks.spec import BlockSpec, same_pads
from edgenas.space.graph_variant import GRAPH_VARIANTS, GraphVariant

GATE_SCALES = "gate_scales"


def as_variant(graph: BlockGraph, spec: BlockSpec, variant: GraphVariant) -> BlockGraph:
    """Return one block's graph, rewritten as a graph variant.

    Args:
        graph: of the variant `direct`, at any image size.
        spec: BlockSpec at the final image size.
        variant: see `space.graph_variant`.

    Raises:
        UserError: the variant is unknown.
    """
    if variant not in GRAPH_VARIANTS:
        raise UserError(f"graph variant: {shown(variant)} is unknown; {one_of(str(variant), GRAPH_VARIANTS)}")
    if variant == "direct":
        return graph
    pooled = _pooled(graph)
    return _blocked(pooled, spec.out_size) if variant == "blocked" else pooled


def with_padding(graph: BlockGraph, spec: BlockSpec) -> BlockGraph:
    """Return one block's graph with the padding of its BlockSpec, which depends on the image size if it is `same`."""
    if spec.padding == "symmetric":
        return graph
    return dataclasses.replace(graph, nodes=tuple(_same_padded(node, spec.in_size) for node in graph.nodes))


def _same_padded(node: onnx.NodeProto, in_size: int) -> onnx.NodeProto:
    """Return the node with `same` padding if it is the strided convolution, whose input has the block's image size."""
    attributes = {attribute.name: attribute for attribute in node.attribute}
    if node.op_type != "Conv" or attributes["strides"].ints[0] == 1:
        return node
    kernel, stride = attributes["kernel_shape"].ints[0], attributes["strides"].ints[0]
    before, after = same_pads(in_size, kernel, stride)
    padded = onnx.NodeProto()
    padded.CopyFrom(node)
    pads = next(attribute for attribute in padded.attribute if attribute.name == "pads")
    pads.ints[:] = [before, before, after, after]
    return padded


def averages_images(node: onnx.NodeProto, constants: Mapping[str, onnx.TensorProto]) -> bool:
    """Return whether a node is a ReduceMean over height and width that keeps its four dimensions."""
    keeps_dims = all(attribute.i == 1 for attribute in node.attribute if attribute.name == "keepdims")
    if node.op_type != "ReduceMean" or not keeps_dims or len(node.input) < 2 or node.input[1] not in constants:
        return False
    axes = onnx.numpy_helper.to_array(constants[node.input[1]])
    return sorted(int(axis) % 4 for axis in axes.ravel()) == [2, 3]


def gather_gates(graph: onnx.GraphProto) -> None:
    """Undo the variant `blocked`, in place: gates are multiplied as vectors again."""
    spread = {node.output[0]: node.input[0] for node in graph.node if is_spread_gate(node)}
    nodes = [node for node in copy.deepcopy(list(graph.node)) if node.output[0] not in spread]
    for node in nodes:
        node.input[:] = [spread.get(name, name) for name in node.input]
    del graph.node[:]
    graph.node.extend(nodes)


def is_spread_gate(node: onnx.NodeProto) -> bool:
    """Return whether the variant `blocked` added this node."""
    return node.op_type == "Resize" and len(node.input) == 3 and node.input[2].endswith(GATE_SCALES)


def _pooled(graph: BlockGraph) -> BlockGraph:
    nodes = tuple(_global_average(node, graph.constants) for node in graph.nodes)
    read = {name for node in nodes for name in node.input}
    return dataclasses.replace(
        graph, nodes=nodes, constants={name: value for name, value in graph.constants.items() if name in read}
    )


def _global_average(node: onnx.NodeProto, constants: Mapping[str, onnx.TensorProto]) -> onnx.NodeProto:
    if not averages_images(node, constants):
        return node
    return onnx.helper.make_node("GlobalAveragePool", node.input[:1], node.output)


def _blocked(graph: BlockGraph, size: int) -> BlockGraph:
    gates = _gates(graph)
    nodes: list[onnx.NodeProto] = []
    for node in graph.nodes:
        gate = next((name for name in node.input if node.op_type == "Mul" and name in gates), None)
        # With one pixel, both shapes are already equal.
        if gate is None or size == 1:
            nodes.append(node)
            continue
        spread, product = _spread(gate), onnx.NodeProto()
        product.CopyFrom(node)
        product.input[:] = [spread.output[0] if name == gate else name for name in node.input]
        nodes += [spread, product]
    scales = onnx.numpy_helper.from_array(np.array([1, 1, size, size], np.float32), GATE_SCALES)
    added = {GATE_SCALES: scales} if len(nodes) > len(graph.nodes) else {}
    return dataclasses.replace(graph, nodes=tuple(nodes), constants={**graph.constants, **added})


def _gates(graph: BlockGraph) -> set[str]:
    """Return the gates of squeeze-excite: outputs of sigmoids, without those of SiLU, which multiply their input."""
    sigmoids = {n.output[0]: n.input[0] for n in graph.nodes if n.op_type in GATE_OPERATORS.values()}
    products = [node.input for node in graph.nodes if node.op_type == "Mul"]
    return {gate for gate, source in sigmoids.items() if not any({gate, source} == set(names) for names in products)}


def _spread(gate: str) -> onnx.NodeProto:
    """Return the Resize of a gate, with the attributes that the runtime's blocked layout requires."""
    return onnx.helper.make_node(
        "Resize",
        [gate, "", GATE_SCALES],
        [f"{gate}/spread"],
        mode="nearest",
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )
