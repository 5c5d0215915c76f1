"""What any ONNX graph costs on paper: MACs of its operators, and the memory its activations need. Onnx alone.

For exported networks these counts equal those of `space.cost`, which is made from BlockSpecs and sees no graph.
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

LARGEST_BYTES = 2_000_000_000
"""Of weights; protobuf, which holds a model in memory, has no room for 2 GiB."""
WEIGHT_INPUT = {"Conv": 1, "FusedConv": 1, "ConvInteger": 1, "QLinearConv": 3, "ConvTranspose": 1}
"""Convolutions, and which of their inputs is the weight."""
PRODUCTS = ("Gemm", "FusedGemm", "QGemm", "MatMul", "FusedMatMul", "MatMulInteger", "QLinearMatMul")
VIEWS = ("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Dropout")
"""Operators whose output is their input's memory under another shape."""
FOLDED = ("Relu", "HardSwish", "HardSigmoid", "Sigmoid", "Tanh", "Clip", "LeakyRelu", "Elu", "Gelu", "Mish", "Swish")
"""Activations, which are computed where the operator before them wrote."""


@dataclass(frozen=True)
class Tensor:
    """Shape and bytes of an element."""

    shape: tuple[int, ...]
    itemsize: int

    @property
    def nbytes(self) -> int:
        """Bytes of all elements."""
        return math.prod(self.shape) * self.itemsize


@dataclass(frozen=True)
class Graph:
    """A model whose every node has a name of its own, and the tensors whose shapes are known.

    Attributes:
        model: as read, an open batch set to 1, shapes inferred.
        tensors: by name: inputs, outputs, weights, and what shape inference found.
    """

    model: onnx.ModelProto
    tensors: dict[str, Tensor]

    @property
    def nodes(self) -> list[onnx.NodeProto]:
        """In the order of the file."""
        return list(self.model.graph.node)

    @property
    def batch_size(self) -> int:
        """Inputs of one run: the first dimension of the first input, unless it is a mere vector."""
        weights = {weight.name for weight in self.model.graph.initializer}
        inputs = [port for port in self.model.graph.input if port.name not in weights]
        shapes = [self.tensors[port.name].shape for port in inputs[:1] if port.name in self.tensors]
        return next((shape[0] for shape in shapes if len(shape) > 1), 1)

    @property
    def macs(self) -> int:
        """Of all nodes, for the whole batch."""
        return sum(node_macs(node, self.tensors) for node in self.nodes)

    @property
    def weight_bytes(self) -> int:
        """Return the bytes of all weights as the file holds them, with their scales and zero points by channel.

        Shapes, axes, the scales of a Resize, and scalars are not counted: these are constants of an operator, or
        scales and zero points of quantised activations.
        """
        scales = {name for node in self.nodes if node.op_type == "Resize" for name in node.input[1:]}
        weights = [weight for weight in self.model.graph.initializer if weight.data_type != onnx.TensorProto.INT64]
        return sum(self.tensors[one.name].nbytes for one in weights if one.dims and one.name not in scales)

    @property
    def metadata(self) -> dict[str, str]:
        """What our exporter wrote into the file about itself, `edgenas.` left off; empty for models of others."""
        prefix = "edgenas."
        pairs = {entry.key: entry.value for entry in self.model.metadata_props}
        return {key.removeprefix(prefix): value for key, value in pairs.items() if key.startswith(prefix)}


def read_graph(path: Path) -> Graph:
    """Read any ONNX file, at its own batch, or at 1 where that is open.

    Raises:
        UserError: the file is missing or no ONNX model, keeps weights in files that are not there, leaves
            more open than its batch, takes a batch of 0, or has two nodes of one name.
    """
    model = _load(path)
    for port in model.graph.input:
        _fix_batch(port, path)
    _name_nodes(model.graph, path)
    # Shapes that an exporter left there may still name the batch by a symbol.
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
        raise UserError(f"{path} {'is a folder' if path.is_dir() else 'does not exist'}: wanted an ONNX file")
    try:
        model = onnx.load(path, load_external_data=False)
    # onnx passes on whatever protobuf raises, which differs between its versions.
    except Exception as error:
        raise UserError(f"{path} is no ONNX model: {stand_in_cause(path) or first_line(error)}") from None
    if not model.graph.node:
        raise UserError(f"{path} is no ONNX model, or an empty one: it holds no operators")
    try:
        onnx.load_external_data_for_model(model, str(path.parent))
    except Exception as error:
        raise UserError(
            f"{path} keeps weights in other files, which cannot be read: {first_line(error)}: copy them beside it"
        ) from None
    if sum(len(weight.raw_data) for weight in model.graph.initializer) > LARGEST_BYTES:
        raise UserError(f"{path} has over {LARGEST_BYTES / 1e9:g} GB of weights, more than can be read at once")
    return model


def _fix_batch(port: onnx.ValueInfoProto, path: Path) -> None:
    """Set the first dimension to 1 where it is open: a symbol, no size, or a negative one as other tools write it."""
    shape = port.type.tensor_type.shape
    wanted = [size.dim_value if size.HasField("dim_value") else size.dim_param or "?" for size in shape.dim]
    for place, size in enumerate(shape.dim):
        if size.HasField("dim_value") and size.dim_value == 0:
            raise UserError(
                f"{path}: input {port.name!r} has shape {wanted}, which holds nothing: export it with a batch of 1, or "
                "an open one"
            )
        if size.dim_value > 0:
            continue
        if place > 0:
            raise UserError(
                f"{path}: input {port.name!r} has shape {wanted}: only the batch may be open; export fixed sizes"
            )
        size.dim_value = 1


def _name_nodes(graph: onnx.GraphProto, path: Path) -> None:
    """Name the nodes without a name. Two of one name stop every run, so that their times would be of another file."""
    taken = Counter(node.name for node in graph.node if node.name)
    twice = [name for name, count in taken.items() if count > 1]
    if twice:
        raise UserError(
            f"{path}: two nodes are called {shown(twice[0])}, and ONNX Runtime refuses such a file: give every node a "
            "name of its own, or none"
        )
    for node in graph.node:
        if not node.name:
            names = (f"{node.op_type}_{number}" for number in itertools.count())
            node.name = next(name for name in names if name not in taken)
            taken[node.name] += 1


def initialisers(graph: onnx.GraphProto) -> dict[str, Tensor]:
    """Weights and other constants by name."""
    return {weight.name: Tensor(tuple(weight.dims), _itemsize(weight.data_type)) for weight in graph.initializer}


def _tensors(graph: onnx.GraphProto) -> dict[str, Tensor]:
    known = initialisers(graph)
    for value in [*graph.input, *graph.value_info, *graph.output]:
        kind = value.type.tensor_type
        sizes = [size.dim_value for size in kind.shape.dim]
        named = any(size.dim_param or not size.HasField("dim_value") for size in kind.shape.dim)
        if kind.HasField("shape") and kind.elem_type and not named:
            known[value.name] = Tensor(tuple(sizes), _itemsize(kind.elem_type))
    return known


def _itemsize(data_type: int) -> int:
    return int(np.dtype(onnx.helper.tensor_dtype_to_np_dtype(data_type)).itemsize)


def node_macs(node: onnx.NodeProto, tensors: dict[str, Tensor]) -> int:
    """Multiply-accumulates of convolutions and matrix products; 0 for others, and where shapes are unknown."""
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
    """Whether it is a convolution in which each channel is its own group."""
    groups = next((attribute.i for attribute in node.attribute if attribute.name == "group"), 1)
    weight = tensors.get(node.input[WEIGHT_INPUT[node.op_type]]) if node.op_type in WEIGHT_INPUT else None
    return weight is not None and groups > 1 and groups == weight.shape[0]


def peak_activation_bytes(graph: Graph) -> int | None:
    """Most bytes of activations alive at once when nodes are executed in the order of the file.

    The rules are those of `space.cost`: an operator writes memory of its own while all it reads is alive, also
    where a runtime might add in place; an activation is computed where the operator before it wrote, if
    nothing else reads that; a view is no memory; the input is alive until it was last read, the output to the
    end; weights are not counted. Of a value that is quantised right behind its operator, only the quantised
    form is memory.

    Returns:
        None where the shape of a tensor cannot be inferred.
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
    """For every activation, the tensor whose memory it lies in."""
    proto = graph.model.graph
    constant = {weight.name for weight in proto.initializer} | {""}
    inputs = [port.name for port in proto.input if port.name not in constant]
    outputs = {port.name for port in proto.output}
    readers = Counter(outputs)
    readers.update(name for node in proto.node for name in set(node.input))
    home = {name: name for name in inputs}
    for node in proto.node:
        if all(name in constant for name in node.input):
            constant |= set(node.output)
            continue
        home |= {name: name for name in node.output if name}
        source = node.input[0]
        alone = readers[source] == 1 and home.get(source) not in inputs
        folded = alone and node.op_type in (*FOLDED, "QuantizeLinear")
        read_as_floats = node.op_type == "DequantizeLinear" and node.output[0] not in outputs
        if source in home and (folded or read_as_floats or node.op_type in VIEWS):
            home[node.output[0]] = home[source]
    return home
