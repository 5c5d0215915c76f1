"""Graphs of blocks: cut out of an export of many, stitched into networks. Onnx alone, no torch.

A block's graph does not depend on how big its images are, so one graph serves every input size.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import onnx

IR_VERSION = 10
"""Version of the file format that runtimes since 1.18 read."""
OPSET = 18
"""The opset that torch's exporter is written in; a higher one costs a conversion and older runtimes."""
OPEN_BATCH = "batch"
"""What a file calls the number of images where that is left open."""


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
        """As it stands in a file."""
        return onnx.helper.make_tensor_value_info(self.name, onnx.TensorProto.FLOAT, self.shape)


def cut(graph: onnx.GraphProto, ports: Iterable[tuple[str, str]]) -> list[BlockGraph]:
    """The parts of `graph` between each (input, output) pair; constants may be common to several."""
    makers = {output: node for node in graph.node for output in node.output}
    constants = {tensor.name: tensor for tensor in graph.initializer}
    return [_between(source, target, makers, constants) for source, target in ports]


def _between(
    source: str,
    target: str,
    makers: Mapping[str, onnx.NodeProto],
    constants: Mapping[str, onnx.TensorProto],
) -> BlockGraph:
    wanted, seen = [target], {source}
    nodes: dict[str, onnx.NodeProto] = {}
    while wanted:
        name = wanted.pop()
        if name in seen or name in constants or not name:
            continue
        seen.add(name)
        nodes[makers[name].output[0]] = makers[name]
        wanted.extend(makers[name].input)
    # `makers` keeps the order of the graph, in which a runtime also executes.
    ordered = tuple(node for name, node in makers.items() if name in nodes)
    used = {name: constants[name] for node in ordered for name in node.input if name in constants}
    return BlockGraph(source, target, ordered, used)


def stitch(parts: Sequence[tuple[str, BlockGraph]], source: Port, target: Port) -> onnx.ModelProto:
    """One network of blocks in a row, each under a name of its own such as `stage1.block0`.

    Weights are copied for each block, also where two share a graph: a network reads each of its weights
    once, and must not find the second block's in the cache.
    """
    nodes: list[onnx.NodeProto] = []
    constants: list[onnx.TensorProto] = []
    current = source.name
    for number, (place, graph) in enumerate(parts):
        output = target.name if number == len(parts) - 1 else f"{place}/output"
        names = {"": "", graph.source: current, graph.target: output}
        constants += [_renamed_tensor(tensor, place, names) for tensor in graph.constants.values()]
        nodes += [_renamed_node(node, place, index, names) for index, node in enumerate(graph.nodes)]
        current = output
    graph_proto = onnx.helper.make_graph(nodes, "edgenas", [source.proto()], [target.proto()], constants)
    return onnx.helper.make_model(
        graph_proto,
        producer_name="edgenas",
        ir_version=IR_VERSION,
        opset_imports=[onnx.helper.make_opsetid("", OPSET)],
    )


def open_batch(model: onnx.ModelProto) -> None:
    """Leave open how many images a network takes at once, in place. Traced at batch 1, flattening says so."""
    for port in (*model.graph.input, *model.graph.output):
        port.type.tensor_type.shape.dim[0].dim_param = OPEN_BATCH
    shapes = {node.input[1] for node in model.graph.node if node.op_type == "Reshape"}
    for tensor in model.graph.initializer:
        if tensor.name in shapes:
            shape = onnx.numpy_helper.to_array(tensor).copy()
            assert shape[0] == 1
            shape[0] = -1
            tensor.CopyFrom(onnx.numpy_helper.from_array(shape, tensor.name))


def _renamed_tensor(tensor: onnx.TensorProto, place: str, names: dict[str, str]) -> onnx.TensorProto:
    names[tensor.name] = f"{place}/{tensor.name}"
    renamed = onnx.TensorProto()
    renamed.CopyFrom(tensor)
    renamed.ClearField("metadata_props")
    renamed.name = names[tensor.name]
    return renamed


def _renamed_node(node: onnx.NodeProto, place: str, index: int, names: dict[str, str]) -> onnx.NodeProto:
    label = f"{place}/{node.op_type}_{index}"
    for number, output in enumerate(node.output):
        names.setdefault(output, f"{label}/output_{number}")
    renamed = onnx.NodeProto()
    renamed.CopyFrom(node)
    # torch leaves stack traces there, with the paths of the machine that exported.
    renamed.ClearField("metadata_props")
    renamed.ClearField("doc_string")
    renamed.name = label
    renamed.input[:] = [names[name] for name in node.input]
    renamed.output[:] = [names[name] for name in node.output]
    return renamed
