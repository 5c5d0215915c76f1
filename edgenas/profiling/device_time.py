"""Device time: what a plan takes, and what of it fits into the minutes that a user allows."""

from __future__ import annotations

from dataclasses import dataclass

from edgenas.errors import ConfigError
from edgenas.profiling.measurement import PROCESSES
from edgenas.profiling.timing_plan import Plan
from edgenas.space.cost import cost
from edgenas.space.space import SearchSpace

VISIT_SECONDS = 0.006
"""One visit of the timer to a model of up to a millisecond, bookkeeping included."""
RUNS_PER_VISIT = 8
"""Timed and untimed, of a model too slow for more."""
WARM_UP_VISITS = 2 * PROCESSES
"""Until times settle, anew in every process."""
MACS_PER_US = 30_000
"""Of a network, on one core."""
TIMER_SECONDS = 0.7
"""To start one process of the timer."""
LEAST_NETWORKS = 10
NETWORKS_SHARE = 0.5
"""Of the time, where not everything fits: blocks that are not measured are regressed, networks are not replaced."""


@dataclass(frozen=True)
class Allowance:
    """How many blocks and networks are timed, and the seconds that takes of the device."""

    blocks: int
    networks: int
    seconds: float


def device_seconds(models: int, rounds: int, latency_us: float = 0.0) -> float:
    """Seconds to time models of a mean latency; what processes of the timer take to start is not counted.

    Args:
        models: how many.
        rounds: visits to each.
        latency_us: of one run; it matters where a visit is longer than usual by it.
    """
    visit = max(VISIT_SECONDS, RUNS_PER_VISIT * latency_us / 1e6)
    return models * (rounds + WARM_UP_VISITS) * visit


def guessed_seconds(space: SearchSpace, plan: Plan, num_classes: int, rounds: int) -> float:
    """Seconds to time a plan on a device of which nothing is known yet: one about as fast as a core of a server."""
    ends = (space.smallest, space.largest)
    mean_us = sum(cost(space.unroll(arch, num_classes)).macs for arch in ends) / 2 / MACS_PER_US
    seconds = device_seconds(len(plan.blocks), rounds) + device_seconds(len(plan.networks), rounds, mean_us)
    return PROCESSES * TIMER_SECONDS + seconds


def allow(
    minutes: float,
    *,
    blocks: int,
    least_blocks: int,
    networks: int,
    rounds: int,
    smallest_us: float,
    largest_us: float,
) -> Allowance:
    """What fits into some minutes of a device's time.

    Args:
        minutes: that the device may be busy.
        blocks: as many as are wanted.
        least_blocks: without which the others cannot be regressed.
        networks: as many as are wanted.
        rounds: visits to every model.
        smallest_us: latency of the smallest network, which no block of most networks exceeds.
        largest_us: of the largest.

    Raises:
        ConfigError: not even the least plan fits; says how many minutes would do.
    """
    network = device_seconds(1, rounds, (smallest_us + largest_us) / 2)
    block = device_seconds(1, rounds, smallest_us)
    start = PROCESSES * TIMER_SECONDS
    left = 60 * minutes - start
    least = LEAST_NETWORKS * network + least_blocks * block
    if left < least:
        raise ConfigError(
            f"profile.minutes: wanted at least {(start + least) / 60:.1f} on this device, for {LEAST_NETWORKS} "
            f"networks and the {least_blocks} blocks without which others cannot be regressed, got {minutes:g}"
        )
    spared = max(NETWORKS_SHARE * left, left - blocks * block)
    some = _between(LEAST_NETWORKS, min(spared, left - least_blocks * block) / network, networks)
    found = _between(least_blocks, (left - some * network) / block, blocks)
    return Allowance(found, some, start + some * network + found * block)


def _between(low: int, wanted: float, high: int) -> int:
    return max(low, min(int(wanted), high))
