"""How much of a network the runtime computes in int8."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx

from edgenas.deploy.inspection.graph_cost import VIEWS, node_macs, read_graph
from edgenas.deploy.onnx.runtime import OPTIMISED, open_session

INT8_OPERATORS = ("QLinear", "QGemm", "MatMulInteger", "ConvInteger")
"""What the runtime calls its int8 kernels, to begin with."""
MOVES = (*VIEWS, "Transpose", "ReorderInput", "ReorderOutput", "QuantizeLinear", "DequantizeLinear")
"""Operators that compute nothing."""


@dataclass(frozen=True)
class Int8Share:
    """What of a network the runtime computes in int8, by the graph it executes.

    Attributes:
        macs: share of the multiply-accumulates.
        float_operators: how many nodes of each operator compute in fp32; those that only convert or move are left out.
    """

    macs: float
    float_operators: Mapping[str, int]


def int8_share(model: Path) -> Int8Share:
    """What of a network the installed runtime computes in int8 on the CPU.

    Raises:
        UserError: the file is no model, or the runtime cannot run it.
    """
    with tempfile.TemporaryDirectory() as folder:
        open_session(model, model.name, traces=Path(folder))
        executed = onnx.load(Path(folder) / OPTIMISED).graph.node
    quantised = {name for node in executed if node.op_type.startswith(INT8_OPERATORS) for name in node.input}
    graph = read_graph(model)
    stored = {node.output[0]: node.input[0] for node in graph.nodes if node.op_type == "DequantizeLinear"}
    in_int8 = [node for node in graph.nodes if any(stored.get(weight) in quantised for weight in node.input[1:2])]
    macs = sum(node_macs(node, graph.tensors) for node in in_int8)
    floats = Counter(node.op_type for node in executed if not node.op_type.startswith((*INT8_OPERATORS, *MOVES)))
    return Int8Share(macs / max(1, graph.macs), dict(sorted(floats.items())))
