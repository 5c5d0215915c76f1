"""Uniform random search: the baseline every other strategy has to beat."""

from __future__ import annotations

import numpy as np

from edgenas.search.strategies.protocol import Floats, Genes, GenesFunction, Repair, Strategy


class RandomStrategy(Strategy):
    """Draw every gene uniformly from its choices."""

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
        self._rng = np.random.default_rng(seed)

    def ask(self, count: int) -> Genes:
        """Random genes, shape (count, genes)."""
        return self._rng.integers(0, self._n_choices, size=(count, len(self._n_choices)))

    def tell(self, genes: Genes, objectives: Floats, violations: Floats) -> None:
        """Nothing to learn."""
