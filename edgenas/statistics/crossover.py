"""Number of budgets from which one supernet takes less time than a standalone training for each budget."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgenas.records.baselines import BudgetsCost, CrossoverRecord, CrossoverVerdict

SHOWN = (1, 2, 3, 5, 10, 20)
"""Numbers of budgets in the table."""


@dataclass(frozen=True)
class Crossover:
    """Number of budgets from which a supernet takes less time than standalone trainings.

    Attributes:
        verdict: `pays`, `never`, or `unknown`.
        budgets: bounds of the number of budgets if the verdict is `pays`, else None.
        reason: reason of the verdict `unknown`, else None.
    """

    verdict: CrossoverVerdict
    budgets: tuple[int, int] | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Costs:
    """Seconds for several budgets with one supernet, and with a standalone training for each budget.

    Attributes:
        once: seconds of profiling and of training the supernet, for any number of budgets.
        per_budget: seconds of search, verification, fine-tuning and export for each budget.
        standalone: seconds of training and exporting one network for a budget, without a supernet.
        standalone_range: `standalone` for the fastest and for the slowest timing of a training step; None if there is
            only one timing.
        unknown: reason why the costs of several budgets are unknown; None if they are known.
        one_budget: whether the supernet serves a single budget.
    """

    once: float
    per_budget: float
    standalone: float
    standalone_range: tuple[float, float] | None = None
    unknown: str | None = None
    one_budget: bool = False

    def shared_seconds(self, budgets: int) -> float:
        """Return the seconds for a number of budgets with a supernet."""
        return self.once + budgets * self.per_budget

    def standalone_seconds(self, budgets: int) -> float:
        """Return the seconds for a number of budgets without a supernet."""
        return budgets * self.standalone

    @property
    def crossover(self) -> Crossover:
        """Return the range of the number of budgets from which the supernet takes no more time."""
        if self.unknown is not None:
            return Crossover("unknown", reason=self.unknown)
        if self.standalone_range is None:
            return Crossover("unknown", reason="a training step was timed only once, so its spread is unknown")
        low, high = self.standalone_range
        if high <= self.per_budget:
            return Crossover("never")
        if low <= self.per_budget:
            return Crossover("unknown", reason="the saving of a budget is less than the spread of step times")
        return Crossover("pays", (self._min_budgets(high), self._min_budgets(low)))

    def _min_budgets(self, standalone: float) -> int:
        """Return the smallest n with once + n * per_budget <= n * standalone, where standalone > per_budget."""
        budgets = max(1, math.ceil(self.once / (standalone - self.per_budget)))
        # The quotient is subject to rounding errors, so its neighbours are checked.
        while budgets > 1 and self.shared_seconds(budgets - 1) <= (budgets - 1) * standalone:
            budgets -= 1
        while self.shared_seconds(budgets) > budgets * standalone:
            budgets += 1
        return budgets

    def record(self, charged_seconds: Mapping[str, float], shown: Sequence[int] = SHOWN) -> CrossoverRecord:
        """Return the figures, the crossover, and a table for several numbers of budgets.

        Args:
            charged_seconds: seconds of the stages that the figures include.
            shown: numbers of budgets in the table, which has only 1 if the supernet serves a single budget.
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
