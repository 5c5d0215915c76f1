"""Whether limits can be met, estimated from samples of the space before anything costly runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

from edgenas.errors import ConfigError
from edgenas.search.objective_functions import Limit, check_limits
from edgenas.search.strategies.protocol import Floats, Genes, Repair
from edgenas.search.strategies.variation import changed
from edgenas.space.covering_samples import leaning

SAMPLES = 2000
ROUNDS = 40
"""Rounds of each descent: towards the smallest value of each limit, and towards the smallest violation."""
SURVIVORS = 20
"""Candidates that each round of a descent continues from."""
CHILDREN = 10
"""Changes of one gene that a round tries on each survivor."""


@dataclass(frozen=True)
class Reach:
    """The values that a space offers for one limit.

    Attributes:
        limit: the limit.
        smallest: of all candidates, those of the descents included.
        median: of the samples.
        largest: of all candidates.
        share: share of the samples that are within this limit alone.
    """

    limit: Limit
    smallest: float
    median: float
    largest: float
    share: float

    @property
    def feasible(self) -> bool:
        """Whether any candidate is within this limit alone."""
        return self.smallest <= self.limit.limit


@dataclass(frozen=True)
class Feasibility:
    """What a space offers for all limits at once.

    Attributes:
        reaches: one for each limit, in their order.
        share: share of the samples that are within every limit.
        feasible: whether any candidate is within every limit.
        nearest: the nearest limits that some candidate meets, in order; the given ones if feasible.
        clash: names of two limits that can be met one by one, but were not met together; None if no pair clashes.
    """

    reaches: tuple[Reach, ...]
    share: float
    feasible: bool
    nearest: tuple[float, ...]
    clash: tuple[str, str] | None


def find_feasibility(
    n_choices: npt.ArrayLike,
    limits: Sequence[Limit],
    *,
    repair: Repair | None = None,
    seed: int,
    samples: int = SAMPLES,
) -> Feasibility:
    """Estimate what a space offers for limits, from random samples and from descents that start at the best of these.

    Shares and medians are of genes drawn uniformly, as a search begins with. A descent changes one gene at a time, so
    `smallest` and `feasible` are estimates; where each gene's effect has one sign, as on sums over blocks, a descent
    ends at the smallest value.

    Args:
        n_choices: number of choices of each gene, shape (genes,).
        limits: at least one, of distinct names, each a function of genes.
        repair: genes to their canonical form.
        seed: seed of all randomness.
        samples: number of random candidates.

    Raises:
        ConfigError: no limit, two of one name, a limit that is not above 0, or no samples.
    """
    check_limits(limits)
    if not limits:
        raise ConfigError("expected at least one limit, got none")
    if samples < 1:
        raise ConfigError(f"samples: expected at least 1, got {samples}")
    candidates = _Candidates(np.asarray(n_choices, dtype=np.int64), limits, repair, np.random.default_rng(seed))
    uniform = candidates.add_samples(samples)
    for column in range(len(limits)):
        candidates.descend(lambda values, column=column: values[:, column])  # type: ignore[misc]
    candidates.descend(candidates.excess)
    return _summarise(limits, candidates, uniform)


def _summarise(limits: Sequence[Limit], candidates: _Candidates, uniform: Floats) -> Feasibility:
    within, values = uniform <= candidates.limits, candidates.values
    feasible = bool((values <= candidates.limits).all(axis=1).any())
    nearest = np.maximum(values[candidates.excess(values).argmin()], candidates.limits)
    return Feasibility(
        reaches=tuple(
            Reach(limit, float(every.min()), float(np.median(drawn)), float(every.max()), float(met.mean()))
            for limit, every, drawn, met in zip(limits, values.T, uniform.T, within.T, strict=True)
        ),
        share=float(within.all(axis=1).mean()),
        feasible=feasible,
        nearest=tuple((candidates.limits if feasible else nearest).tolist()),
        clash=None if feasible else candidates.clash(),
    )


class _Candidates:
    """Genes that were evaluated, shape (n, genes), and their values, shape (n, limits)."""

    def __init__(
        self, n_choices: Genes, limits: Sequence[Limit], repair: Repair | None, rng: np.random.Generator
    ) -> None:
        self.limits = np.array([limit.limit for limit in limits])
        self.values = np.empty((0, len(limits)))
        self._genes = np.empty((0, len(n_choices)), dtype=np.int64)
        self._n_choices, self._limits, self._repair, self._rng = n_choices, limits, repair, rng

    def add_samples(self, count: int) -> Floats:
        """Evaluate random genes and both extremes; return the values of uniform draws, shape (count, limits)."""
        uniform = self._add(self._rng.integers(0, self._n_choices, size=(count, len(self._n_choices))))
        self._add(leaning(self._rng, self._n_choices, self._rng.random(count)))
        self._add(np.stack([np.zeros_like(self._n_choices), self._n_choices - 1]))
        return uniform

    def _add(self, genes: Genes) -> Floats:
        canonical = genes if self._repair is None else self._repair(genes)
        values = np.column_stack([limit.function(canonical) for limit in self._limits]).astype(np.float64)
        self._genes, self.values = np.vstack([self._genes, canonical]), np.vstack([self.values, values])
        return values

    def excess(self, values: Floats) -> Floats:
        """Return the sum of relative excesses over the limits, shape (n,)."""
        excess: Floats = np.maximum(values / self.limits - 1, 0).sum(axis=1)
        return excess

    def descend(self, score: Callable[[Floats], Floats]) -> None:
        """Evaluate changes of one gene of the best candidates, and repeat from the best of all."""
        for _ in range(ROUNDS):
            self._add(self._mutate(np.repeat(self._best(score), CHILDREN, axis=0)))

    def _best(self, score: Callable[[Floats], Floats]) -> Genes:
        """Return the best distinct candidates, `SURVIVORS` at most."""
        order = np.argsort(score(self.values), kind="stable")[: SURVIVORS * CHILDREN]
        distinct, first = np.unique(self._genes[order], axis=0, return_index=True)
        best: Genes = distinct[np.argsort(first)][:SURVIVORS]
        return best

    def _mutate(self, genes: Genes) -> Genes:
        children, rows = genes.copy(), np.arange(len(genes))
        columns = self._rng.integers(0, len(self._n_choices), size=len(genes))
        children[rows, columns] = changed(self._rng, self._n_choices[columns], genes[rows, columns])
        return children

    def clash(self) -> tuple[str, str] | None:
        """Return the pair with the largest excess, of the pairs that are met one by one but not together."""
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
        return self._limits[worst[0]].name, self._limits[worst[1]].name
