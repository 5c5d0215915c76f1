"""Graphs of blocks: cut out of one export of many blocks, and stitched into networks. Only onnx, no torch.

A block's graph does not depend on the image size, so one graph serves every input size.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import onnx

IR_VERSION = 10
"""Version of the file format, readable by ONNX Runtime from 1.18."""
OPSET = 18
"""The native opset of torch's exporter; a higher one needs a conversion and newer runtimes."""
OPEN_BATCH = "batch"
"""Symbol of an open batch dimension."""


@dataclass(frozen=True)
class BlockGraph:
    """Nodes and constants of one block, which reads tensor `source` and writes tensor `target`."""

    source: str
    target: str
    nodes: tuple[onnx.NodeProto, ...]
    constants: Mapping[str, onnx.TensorProto]


@dataclass(frozen=True)
class Port:
    """A network's float32 input or output: name and shape."""

    name: str
    shape: tuple[int, ...]

    def proto(self) -> onnx.ValueInfoProto:
        """Return the input or output as ONNX represents it."""
        return onnx.helper.make_tensor_value_info(self.name, onnx.TensorProto.FLOAT, self.shape)


def cut(graph: onnx.GraphProto, ports: Iterable[tuple[str, str]]) -> list[BlockGraph]:
    """Return the part of `graph` between each (input, output) pair; parts may share constants."""
    makers = {output: node for node in graph.node for output in node.output}
    constants = {tensor.name: tensor for tensor in graph.initializer}
    return [_between(source, target, makers, constants) for source, target in ports]


def _between(
    source: str,
    target: str,
    makers: Mapping[str, onnx.NodeProto],
    constants: Mapping[str, onnx.TensorProto],
) -> BlockGraph:
    pending, seen = [target], {source}
    nodes: dict[str, onnx.NodeProto] = {}
    while pending:
        name = pending.pop()
        if name in seen or name in constants or not name:
            continue
        seen.add(name)
        nodes[makers[name].output[0]] = makers[name]
        pending.extend(makers[name].input)
    # `makers` has the order of the graph, which is also the order of execution.
    ordered = tuple(node for name, node in makers.items() if name in nodes)
    used = {name: constants[name] for node in ordered for name in node.input if name in constants}
    return BlockGraph(source, target, ordered, used)


def stitch(parts: Sequence[tuple[str, BlockGraph]], source: Port, target: Port) -> onnx.ModelProto:
    """Return one network of consecutive blocks, each with a unique name such as `stage1.block0`.

    Weights are copied for each block, even if two share a graph: a network reads each of its weights once, and the
    second block must not find its weights in the cache.
    """
    nodes: list[onnx.NodeProto] = []
    constants: list[onnx.TensorProto] = []
    current = source.name
    for number, (block, graph) in enumerate(parts):
        output = target.name if number == len(parts) - 1 else f"{block}/output"
        names = {"": "", graph.source: current, graph.target: output}
        constants += [_renamed_tensor(tensor, block, names) for tensor in graph.constants.values()]
        nodes += [_renamed_node(node, block, index, names) for index, node in enumerate(graph.nodes)]
        current = output
    graph_proto = onnx.helper.make_graph(nodes, "edgenas", [source.proto()], [target.proto()], constants)
    return onnx.helper.make_model(
        graph_proto,
        producer_name="edgenas",
        ir_version=IR_VERSION,
        opset_imports=[onnx.helper.make_opsetid("", OPSET)],
    )


def open_batch(model: onnx.ModelProto) -> None:
    """Make the batch dimension of a network open, in place, also in the constants of its Reshape nodes."""
    for port in (*model.graph.input, *model.graph.output):
        port.type.tensor_type.shape.dim[0].dim_param = OPEN_BATCH
    shapes = {node.input[1] for node in model.graph.node if node.op_type == "Reshape"}
    for tensor in model.graph.initializer:
        if tensor.name in shapes:
            shape = onnx.numpy_helper.to_array(tensor).copy()
            assert shape[0] == 1
            shape[0] = -1
            tensor.CopyFrom(onnx.numpy_helper.from_array(shape, tensor.name))


def _renamed_tensor(tensor: onnx.TensorProto, block: str, names: dict[str, str]) -> onnx.TensorProto:
    names[tensor.name] = f"{block}/{tensor.name}"
    renamed = onnx.TensorProto()
    renamed.CopyFrom(tensor)
    renamed.ClearField("metadata_props")
    renamed.name = names[tensor.name]
    return renamed


def _renamed_node(node: onnx.NodeProto, block: str, index: int, names: dict[str, str]) -> onnx.NodeProto:
    label = f"{block}/{node.op_type}_{index}"
    for number, output in enumerate(node.output):
        names.setdefault(output, f"{label}/output_{number}")
    renamed = onnx.NodeProto()
    renamed.CopyFrom(node)
    # torch stores stack traces there, with paths of the exporting machine.
    renamed.ClearField("metadata_props")
    renamed.ClearField("doc_string")
    renamed.name = label
    renamed.input[:] = [names[name] for name in node.input]
    renamed.output[:] = [names[name] for name in node.output]
    return renamed
