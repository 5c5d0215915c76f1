"""Whether a run's budgets can be met, in words: told as soon as latencies are known, and before anything costs time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from edgenas.budget import Budget
from edgenas.errors import ConfigError
from edgenas.search import feasibility as search
from edgenas.space.space import Genes, SearchSpace

Quantity = Callable[[Budget, Genes], npt.NDArray[np.float64]]
"""What canonical genes, shape (n, genes), need of a budget, in its unit, shape (n,)."""


def look(space: SearchSpace, budgets: Sequence[Budget], quantity: Quantity, seed: int) -> search.Feasibility:
    """What a space offers for budgets, of which there is at least one."""
    wanted = [search.Budget(str(b), b.unit, partial(quantity, b), b.limit) for b in budgets]
    return search.feasibility(space.n_choices, wanted, repair=space.canonical, seed=seed)


def check(found: search.Feasibility, budgets: Sequence[Budget]) -> None:
    """Refuse budgets that nothing was found within.

    Raises:
        ConfigError: the range of what cannot be met, or the pair that clashes, and the nearest that can be met.
    """
    if found.feasible:
        return
    nearest = ", ".join(_at(budget, limit, up=True) for budget, limit in zip(budgets, found.nearest, strict=True))
    impossible = [(b, reach) for b, reach in zip(budgets, found.reaches, strict=True) if not reach.feasible]
    if impossible:
        said = "; ".join(
            f"budget {b} cannot be met: the space reaches from {_at(b, reach.smallest)} to {_at(b, reach.largest)}"
            for b, reach in impossible
        )
    elif found.clash:
        said = f"budgets {found.clash[0]} and {found.clash[1]} can be met one by one, but not together"
    else:
        said = f"budgets {', '.join(map(str, budgets))} cannot be met together"
    raise ConfigError(f"{said}. The nearest that can be met: {nearest}")


def told(found: search.Feasibility, budgets: Sequence[Budget]) -> list[str]:
    """How much of the space is within each budget, a line each, and within all of several."""
    lines = [
        f"budget {b}: {share_text(reach.share)} of the space is within it (smallest {_at(b, reach.smallest)}, "
        f"median {_at(b, reach.median)}, largest {_at(b, reach.largest)})"
        for b, reach in zip(budgets, found.reaches, strict=True)
    ]
    return lines + [f"all budgets: {share_text(found.share)} of the space is within them"] * (len(lines) > 1)


def to_json(found: search.Feasibility) -> dict[str, Any]:
    """As it stands in a search's result; values in the budgets' units, in their order."""
    keys = ("smallest", "median", "largest", "share")
    return {"share": found.share, "budgets": [{key: getattr(reach, key) for key in keys} for reach in found.reaches]}


def share_text(share: float) -> str:
    """A share of the space in percent, as rough as the samples it is counted over."""
    return f"{share:.1%}" if share >= 0.001 else "less than 0.1%"


def _at(budget: Budget, limit: float, up: bool = False) -> str:
    """The budget with another limit, of three digits; rounded up where it must be enough."""
    digits = float(f"{limit:.3g}")
    if up and limit != budget.limit:
        step = 10.0 ** (np.floor(np.log10(limit)) - 2)
        digits = float(f"{np.ceil(limit / step * (1 - 1e-12)) * step:.3g}")
    return str(budget.model_copy(update={"limit": budget.limit if up and limit == budget.limit else digits}))
