"""How long each node of a model takes, from ONNX Runtime's profiler."""

from __future__ import annotations

import itertools
import json
import math
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from edgenas.deploy.inspection.graph_cost import Tensor, initialisers
from edgenas.deploy.onnx.runtime import OPTIMISED, bound_run, open_session, provider_of
from edgenas.errors import MeasurementError, UserError, shortened

UNTIMED, TIMED = 2, 10
"""Runs of one visit: the first bring the model back into the caches."""
TRUNCATED_US = 0.5
"""The profiler cuts times down to whole microseconds: half of one on the average."""
SHORTEST_US = 0.25
"""Of a node that does nothing: what it takes to call a kernel."""
MATRIX_SIDE = 256
ACTIVATION_FLOATS = 65536
IDLE_NODES = 32

Event = dict[str, Any]
Times = npt.NDArray[np.float64]


@dataclass(frozen=True)
class NodeTime:
    """One node as executed.

    Attributes:
        node: of the optimised graph.
        profiled_us: of one run as the profiler tells it, mean of the middle half of the runs.
        activation_bytes: what it reads (weights left out) and writes, padding included.
        output_shape: of its first output, padding included.
    """

    node: onnx.NodeProto
    profiled_us: float
    activation_bytes: int
    output_shape: tuple[int, ...]


@dataclass(frozen=True)
class Profile:
    """A model's runs.

    Attributes:
        p50_us: of a whole run without the profiler.
        p95_us: of a whole run without the profiler.
        runs: how many of each kind were counted.
        nodes: in the order of execution.
        weights: of the optimised graph, by name.
    """

    p50_us: float
    p95_us: float
    runs: int
    nodes: tuple[NodeTime, ...]
    weights: dict[str, Tensor]

    @property
    def profiled_us(self) -> Times:
        """What the profiler tells of every node, shape (nodes,)."""
        return np.array([node.profiled_us for node in self.nodes])


@dataclass(frozen=True)
class MachineCeilings:
    """This machine as this runtime uses it, fp32.

    Attributes:
        macs_per_us: of a matrix product of 256 × 256.
        bytes_per_us: of an activation that reads and writes 256 KiB each: like the tensors of small networks,
            that fits into the second cache of most CPUs.
        profiler_us: what the profiler adds to the time of a node that does next to nothing.
    """

    macs_per_us: float
    bytes_per_us: float
    profiler_us: float


def profile_nodes(model: bytes, name: str, runs: int, threads: int = 1, provider: str = "cpu") -> Profile:
    """Run a model with the profiler and without, in turns, so that both meet the same machine.

    Args:
        model: what stands in an ONNX file.
        name: of the model, for messages.
        runs: of each kind, rounded up to whole visits of 10.
        threads: of an operator.
        provider: who runs the nodes, all of them.

    Raises:
        UserError: this runtime cannot run the model, or nodes fall back to another provider.
        MeasurementError: the profiler told nothing.
    """
    # The runtime writes its profile into the working directory unless told otherwise.
    with tempfile.TemporaryDirectory(prefix="edgenas-inspect-") as folder:
        plain = bound_run(open_session(model, name, threads, provider=provider), name)
        session = open_session(model, name, threads, traces=Path(folder), provider=provider)
        traced = bound_run(session, name)
        _visit(plain), _visit(traced)
        samples = []
        for _ in range(math.ceil(runs / TIMED)):
            samples += _visit(plain)
            _visit(traced)
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
        optimised = onnx.load(Path(folder) / OPTIMISED).graph
    p50, p95 = np.percentile(samples, [50, 95]).tolist()
    refuse_fallback(events, name, provider_of(provider))
    told, times = _node_times(_counted(_by_run(events), name))
    executed = zip(_matched(told, optimised), told, times.tolist(), strict=True)
    return Profile(p50, p95, len(samples), tuple(_node_time(*each) for each in executed), initialisers(optimised))


def refuse_fallback(events: Sequence[Event], name: str, provider: str) -> None:
    """Refuse a profile of nodes that another provider ran than the one asked for.

    Args:
        events: of the profiler.
        name: of the model, for messages.
        provider: asked for, by the runtime's name.

    Raises:
        UserError: they are named, with who ran them.
    """
    ran = {
        str(event["name"]).removesuffix("_kernel_time"): str(event["args"]["provider"])
        for event in events
        if event.get("cat") == "Node" and "provider" in event.get("args", {})
    }
    fallen = [f"{node} ({by})" for node, by in ran.items() if by != provider]
    if fallen:
        raise UserError(
            f"{name}: {len(fallen)} of {len(ran)} nodes fall back from {provider}: {shortened(fallen)}"
            ": ask for the provider that runs them all, or leave these operators out"
        )


def _visit(run: Callable[[], None]) -> list[float]:
    """Microseconds of the timed runs of one visit."""
    samples = []
    for _ in range(UNTIMED + TIMED):
        start = time.perf_counter_ns()
        run()
        samples.append((time.perf_counter_ns() - start) / 1e3)
    return samples[UNTIMED:]


def _by_run(events: Sequence[Event]) -> list[list[Event]]:
    """Events of nodes, run by run. The end of a run is told after its nodes."""
    runs: list[list[Event]] = [[]]
    for event in events:
        if event.get("cat") == "Node" and str(event["name"]).endswith("_kernel_time"):
            runs[-1].append(event)
        elif event.get("name") == "model_run":
            runs.append([])
    return runs[:-1]


def _counted(runs: Sequence[list[Event]], name: str) -> list[list[Event]]:
    """Without the run that `bound_run` makes, the first visit, and the untimed runs of the others."""
    visit = UNTIMED + TIMED
    kept = [run for place, run in enumerate(runs[1 + visit :]) if place % visit >= UNTIMED]
    if not kept or not kept[0]:
        raise MeasurementError(f"{name}: ONNX Runtime's profiler told of no node")
    return kept


def _node_times(runs: Sequence[list[Event]]) -> tuple[list[Event], Times]:
    """An event of every node, and its microseconds: the mean of the middle half of the runs."""
    told = {_key(event): event for run in runs for event in run}
    columns = {key: column for column, key in enumerate(told)}
    times = np.zeros((len(runs), len(told)))
    for row, run in enumerate(runs):
        for event in run:
            times[row, columns[_key(event)]] += float(event["dur"]) + TRUNCATED_US
    quarter = len(runs) // 4
    return list(told.values()), np.sort(times, axis=0)[quarter : len(runs) - quarter].mean(axis=0)


def without_profiler(profiled_us: Times, profiler_us: float, total_us: float) -> Times:
    """Times of nodes, shape (nodes,), that add up to a run without the profiler.

    The profiler writes down the shapes of a node's tensors within the time that it tells: some 2 µs of every
    node, however little it does. They are taken off first; what then is too much, since nodes find the caches
    disturbed, is taken off (or what is missing, added) in proportion.
    """
    left = np.maximum(profiled_us - profiler_us, SHORTEST_US)
    return np.asarray(left * (total_us / left.sum()))


def _key(event: Event) -> tuple[str, str]:
    return str(event["name"]), str(event["args"].get("node_index"))


def _matched(events: Sequence[Event], optimised: onnx.GraphProto) -> list[onnx.NodeProto]:
    """The executed node of each event: in the file's order, which is that of execution, else by name.

    Order is better than names, since the runtime makes nodes without any; but bodies of loops and branches
    have events and stand deeper in the file.
    """
    operators = [str(event["args"]["op_name"]) for event in events]
    if operators == [node.op_type for node in optimised.node]:
        return list(optimised.node)
    by_name = {node.name: node for node in optimised.node}
    names = [str(event["name"]).removesuffix("_kernel_time") for event in events]
    return [
        by_name.get(name) or onnx.NodeProto(name=name, op_type=operator)
        for name, operator in zip(names, operators, strict=True)
    ]


def _node_time(node: onnx.NodeProto, event: Event, profiled_us: float) -> NodeTime:
    facts = event["args"]
    shapes = [shape for output in facts.get("output_type_shape", []) for shape in output.values()]
    moved = int(facts.get("activation_size", 0)) + int(facts.get("output_size", 0))
    return NodeTime(node, profiled_us, moved, tuple(shapes[0]) if shapes else ())


def measure_ceilings(threads: int = 1, provider: str = "cpu") -> MachineCeilings:
    """Run two small models of known work."""
    idle = profile_nodes(idle_model(), "the idle model", 5 * TIMED, threads, provider)
    profiler_us = max(0.0, float(idle.profiled_us.mean()) - idle.p50_us / IDLE_NODES)
    busy = profile_nodes(busy_model(), "the busy model", 5 * TIMED, threads, provider)
    times = without_profiler(busy.profiled_us, profiler_us, busy.p50_us).tolist()
    by_operator = {each.node.op_type: time_us for each, time_us in zip(busy.nodes, times, strict=True)}
    macs, moved = MATRIX_SIDE**3, 8 * ACTIVATION_FLOATS
    return MachineCeilings(macs / by_operator["MatMul"], moved / by_operator["Relu"], profiler_us)


def idle_model() -> bytes:
    """Many operators in a row, on a few floats."""
    names = [f"t{number}" for number in range(IDLE_NODES + 1)]
    nodes = [onnx.helper.make_node("Abs", [x], [y]) for x, y in itertools.pairwise(names)]
    return _model(nodes, {names[0]: [1, 16]}, {names[-1]: [1, 16]})


def busy_model() -> bytes:
    """A matrix product and an activation beside each other."""
    square, row = [MATRIX_SIDE, MATRIX_SIDE], [ACTIVATION_FLOATS]
    nodes = [onnx.helper.make_node("MatMul", ["a", "b"], ["c"]), onnx.helper.make_node("Relu", ["x"], ["y"])]
    return _model(nodes, {"a": square, "b": square, "x": row}, {"c": square, "y": row})


def _model(nodes: list[onnx.NodeProto], inputs: dict[str, list[int]], outputs: dict[str, list[int]]) -> bytes:
    sources, targets = (
        [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name, shape in side.items()]
        for side in (inputs, outputs)
    )
    graph = onnx.helper.make_graph(nodes, "calibration", sources, targets)
    opset = [onnx.helper.make_opsetid("", 13)]
    return bytes(onnx.helper.make_model(graph, opset_imports=opset, ir_version=7).SerializeToString())
