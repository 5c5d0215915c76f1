"""Share of a network that the runtime computes in int8."""

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
"""Beginnings of the names of the runtime's int8 operators."""
MOVES = (*VIEWS, "Transpose", "ReorderInput", "ReorderOutput", "QuantizeLinear", "DequantizeLinear")
"""Operators that only move or convert data."""


@dataclass(frozen=True)
class Int8Share:
    """Share of a network that the runtime computes in int8, in the graph that it executes.

    Attributes:
        macs: share of the multiply-accumulates.
        float_operators: number of nodes of each operator that compute in fp32, without those in `MOVES`.
    """

    macs: float
    float_operators: Mapping[str, int]


def int8_share(model: Path) -> Int8Share:
    """Return the share of a network that the installed runtime computes in int8 on the CPU.

    Raises:
        UserError: the file is not a model, or the runtime cannot run it.
    """
    with tempfile.TemporaryDirectory() as folder:
        open_session(model, model.name, traces=Path(folder))
        executed = onnx.load(Path(folder) / OPTIMISED).graph.node
    quantised = {name for node in executed if node.op_type.startswith(INT8_OPERATORS) for name in node.input}
    graph = read_graph(model)
    sources = {node.output[0]: node.input[0] for node in graph.nodes if node.op_type == "DequantizeLinear"}
    in_int8 = [node for node in graph.nodes if any(sources.get(weight) in quantised for weight in node.input[1:2])]
    macs = sum(node_macs(node, graph.tensors) for node in in_int8)
    floats = Counter(node.op_type for node in executed if not node.op_type.startswith((*INT8_OPERATORS, *MOVES)))
    return Int8Share(macs / max(1, graph.macs), dict(sorted(floats.items())))
