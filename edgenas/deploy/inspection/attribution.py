"""Which nodes of a file an executed node computes, and which block they are of.

A runtime fuses, renames and adds nodes. What it leaves are names: of tensors, which it keeps wherever a value
of the file still exists, and of nodes, to which it adds endings.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import onnx

from edgenas.deploy.inspection.graph_cost import Graph

ENDINGS = re.compile(r"(_nchwc|_token_\d+)+$")
"""What ONNX Runtime adds: of its blocked layout, and to make names unique."""
FEWEST_GROUPS = 5


@dataclass(frozen=True)
class Origin:
    """What an executed node stands for.

    Attributes:
        block: its block in our files, a group of names in others.
        nodes: of the file, which it computes; none for nodes that the runtime added. Each node of the file has
            one executed node that computes it.
        known: whether names told, and not the neighbours in the graph.
    """

    block: str
    nodes: tuple[onnx.NodeProto, ...]
    known: bool


def attribute(graph: Graph, executed: Sequence[onnx.NodeProto]) -> list[Origin]:
    """The origin of every executed node.

    A node the runtime added (a change of layout, say) belongs where its result is read; where nothing reads
    it, to where it reads.

    Args:
        graph: the file's.
        executed: nodes of the optimised graph, in the order of execution.
    """
    anchors = _anchors(graph, executed)
    groups = _groups(graph)
    blocks = [groups[anchor.name] if anchor is not None else "" for anchor in anchors]
    known = [bool(block) for block in blocks]
    _spread(blocks, executed)
    return list(map(Origin, blocks, _computed(graph, anchors), known))


def _anchors(graph: Graph, executed: Sequence[onnx.NodeProto]) -> list[onnx.NodeProto | None]:
    """The last node of the file that each executed node computes."""
    makers = {output: node for node in graph.nodes for output in node.output if output}
    by_name = {node.name: node for node in graph.nodes}
    anchors = []
    for node in executed:
        names = [ENDINGS.sub("", name) for name in (*node.output, node.name)]
        found = [source[name] for name in names for source in (makers, by_name) if name in source]
        anchors.append(found[0] if found else None)
    return anchors


def _groups(graph: Graph) -> dict[str, str]:
    """Block of every node of the file by its name; "" where its name tells none."""
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


def _spread(blocks: list[str], executed: Sequence[onnx.NodeProto]) -> None:
    """Fill in blocks that names did not tell: first from readers, backwards, then from makers, forwards."""
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
    """Nodes of the file that each executed node computes first: all that its last one needs."""
    makers = {output: node for node in graph.nodes for output in node.output if output}
    done: set[str] = set()
    computed = []
    for anchor in anchors:
        wanted, nodes = [anchor] if anchor is not None else [], []
        while wanted:
            node = wanted.pop()
            if node.name not in done:
                done.add(node.name)
                nodes.append(node)
                wanted += [makers[name] for name in node.input if name in makers]
        computed.append(tuple(nodes))
    return computed
