"""From how many budgets on a supernet, which serves them all, costs less than training for each of them alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

SHOWN = (1, 2, 3, 5, 10, 20)
"""Numbers of budgets in the table."""


@dataclass(frozen=True)
class Crossover:
    """From how many budgets on a supernet pays.

    Attributes:
        verdict: `pays`, `never`, or `unknown`.
        budgets: least and greatest number of budgets from which it pays, where it does.
        reason: why it is unknown.
    """

    verdict: str
    budgets: tuple[int, int] | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Costs:
    """Seconds of either way.

    Attributes:
        once: profiling and training of the supernet, whatever the number of budgets.
        per_budget: search, verification, fine-tuning and export for each budget.
        alone: training and export of one network for each budget, without a supernet.
        alone_range: the same by the fastest and the slowest timing of a training step; None where there is only one.
        unknown: why nothing can be said of several budgets; None where something can.
        one_budget: whether the supernet serves a single budget.
    """

    once: float
    per_budget: float
    alone: float
    alone_range: tuple[float, float] | None = None
    unknown: str | None = None
    one_budget: bool = False

    def shared_seconds(self, budgets: int) -> float:
        """Return the cost of so many budgets with a supernet."""
        return self.once + budgets * self.per_budget

    def alone_seconds(self, budgets: int) -> float:
        """Return the cost of so many budgets without one."""
        return budgets * self.alone

    @property
    def crossover(self) -> Crossover:
        """Return from how many budgets on the supernet costs no more: a range, as step times have one."""
        if self.unknown is not None:
            return Crossover("unknown", reason=self.unknown)
        if self.alone_range is None:
            return Crossover("unknown", reason="a training step was timed only once, so its spread is not known")
        low, high = self.alone_range
        if high <= self.per_budget:
            return Crossover("never")
        if low <= self.per_budget:
            return Crossover("unknown", reason="what a budget saves is less than the spread of step times")
        return Crossover("pays", (self._paid_from(high), self._paid_from(low)))

    def _paid_from(self, alone: float) -> int:
        """Return the least n with once + n * per_budget <= n * alone, which is above per_budget."""
        budgets = max(1, math.ceil(self.once / (alone - self.per_budget)))
        # A quotient that is a whole number may have been rounded up or down.
        while budgets > 1 and self.shared_seconds(budgets - 1) <= (budgets - 1) * alone:
            budgets -= 1
        while self.shared_seconds(budgets) > budgets * alone:
            budgets += 1
        return budgets

    def to_json(self, shown: Sequence[int] = SHOWN) -> dict[str, Any]:
        """Return the figures, a table of some numbers of budgets (one, if it serves one), and the crossover."""
        found = self.crossover
        numbers = {1} if self.one_budget else {*shown, *(found.budgets or ())}
        return {
            "once_seconds": self.once,
            "per_budget_seconds": self.per_budget,
            "alone_seconds": self.alone,
            "alone_range_seconds": None if self.alone_range is None else list(self.alone_range),
            "verdict": found.verdict,
            "budgets": None if found.budgets is None else list(found.budgets),
            "reason": found.reason,
            "table": [
                {"budgets": n, "shared_seconds": self.shared_seconds(n), "alone_seconds": self.alone_seconds(n)}
                for n in sorted(numbers)
            ],
        }
