"""Times of the nodes of a model, from ONNX Runtime's profiler."""

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
"""Runs of one repetition: the first ones bring the model back into the caches."""
TRUNCATED_US = 0.5
"""Mean truncation error: the profiler rounds times down to whole microseconds."""
SHORTEST_US = 0.25
"""Time of a node without work: the call of its kernel."""
MATRIX_SIDE = 256
ACTIVATION_FLOATS = 65536
IDLE_NODES = 32

Event = dict[str, Any]
Times = npt.NDArray[np.float64]


@dataclass(frozen=True)
class NodeTime:
    """One executed node.

    Attributes:
        node: node of the optimised graph.
        profiled_us: time per run that the profiler reports, mean of the middle half of the runs.
        activation_bytes: bytes of activations read and written, padding included.
        output_shape: shape of its first output, padding included.
    """

    node: onnx.NodeProto
    profiled_us: float
    activation_bytes: int
    output_shape: tuple[int, ...]


@dataclass(frozen=True)
class Profile:
    """Times of a model and of its nodes.

    Attributes:
        p50_us: p50 of a run without the profiler.
        p95_us: p95 of a run without the profiler.
        runs: number of counted runs, with and without the profiler each.
        nodes: nodes in the order of execution.
        weights: weights of the optimised graph, by name.
    """

    p50_us: float
    p95_us: float
    runs: int
    nodes: tuple[NodeTime, ...]
    weights: dict[str, Tensor]

    @property
    def profiled_us(self) -> Times:
        """Return the time of every node that the profiler reports, shape (nodes,)."""
        return np.array([node.profiled_us for node in self.nodes])


@dataclass(frozen=True)
class MachineCeilings:
    """Highest rates of this machine with this runtime, fp32.

    Attributes:
        macs_per_us: rate of a matrix product of 256 × 256.
        bytes_per_us: rate of an activation that reads and writes 256 KiB each: like the tensors of small networks,
            they fit into the level-2 cache of most CPUs.
        profiler_us: the profiler's overhead per node.
    """

    macs_per_us: float
    bytes_per_us: float
    profiler_us: float


def profile_nodes(model: bytes, name: str, runs: int, threads: int = 1, provider: str = "cpu") -> Profile:
    """Run a model with and without the profiler, alternately, so that both see the same machine.

    Args:
        model: content of an ONNX file.
        name: name of the model, for messages.
        runs: number of runs with and without the profiler each, rounded up to whole repetitions of 10.
        threads: number of threads of an operator.
        provider: execution provider that must run all nodes.

    Raises:
        UserError: this runtime cannot run the model, or nodes fall back to another provider.
        MeasurementError: the profiler reported nothing.
    """
    # By default, the runtime writes its profile into the working directory.
    with tempfile.TemporaryDirectory(prefix="edgenas-inspect-") as folder:
        plain = bound_run(open_session(model, name, threads, provider=provider), name)
        session = open_session(model, name, threads, traces=Path(folder), provider=provider)
        traced = bound_run(session, name)
        _repeat(plain)
        _repeat(traced)
        samples = []
        for _ in range(math.ceil(runs / TIMED)):
            samples += _repeat(plain)
            _repeat(traced)
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
        optimised = onnx.load(Path(folder) / OPTIMISED).graph
    p50, p95 = np.percentile(samples, [50, 95]).tolist()
    refuse_fallback(events, name, provider_of(provider))
    node_events, times = _node_times(_counted(_by_run(events), name))
    executed = zip(_matched(node_events, optimised), node_events, times.tolist(), strict=True)
    nodes = tuple(_node_time(node, event, time_us) for node, event, time_us in executed)
    return Profile(p50, p95, len(samples), nodes, initialisers(optimised))


def refuse_fallback(events: Sequence[Event], name: str, provider: str) -> None:
    """Refuse a profile if a node fell back to another provider.

    Args:
        events: events of the profiler.
        name: name of the model, for messages.
        provider: expected provider, by the runtime's name.

    Raises:
        UserError: nodes fell back; the message lists them with their providers.
    """
    ran = {
        str(event["name"]).removesuffix("_kernel_time"): str(event["args"]["provider"])
        for event in events
        if event.get("cat") == "Node" and "provider" in event.get("args", {})
    }
    fallbacks = [f"{node} ({other})" for node, other in ran.items() if other != provider]
    if fallbacks:
        raise UserError(
            f"{name}: {len(fallbacks)} of {len(ran)} nodes fall back from {provider}: {shortened(fallbacks)}"
            ": choose a provider that runs all of them, or avoid these operators"
        )


def _repeat(run: Callable[[], None]) -> list[float]:
    """Return the microseconds of the timed runs of one repetition."""
    samples = []
    for _ in range(UNTIMED + TIMED):
        start = time.perf_counter_ns()
        run()
        samples.append((time.perf_counter_ns() - start) / 1e3)
    return samples[UNTIMED:]


def _by_run(events: Sequence[Event]) -> list[list[Event]]:
    """Return the events of nodes by run. The event of a run comes after those of its nodes."""
    runs: list[list[Event]] = [[]]
    for event in events:
        if event.get("cat") == "Node" and str(event["name"]).endswith("_kernel_time"):
            runs[-1].append(event)
        elif event.get("name") == "model_run":
            runs.append([])
    return runs[:-1]


def _counted(runs: Sequence[list[Event]], name: str) -> list[list[Event]]:
    """Return the counted runs: not that of `bound_run`, the first repetition, and the untimed runs of the others."""
    repetition = UNTIMED + TIMED
    counted = [run for index, run in enumerate(runs[1 + repetition :]) if index % repetition >= UNTIMED]
    if not counted or not counted[0]:
        raise MeasurementError(f"{name}: ONNX Runtime's profiler reported no node")
    return counted


def _node_times(runs: Sequence[list[Event]]) -> tuple[list[Event], Times]:
    """Return an event of every node, and its microseconds: the mean of the middle half of the runs."""
    by_node = {_key(event): event for run in runs for event in run}
    columns = {key: column for column, key in enumerate(by_node)}
    times = np.zeros((len(runs), len(by_node)))
    for row, run in enumerate(runs):
        for event in run:
            times[row, columns[_key(event)]] += float(event["dur"]) + TRUNCATED_US
    quarter = len(runs) // 4
    return list(by_node.values()), np.sort(times, axis=0)[quarter : len(runs) - quarter].mean(axis=0)


def without_profiler(profiled_us: Times, profiler_us: float, total_us: float) -> Times:
    """Return times of nodes, shape (nodes,), that add up to a run without the profiler.

    The reported times include the recording of tensor shapes, about 2 µs per node. This overhead is subtracted first.
    The remaining difference, due to disturbed caches, is distributed in proportion.
    """
    net = np.maximum(profiled_us - profiler_us, SHORTEST_US)
    return np.asarray(net * (total_us / net.sum()))


def _key(event: Event) -> tuple[str, str]:
    return str(event["name"]), str(event["args"].get("node_index"))


def _matched(events: Sequence[Event], optimised: onnx.GraphProto) -> list[onnx.NodeProto]:
    """Return the executed node of each event, by the order of the file if the operators match, else by name.

    Order is more reliable than names, since the runtime adds nodes without a name. But bodies of loops and branches
    have events, too, and are nested deeper in the file.
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
    """Measure the ceilings of this machine with two small models of known work."""
    idle = profile_nodes(idle_model(), "the idle model", 5 * TIMED, threads, provider)
    profiler_us = max(0.0, float(idle.profiled_us.mean()) - idle.p50_us / IDLE_NODES)
    busy = profile_nodes(busy_model(), "the busy model", 5 * TIMED, threads, provider)
    times = without_profiler(busy.profiled_us, profiler_us, busy.p50_us).tolist()
    by_operator = {timed.node.op_type: time_us for timed, time_us in zip(busy.nodes, times, strict=True)}
    macs, moved = MATRIX_SIDE**3, 8 * ACTIVATION_FLOATS
    return MachineCeilings(macs / by_operator["MatMul"], moved / by_operator["Relu"], profiler_us)


def idle_model() -> bytes:
    """Return a model of many operators in a row on a few floats."""
    names = [f"t{number}" for number in range(IDLE_NODES + 1)]
    nodes = [onnx.helper.make_node("Abs", [x], [y]) for x, y in itertools.pairwise(names)]
    return _model(nodes, {names[0]: [1, 16]}, {names[-1]: [1, 16]})


def busy_model() -> bytes:
    """Return a model of a matrix product and an independent activation."""
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
