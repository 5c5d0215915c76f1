"""The blocks and networks that are timed on each device: all of the config, or as many as its minutes allow."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property

from edgenas.config.sections import ProfileConfig
from edgenas.latency.few_shot import informative_networks
from edgenas.latency.predictor import LatencyPredictor
from edgenas.profiling.device_time import allow, guessed_seconds
from edgenas.profiling.timing_plan import Plan, least_blocks, make_plan
from edgenas.space.space import ClassifierSpace


@dataclass(frozen=True)
class ProfilePlans:
    """Chooses what is timed on the devices of a run.

    Attributes:
        space: the space.
        config: section `profile` of the config.
        seed: seed of the choice of networks.
    """

    space: ClassifierSpace
    config: ProfileConfig
    seed: int

    @cached_property
    def whole(self) -> Plan:
        """The plan without a limit of minutes.

        Raises:
            ConfigError: see `make_plan`.
        """
        return self._plan(self.config.blocks, self.config.networks)

    @property
    def seconds(self) -> float:
        """Estimated seconds of a server's core for the whole plan, at most the minutes of the config."""
        seconds = guessed_seconds(self.space, self.whole, self.config.rounds)
        return seconds if self.config.minutes is None else min(seconds, 60 * self.config.minutes)

    def within(self, minutes: float, smallest_us: float, largest_us: float) -> Plan:
        """Return as much of the whole plan as minutes allow on a device.

        Args:
            minutes: minutes that the device may be busy.
            smallest_us: latency of the smallest network on the device.
            largest_us: latency of the largest network.

        Raises:
            ConfigError: the minutes are too few for the least that a predictor needs.
        """
        blocks = len(self.whole.blocks)
        allowed = allow(
            minutes,
            blocks=blocks,
            least_blocks=min(blocks, least_blocks(self.space)),
            networks=self.config.networks,
            rounds=self.config.rounds,
            smallest_us=smallest_us,
            largest_us=largest_us,
        )
        return self._plan(allowed.blocks or None, allowed.networks)

    def informative(self, plan: Plan, base: LatencyPredictor) -> Plan:
        """Return a plan with the networks that show best how the device differs from that of another predictor."""
        return replace(plan, networks=tuple(informative_networks(base, len(plan.networks), self.seed)))

    def _plan(self, blocks: int | None, networks: int) -> Plan:
        plan = make_plan(self.space, blocks=blocks, networks=networks, seed=self.seed)
        # Blocks come from the other device's table, so they are not measured again.
        return plan if self.config.base is None else replace(plan, blocks=())


def profile_lines(space: ClassifierSpace, config: ProfileConfig, seed: int, devices: Iterable[str]) -> list[str]:
    """Return the blocks and networks to time on each measured device, and the duration, a line each."""
    plans = ProfilePlans(space, config, seed)
    blocks = f"{len(plans.whole.blocks)} blocks and " if plans.whole.blocks else ""
    what = f"{blocks}{len(plans.whole.networks)} networks, {config.rounds} repetitions of each"
    took = f"about {plans.seconds / 60:.1f} minutes of a server's core, several times that of a small board's"
    if config.minutes is not None:
        took = f"or as much of it as {config.minutes:g} minutes hold"
    return [f"{name}: {what}, {took}" for name in devices]
