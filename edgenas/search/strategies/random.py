"""Uniform random search: the baseline every other strategy has to beat."""

from __future__ import annotations

import numpy as np

from edgenas.search.strategies.strategy import FloatMatrix, IntMatrix


class RandomStrategy:
    """Draws every gene uniformly from its choices and learns nothing."""

    def __init__(self, n_choices: IntMatrix, population: int, seed: int) -> None:
        self._n_choices = n_choices
        self._rng = np.random.default_rng(seed)

    def ask(self, n: int) -> IntMatrix:
        """Random genes, shape (n, genes)."""
        return self._rng.integers(0, self._n_choices, size=(n, len(self._n_choices)))

    def tell(self, genes: IntMatrix, objectives: FloatMatrix, violations: FloatMatrix) -> None:
        """Nothing to learn."""

    def reject(self, genes: IntMatrix, violations: FloatMatrix) -> None:
        """Nothing to learn."""
