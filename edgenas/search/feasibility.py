"""Whether budgets can be met at all, told from samples of the space before anything costs time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

from edgenas.errors import ConfigError
from edgenas.search.strategies.protocol import Floats, Genes, Repair
from edgenas.search.strategies.variation import changed
from edgenas.space.covering_samples import leaning

SAMPLES = 2000
ROUNDS = 40
"""Of each descent, towards the smallest value of a budget and towards the smallest violation."""
KEPT = 20
"""Candidates that each round of descent goes on from."""
CHILDREN = 10
"""Changes of one gene tried on each of them."""


@dataclass(frozen=True)
class Budget:
    """An upper limit on a quantity that costs next to nothing to compute."""

    name: str
    """E.g. `pi4`, `weight_bytes`."""
    unit: str
    function: Callable[[Genes], Floats]
    """Canonical genes, shape (n, genes), to values, shape (n,), in `unit`."""
    limit: float


@dataclass(frozen=True)
class Reach:
    """What the space offers for one budget."""

    budget: Budget
    smallest: float
    """Of all that were looked at, a descent towards small values included."""
    median: float
    """Of the samples."""
    largest: float
    """Of all that were looked at."""
    share: float
    """Of the samples, those within this budget alone."""

    @property
    def feasible(self) -> bool:
        """Whether anything is within this budget alone."""
        return self.smallest <= self.budget.limit

    def __str__(self) -> str:
        unit, limit = self.budget.unit, self.budget.limit
        reach = f"smallest {self.smallest:.4g}, median {self.median:.4g}, largest {self.largest:.4g} {unit}"
        return f"{self.budget.name} <= {limit:.4g} {unit}: {self.share:.1%} of the space within it ({reach})"


@dataclass(frozen=True)
class Feasibility:
    """What the space offers for all budgets at once."""

    reaches: tuple[Reach, ...]
    share: float
    """Of the samples, those within every budget."""
    feasible: bool
    """Whether anything within every budget was found, among samples or by descent."""
    nearest: tuple[float, ...]
    """Limits, in the budgets' order, of the nearest set that something meets; the budgets' own if feasible."""
    clash: tuple[str, str] | None
    """Two budgets that can be met one by one, but were not met together; None if there is no such pair."""

    def __str__(self) -> str:
        lines = [str(reach) for reach in self.reaches]
        if self.feasible:
            return "\n".join([*lines, f"{self.share:.1%} of the space is within all of them"])
        impossible = [reach.budget.name for reach in self.reaches if not reach.feasible]
        if impossible:
            lines.append(f"nothing found is within {' or '.join(impossible)}")
        elif self.clash:
            lines.append(f"nothing found is within both {self.clash[0]} and {self.clash[1]}")
        else:
            lines.append("nothing found is within all of them")
        near = [f"{r.budget.name} <= {x:.4g} {r.budget.unit}" for r, x in zip(self.reaches, self.nearest, strict=True)]
        return "\n".join([*lines, f"the nearest that can be met: {', '.join(near)}"])


def feasibility(
    n_choices: npt.ArrayLike,
    budgets: Sequence[Budget],
    *,
    repair: Repair | None = None,
    seed: int,
    samples: int = SAMPLES,
) -> Feasibility:
    """What a space offers for budgets, from random samples of it and descents from the best of these.

    Shares and medians are of genes drawn uniformly, as a search begins with. A descent changes one gene at a
    time, so `smallest` and `feasible` are found, not proven; where each gene's effect has one sign, as it has on
    sums of blocks, it ends at the smallest.

    Args:
        n_choices: number of choices of each gene, shape (genes,).
        budgets: none of one name.
        repair: genes to their canonical form.
        seed: of all randomness.
        samples: random candidates looked at.

    Raises:
        ConfigError: no budget, two of one name, a limit that is not above 0, or no samples.
    """
    _check(budgets, samples)
    look = _Look(np.asarray(n_choices, dtype=np.int64), budgets, repair, np.random.default_rng(seed))
    uniform = look.at(look.rng.integers(0, look.n_choices, size=(samples, len(look.n_choices))))
    look.at(leaning(look.rng, look.n_choices, look.rng.random(samples)))
    look.at(np.stack([np.zeros_like(look.n_choices), look.n_choices - 1]))
    for column in range(len(budgets)):
        look.descend(lambda values, column=column: values[:, column])  # type: ignore[misc]
    look.descend(look.excess)
    within = uniform <= look.limits
    everything = look.values
    feasible = bool((everything <= look.limits).all(axis=1).any())
    nearest = everything[look.excess(everything).argmin()]
    return Feasibility(
        reaches=tuple(
            Reach(budget, float(seen.min()), float(np.median(drawn)), float(seen.max()), float(met.mean()))
            for budget, seen, drawn, met in zip(budgets, everything.T, uniform.T, within.T, strict=True)
        ),
        share=float(within.all(axis=1).mean()),
        feasible=feasible,
        nearest=tuple(look.limits.tolist() if feasible else np.maximum(nearest, look.limits).tolist()),
        clash=None if feasible else look.clash(),
    )


class _Look:
    """Candidates looked at, and their values."""

    def __init__(
        self, n_choices: Genes, budgets: Sequence[Budget], repair: Repair | None, rng: np.random.Generator
    ) -> None:
        self.n_choices, self.rng = n_choices, rng
        self.limits = np.array([budget.limit for budget in budgets])
        self._budgets, self._repair = budgets, repair
        self._genes = np.empty((0, len(n_choices)), dtype=np.int64)
        self.values = np.empty((0, len(budgets)))

    def at(self, genes: Genes) -> Floats:
        """Values of genes, shape (n, budgets); kept."""
        canonical = genes if self._repair is None else self._repair(genes)
        values = np.column_stack([budget.function(canonical) for budget in self._budgets]).astype(np.float64)
        self._genes, self.values = np.vstack([self._genes, canonical]), np.vstack([self.values, values])
        return values

    def excess(self, values: Floats) -> Floats:
        """Sum of relative excesses over the limits, shape (n,)."""
        excess: Floats = np.maximum(values / self.limits - 1, 0).sum(axis=1)
        return excess

    def descend(self, score: Callable[[Floats], Floats]) -> None:
        """Look at changes of one gene of the best, and on from these."""
        for _ in range(ROUNDS):
            self.at(self._changed(np.repeat(self._best(score), CHILDREN, axis=0)))

    def _best(self, score: Callable[[Floats], Floats]) -> Genes:
        """The `KEPT` best distinct candidates."""
        order = np.argsort(score(self.values), kind="stable")[: KEPT * CHILDREN]
        distinct, first = np.unique(self._genes[order], axis=0, return_index=True)
        best: Genes = distinct[np.argsort(first)][:KEPT]
        return best

    def _changed(self, genes: Genes) -> Genes:
        children, rows = genes.copy(), np.arange(len(genes))
        columns = self.rng.integers(0, len(self.n_choices), size=len(genes))
        children[rows, columns] = changed(self.rng, self.n_choices[columns], genes[rows, columns])
        return children

    def clash(self) -> tuple[str, str] | None:
        """Of the pairs that are met one by one but not together, that with the largest excess."""
        met = np.any(self.values <= self.limits, axis=0)
        excess = np.maximum(self.values / self.limits - 1, 0)
        pairs = {
            (a, b): float((excess[:, a] + excess[:, b]).min())
            for a, b in combinations(range(len(self.limits)), 2)
            if met[a] and met[b]
        }
        worst = max(pairs, key=lambda pair: pairs[pair], default=None)
        if worst is None or pairs[worst] <= 0:
            return None
        return self._budgets[worst[0]].name, self._budgets[worst[1]].name


def _check(budgets: Sequence[Budget], samples: int) -> None:
    names = [budget.name for budget in budgets]
    if not budgets:
        raise ConfigError("wanted at least one budget, got none")
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ConfigError(f"wanted each budget once, got {', '.join(repeated)} more than once")
    for budget in budgets:
        if not budget.limit > 0:
            raise ConfigError(f"budget {budget.name}: wanted a limit above 0 {budget.unit}, got {budget.limit}")
    if samples < 1:
        raise ConfigError(f"samples: wanted at least 1, got {samples}")
