"""From how many budgets on a supernet, which serves them all, costs less than training for each of them alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

SHOWN = (1, 2, 3, 5, 10, 20)
"""Numbers of budgets that a table tells of."""


@dataclass(frozen=True)
class Costs:
    """Seconds of either way.

    Attributes:
        once: of the supernet, whatever it is asked for.
        per_budget: of each budget's search and fine-tuning.
        alone: of each budget without a supernet.
    """

    once: float
    per_budget: float
    alone: float

    def shared_seconds(self, budgets: int) -> float:
        """With a supernet."""
        return self.once + budgets * self.per_budget

    def alone_seconds(self, budgets: int) -> float:
        """Without one."""
        return budgets * self.alone

    @property
    def crossover(self) -> int | None:
        """Least number of budgets at which the supernet costs no more; None where it never does.

        once + n * per_budget <= n * alone, solved for n.
        """
        saved = self.alone - self.per_budget
        if saved <= 0:
            return None
        budgets = max(1, math.ceil(self.once / saved))
        # A quotient that is a whole number may have been rounded up or down.
        while budgets > 1 and self.shared_seconds(budgets - 1) <= self.alone_seconds(budgets - 1):
            budgets -= 1
        while self.shared_seconds(budgets) > self.alone_seconds(budgets):
            budgets += 1
        return budgets

    def to_json(self, shown: Sequence[int] = SHOWN) -> dict[str, Any]:
        """The figures, a table of some numbers of budgets, and the crossover."""
        rows = [
            {"budgets": n, "shared_seconds": self.shared_seconds(n), "alone_seconds": self.alone_seconds(n)}
            for n in sorted({*shown, *([self.crossover] if self.crossover else [])})
        ]
        said = {"once_seconds": self.once, "per_budget_seconds": self.per_budget, "alone_seconds": self.alone}
        return {**said, "crossover_budgets": self.crossover, "table": rows}
