"""The interface of search strategies: `ask` proposes genes, `tell` reports their objectives."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from edgenas.search.gaussian_process import Round

Genes = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
GenesFunction = Callable[[Genes], Floats]
"""Function from genes, shape (n, genes), to numbers, shape (n, k)."""
Repair = Callable[[Genes], Genes]
"""Function from genes to their canonical form, shape (n, genes) to (n, genes), idempotent."""


class Strategy(Protocol):
    """A search strategy. Equal seeds and equal calls give equal candidates.

    The loop handles duplicates, canonical form, constraints and the number of evaluations. It also evaluates `initial`
    first: a strategy receives these by `tell`.
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
        """Create the strategy before any evaluation.

        Args:
            n_choices: number of choices of each gene, shape (genes,), each at least 1.
            seed: seed of all randomness.
            population: number of candidates that the loop requests at once.
            initial: canonical genes that are evaluated before any proposals, shape (n, genes).
            repair: function from genes to their canonical form; None if all genes are always active.
            exact: function from genes to the last columns of the objectives, if these are cheap to compute.
        """
        ...

    @property
    def rounds(self) -> Sequence[Round]:
        """Return every fit of surrogates so far; empty for strategies without surrogates."""
        return ()

    @property
    def origins(self) -> Mapping[str, int]:
        """Return the number of evaluated candidates by origin; empty if there is only one origin."""
        return {}

    def batch_size(self, population: int) -> int:
        """Return the number of candidates to evaluate before the next `tell`: a whole population, or fewer.

        It depends only on the reported evaluations, so that a resumed search has the same batches.
        """
        return population

    def ask(self, count: int) -> Genes:
        """Propose `count` candidates, shape (count, genes), each gene in 0 to its number of choices - 1.

        May be called several times between two calls of `tell`. It must never run out: repeats are allowed.
        """
        ...

    def tell(self, genes: Genes, objectives: Floats, violations: Floats) -> None:
        """Receive evaluated candidates, which may include candidates that the strategy did not propose.

        Args:
            genes: canonical genes, shape (n, genes).
            objectives: shape (n, objectives), finite, to be minimised.
            violations: shape (n, constraints), nowhere above 0.
        """
        ...

    def reject(self, genes: Genes, violations: Floats) -> None:
        """Receive infeasible candidates, which are not evaluated; a strategy may ignore them.

        Args:
            genes: canonical genes, shape (n, genes).
            violations: shape (n, constraints), above 0 if a constraint is violated.
        """
        return
