"""Operators as the runtime executes them: where they belong, how long they take, what they compute and move."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import onnx

from edgenas.deploy.inspection.attribution import Origin, attribute
from edgenas.deploy.inspection.graph_cost import PRODUCTS, VIEWS, WEIGHT_INPUT, Graph, Tensor, is_depthwise, node_macs
from edgenas.deploy.inspection.node_times import NodeTime, Profile

LAYOUT = ("ReorderInput", "ReorderOutput", "Transpose")
PRECISION = ("QuantizeLinear", "DequantizeLinear", "Cast", "DynamicQuantizeLinear")
PADDED = 1.15
"""Of channels less than this no word is made."""
MOSTLY = 0.8


@dataclass(frozen=True)
class Operator:
    """One operator as executed, which may compute several nodes of the file.

    Attributes:
        name: the runtime's.
        op: its type.
        block: `stage1.block0` in our files; in others the beginning of the names of nodes.
        role: what it is in its block, like `depthwise 5×5`; empty where the file does not tell.
        time_us: of one run; all operators together take what a run without the profiler takes.
        macs: of the file's nodes that it computes, as `space.cost` counts them.
        executed_macs: with the channels that the runtime pads.
        bytes_moved: weights and activations read, and what it writes, padding included.
        weight_bytes: the part of them that are weights.
        depthwise: whether it is a depthwise convolution.
        because: for a change of layout, the neighbours that want it.
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
        """What kind of work it is, where that costs, in words."""
        if self.depthwise:
            return ["depthwise: every weight and input is used for one channel alone"]
        if self.op == "ReorderInput":
            return [f"a change of layout, since {self.because} gives the plain one"]
        if self.op == "ReorderOutput":
            return [f"a change of layout, since {self.because} wants the plain one"]
        if self.op in LAYOUT:
            return [f"a change of layout for {self.because}"]
        if self.op in PRECISION:
            return ["a change of precision"]
        said = []
        if self.macs and self.executed_macs > PADDED * self.macs:
            times = self.executed_macs / self.macs
            said.append(f"channels padded to the layout's blocks: {times:.1f} times the MACs")
        if self.macs and self.weight_bytes > MOSTLY * self.bytes_moved:
            said.append(f"{self.weight_bytes / 1e3:,.0f} kB of weights to read, which are most of what it moves")
        return said


def executed_operators(graph: Graph, profile: Profile, times_us: Sequence[float]) -> tuple[Operator, ...]:
    """The operators of a profile, in the order of execution.

    Args:
        graph: the file's.
        profile: of the file.
        times_us: of the profile's nodes, the profiler's own share taken off.
    """
    nodes = [timed.node for timed in profile.nodes]
    each = zip(profile.nodes, times_us, attribute(graph, nodes), strict=True)
    return tuple(_operator(graph, *one, profile.weights, _because(one[0].node, nodes)) for one in each)


def _operator(
    graph: Graph, timed: NodeTime, time_us: float, origin: Origin, weights: dict[str, Tensor], because: str
) -> Operator:
    node = timed.node
    counted = [one for one in origin.nodes if node_macs(one, graph.tensors)]
    weighed = sum(weights[name].nbytes for name in node.input if name in weights)
    macs = sum(node_macs(one, graph.tensors) for one in counted)
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
        bytes_moved=0 if node.op_type in VIEWS else timed.activation_bytes + weighed,
        weight_bytes=weighed,
        depthwise=any(is_depthwise(one, graph.tensors) for one in counted),
        because=because,
    )


def _role(node: onnx.NodeProto, graph: Graph) -> str:
    """What the name of its weight says, `stage1.block0/depthwise.conv.weight`, and the size of its kernel."""
    place = WEIGHT_INPUT.get(node.op_type, 3 if node.op_type == "QGemm" else 1)
    weight = node.input[place]
    match = re.match(r"[^/]+/(.+?)(\.conv)?\.weight", weight)
    words = [match[1]] if match and graph.metadata else []
    if node.op_type not in PRODUCTS and weight in graph.tensors:
        words.append("×".join(map(str, graph.tensors[weight].shape[2:])))
    return " ".join(words)


def _because(node: onnx.NodeProto, nodes: Sequence[onnx.NodeProto]) -> str:
    """Whom a change of layout is made for: who reads the plain layout, or who wrote it."""
    if node.op_type not in LAYOUT:
        return ""
    if node.op_type == "ReorderInput":
        return ", ".join(dict.fromkeys(one.op_type for one in nodes if node.input[0] in one.output)) or "the input"
    readers = [one.op_type for one in nodes if node.output[0] in one.input]
    return ", ".join(dict.fromkeys(readers)) or "the output"
