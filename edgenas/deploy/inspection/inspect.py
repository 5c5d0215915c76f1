"""Inspection of a model's time: executed operators by block, and whether memory or arithmetic binds them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import onnxruntime

from edgenas.deploy.inspection.block_totals import BlockTotals, Bound
from edgenas.deploy.inspection.graph_cost import Graph, peak_activation_bytes, read_graph
from edgenas.deploy.inspection.memory_growth import MemoryGrowth, measure_memory_growth
from edgenas.deploy.inspection.node_times import Profile, measure_ceilings, profile_nodes, without_profiler
from edgenas.deploy.inspection.operators import Operator, executed_operators
from edgenas.latency.device import check_threads_here, probe

SLOWEST = 5
SHORTEST_US = 5.0
"""Shorter operators do not set a ceiling: the profiler counts whole microseconds."""
LOW_ATTAINED = 0.25
"""Share of its bound below which an operator is bound by something else."""


@dataclass(frozen=True)
class Inspection:
    """Time and memory of a model.

    Attributes:
        model: the file's name.
        metadata: metadata of edgenas; empty for other files.
        circumstances: cpu, runtime, runtime_version, provider, threads, runs, grouped_by.
        p50_us: p50 of a run without the profiler, in this process.
        p95_us: p95 of a run without the profiler, in this process.
        profiler_us: the profiler's overhead per operator, which is subtracted.
        macs_per_us: highest rate of a fp32 matrix product or of an operator of this model.
        bytes_per_us: highest rate of a copy in cache or of an operator of this model.
        operators: in the order of execution.
        batch_size: inputs of a run; times, MACs and activations are those of the batch.
        macs: MACs of the file's graph.
        weight_bytes: weight bytes of the file's graph.
        peak_activation_bytes: by the rules of `space.cost`; None if shapes cannot be inferred.
        memory: memory growth in a new process; None if the system does not report it.
    """

    model: str
    metadata: dict[str, str]
    circumstances: dict[str, Any]
    p50_us: float
    p95_us: float
    profiler_us: float
    macs_per_us: float
    bytes_per_us: float
    operators: tuple[Operator, ...] = field(repr=False)
    batch_size: int
    macs: int
    weight_bytes: int
    peak_activation_bytes: int | None
    memory: MemoryGrowth | None

    @property
    def ridge(self) -> float:
        """Return the MACs per byte above which arithmetic binds, else memory (roofline model, Williams 2009)."""
        return self.macs_per_us / self.bytes_per_us

    @property
    def blocks(self) -> tuple[BlockTotals, ...]:
        """Return the sums of each block, in the order of execution."""
        parts: dict[str, list[Operator]] = {}
        for operator in self.operators:
            parts.setdefault(operator.block, []).append(operator)
        return tuple(_block_totals(name, operators) for name, operators in parts.items())

    @property
    def costliest(self) -> tuple[Operator, ...]:
        """Return the five slowest operators, the slowest first."""
        return tuple(sorted(self.operators, key=lambda operator: -operator.time_us)[:SLOWEST])

    def bound(self, part: Operator | BlockTotals) -> Bound:
        """Return whether memory or arithmetic binds it on a machine with these ceilings."""
        return "arithmetic" if part.macs > self.ridge * part.bytes_moved else "memory"

    def attained(self, part: Operator | BlockTotals) -> float:
        """Return the time that its bound allows over the time it takes; 1 is the highest observed rate."""
        return max(part.macs / self.macs_per_us, part.bytes_moved / self.bytes_per_us) / part.time_us

    def why(self, operator: Operator) -> str:
        """Return an explanation of an operator's time."""
        share, rate = operator.time_us / self.p50_us, operator.macs / operator.time_us
        notes = [f"{share:.1%} of the time for {operator.macs / max(self.macs, 1):.1%} of the MACs"]
        if operator.macs:
            best = max(other.macs / other.time_us for other in self.operators)
            notes.append(f"{rate / 1e3:.3g} GMAC/s, {rate / best:.0%} of this model's best")
        notes += operator.nature
        intensity = operator.macs / max(operator.bytes_moved, 1)
        side = "below" if self.bound(operator) == "memory" else "above"
        notes.append(
            f"{self.bound(operator)}-bound: {intensity:.2g} MACs per byte, {side} the ridge of {self.ridge:.2g}"
        )
        if self.attained(operator) < LOW_ATTAINED:
            notes.append(f"{self.attained(operator):.0%} of what that bound allows: a slow kernel, or fixed costs")
        return "; ".join(notes)

    def to_json(self) -> dict[str, Any]:
        """Return the fields as `edgenas inspect --json` prints them."""
        value = asdict(self)
        value["operators"] = [self._row(operator) for operator in self.operators]
        value["blocks"] = [self._row(block) for block in self.blocks]
        value["costliest"] = [
            {**self._row(operator), "label": operator.role or operator.op, "why": self.why(operator)}
            for operator in self.costliest
        ]
        return {**value, "ridge_macs_per_byte": self.ridge}

    def _row(self, part: Operator | BlockTotals) -> dict[str, Any]:
        share = part.time_us / self.p50_us
        return {**asdict(part), "share": share, "bound": self.bound(part), "attained": self.attained(part)}


def inspect_model(path: Path, *, runs: int = 100, threads: int = 1, provider: str = "cpu") -> Inspection:
    """Run a model on random inputs and attribute its time and memory to operators.

    Args:
        path: any ONNX file; an open batch counts as 1.
        runs: number of runs with the profiler, and as many without.
        threads: number of threads of an operator.
        provider: execution provider: `cpu`, or another of this runtime. Memory is measured only on the CPU.

    Raises:
        UserError: there are fewer cores than threads; the file is missing, not an ONNX model, or lacks its weights;
            or this runtime cannot run it, or not all of its nodes by the provider.
        MeasurementError: the profiler, or the process that memory is measured in, failed.
    """
    check_threads_here(threads)
    graph = read_graph(path)
    profile = profile_nodes(graph.model.SerializeToString(), str(path), runs, threads, provider)
    ceilings = measure_ceilings(threads, provider)
    times = without_profiler(profile.profiled_us, ceilings.profiler_us, profile.p50_us)
    operators = executed_operators(graph, profile, times.tolist())
    long = [operator for operator in operators if operator.time_us >= SHORTEST_US]
    return Inspection(
        model=path.name,
        metadata=graph.metadata,
        circumstances=_circumstances(graph, profile, threads, provider),
        p50_us=profile.p50_us,
        p95_us=profile.p95_us,
        profiler_us=ceilings.profiler_us,
        macs_per_us=max([ceilings.macs_per_us, *(operator.macs / operator.time_us for operator in long)]),
        bytes_per_us=max([ceilings.bytes_per_us, *(operator.bytes_moved / operator.time_us for operator in long)]),
        operators=operators,
        batch_size=graph.batch_size,
        macs=graph.macs,
        weight_bytes=graph.weight_bytes,
        peak_activation_bytes=peak_activation_bytes(graph),
        memory=measure_memory_growth(path, threads) if provider == "cpu" else None,
    )


def _circumstances(graph: Graph, profile: Profile, threads: int, provider: str) -> dict[str, Any]:
    return {
        "cpu": probe().cpu,
        "runtime": "onnxruntime",
        "runtime_version": onnxruntime.__version__,
        "provider": provider,
        "threads": threads,
        "runs": profile.runs,
        "grouped_by": "stage and block" if graph.metadata else "the beginning of node names",
    }


def _block_totals(name: str, operators: Sequence[Operator]) -> BlockTotals:
    return BlockTotals(
        name,
        len(operators),
        sum(operator.time_us for operator in operators),
        sum(operator.macs for operator in operators),
        sum(operator.bytes_moved for operator in operators),
    )
