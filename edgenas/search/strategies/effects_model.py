"""Linear model of the effect of each choice of each gene on the objectives, to rank offspring.

After Rasheed and Hirsh, "Informed operators: speeding up genetic-algorithm-based design optimization using reduced
models", GECCO 2000.
"""

from __future__ import annotations

import numpy as np

from edgenas.search.strategies.protocol import Floats, Genes

FIRST_ROWS = 300
"""Evaluations before the first fit."""
ROWS = 500
"""Evaluations between two fits."""
DECAY = 0.9
"""Factor of the weight of earlier evaluations at each fit, so that the model follows the search."""
RIDGE = 1.0
"""Penalty on squared effects, in evaluations."""


class EffectsModel:
    """Ridge regression of objectives on one-hot genes, refitted after every `ROWS` evaluations.

    It stores sums of squares and products instead of evaluations, so the time of a fit is constant.
    """

    def __init__(self, n_choices: Genes) -> None:
        """Store the number of choices of each gene, shape (genes,)."""
        self._offsets = np.concatenate([[0], np.cumsum(n_choices)[:-1]])
        self._size = int(n_choices.sum())
        self._pending: list[tuple[Genes, Floats]] = []
        self._squares: Floats = np.zeros((self._size, self._size))
        self._products: Floats = np.zeros((self._size, 1))
        self._level: Floats | None = None
        self._effects: Floats = np.zeros((self._size, 1))

    @property
    def is_fitted(self) -> bool:
        """Return whether there were enough evaluations for a fit."""
        return self._level is not None

    def add(self, genes: Genes, objectives: Floats) -> None:
        """Add evaluations: canonical genes, shape (n, genes), and objectives, shape (n, objectives)."""
        self._pending.append((genes, objectives))
        if sum(len(rows) for rows, _ in self._pending) >= (ROWS if self.is_fitted else FIRST_ROWS):
            self._fit()

    def predict(self, genes: Genes) -> Floats:
        """Return the sum of the effects of genes, shape (n, genes) to (n, objectives). Requires `is_fitted`."""
        columns = self._offsets + genes
        # One objective at a time: sums along the last axis are several times faster.
        return np.column_stack([effects[columns].sum(axis=1) for effects in self._effects.T])

    def _fit(self) -> None:
        genes, objectives = (np.concatenate(parts) for parts in zip(*self._pending, strict=True))
        self._pending.clear()
        if self._level is None:
            # The constant level must not be attributed to the genes.
            self._level = objectives.mean(axis=0)
        hot: Floats = np.zeros((len(genes), self._size))
        hot[np.arange(len(genes))[:, None], self._offsets + genes] = 1.0
        self._squares = DECAY * self._squares + hot.T @ hot
        self._products = DECAY * self._products + hot.T @ (objectives - self._level)
        penalised = self._squares + RIDGE * np.eye(self._size)
        self._effects = np.asfortranarray(np.linalg.solve(penalised, self._products), dtype=np.float64)
