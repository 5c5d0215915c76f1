"""From how many budgets on one supernet costs less than a standalone training for each of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgenas.records.baselines import BudgetsCost, CrossoverRecord, CrossoverVerdict

SHOWN = (1, 2, 3, 5, 10, 20)
"""Numbers of budgets in the table."""


@dataclass(frozen=True)
class Crossover:
    """The number of budgets from which a supernet pays.

    Attributes:
        verdict: `pays`, `never`, or `unknown`.
        budgets: bounds of that number, if it pays.
        reason: why it is unknown.
    """

    verdict: CrossoverVerdict
    budgets: tuple[int, int] | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Costs:
    """Seconds of one supernet for all budgets, and of a standalone training for each.

    Attributes:
        once: profiling and training of the supernet, for any number of budgets.
        per_budget: search, verification, fine-tuning and export for each budget.
        standalone: training and export of one network for a budget, without a supernet.
        standalone_range: the same by the fastest and the slowest timing of a training step; None if there is only one.
        unknown: why the costs of several budgets are unknown; None if they are known.
        one_budget: whether the supernet serves a single budget.
    """

    once: float
    per_budget: float
    standalone: float
    standalone_range: tuple[float, float] | None = None
    unknown: str | None = None
    one_budget: bool = False

    def shared_seconds(self, budgets: int) -> float:
        """Return the cost of so many budgets with a supernet."""
        return self.once + budgets * self.per_budget

    def standalone_seconds(self, budgets: int) -> float:
        """Return the cost of so many budgets without one."""
        return budgets * self.standalone

    @property
    def crossover(self) -> Crossover:
        """Return from how many budgets on the supernet costs no more: a range, as step times have one."""
        if self.unknown is not None:
            return Crossover("unknown", reason=self.unknown)
        if self.standalone_range is None:
            return Crossover("unknown", reason="a training step was timed only once, so its spread is unknown")
        low, high = self.standalone_range
        if high <= self.per_budget:
            return Crossover("never")
        if low <= self.per_budget:
            return Crossover("unknown", reason="the saving of a budget is less than the spread of step times")
        return Crossover("pays", (self._paid_from(high), self._paid_from(low)))

    def _paid_from(self, standalone: float) -> int:
        """Return the least n with once + n * per_budget <= n * standalone, which is above per_budget."""
        budgets = max(1, math.ceil(self.once / (standalone - self.per_budget)))
        # A quotient that is a whole number may have been rounded up or down.
        while budgets > 1 and self.shared_seconds(budgets - 1) <= (budgets - 1) * standalone:
            budgets -= 1
        while self.shared_seconds(budgets) > budgets * standalone:
            budgets += 1
        return budgets

    def record(self, charged_seconds: Mapping[str, float], shown: Sequence[int] = SHOWN) -> CrossoverRecord:
        """Return the figures, a table of some numbers of budgets (one, if it serves one), and the crossover.

        Args:
            charged_seconds: seconds of stages that the figures include.
            shown: numbers of budgets in the table.
        """
        crossover = self.crossover
        numbers = {1} if self.one_budget else {*shown, *(crossover.budgets or ())}
        return CrossoverRecord(
            once_seconds=self.once,
            per_budget_seconds=self.per_budget,
            standalone_seconds=self.standalone,
            standalone_range_seconds=self.standalone_range,
            charged_seconds=dict(charged_seconds),
            verdict=crossover.verdict,
            budgets=crossover.budgets,
            reason=crossover.reason,
            table=tuple(
                BudgetsCost(
                    budgets=number,
                    shared_seconds=self.shared_seconds(number),
                    standalone_seconds=self.standalone_seconds(number),
                )
                for number in sorted(numbers)
            ),
        )
