"""Where a model's time goes: its operators as the runtime executes them, by block, and what binds them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import onnxruntime

from edgenas.deploy.inspection.graph_cost import Graph, peak_activation_bytes, read_graph
from edgenas.deploy.inspection.memory_growth import MemoryGrowth, measure_memory_growth
from edgenas.deploy.inspection.node_times import Profile, measure_ceilings, profile_nodes, without_profiler
from edgenas.deploy.inspection.operators import Operator, executed_operators
from edgenas.latency.device import check_threads_here, probe

COSTLIEST = 5
SHORTEST_US = 5.0
"""Shorter operators set no ceiling: the profiler counts whole microseconds."""
FAR = 0.25
"""Below this share of what its bound allows, an operator is bound by something else."""
Bound = Literal["memory", "arithmetic"]


@dataclass(frozen=True)
class BlockTotals:
    """The operators of one block together; times and counts as in Operator."""

    name: str
    operators: int
    time_us: float
    macs: int
    bytes_moved: int


@dataclass(frozen=True)
class Inspection:
    """What was found out about a model.

    Attributes:
        model: the file's name.
        metadata: what edgenas wrote into it; empty for files of others.
        circumstances: cpu, runtime, runtime_version, provider, threads, runs, grouped_by.
        p50_us: of a whole run without the profiler, in this process.
        p95_us: of a whole run without the profiler, in this process.
        profiler_us: what the profiler adds to every operator, which was taken off.
        macs_per_us: the fastest fp32 matrix product, or operator of this model, that was seen.
        bytes_per_us: the fastest copy in cache, or operator of this model, that was seen.
        operators: in the order of execution.
        batch_size: inputs of a run; times, MACs and activations are of all of them.
        macs: of the file's graph.
        weight_bytes: of the file's graph.
        peak_activation_bytes: by the rules of `space.cost`; None where shapes cannot be inferred.
        memory: measured in a fresh process; None where the system does not tell.
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
        """MACs a byte above which arithmetic binds, below which memory does (roofline model, Williams 2009)."""
        return self.macs_per_us / self.bytes_per_us

    @property
    def blocks(self) -> tuple[BlockTotals, ...]:
        """In the order of execution."""
        parts: dict[str, list[Operator]] = {}
        for operator in self.operators:
            parts.setdefault(operator.block, []).append(operator)
        return tuple(_block_totals(name, operators) for name, operators in parts.items())

    @property
    def costliest(self) -> tuple[Operator, ...]:
        """The five operators that take longest, the longest first."""
        return tuple(sorted(self.operators, key=lambda operator: -operator.time_us)[:COSTLIEST])

    def bound(self, part: Operator | BlockTotals) -> Bound:
        """What would bind it on a machine of these ceilings."""
        return "arithmetic" if part.macs > self.ridge * part.bytes_moved else "memory"

    def attained(self, part: Operator | BlockTotals) -> float:
        """The time its bound allows over the time it takes; 1 is as fast as anything that was seen."""
        return max(part.macs / self.macs_per_us, part.bytes_moved / self.bytes_per_us) / part.time_us

    def why(self, operator: Operator) -> str:
        """What makes an operator cost what it costs, in words."""
        share, rate = operator.time_us / self.p50_us, operator.macs / operator.time_us
        said = [f"{share:.1%} of the time for {operator.macs / max(self.macs, 1):.1%} of the MACs"]
        if operator.macs:
            best = max(one.macs / one.time_us for one in self.operators)
            said.append(f"{rate / 1e3:.3g} GMAC/s, {rate / best:.0%} of this model's best")
        said += operator.nature
        intensity = operator.macs / max(operator.bytes_moved, 1)
        side = "below" if self.bound(operator) == "memory" else "above"
        said.append(f"{self.bound(operator)}-bound: {intensity:.2g} MACs a byte, {side} the ridge of {self.ridge:.2g}")
        if self.attained(operator) < FAR:
            said.append(f"{self.attained(operator):.0%} of what that bound allows: a slow kernel, or fixed costs")
        return "; ".join(said)

    def to_json(self) -> dict[str, Any]:
        """As `edgenas inspect --json` prints it."""
        value = asdict(self)
        value["operators"] = [self._row(operator) for operator in self.operators]
        value["blocks"] = [self._row(block) for block in self.blocks]
        value["costliest"] = [
            {**self._row(one), "label": one.role or one.op, "why": self.why(one)} for one in self.costliest
        ]
        return {**value, "ridge_macs_per_byte": self.ridge}

    def _row(self, part: Operator | BlockTotals) -> dict[str, Any]:
        share = part.time_us / self.p50_us
        return {**asdict(part), "share": share, "bound": self.bound(part), "attained": self.attained(part)}


def inspect_model(path: Path, *, runs: int = 100, threads: int = 1, provider: str = "cpu") -> Inspection:
    """Run a model on random inputs and find out where its time and memory go.

    Args:
        path: any ONNX file, ours or another's; an open batch counts as 1.
        runs: with the profiler, and as many without.
        threads: of an operator.
        provider: who runs the nodes: `cpu`, or another that this runtime has. Memory is measured on the CPU alone.

    Raises:
        UserError: there are fewer cores than threads; the file is missing, no ONNX model, or lacks its weights; or
            this runtime cannot run it, or not all of its nodes by the provider.
        MeasurementError: the profiler, or the process that memory is measured in, failed.
    """
    check_threads_here(threads)
    graph = read_graph(path)
    profile = profile_nodes(graph.model.SerializeToString(), str(path), runs, threads, provider)
    ceilings = measure_ceilings(threads, provider)
    times = without_profiler(profile.profiled_us, ceilings.profiler_us, profile.p50_us)
    operators = executed_operators(graph, profile, times.tolist())
    long = [one for one in operators if one.time_us >= SHORTEST_US]
    return Inspection(
        model=path.name,
        metadata=graph.metadata,
        circumstances=_circumstances(graph, profile, threads, provider),
        p50_us=profile.p50_us,
        p95_us=profile.p95_us,
        profiler_us=ceilings.profiler_us,
        macs_per_us=max([ceilings.macs_per_us, *(one.macs / one.time_us for one in long)]),
        bytes_per_us=max([ceilings.bytes_per_us, *(one.bytes_moved / one.time_us for one in long)]),
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
    time_us, macs = sum(one.time_us for one in operators), sum(one.macs for one in operators)
    return BlockTotals(name, len(operators), time_us, macs, sum(one.bytes_moved for one in operators))
