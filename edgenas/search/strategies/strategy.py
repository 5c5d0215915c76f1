"""What a search strategy is: something that is asked for genes and told what they are worth."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

IntMatrix = npt.NDArray[np.int64]
FloatMatrix = npt.NDArray[np.float64]


class Strategy(Protocol):
    """A search strategy, built from `(n_choices, population, seed)`.

    Equal seeds and equal calls give equal candidates. Duplicates, canonical form, constraints and the count
    of evaluations are the loop's affair.
    """

    def ask(self, n: int) -> IntMatrix:
        """Propose `n` candidates, shape (n, genes), each gene in 0 to its number of choices - 1.

        May be called several times between two tellings, and must not run dry: repeats are allowed.
        """
        ...

    def tell(self, genes: IntMatrix, objectives: FloatMatrix, violations: FloatMatrix) -> None:
        """Learn what evaluated candidates are worth, not all of which need have been asked for.

        Args:
            genes: canonical genes, shape (n, genes).
            objectives: to be minimised, shape (n, objectives), finite.
            violations: shape (n, constraints), nowhere above 0.
        """
        ...

    def reject(self, genes: IntMatrix, violations: FloatMatrix) -> None:
        """Learn of infeasible candidates, which are not evaluated.

        Args:
            genes: canonical genes, shape (n, genes).
            violations: shape (n, constraints), above 0 where a constraint is broken.
        """
        ...
