"""Device time: the seconds that a plan takes, and the part of a plan that fits into given minutes."""

from __future__ import annotations

from dataclasses import dataclass

from edgenas.errors import ConfigError
from edgenas.profiling.measurement import PROCESSES
from edgenas.profiling.timing_plan import Plan
from edgenas.space.cost import cost
from edgenas.space.space import ClassifierSpace

REPETITION_SECONDS = 0.006
"""One repetition of a model of up to a millisecond, with the timer's overhead."""
RUNS_PER_REPETITION = 8
"""Timed and untimed runs in one repetition, for models of over a millisecond."""
WARM_UP_REPETITIONS = 2 * PROCESSES
"""Repetitions before latencies are stable, in all processes."""
MACS_PER_US = 30_000
"""Speed of networks on one core."""
TIMER_SECONDS = 0.7
"""Start of one process of the timer."""
LEAST_NETWORKS = 10
NETWORKS_SHARE = 0.5
"""Least share of networks in the time, where not everything fits: unmeasured blocks are regressed, networks are not."""


@dataclass(frozen=True)
class Allowance:
    """Numbers of blocks and networks to time, and the seconds that the device is busy."""

    blocks: int
    networks: int
    seconds: float


def device_seconds(models: int, rounds: int, latency_us: float = 0.0) -> float:
    """Return the seconds to time models of a mean latency, without the start of the timer's processes.

    Args:
        models: number of models.
        rounds: repetitions of each.
        latency_us: latency of one run; it matters for models of over a millisecond.
    """
    seconds = max(REPETITION_SECONDS, RUNS_PER_REPETITION * latency_us / 1e6)
    return models * (rounds + WARM_UP_REPETITIONS) * seconds


def guessed_seconds(space: ClassifierSpace, plan: Plan, rounds: int) -> float:
    """Return the seconds to time a plan on an unmeasured device, assumed to have the speed of a server's core."""
    ends = (space.smallest, space.largest)
    mean_us = sum(cost(space.unroll(arch)).macs for arch in ends) / 2 / MACS_PER_US
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
    """Return the part of a plan that fits into some minutes of a device's time.

    Args:
        minutes: minutes that the device may be busy.
        blocks: number of blocks in the plan.
        least_blocks: number of blocks without which the others cannot be regressed.
        networks: number of networks in the plan.
        rounds: repetitions of every model.
        smallest_us: latency of the smallest network, an upper limit for most blocks.
        largest_us: latency of the largest network.

    Raises:
        ConfigError: not even the smallest plan fits; the message states the minutes that it needs.
    """
    network = device_seconds(1, rounds, (smallest_us + largest_us) / 2)
    block = device_seconds(1, rounds, smallest_us)
    start = PROCESSES * TIMER_SECONDS
    left = 60 * minutes - start
    least = LEAST_NETWORKS * network + least_blocks * block
    if left < least:
        raise ConfigError(
            f"profile.minutes: expected at least {(start + least) / 60:.1f} on this device, for {LEAST_NETWORKS} "
            f"networks and the {least_blocks} blocks without which others cannot be regressed, got {minutes:g}"
        )
    spared = max(NETWORKS_SHARE * left, left - blocks * block)
    fitting = _between(LEAST_NETWORKS, min(spared, left - least_blocks * block) / network, networks)
    fitting_blocks = _between(least_blocks, (left - fitting * network) / block, blocks)
    return Allowance(fitting_blocks, fitting, start + fitting * network + fitting_blocks * block)


def _between(low: int, value: float, high: int) -> int:
    return max(low, min(int(value), high))
