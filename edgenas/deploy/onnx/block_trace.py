"""Traces of blocks: torch's exporter runs once per structure of a block, then weights are filled in.

Blocks of equal structure (kind, kernel, stride, activation, with or without expansion, shortcut, squeeze-excite) give
graphs that differ only in their weights and in the groups of depthwise convolutions. A call of `torch.onnx.export`
takes half a second or more, filling a graph a millisecond. So traces, which have no weights, are cached for the life
of the process; a space has a few dozen.
"""

from __future__ import annotations

import copy
import dataclasses
import zlib
from collections.abc import Mapping, Sequence

import onnx
import torch
from torch import Tensor, nn

from edgenas.deploy.onnx.block_graphs import OPSET, BlockGraph, cut
from edgenas.errors import EdgenasError
from edgenas.space.blocks.spec import BlockSpec
from edgenas.supernet.blocks import build_block
from edgenas.supernet.folding import fold_batch_norms

BLOCKS_PER_EXPORT = 40
GRAPH_SIZE = 16
"""Image size that blocks are traced at; their graphs are the same at every size."""
IN_CHANNELS, OUT_CHANNELS, MID_CHANNELS = 16, 24, 32
"""Channels that blocks are traced with if their graphs do not depend on them."""


@dataclasses.dataclass(frozen=True)
class BlockTrace:
    """A block's graph without its weights.

    Attributes:
        graph: nodes, and the constants other than weights: axes and shapes.
        order: names of all constants in the order of use; weights have the names of the module's tensors.
    """

    graph: BlockGraph
    order: tuple[str, ...]

    def filled(self, block: nn.Module) -> BlockGraph:
        """Return the graph of a block of this structure, batch norm folded, with the block's own weights.

        Weights are stored whatever their values: a bias of zeros stays, so that a trained block has the same graph as
        the block that was timed with random weights.
        """
        tensors, constants = block.state_dict(), self.graph.constants
        weights = {name: onnx.numpy_helper.from_array(tensor.numpy(), name) for name, tensor in tensors.items()}
        nodes = tuple(_with_groups(node, tensors) for node in self.graph.nodes)
        filled = {name: constants[name] if name in constants else weights[name] for name in self.order}
        return dataclasses.replace(self.graph, nodes=nodes, constants=filled)


_TRACES: dict[BlockSpec, BlockTrace] = {}
"""Cache of traces by structure, filled only by `block_graphs`."""


def block_graphs(blocks: Sequence[nn.Module], specs: Sequence[BlockSpec]) -> list[BlockGraph]:
    """Return the ONNX graph of each block, which is what `torch.onnx.export` would write for it.

    Args:
        blocks: modules as `folded_copy` returns them.
        specs: their BlockSpecs, of any image size.

    Raises:
        EdgenasError: the installed torch exports weights that differ from those of the module.
    """
    structures = [structure(spec) for spec in specs]
    missing = [spec for spec in dict.fromkeys(structures) if spec not in _TRACES]
    for start in range(0, len(missing), BLOCKS_PER_EXPORT):
        chunk = missing[start : start + BLOCKS_PER_EXPORT]
        _TRACES.update(zip(chunk, _trace(chunk), strict=True))
    return [_TRACES[spec].filled(block) for spec, block in zip(structures, blocks, strict=True)]


def structure(spec: BlockSpec) -> BlockSpec:
    """Return the representative of all blocks of equal structure, whose graphs differ in weights, groups, padding."""
    plain = dataclasses.replace(sizeless(spec), padding="symmetric")
    return plain.with_channels(IN_CHANNELS, OUT_CHANNELS, MID_CHANNELS)


def sizeless(spec: BlockSpec) -> BlockSpec:
    """Return the block with a fixed image size: blocks that differ only in size have equal graphs."""
    return dataclasses.replace(spec, in_size=GRAPH_SIZE, name="")


def folded_copy(block: nn.Module) -> nn.Module:
    """Return a copy on the CPU with batch norm folded into the convolutions."""
    block = copy.deepcopy(block).cpu().float().eval().requires_grad_(False)
    # In channels-last memory, in which subnets are trained, torch traces pooling with an extra Reshape and Gather.
    block = block.to(memory_format=torch.contiguous_format)
    fold_batch_norms(block)
    return block


def random_block(spec: BlockSpec) -> nn.Module:
    """Return a block with seeded weights and statistics like those of a trained block.

    Initial statistics would fold into biases of 0, which the exporter removes, and signals would decay with depth to
    denormal numbers, which are slow.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(zlib.crc32(sizeless(spec).key.encode()))
        block = build_block(spec)
        for module in block.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.normal_(module.bias, std=0.5)
    return block


class _SideBySide(nn.Module):
    """Many blocks, each with its own input: most of the time of a call of torch's exporter is fixed."""

    def __init__(self, blocks: Sequence[nn.Module]):
        super().__init__()
        self.blocks = nn.ModuleList(blocks)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        return tuple(block(x) for block, x in zip(self.blocks, inputs, strict=True))


def trace_directly(blocks: Sequence[nn.Module], specs: Sequence[BlockSpec]) -> list[BlockGraph]:
    """Return each block's graph as `torch.onnx.export` writes it; tensors are named as in the module of many."""
    ports = [(f"input_{number}", f"output_{number}") for number in range(len(blocks))]
    program = torch.onnx.export(
        _SideBySide(blocks).eval(),
        tuple(torch.zeros(1, spec.in_channels, spec.in_size, spec.in_size) for spec in specs),
        input_names=[source for source, _ in ports],
        output_names=[target for _, target in ports],
        opset_version=OPSET,
        dynamo=True,
        external_data=False,
        verbose=False,
    )
    assert program is not None
    return cut(program.model_proto.graph, ports)


def _trace(specs: Sequence[BlockSpec]) -> list[BlockTrace]:
    blocks = [folded_copy(random_block(spec)) for spec in specs]
    graphs = trace_directly(blocks, specs)
    return [
        _without_weights(graph, f"blocks.{number}.", block)
        for number, (graph, block) in enumerate(zip(graphs, blocks, strict=True))
    ]


def _without_weights(graph: BlockGraph, prefix: str, block: nn.Module) -> BlockTrace:
    """Return a block's graph without its weights.

    Raises:
        EdgenasError: a floating-point constant is neither a tensor of the module nor a scalar (a bound of Clip), or a
            tensor of the module is missing.
    """
    # torch numbers other constants over the whole export. A file must not depend on the other blocks of an export.
    names = {
        name: name.removeprefix(prefix) if name.startswith(prefix) else f"constant_{number}"
        for number, name in enumerate(graph.constants)
    }
    constants = {names[name]: _renamed_constant(tensor, names[name]) for name, tensor in graph.constants.items()}
    tensors = block.state_dict()
    others = {name: tensor for name, tensor in constants.items() if name not in tensors}
    unchanged = all(name in constants and _equal(constants[name], tensor) for name, tensor in tensors.items())
    if not unchanged or any(_holds_floats(tensor) for tensor in others.values()):
        raise EdgenasError(
            f"torch {torch.__version__} exports changed weights of a {type(block).__name__} "
            "(transposed, merged or folded), which edgenas does not support: install another version of torch"
        )
    nodes = tuple(_renamed_node(node, names) for node in graph.nodes)
    return BlockTrace(dataclasses.replace(graph, nodes=nodes, constants=others), tuple(constants))


def _equal(constant: onnx.TensorProto, tensor: Tensor) -> bool:
    values = onnx.numpy_helper.to_array(constant)
    return values.shape == tuple(tensor.shape) and bool((values == tensor.numpy()).all())


def _holds_floats(constant: onnx.TensorProto) -> bool:
    return bool(constant.dims) and constant.data_type in (onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE)


def _renamed_constant(constant: onnx.TensorProto, name: str) -> onnx.TensorProto:
    renamed = onnx.TensorProto()
    renamed.CopyFrom(constant)
    renamed.name = name
    return renamed


def _renamed_node(node: onnx.NodeProto, names: Mapping[str, str]) -> onnx.NodeProto:
    renamed = onnx.NodeProto()
    renamed.CopyFrom(node)
    renamed.input[:] = [names.get(name, name) for name in node.input]
    return renamed


def _with_groups(node: onnx.NodeProto, tensors: Mapping[str, Tensor]) -> onnx.NodeProto:
    """Return the node. A depthwise convolution gets as many groups as its weight has channels."""
    index = next((number for number, attribute in enumerate(node.attribute) if attribute.name == "group"), None)
    if index is None or node.attribute[index].i == 1:
        return node
    grouped = onnx.NodeProto()
    grouped.CopyFrom(node)
    grouped.attribute[index].i = len(tensors[node.input[1]])
    return grouped
