"""Runs on a synthetic device of known truth: which verdict does a file ship with that is over, or under, its budget?

The device has noise of its own in every process and noise that a whole measuring session shares. The rules are those
of a run: candidates are ordered by `MeasuredFront.ordered`, files judged by `judge_measured` with the `slowdown` of
their session, and shipped by `first_to_ship`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from edgenas.budget import Budget
from edgenas.config.sections import SearchConfig, VerifyConfig
from edgenas.errors import InfeasibleError
from edgenas.objective import parse_objective, resolve_objectives
from edgenas.profiling.measurement import PROCESSES, Measurement
from edgenas.profiling.verdict import judge_measured, slowdown
from edgenas.quantities import LATENCY
from edgenas.records.record import Verdict
from edgenas.space.arch import parse_arch
from edgenas.stages.front.candidate import Candidate, Files
from edgenas.stages.front.measured_front import MeasuredFront
from edgenas.stages.shipping.shipping import MET, first_to_ship

LIMIT_US, SENTINEL_US, NETWORKS = 100.0, 10.0, 8
BUDGET = Budget(LATENCY, limit=LIMIT_US, device="here")
NAMES = resolve_objectives(map(parse_objective, ["error", "latency"]), ["here"])
PROFILED = 2
"""Sessions before the front's: graph variants are compared, then the table is measured."""


@dataclass
class Machine:
    """A device whose latencies are known: log-normal noise of each process, and of a whole session."""

    generator: np.random.Generator
    process_noise: float
    session_noise: float
    sentinels_us: list[float] = field(default_factory=list)

    def session(self, latencies_us: list[float]) -> tuple[list[Measurement], float]:
        """Measure networks in one session; return its slowdown, too."""
        speed = np.exp(self.session_noise * self.generator.standard_normal())
        noise = np.exp(self.process_noise * self.generator.standard_normal((len(latencies_us) + 1, PROCESSES)))
        sentinel_us = float(np.median(SENTINEL_US * speed * noise[-1]))
        self.sentinels_us.append(sentinel_us)
        processes_us = [tuple(us * speed * row) for us, row in zip(latencies_us, noise[:-1], strict=True)]
        return [measurement(row, sentinel_us) for row in processes_us], slowdown(sentinel_us, self.sentinels_us)


def measurement(processes_us: tuple[float, ...], sentinel_us: float) -> Measurement:
    p50_us = float(np.median(processes_us))
    return Measurement(*6 * (p50_us,), 80, processes_us, 0.0, (), processes_us, processes_us, sentinel_us, 0)


def shipped_verdict(machine: Machine, latency_us: float) -> Verdict | None:
    """Choose among equal networks of a true latency and ship one; return its verdict, None where the run fails."""
    for _ in range(PROFILED):
        machine.session([])
    measured, slower = machine.session([latency_us] * NETWORKS)
    candidates = tuple(
        Candidate(parse_arch(f"r{8 + number}_w8-k3e1"), Files("x.onnx", 0.9), 0.9, {"here": one}, {"here": slower})
        for number, one in enumerate(measured)
    )
    try:
        ordered = MeasuredFront(candidates, NAMES, (BUDGET,), 1.0).ordered(SearchConfig())
    except InfeasibleError:
        return None
    verdicts: list[Verdict] = []
    for _ in ordered[: VerifyConfig().attempts]:
        (one,), slower = machine.session([latency_us])
        verdicts.append(judge_measured(one, BUDGET, slower).verdict)
        if verdicts[-1] in MET:
            break
    index = first_to_ship(verdicts)
    return None if index is None else verdicts[index]


def share_within(process_noise: float, session_noise: float, over: float, runs: int) -> float:
    """Share of runs that ship a file as `within` whose true latency is `over` the budget (a fraction)."""
    generator = np.random.default_rng(0)
    latency_us = LIMIT_US * (1 + over)
    verdicts = [shipped_verdict(Machine(generator, process_noise, session_noise), latency_us) for _ in range(runs)]
    return verdicts.count("within") / runs
