"""Notes and errors on whether a run's budgets can be met, given before anything costly runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import numpy.typing as npt

from edgenas.budget import Budget
from edgenas.errors import ConfigError
from edgenas.search.feasibility import Feasibility
from edgenas.search.objective_functions import Limit
from edgenas.space.space import Genes

BudgetValues = Callable[[Budget, Genes], npt.NDArray[np.float64]]
"""The values that a budget limits, in its unit, shape (n,), for canonical genes, shape (n, genes)."""


def as_limits(budgets: Sequence[Budget], values: BudgetValues) -> tuple[Limit, ...]:
    """Return budgets as limits of a search, each named by the budget's text."""
    return tuple(Limit(str(b), b.quantity.unit.name, partial(values, b), b.limit, of_genes=True) for b in budgets)


def require_feasible(feasibility: Feasibility, budgets: Sequence[Budget]) -> None:
    """Refuse budgets that no candidate is within.

    Raises:
        ConfigError: states the range of each budget that cannot be met, or the pair that clashes, and the nearest
            budgets that can be met.
    """
    if feasibility.feasible:
        return
    nearest = ", ".join(
        str(budget if limit == budget.limit else replace(budget, limit=_round_up(limit)))
        for budget, limit in zip(budgets, feasibility.nearest, strict=True)
    )
    raise ConfigError(f"{_problem(feasibility, budgets)}. The nearest that can be met: {nearest}")


def _problem(feasibility: Feasibility, budgets: Sequence[Budget]) -> str:
    impossible = [(b, reach) for b, reach in zip(budgets, feasibility.reaches, strict=True) if not reach.feasible]
    if impossible:
        return "; ".join(
            f"budget {b} cannot be met: the space reaches from {_rounded(b, reach.smallest)} to "
            f"{_rounded(b, reach.largest)}"
            for b, reach in impossible
        )
    if feasibility.clash:
        return f"budgets {' and '.join(feasibility.clash)} can be met one by one, but not together"
    return f"budgets {', '.join(map(str, budgets))} cannot be met together"


def feasibility_lines(feasibility: Feasibility, budgets: Sequence[Budget]) -> list[str]:
    """Return how much of the space is within each budget, a line each, and within all of several."""
    lines = [
        f"budget {_rounded(b, b.limit)}: {share_text(reach.share)} of the space is within it "
        f"(smallest {_rounded(b, reach.smallest)}, median {_rounded(b, reach.median)}, "
        f"largest {_rounded(b, reach.largest)})"
        for b, reach in zip(budgets, feasibility.reaches, strict=True)
    ]
    if len(lines) > 1:
        lines.append(f"all budgets: {share_text(feasibility.share)} of the space is within them")
    return lines


def share_text(share: float) -> str:
    """Return a share of the space in percent, as rough as the samples it is counted over."""
    return f"{share:.1%}" if share >= 0.001 else "less than 0.1%"


def _rounded(budget: Budget, limit: float) -> Budget:
    """Return the budget with another limit, of three digits."""
    return replace(budget, limit=float(f"{limit:.3g}"))


def _round_up(limit: float) -> float:
    """Return the limit in three digits, rounded up so that what meets it still does."""
    step = 10.0 ** (np.floor(np.log10(limit)) - 2)
    return float(f"{np.ceil(limit / step * (1 - 1e-12)) * step:.3g}")
