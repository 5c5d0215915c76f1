"""The judgement of a measured front: which networks are dropped and why, and the order in which others are tried.

Networks over a budget are dropped and named. The first candidate is the chosen one; `export` times the file that it
ships again, in processes that chose nothing, and tries the next candidate where that file is not within the budgets.
Otherwise the network with the most favourable noise would be chosen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from edgenas.budget import Budget
from edgenas.config.sections import SearchConfig
from edgenas.errors import InfeasibleError
from edgenas.objective import Objective
from edgenas.quantities import ERROR, LATENCY
from edgenas.search.front import non_dominated
from edgenas.space.arch import Arch
from edgenas.stages.front.candidate import Candidate
from edgenas.stages.front.choice import choose


@dataclass(frozen=True)
class MeasuredFront:
    """The measured networks of a front, and what they are judged by.

    Attributes:
        candidates: the networks, refused ones as well.
        objectives: objectives of the search, those that are scored first.
        budgets: budgets, resolved to devices.
        max_drop: greatest drop of top-1 in int8 that is allowed.
    """

    candidates: tuple[Candidate, ...]
    objectives: tuple[Objective, ...]
    budgets: tuple[Budget, ...]
    max_drop: float

    @cached_property
    def accepted(self) -> tuple[Candidate, ...]:
        """The networks that were not refused. Others neither affect the choice nor cause refits."""
        return tuple(candidate for candidate in self.candidates if candidate.files.refused is None)

    @property
    def devices(self) -> tuple[str, ...]:
        """The devices that the networks were measured on."""
        return tuple(self.accepted[0].measured)

    @property
    def missed(self) -> bool:
        """Whether an accepted network is over a budget, or none is within all of them."""
        verdicts = {candidate.verdict(self.budgets) for candidate in self.accepted}
        return "over" in verdicts or not {"within", None} & verdicts

    @property
    def all_over(self) -> bool:
        """Whether every accepted network is over a budget."""
        return all(candidate.verdict(self.budgets) == "over" for candidate in self.accepted)

    @cached_property
    def dropped(self) -> dict[Arch, str]:
        """The reasons why networks are dropped, by architecture."""
        reasons = {c.arch: reason for c in self.candidates if (reason := self._reason(c)) is not None}
        kept = [candidate for candidate in self.candidates if candidate.arch not in reasons]
        # Only networks within the budgets dominate others: an infeasible one would leave nothing to choose.
        within = [candidate for candidate in kept if candidate.verdict(self.budgets) in ("within", None)]
        best = {network.arch for candidate in kept for network in self._non_dominated([*within, candidate])}
        return reasons | {candidate.arch: self._dominated for candidate in kept if candidate.arch not in best}

    def ordered(self, config: SearchConfig) -> list[Candidate]:
        """Return the candidates in the order in which they are tried: each is the best of those that are left.

        Networks within every budget come first, then those that only the median is within.

        Args:
            config: states the rule of the choice.

        Raises:
            InfeasibleError: every network is dropped.
        """
        points = [candidate.point(self.objectives) for candidate in self.accepted]
        ordered = []
        for group in (("within", None), ("not significant",)):
            left = [c.arch not in self.dropped and c.verdict(self.budgets) in group for c in self.accepted]
            while any(left):
                index = choose(config, self.objectives, points, left)
                ordered.append(self.accepted[index])
                left[index] = False
        if not ordered:
            raise InfeasibleError(self._none_eligible())
        return ordered

    def _reason(self, candidate: Candidate) -> str | None:
        """Return why a network is dropped by itself; None where it is not."""
        files = candidate.files
        if files.refused is not None:
            return files.refused
        # The accuracy drop is free of timing noise, so it is the reason given where both apply.
        if files.int8 and (refusal := files.int8.refusal(self.max_drop)):
            return refusal
        missed = candidate.missed(self.budgets)
        return "over budget: " + "; ".join(missed) if missed else None

    def _non_dominated(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        points = [candidate.point(self.objectives) for candidate in candidates]
        return [candidates[index] for index in non_dominated(points)]

    @property
    def _dominated(self) -> str:
        if {objective.quantity for objective in self.objectives} == {ERROR, LATENCY}:
            return "another is as accurate and faster"
        return "another is better in every objective that they differ in"

    def _none_eligible(self) -> str:
        reasons = "\n".join(f"  {candidate.arch}: {self.dropped[candidate.arch]}" for candidate in self.candidates)
        return (
            f"none of the {len(self.candidates)} measured networks is eligible:\n{reasons}\n"
            "Start a run with a looser budget (or, where int8 loses too much, a greater export.max_drop), or measure "
            "again on a quieter machine: `edgenas verify` does."
        )
