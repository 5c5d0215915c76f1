"""Verdicts: whether a measured file is within a latency limit, at a stated risk of claiming so wrongly.

Two kinds of noise move a p50: each process of the timer has its own (where the model's memory lies), and a whole
measuring session may find the machine fast or slow. Both are met by order statistics, which need no model of the
noise. The 7th of eight process p50s is an upper confidence limit of their median; of several sessions the slowest is
one, and the sentinel, the same matrix product timed in every process of every session, says how much slower that
session was than this one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np

from edgenas.budget import Budget
from edgenas.profiling.measurement import Measurement
from edgenas.profiling.median_interval import FEWEST_PROCESSES, median_interval
from edgenas.records.record import Verdict

VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
"""From best to worst."""
LEAST_SESSIONS = 4
"""Sessions that the verdict on a shipped file compares at least: with three, the risk exceeds 5 %, see `slowdown`."""
DISTURBED_SHARE = 0.5
"""Of a network's processes that have warnings, and of a session's networks for which that holds."""


@dataclass(frozen=True)
class Judgement:
    """A measured latency compared with its budget.

    Attributes:
        verdict: `within` where the upper confidence limit is within the limit, `not significant` where only the median
            over processes is, `over` otherwise.
        budget: the budget, of a latency.
        value_us: median over processes.
        upper_us: one-sided upper confidence limit of that median; None where there are too few processes for any.
    """

    verdict: Verdict
    budget: Budget
    value_us: float
    upper_us: float | None


def upper_limit_us(processes_us: Sequence[float], slowdown: float = 1.0) -> float | None:
    """Return the one-sided upper confidence limit of the median over processes, in microseconds.

    Args:
        processes_us: the latency that each process of one session found.
        slowdown: how much slower the slowest session was than this one, see `slowdown`.

    Returns:
        The upper end of `median_interval`, 7th of eight, times the slowdown; None for fewer than five processes.
    """
    return median_interval(processes_us)[1] * slowdown if len(processes_us) >= FEWEST_PROCESSES else None


def slowdown(sentinel_us: float, sessions_us: Iterable[float]) -> float:
    """Return how many times as slow as this session the slowest session was, at least 1.

    Of k sessions, this one included, the slowest is at least as slow as the median session with probability
    1 - 2**-k: 87 % for three, 94 % for four.

    Args:
        sentinel_us: p50 of the sentinel in this session.
        sessions_us: p50s of the sentinel in sessions of the same device.
    """
    return max([sentinel_us, *sessions_us]) / sentinel_us


def judge(budget: Budget, processes_us: Sequence[float], slowdown: float = 1.0) -> Judgement:
    """Compare a measured latency with its budget.

    Args:
        budget: a budget of a latency.
        processes_us: its quantity as each process of one session measured it.
        slowdown: see `upper_limit_us`.
    """
    value_us, upper_us = float(np.median(processes_us)), upper_limit_us(processes_us, slowdown)
    verdict: Verdict = "over" if value_us > budget.limit else "not significant"
    if upper_us is not None and max(value_us, upper_us) <= budget.limit:
        verdict = "within"
    return Judgement(verdict, budget, value_us, upper_us)


def judge_measured(measured: Measurement, budget: Budget, slowdown: float = 1.0) -> Judgement:
    """Compare a measurement with a latency budget of its device, see `judge`."""
    return judge(budget, measured.processes_us(budget.quantity), slowdown)


def worst(verdicts: Iterable[Verdict | None]) -> Verdict | None:
    """Return the worst of several verdicts, None if there are none."""
    return max(filter(None, verdicts), key=VERDICTS.index, default=None)


def disturbed(measured: Mapping[str, Measurement]) -> bool:
    """Return whether most networks of a session have warnings from most of their processes.

    Such a session is discarded and repeated once before any decision, whatever its results, since the choice of the
    better of two sessions would bias the verdict.
    """
    flagged = [
        network.flagged_processes > DISTURBED_SHARE * len(network.processes_p50_us) for network in measured.values()
    ]
    return sum(flagged) > DISTURBED_SHARE * len(flagged)
