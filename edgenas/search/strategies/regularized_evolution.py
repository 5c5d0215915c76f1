"""Regularised (ageing) evolution.

Real et al., "Regularized Evolution for Image Classifier Architecture Search", AAAI 2019 (arXiv 1802.01548).
"""

from __future__ import annotations

from collections import deque

import numpy as np

from edgenas.search.strategies.protocol import Floats, Genes, GenesFunction, Repair, Strategy

SAMPLE_SHARE = 0.25
"""Share of the population that competes for each child; the paper's best: 25 of 100."""


class RegularizedEvolutionStrategy(Strategy):
    """The published algorithm: random candidates fill the population, then each cycle evaluates one child.

    A cycle draws a sample of the population with replacement. Its best member has one child, by one changed gene. The
    child is evaluated and joins, and the oldest member leaves, however good it is. So all but the first population is
    evaluated one candidate at a time, and several `search.workers` have no effect.

    The paper minimises one objective. With several, each competition has new weights from a uniform Dirichlet
    distribution, on objectives scaled to the sample's range; so winners spread along the front. Without any feasible
    candidate, the least infeasible ones compete.
    """

    def __init__(
        self,
        n_choices: Genes,
        *,
        seed: int,
        population: int,
        initial: Genes | None = None,
        repair: Repair | None = None,
        exact: GenesFunction | None = None,
    ) -> None:
        self._n_choices = n_choices
        self._free = np.flatnonzero(n_choices > 1)
        self._rng = np.random.default_rng(seed)
        self._alive: deque[tuple[Genes, Floats]] = deque(maxlen=population)
        self._infeasible: deque[tuple[Genes, Floats]] = deque(maxlen=population)
        self._sample = max(2, round(SAMPLE_SHARE * population))

    def batch_size(self, population: int) -> int:
        """Return the missing members of the population, and 1 once it is full."""
        return max(1, population - len(self._alive))

    def ask(self, count: int) -> Genes:
        """Propose random genes until the population is full, then children; shape (count, genes)."""
        members = self._alive or self._infeasible
        if len(members) < (members.maxlen or 0):
            return self._rng.integers(0, self._n_choices, size=(count, len(self._n_choices)))
        genes = np.stack([row for row, _ in members])
        values = np.stack([value for _, value in members])
        parents = genes[[self._winner(values) for _ in range(count)]]
        return self._mutated(parents)

    def tell(self, genes: Genes, objectives: Floats, violations: Floats) -> None:
        """Add evaluated candidates; the oldest members leave."""
        self._alive.extend(zip(genes, objectives, strict=True))

    def reject(self, genes: Genes, violations: Floats) -> None:
        """Add infeasible candidates, which compete only while there is no feasible one."""
        if not self._alive:
            totals = np.maximum(violations, 0).sum(axis=1, keepdims=True)
            self._infeasible.extend(zip(genes, totals, strict=True))

    def _winner(self, values: Floats) -> int:
        drawn = self._rng.integers(0, len(values), size=self._sample)
        competing = values[drawn]
        span = np.ptp(competing, axis=0)
        scaled = (competing - competing.min(axis=0)) / np.where(span > 0, span, 1.0)
        weights = self._rng.dirichlet(np.ones(values.shape[1]))
        return int(drawn[(scaled @ weights).argmin()])

    def _mutated(self, parents: Genes) -> Genes:
        """Return parents with one gene each changed to any other choice, as in the paper."""
        children, rows = parents.copy(), np.arange(len(parents))
        if not len(self._free):
            return children
        columns = self._free[self._rng.integers(0, len(self._free), size=len(parents))]
        shift = self._rng.integers(1, self._n_choices[columns])
        children[rows, columns] = (parents[rows, columns] + shift) % self._n_choices[columns]
        return children
