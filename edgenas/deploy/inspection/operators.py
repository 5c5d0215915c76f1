"""Executed operators: their block, their time, the MACs they compute and the bytes they move."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import onnx

from edgenas.deploy.inspection.attribution import NodeOrigin, attribute
from edgenas.deploy.inspection.graph_cost import PRODUCTS, VIEWS, WEIGHT_INPUT, Graph, Tensor, is_depthwise, node_macs
from edgenas.deploy.inspection.node_times import NodeTime, Profile

LAYOUT = ("ReorderInput", "ReorderOutput", "Transpose")
PRECISION = ("QuantizeLinear", "DequantizeLinear", "Cast", "DynamicQuantizeLinear")
PADDED = 1.15
"""Ratio of executed to needed MACs above which padded channels are mentioned."""
MOSTLY = 0.8
"""Share of the bytes moved above which weights are mentioned."""


@dataclass(frozen=True)
class Operator:
    """One operator as executed, which may compute several nodes of the file.

    Attributes:
        name: its name in the optimised graph.
        op: operator type.
        block: `stage1.block0` in files of edgenas; in others the beginning of the names of nodes.
        role: its role in its block, like `depthwise 5×5`; empty if the file does not state it.
        time_us: time per run; the times of all operators add up to a run without the profiler.
        macs: MACs of the file's nodes that it computes, as `space.cost` counts them.
        executed_macs: MACs including the channels that the runtime pads.
        bytes_moved: bytes of weights and activations read, and of outputs written, padding included.
        weight_bytes: the part of `bytes_moved` that are weights.
        depthwise: whether it is a depthwise convolution.
        because: for a layout change, the neighbours that need it.
    """

    name: str
    op: str
    block: str
    role: str
    time_us: float
    macs: int
    executed_macs: int
    bytes_moved: int
    weight_bytes: int
    depthwise: bool
    because: str

    @property
    def nature(self) -> list[str]:
        """Return notes on properties that make it slow."""
        if self.depthwise:
            return ["depthwise: every weight and input is used for one channel only"]
        if self.op == "ReorderInput":
            return [f"a layout change, since {self.because} gives the plain layout"]
        if self.op == "ReorderOutput":
            return [f"a layout change, since {self.because} needs the plain layout"]
        if self.op in LAYOUT:
            return [f"a layout change for {self.because}"]
        if self.op in PRECISION:
            return ["a change of precision"]
        notes = []
        if self.macs and self.executed_macs > PADDED * self.macs:
            times = self.executed_macs / self.macs
            notes.append(f"channels padded to the layout's blocks: {times:.1f} times the MACs")
        if self.macs and self.weight_bytes > MOSTLY * self.bytes_moved:
            notes.append(f"{self.weight_bytes / 1e3:,.0f} kB of weights to read, most of the bytes it moves")
        return notes


def executed_operators(graph: Graph, profile: Profile, times_us: Sequence[float]) -> tuple[Operator, ...]:
    """Return the operators of a profile, in the order of execution.

    Args:
        graph: graph of the file.
        profile: profile of the file.
        times_us: times of the profile's nodes without the profiler's overhead.
    """
    nodes = [timed.node for timed in profile.nodes]
    rows = zip(profile.nodes, times_us, attribute(graph, nodes), strict=True)
    return tuple(
        _operator(graph, timed, time_us, origin, profile.weights, _because(timed.node, nodes))
        for timed, time_us, origin in rows
    )


def _operator(
    graph: Graph, timed: NodeTime, time_us: float, origin: NodeOrigin, weights: dict[str, Tensor], because: str
) -> Operator:
    node = timed.node
    counted = [origin_node for origin_node in origin.nodes if node_macs(origin_node, graph.tensors)]
    weight_bytes = sum(weights[name].nbytes for name in node.input if name in weights)
    macs = sum(node_macs(origin_node, graph.tensors) for origin_node in counted)
    executed = node_macs(node, {**weights, node.output[0]: Tensor(timed.output_shape, 1)}) if node.output else 0
    return Operator(
        name=node.name or node.op_type,
        op=node.op_type,
        block=origin.block,
        role=_role(counted[0], graph) if len(counted) == 1 else "",
        time_us=time_us,
        macs=macs,
        executed_macs=max(macs, executed),
        # A view copies nothing.
        bytes_moved=0 if node.op_type in VIEWS else timed.activation_bytes + weight_bytes,
        weight_bytes=weight_bytes,
        depthwise=any(is_depthwise(origin_node, graph.tensors) for origin_node in counted),
        because=because,
    )


def _role(node: onnx.NodeProto, graph: Graph) -> str:
    """Return the role in a weight's name, such as `stage1.block0/depthwise.conv.weight`, and the kernel size."""
    position = WEIGHT_INPUT.get(node.op_type, 3 if node.op_type == "QGemm" else 1)
    weight = node.input[position]
    match = re.match(r"[^/]+/(.+?)(\.conv)?\.weight", weight)
    words = [match[1]] if match and graph.metadata else []
    if node.op_type not in PRODUCTS and weight in graph.tensors:
        words.append("×".join(map(str, graph.tensors[weight].shape[2:])))
    return " ".join(words)


def _because(node: onnx.NodeProto, nodes: Sequence[onnx.NodeProto]) -> str:
    """Return the operators that need a layout change: the readers of the plain layout, or its writers."""
    if node.op_type not in LAYOUT:
        return ""
    if node.op_type == "ReorderInput":
        return _listed(other.op_type for other in nodes if node.input[0] in other.output) or "the input"
    return _listed(other.op_type for other in nodes if node.output[0] in other.input) or "the output"


def _listed(operators: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(operators))
