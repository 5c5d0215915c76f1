"""Computed costs of any ONNX graph: MACs of its operators, and the memory of its activations. Only onnx.

For exported networks these equal the counts of `space.cost`, which are computed from BlockSpecs without a graph.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from edgenas.errors import UserError, first_line, shown
from edgenas.first_bytes import stand_in_cause

MAX_WEIGHT_BYTES = 2_000_000_000
"""Largest size of all weights; protobuf cannot represent a model of 2 GiB."""
WEIGHT_INPUT = {"Conv": 1, "FusedConv": 1, "ConvInteger": 1, "QLinearConv": 3, "ConvTranspose": 1}
"""Index of the weight among the inputs, by convolution operator."""
PRODUCTS = ("Gemm", "FusedGemm", "QGemm", "MatMul", "FusedMatMul", "MatMulInteger", "QLinearMatMul")
VIEWS = ("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Dropout")
"""Operators whose output is their input's memory with another shape."""
FOLDED = ("Relu", "HardSwish", "HardSigmoid", "Sigmoid", "Tanh", "Clip", "LeakyRelu", "Elu", "Gelu", "Mish", "Swish")
"""Activations, which are computed in the memory of the operator before them."""


@dataclass(frozen=True)
class Tensor:
    """Shape and element size of a tensor."""

    shape: tuple[int, ...]
    itemsize: int

    @property
    def nbytes(self) -> int:
        """Return the bytes of all elements."""
        return math.prod(self.shape) * self.itemsize


@dataclass(frozen=True)
class Graph:
    """A model whose nodes have unique names, and its tensors of known shape.

    Attributes:
        model: the model with an open batch set to 1 and shapes inferred.
        tensors: tensors by name: inputs, outputs, weights, and those whose shapes were inferred.
    """

    model: onnx.ModelProto
    tensors: dict[str, Tensor]

    @property
    def nodes(self) -> list[onnx.NodeProto]:
        """Return the nodes in the order of the file."""
        return list(self.model.graph.node)

    @property
    def batch_size(self) -> int:
        """Return the inputs of one run: the first dimension of the first input, unless that is a vector."""
        weights = {weight.name for weight in self.model.graph.initializer}
        inputs = [port for port in self.model.graph.input if port.name not in weights]
        shapes = [self.tensors[port.name].shape for port in inputs[:1] if port.name in self.tensors]
        return next((shape[0] for shape in shapes if len(shape) > 1), 1)

    @property
    def macs(self) -> int:
        """Return the MACs of all nodes, for the whole batch."""
        return sum(node_macs(node, self.tensors) for node in self.nodes)

    @property
    def weight_bytes(self) -> int:
        """Return the bytes of all weights as the file holds them, with their scales and zero points by channel.

        Shapes, axes, the scales of a Resize, and scalars are not counted: they are constants of an operator, or scales
        and zero points of quantised activations.
        """
        scales = {name for node in self.nodes if node.op_type == "Resize" for name in node.input[1:]}
        weights = [weight for weight in self.model.graph.initializer if weight.data_type != onnx.TensorProto.INT64]
        return sum(self.tensors[w.name].nbytes for w in weights if w.dims and w.name not in scales)

    @property
    def metadata(self) -> dict[str, str]:
        """Return the metadata of edgenas' exporter without the prefix `edgenas.`; empty for other models."""
        prefix = "edgenas."
        pairs = {entry.key: entry.value for entry in self.model.metadata_props}
        return {key.removeprefix(prefix): value for key, value in pairs.items() if key.startswith(prefix)}


def read_graph(path: Path) -> Graph:
    """Read any ONNX file, with a batch of 1 if it is open.

    Raises:
        UserError: the file is missing or not an ONNX model, its external weights are missing, dimensions other than
            the batch are open, the batch is 0, or two nodes share a name.
    """
    model = _load(path)
    for port in model.graph.input:
        _fix_batch(port, path)
    _name_nodes(model.graph, path)
    # Shapes in the file may still name the batch by a symbol.
    del model.graph.value_info[:]
    for port in model.graph.output:
        if port.type.HasField("tensor_type"):
            port.type.tensor_type.ClearField("shape")
    try:
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    except Exception as error:
        raise UserError(f"{path}: its shapes contradict each other: {first_line(error)}") from None
    return Graph(inferred, _tensors(inferred.graph))


def _load(path: Path) -> onnx.ModelProto:
    if not path.is_file():
        raise UserError(f"{path} {'is a folder' if path.is_dir() else 'does not exist'}: expected an ONNX file")
    try:
        model = onnx.load(path, load_external_data=False)
    # onnx passes on whatever protobuf raises, which differs between its versions.
    except Exception as error:
        raise UserError(f"{path} is not an ONNX model: {stand_in_cause(path) or first_line(error)}") from None
    if not model.graph.node:
        raise UserError(f"{path} is not an ONNX model, or an empty one: it has no operators")
    try:
        onnx.load_external_data_for_model(model, str(path.parent))
    except Exception as error:
        raise UserError(
            f"{path} has weights in other files, which cannot be read: {first_line(error)}: copy them into its folder"
        ) from None
    if sum(len(weight.raw_data) for weight in model.graph.initializer) > MAX_WEIGHT_BYTES:
        raise UserError(f"{path} has over {MAX_WEIGHT_BYTES / 1e9:g} GB of weights, more than can be read at once")
    return model


def _fix_batch(port: onnx.ValueInfoProto, path: Path) -> None:
    """Set the first dimension to 1 if it is open: a symbol, no size, or a negative one, as some tools write."""
    shape = port.type.tensor_type.shape
    sizes = [size.dim_value if size.HasField("dim_value") else size.dim_param or "?" for size in shape.dim]
    for index, size in enumerate(shape.dim):
        if size.HasField("dim_value") and size.dim_value == 0:
            raise UserError(
                f"{path}: input {port.name!r} has shape {sizes}, which is empty: export it with a batch of 1, or "
                "an open one"
            )
        if size.dim_value > 0:
            continue
        if index > 0:
            raise UserError(
                f"{path}: input {port.name!r} has shape {sizes}: only the batch may be open; export fixed sizes"
            )
        size.dim_value = 1


def _name_nodes(graph: onnx.GraphProto, path: Path) -> None:
    """Name the nodes without a name, in place. Two nodes of the same name are refused, as by the runtime."""
    taken = Counter(node.name for node in graph.node if node.name)
    duplicates = [name for name, count in taken.items() if count > 1]
    if duplicates:
        raise UserError(
            f"{path}: two nodes have the name {shown(duplicates[0])}, and ONNX Runtime refuses such a file: give "
            "every node a unique name, or none"
        )
    for node in graph.node:
        if not node.name:
            names = (f"{node.op_type}_{number}" for number in itertools.count())
            node.name = next(name for name in names if name not in taken)
            taken[node.name] += 1


def initialisers(graph: onnx.GraphProto) -> dict[str, Tensor]:
    """Return the weights and other constants by name."""
    return {weight.name: Tensor(tuple(weight.dims), _itemsize(weight.data_type)) for weight in graph.initializer}


def _tensors(graph: onnx.GraphProto) -> dict[str, Tensor]:
    tensors = initialisers(graph)
    for value in [*graph.input, *graph.value_info, *graph.output]:
        kind = value.type.tensor_type
        sizes = [size.dim_value for size in kind.shape.dim]
        named = any(size.dim_param or not size.HasField("dim_value") for size in kind.shape.dim)
        if kind.HasField("shape") and kind.elem_type and not named:
            tensors[value.name] = Tensor(tuple(sizes), _itemsize(kind.elem_type))
    return tensors


def _itemsize(data_type: int) -> int:
    return int(np.dtype(onnx.helper.tensor_dtype_to_np_dtype(data_type)).itemsize)


def node_macs(node: onnx.NodeProto, tensors: dict[str, Tensor]) -> int:
    """Return the MACs of a convolution or matrix product; 0 for other operators and unknown shapes."""
    if node.op_type in WEIGHT_INPUT:
        weight, output = tensors.get(node.input[WEIGHT_INPUT[node.op_type]]), tensors.get(node.output[0])
        if node.op_type == "ConvTranspose":
            output = tensors.get(node.input[0])
        return math.prod(output.shape) * math.prod(weight.shape[1:]) if weight and output else 0
    if node.op_type in PRODUCTS:
        left, output = tensors.get(node.input[0]), tensors.get(node.output[0])
        transposed = any(attribute.name == "transA" and attribute.i for attribute in node.attribute)
        return math.prod(output.shape) * left.shape[-2 if transposed else -1] if left and output else 0
    return 0


def is_depthwise(node: onnx.NodeProto, tensors: dict[str, Tensor]) -> bool:
    """Return whether the node is a convolution in which each channel is its own group."""
    groups = next((attribute.i for attribute in node.attribute if attribute.name == "group"), 1)
    weight = tensors.get(node.input[WEIGHT_INPUT[node.op_type]]) if node.op_type in WEIGHT_INPUT else None
    return weight is not None and groups > 1 and groups == weight.shape[0]


def peak_activation_bytes(graph: Graph) -> int | None:
    """Return the peak bytes of live activations when nodes are executed in the order of the file.

    The rules are those of `space.cost`. An operator writes new memory while all its inputs are alive, even if a runtime
    might add in place. An activation function works in place if nothing else reads its input; Sigmoid and the product
    of its input and output are one, SiLU. A view needs no memory.
    The input is alive until its last use, the output to the end. Weights are not counted. If a value is quantised
    right after its operator, only the quantised value is counted.

    Returns:
        The bytes; None if the shape of a tensor cannot be inferred.
    """
    proto, end = graph.model.graph, len(graph.nodes)
    home = _homes(graph)
    if any(name not in graph.tensors for name in home):
        return None
    sizes: dict[str, int] = {}
    for name, owner in home.items():
        nbytes = graph.tensors[name].nbytes
        sizes[owner] = min(sizes.get(owner, nbytes), nbytes)
    born = {port.name: 0 for port in proto.input if port.name in home}
    last = dict(born)
    for step, node in enumerate(graph.nodes):
        for owner in (home[name] for name in (*node.input, *node.output) if name in home):
            born.setdefault(owner, step)
            last[owner] = step
    last |= {home[port.name]: end - 1 for port in proto.output if port.name in home}
    change = [0] * (end + 1)
    for owner, size in sizes.items():
        change[born[owner]] += size
        change[last[owner] + 1] -= size
    return max(itertools.accumulate(change))


def _homes(graph: Graph) -> dict[str, str]:
    """Return for every activation the tensor whose memory it uses."""
    proto = graph.model.graph
    constant = {weight.name for weight in proto.initializer} | {""}
    inputs = [port.name for port in proto.input if port.name not in constant]
    outputs = {port.name for port in proto.output}
    readers = Counter(outputs)
    readers.update(name for node in proto.node for name in set(node.input))
    home = {name: name for name in inputs}
    of_silu = _silu_outputs(proto, readers)
    for node in proto.node:
        if all(name in constant for name in node.input):
            constant |= set(node.output)
            continue
        home |= {name: name for name in node.output if name}
        source = node.input[0]
        made = home.get(source) not in inputs
        folded = made and readers[source] == 1 and node.op_type in (*FOLDED, "QuantizeLinear")
        folded |= made and node.output[0] in of_silu
        read_as_floats = node.op_type == "DequantizeLinear" and node.output[0] not in outputs
        if source in home and (folded or read_as_floats or node.op_type in VIEWS):
            home[node.output[0]] = home[source]
    return home


def _silu_outputs(graph: onnx.GraphProto, readers: Counter[str]) -> set[str]:
    """Return the outputs of each Sigmoid and Mul that together are SiLU, if nothing else reads their common input."""
    gates = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "Sigmoid"}
    outputs: set[str] = set()
    for node in graph.node:
        gate = next((name for name in node.input if node.op_type == "Mul" and name in gates), None)
        if gate is not None and gates[gate] in node.input and (readers[gate], readers[gates[gate]]) == (1, 2):
            outputs |= {gate, node.output[0]}
    return outputs
