"""Divergence of an exported file from its network, block by block: torch compared with ONNX Runtime."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import torch
from torch import Tensor

from edgenas.deploy.int8.integer_graph import block_of
from edgenas.deploy.onnx.runtime import open_session
from edgenas.supernet.subnet import Subnet

FP32_NOISE = 1e-4
"""Relative to a block's greatest output; another order of sums changes a hundred times less."""


@dataclass(frozen=True)
class BlockDivergence:
    """Difference of a block's output between the file and torch.

    Attributes:
        block: name such as `stage2.block0`.
        max_abs_difference: greatest |Δ| of its output.
        relative: the difference as a share of the greatest absolute value of torch's output.
    """

    block: str
    max_abs_difference: float
    relative: float

    def __str__(self) -> str:
        return f"{self.block} (|Δ| {self.max_abs_difference:.3g}, {self.relative:.2g} of its greatest output)"


def first_diverging_block(
    subnet: Subnet, model: Path, inputs: Tensor, *, tolerance: float = FP32_NOISE
) -> BlockDivergence | None:
    """Return the first block whose output differs from torch's, or None.

    Args:
        subnet: the exported subnet; run in fp32 on the CPU, not modified.
        model: the exported file, whose nodes' names begin with stage and block.
        inputs: preprocessed, (n, 3, r, r).
        tolerance: largest `BlockDivergence.relative` that counts as equal.
    """
    # The comparison also catches NaN.
    return next((d for d in block_divergences(subnet, model, inputs) if not d.relative <= tolerance), None)


def largest_increase(divergences: Sequence[BlockDivergence]) -> BlockDivergence | None:
    """Return the block that adds most to the relative difference, which in int8 grows from block to block."""
    if not divergences:
        return None
    before = [0.0, *(divergence.relative for divergence in divergences[:-1])]
    steps = [(divergence.relative - last, divergence) for divergence, last in zip(divergences, before, strict=True)]
    return max(steps, key=lambda step: step[0])[1]


def block_divergences(subnet: Subnet, model: Path, inputs: Tensor) -> list[BlockDivergence]:
    """Return the difference of each block's output from torch's, in order; blocks without a name are left out."""
    expected = _torch_outputs(subnet, inputs)
    outputs = _onnx_outputs(model, list(expected), inputs)
    return [_divergence(name, expected[name], output) for name, output in outputs.items()]


def _divergence(name: str, expected: npt.NDArray[np.float32], actual: npt.NDArray[np.float32]) -> BlockDivergence:
    if actual.shape != expected.shape:
        return BlockDivergence(name, float("nan"), float("nan"))
    difference = float(np.abs(actual - expected).max())
    return BlockDivergence(name, difference, difference / max(float(np.abs(expected).max()), 1e-12))


@torch.no_grad()
def _torch_outputs(subnet: Subnet, inputs: Tensor) -> dict[str, npt.NDArray[np.float32]]:
    network = copy.deepcopy(subnet).cpu().float().eval()
    outputs, x = {}, inputs.cpu().float()
    for spec, block in zip(network.specs, network.blocks.values(), strict=True):
        x = block(x)
        outputs[spec.name] = x.numpy()
    return outputs


def _onnx_outputs(path: Path, blocks: Sequence[str], inputs: Tensor) -> dict[str, npt.NDArray[np.float32]]:
    model = onnx.load(path)
    borders = _borders(model.graph, blocks)
    exposed = {port.name for port in model.graph.output}
    model.graph.output.extend(
        onnx.helper.make_tensor_value_info(tensor, onnx.TensorProto.FLOAT, None)
        for tensor in borders.values()
        if tensor not in exposed
    )
    session = open_session(model.SerializeToString(), path.name, exact_int8=True)
    name = session.get_inputs()[0].name
    values = inputs.cpu().float().contiguous().numpy()
    runs = [session.run(list(borders.values()), {name: value[None]}) for value in values]
    return {block: np.concatenate([run[index] for run in runs]) for index, block in enumerate(borders)}


def _borders(graph: onnx.GraphProto, blocks: Sequence[str]) -> Mapping[str, str]:
    """Return the output tensor of each block, which another block reads or which is the network's output."""
    read_by = {(name, block_of(node)) for node in graph.node for name in node.input}
    read_by |= {(port.name, "") for port in graph.output}
    leaving = {
        block_of(node): name
        for node in graph.node
        for name in node.output
        if any(tensor == name and reader != block_of(node) for tensor, reader in read_by)
    }
    return {block: leaving[block] for block in blocks if block in leaving}
