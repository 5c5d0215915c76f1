"""Attribution of executed nodes to the nodes and blocks of a file.

A runtime fuses, renames and adds nodes. It keeps the names of tensors that still exist, and adds suffixes to the
names of nodes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import onnx

from edgenas.deploy.inspection.graph_cost import Graph

SUFFIXES = re.compile(r"(_nchwc|_token_\d+)+$")
"""Suffixes that ONNX Runtime adds: for its blocked layout, and to make names unique."""
FEWEST_GROUPS = 5


@dataclass(frozen=True)
class NodeOrigin:
    """The nodes of a file that an executed node computes.

    Attributes:
        block: the block in files of edgenas, a group of names in others.
        nodes: nodes of the file that it computes; none for nodes that the runtime added. Each node of the file has
            one executed node that computes it.
        by_name: whether the block was found by names, not by the neighbours in the graph.
    """

    block: str
    nodes: tuple[onnx.NodeProto, ...]
    by_name: bool


def attribute(graph: Graph, executed: Sequence[onnx.NodeProto]) -> list[NodeOrigin]:
    """Return the origin of every executed node.

    A node that the runtime added (such as a layout change) belongs to the block that reads its result, or to the block
    that it reads if nothing does.

    Args:
        graph: graph of the file.
        executed: nodes of the optimised graph, in the order of execution.
    """
    anchors = _anchors(graph, executed)
    groups = _groups(graph)
    blocks = [groups[anchor.name] if anchor is not None else "" for anchor in anchors]
    by_name = [bool(block) for block in blocks]
    _fill_from_neighbours(blocks, executed)
    return list(map(NodeOrigin, blocks, _computed(graph, anchors), by_name))


def _anchors(graph: Graph, executed: Sequence[onnx.NodeProto]) -> list[onnx.NodeProto | None]:
    """Return the last node of the file that each executed node computes."""
    makers = {output: node for node in graph.nodes for output in node.output if output}
    by_name = {node.name: node for node in graph.nodes}
    anchors = []
    for node in executed:
        names = [SUFFIXES.sub("", name) for name in (*node.output, node.name)]
        matches = (source[name] for name in names for source in (makers, by_name) if name in source)
        anchors.append(next(matches, None))
    return anchors


def _groups(graph: Graph) -> dict[str, str]:
    """Return the block of every node of the file by its name; "" if the name contains none."""
    if graph.metadata:
        return {node.name: node.name.partition("/")[0] if "/" in node.name else "" for node in graph.nodes}
    paths = {node.name: node.name.strip("/").split("/")[:-1] for node in graph.nodes}
    deepest = max(map(len, paths.values()))
    groups: dict[str, str] = {}
    for depth in range(1, max(deepest, 1) + 1):
        groups = {node.name: "/".join(paths[node.name][:depth]) or node.op_type for node in graph.nodes}
        if len(set(groups.values())) >= FEWEST_GROUPS:
            break
    return groups


def _fill_from_neighbours(blocks: list[str], executed: Sequence[onnx.NodeProto]) -> None:
    """Fill in missing blocks, in place: first from readers, backwards, then from makers, forwards."""
    readers: dict[str, list[int]] = {}
    makers: dict[str, int] = {}
    for index, node in enumerate(executed):
        for name in node.input:
            readers.setdefault(name, []).append(index)
        makers |= {name: index for name in node.output if name}
    for index in reversed(range(len(executed))):
        after = [blocks[reader] for name in executed[index].output for reader in readers.get(name, [])]
        blocks[index] = blocks[index] or next(filter(None, after), "")
    for index, node in enumerate(executed):
        before = [blocks[makers[name]] for name in node.input if name in makers]
        blocks[index] = blocks[index] or next(filter(None, before), "") or node.op_type


def _computed(graph: Graph, anchors: Sequence[onnx.NodeProto | None]) -> list[tuple[onnx.NodeProto, ...]]:
    """Return the nodes of the file that each executed node is the first to compute: all that its last one needs."""
    makers = {output: node for node in graph.nodes for output in node.output if output}
    done: set[str] = set()
    computed = []
    for anchor in anchors:
        pending, nodes = [anchor] if anchor is not None else [], []
        while pending:
            node = pending.pop()
            if node.name not in done:
                done.add(node.name)
                nodes.append(node)
                pending += [makers[name] for name in node.input if name in makers]
        computed.append(tuple(nodes))
    return computed
