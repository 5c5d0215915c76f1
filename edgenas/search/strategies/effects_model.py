"""What each choice of each gene adds to the objectives: a linear model, good enough to tell offspring apart by.

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
KEPT = 0.9
"""What earlier evaluations weigh at each fit, again and again: the model is of where the search is now."""
RIDGE = 1.0
"""Penalty on squared effects, in evaluations."""


class EffectsModel:
    """Ridge regression of objectives on one-hot genes, refitted now and then on what it was told since.

    Sums of squares and products are kept, not evaluations, so a fit takes as long after many as after few.
    """

    def __init__(self, n_choices: Genes) -> None:
        """Store the number of choices of each gene, shape (genes,)."""
        self._places = np.concatenate([[0], np.cumsum(n_choices)[:-1]])
        self._size = int(n_choices.sum())
        self._told: list[tuple[Genes, Floats]] = []
        self._squares: Floats = np.zeros((self._size, self._size))
        self._products: Floats = np.zeros((self._size, 1))
        self._level: Floats | None = None
        self._effects: Floats = np.zeros((self._size, 1))

    @property
    def known(self) -> bool:
        """Whether enough was told for a fit."""
        return self._level is not None

    def learn(self, genes: Genes, objectives: Floats) -> None:
        """Take in evaluations: canonical genes, shape (n, genes), and objectives, shape (n, objectives)."""
        self._told.append((genes, objectives))
        if sum(len(told) for told, _ in self._told) >= (ROWS if self.known else FIRST_ROWS):
            self._fit()

    def of(self, genes: Genes) -> Floats:
        """What genes add together, but for a constant; shape (n, genes) to (n, objectives). Only if `known`."""
        places = self._places + genes
        # Objective by objective: sums along the last axis are several times faster.
        return np.column_stack([effects[places].sum(axis=1) for effects in self._effects.T])

    def _fit(self) -> None:
        genes, objectives = (np.concatenate(parts) for parts in zip(*self._told, strict=True))
        self._told.clear()
        if self._level is None:
            # Which level effects are counted from is of no interest, but it must not be taken for an effect.
            self._level = objectives.mean(axis=0)
        hot: Floats = np.zeros((len(genes), self._size))
        hot[np.arange(len(genes))[:, None], self._places + genes] = 1.0
        self._squares = KEPT * self._squares + hot.T @ hot
        self._products = KEPT * self._products + hot.T @ (objectives - self._level)
        penalised = self._squares + RIDGE * np.eye(self._size)
        self._effects = np.asfortranarray(np.linalg.solve(penalised, self._products), dtype=np.float64)
