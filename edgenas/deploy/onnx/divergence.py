"""Where an exported file leaves the network it was made of: block by block, torch against ONNX Runtime."""

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
"""Relative to a block's greatest output; sums in another order stay a hundred times below."""


@dataclass(frozen=True)
class BlockDivergence:
    """How far a block's output in the file is from torch's.

    Attributes:
        block: its name, such as `stage2.block0`.
        max_abs_difference: greatest |Δ| of its output.
        relative: the same as a share of the greatest absolute value that torch has there.
    """

    block: str
    max_abs_difference: float
    relative: float

    def __str__(self) -> str:
        return f"{self.block} (|Δ| {self.max_abs_difference:.3g}, {self.relative:.2g} of its greatest output)"


def first_diverging_block(
    subnet: Subnet, model: Path, inputs: Tensor, *, tolerance: float = FP32_NOISE
) -> BlockDivergence | None:
    """The first block whose output differs from torch's, or None.

    Args:
        subnet: what the file was made of; run in fp32 on the CPU, left as it was.
        model: the exported file, whose nodes' names begin with stage and block.
        inputs: preprocessed, (n, 3, r, r).
        tolerance: on `BlockDivergence.relative`.
    """
    # Written so that what is not a number departs.
    return next((d for d in block_divergences(subnet, model, inputs) if not d.relative <= tolerance), None)


def largest_increase(departures: Sequence[BlockDivergence]) -> BlockDivergence | None:
    """The block that adds most to the relative difference, which in int8 grows from block to block."""
    if not departures:
        return None
    before = [0.0, *(departure.relative for departure in departures[:-1])]
    steps = [(departure.relative - last, departure) for departure, last in zip(departures, before, strict=True)]
    return max(steps, key=lambda step: step[0])[1]


def block_divergences(subnet: Subnet, model: Path, inputs: Tensor) -> list[BlockDivergence]:
    """How far each block's output is from torch's, in order; blocks that the file does not name are left out."""
    expected = _torch_outputs(subnet, inputs)
    got = _onnx_outputs(model, list(expected), inputs)
    return [_divergence(name, expected[name], found) for name, found in got.items()]


def _divergence(name: str, expected: npt.NDArray[np.float32], got: npt.NDArray[np.float32]) -> BlockDivergence:
    if got.shape != expected.shape:
        return BlockDivergence(name, float("nan"), float("nan"))
    difference = float(np.abs(got - expected).max())
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
    return {block: np.concatenate([run[place] for run in runs]) for place, block in enumerate(borders)}


def _borders(graph: onnx.GraphProto, blocks: Sequence[str]) -> Mapping[str, str]:
    """By block, the tensor that leaves it: what another block reads, or the network's output."""
    read_by = {(name, block_of(node)) for node in graph.node for name in node.input}
    read_by |= {(port.name, "") for port in graph.output}
    leaving = {
        block_of(node): name
        for node in graph.node
        for name in node.output
        if any(tensor == name and place != block_of(node) for tensor, place in read_by)
    }
    return {block: leaving[block] for block in blocks if block in leaving}
