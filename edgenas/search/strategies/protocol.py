"""What a search strategy is: something that is asked for genes and told what they are worth."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from edgenas.search.gaussian_process import Round

Genes = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
GenesFunction = Callable[[Genes], Floats]
"""Genes, shape (n, genes), to numbers, shape (n, k)."""
Repair = Callable[[Genes], Genes]
"""Genes to their canonical form, shape (n, genes) to (n, genes), idempotent."""


class Strategy(Protocol):
    """A search strategy. Equal seeds and equal calls give equal candidates.

    Duplicates, canonical form, constraints and the count of evaluations are the loop's affair, and so is
    putting `initial` first: a strategy learns of them by `tell`.
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
        """Nothing is evaluated yet.

        Args:
            n_choices: number of choices of each gene, shape (genes,), each at least 1.
            seed: of all randomness.
            population: candidates that the loop asks for at once.
            initial: canonical genes that are evaluated before anything asked for, shape (n, genes).
            repair: genes to their canonical form; None where every gene always counts.
            exact: genes to the last columns of the objectives, where these are cheap to compute.
        """
        ...

    @property
    def rounds(self) -> Sequence[Round]:
        """Every fit of models so far; none of strategies that fit none."""
        return ()

    @property
    def origins(self) -> Mapping[str, int]:
        """Return how many evaluated candidates each way of making them gave; empty where there is only one way."""
        return {}

    def batch_size(self, population: int) -> int:
        """Return how many candidates to evaluate before the next telling: a whole population, or fewer.

        It depends on nothing but what was told, so that a resumed search has the same batches.
        """
        return population

    def ask(self, count: int) -> Genes:
        """Propose `count` candidates, shape (count, genes), each gene in 0 to its number of choices - 1.

        May be called several times between two tellings, and must not run dry: repeats are allowed.
        """
        ...

    def tell(self, genes: Genes, objectives: Floats, violations: Floats) -> None:
        """Learn what evaluated candidates are worth, not all of which need have been asked for.

        Args:
            genes: canonical genes, shape (n, genes).
            objectives: to be minimised, shape (n, objectives), finite.
            violations: shape (n, constraints), nowhere above 0.
        """
        ...

    def reject(self, genes: Genes, violations: Floats) -> None:
        """Learn of infeasible candidates, which are not evaluated; a strategy may ignore them.

        Args:
            genes: canonical genes, shape (n, genes).
            violations: shape (n, constraints), above 0 where a constraint is broken.
        """
        return
