"""The candidates for fine-tuning: of every part of the range just below the budgets, the most accurate network.

Networks that leave much of the budgets unused are seldom the most accurate ones, but there are many of them: of few
validation images, the highest score would often be theirs by chance. So networks are compared only with others of
similar cost, and fine-tuning decides between the winners.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from edgenas.accuracy.scorer import Scorer
from edgenas.records.shelf import ShelfRecord, TimedNetwork
from edgenas.records.verify import MeasuredNetwork, VerifyRecord
from edgenas.space.arch import Arch
from edgenas.space.feasible_samples import allowed
from edgenas.stages.budgets.limits import REPEATS, Limits
from edgenas.stages.tuning.rungs import spread

LEAST_NEED = 0.75
"""Least share of the budgets that a candidate needs, relative to the largest network within them."""
LEAST_SCORED = 8
"""Networks of each part that are scored at least, where there are so many."""
DRAWN = 2048
"""Architectures within the budgets that those are drawn from."""
RESOLUTIONS = 2
"""Resolutions of a network of the shelf that are fine-tuned, the largest within the budgets."""
SHELF_CANDIDATES = 8
"""Candidates of the shelf at most: caches of other libraries may hold many networks."""


@dataclass(frozen=True)
class Candidates:
    """Chooses the networks of a searched and verified run that are fine-tuned.

    Attributes:
        limits: the budgets, which predicted latencies are compared with.
        scorer: gives validation errors, and has those of the search.
        chosen: the network that `verify` chose; it was measured, so it is a candidate however little it needs.
        excluded: networks that were measured over a budget, or refused.
        drift: by device, how many times as long as predicted networks took when they were timed last.
    """

    limits: Limits
    scorer: Scorer
    chosen: Arch
    excluded: Set[Arch]
    drift: Mapping[str, float]

    @classmethod
    def of(cls, limits: Limits, scorer: Scorer, verified: VerifyRecord) -> Candidates:
        """Return what chooses the candidates of a run.

        Args:
            limits: its budgets.
            scorer: has the scores of its search.
            verified: its measured front.
        """
        excluded = {network.arch for network in verified.front if network.refused or _is_over(network)}
        return cls(limits, scorer, verified.chosen, excluded - {verified.chosen}, {})

    def corrected(self, timed: Collection[TimedNetwork]) -> Candidates:
        """Return what chooses again once candidates were timed: without those over a budget, by the device's speed now.

        A device may be slower, or faster, than in the session that predictions rest on. Candidates shall reach up to
        the budget as it is measured.
        """
        over = {network.arch for network in timed if not network.eligible}
        devices = [device for device in self.limits.predictors if self.limits.of_device(device).budgets]
        drift = {device: self._drift(device, timed) for device in devices}
        return replace(self, excluded=self.excluded | (over - {self.chosen}), drift=drift)

    def resembles(self, other: Candidates) -> bool:
        """Return whether another would choose the same candidates, but for latencies that repeat no better."""
        ratios = [self.drift[device] / other.drift.get(device, 1.0) for device in self.drift]
        return self.excluded == other.excluded and all(1 / REPEATS <= ratio <= REPEATS for ratio in ratios)

    def _drift(self, device: str, timed: Collection[TimedNetwork]) -> float:
        """Return the median ratio of measured to predicted shares of a device's budgets; that of before without any."""
        shares = {network.arch: network.latency[device].budget_share for network in timed if device in network.latency}
        measured = {arch: share for arch, share in shares.items() if share is not None}
        if not measured:
            return self.drift.get(device, 1.0)
        predicted = self.limits.of_device(device).greatest_share(list(measured))
        return float(np.median(np.array(list(measured.values())) / predicted))

    def choose(self, count: int) -> list[Arch]:
        """Return at most so many networks, those that need the smallest share of the budgets first.

        The one that `verify` chose is among them. Parts where the search scored few networks get others, drawn at
        random and scored now.
        """
        if count == 1:
            return [self.chosen]
        space, need = self.limits.space, partial(self.limits.greatest_share, drift=self.drift)
        sampled = space.decode(allowed(space, need, DRAWN, self.limits.seed))
        archs = list(dict.fromkeys([self.chosen, *self.scorer.scores, *sampled]))
        shares = need(archs)
        within = {
            arch: float(share)
            for arch, share in zip(archs, shares, strict=True)
            if arch == self.chosen or (share <= 1 and arch not in self.excluded)
        }
        parts = split_range(within, count)
        if not any(self.chosen in part for part in parts):
            parts = [[self.chosen], *split_range(within, count - 1)]
        best = [self._best(part) for part in parts]
        return sorted(best, key=within.__getitem__)

    def _best(self, part: list[Arch]) -> Arch:
        """Return the most accurate network of a part; that which `verify` chose is preferred, for it was measured."""
        if self.chosen in part:
            return self.chosen
        scored = [arch for arch in part if arch in self.scorer.scores]
        others = [arch for arch in part if arch not in self.scorer.scores]
        if (missing := LEAST_SCORED - len(scored)) > 0:
            # Of all sizes, since they were drawn in the order of their sizes.
            scored += others[:: max(1, len(others) // missing)][:missing]
        return scored[int(np.argmin(self.scorer.error(scored)))]


def split_range(shares: Mapping[Arch, float], count: int) -> list[list[Arch]]:
    """Return networks in equally wide parts of the range from `LEAST_NEED` on, without parts that have none.

    Args:
        shares: share of the budgets that each network needs.
        count: number of parts.
    """
    greatest = max(shares.values())
    near = {arch: share for arch, share in shares.items() if share >= LEAST_NEED * greatest}
    least = min(near.values())
    width = (greatest - least) / count or 1.0
    parts: list[list[Arch]] = [[] for _ in range(count)]
    for arch, share in near.items():
        parts[min(count - 1, int((share - least) / width))].append(arch)
    return [part for part in parts if part]


def _is_over(network: MeasuredNetwork) -> bool:
    """Return whether a network of the front was measured over a budget."""
    return any(latency.verdict == "over" for latency in network.latency.values())


def shelf_candidates(shelf: ShelfRecord | None, names: Iterable[str]) -> dict[Arch, dict[str, float]]:
    """Return the networks of the shelf that are fine-tuned, with their measured latency by device.

    These are every network at the largest resolution within the budgets, and at the one below; of too many, those of
    the first names, each at its largest resolution before any at a second one.

    Args:
        shelf: the shelf as it was timed, each network's smallest resolution first; None without one.
        names: names of the networks, the preferred one first.
    """
    timed: dict[str, list[TimedNetwork]] = {name: [] for name in names}
    for network in shelf.eligible if shelf else ():
        timed[network.arch.network].append(network)
    places = range(1, RESOLUTIONS + 1)
    ranked = [networks[-place] for place in places for networks in timed.values() if place <= len(networks)]
    kept = sorted(ranked[:SHELF_CANDIDATES], key=lambda network: network.arch)
    return {network.arch: {name: timed.p50_us for name, timed in network.latency.items()} for network in kept}


def most_on_shelf(networks: int) -> int:
    """Return how many candidates a shelf of so many networks has at most."""
    return min(SHELF_CANDIDATES, RESOLUTIONS * networks)


def fewer(archs: Sequence[Arch], most: int) -> list[Arch]:
    """Return at most so many candidates: about half are the largest of the shelf, the others spread over the space.

    Args:
        archs: candidates of the space, those that need the smallest share of the budgets first; then those of the
            shelf, each network's smallest resolution first.
        most: number of candidates, at least 1.
    """
    own, shelf = ([arch for arch in archs if bool(arch.network) == on_shelf] for on_shelf in (False, True))
    largest = list({arch.network: arch for arch in shelf}.values())
    ranked = [*largest, *(arch for arch in shelf if arch not in largest)]
    count = max(min(len(shelf), most // 2), most - len(own))
    chosen = {own[index] for index in spread(len(own), most - min(count, len(shelf)))} | set(ranked[:count])
    return [arch for arch in archs if arch in chosen]
