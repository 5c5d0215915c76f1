"""Proposals: candidates that are canonical, feasible and new."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from edgenas.errors import InfeasibleError, UserError
from edgenas.search.strategies.protocol import Floats, Genes, GenesFunction, Repair, Strategy

ROUNDS = 100
"""Calls of `ask` for one batch before it is left incomplete."""
PATIENCE = 4
"""Consecutive calls without new candidates before random draws replace the strategy, and before those end."""
ENUMERABLE = 20_000
"""Largest number of gene settings of a space that is enumerated when it seems exhausted."""


class Proposer:
    """Source of batches to evaluate, from the proposals of a strategy.

    Every candidate is made canonical and compared with all earlier ones. The constraints of new ones are computed, and
    infeasible ones are passed to the strategy's `reject` instead of being evaluated. If a strategy proposes nothing
    new, random candidates fill the batch. If these are not new either, a small space is enumerated.
    """

    def __init__(
        self,
        n_choices: Genes,
        strategy: Strategy,
        rng: np.random.Generator,
        *,
        repair: Repair | None = None,
        constraints: GenesFunction | None = None,
        initial: Genes | None = None,
    ) -> None:
        self._n_choices = n_choices
        self.strategy = strategy
        self._rng = rng
        self._repair = repair
        self._constraints = constraints
        self._queue = np.empty((0, len(n_choices)), dtype=np.int64) if initial is None else initial
        self._seen: set[bytes] = set()
        # There may be millions of keys: as few bytes per gene as the choices need.
        self._key_type = np.min_scalar_type(int(n_choices.max()))
        self._listed: Genes | None = None
        self._rejected = 0
        self._nearest: Floats | None = None

    def batch(self, size: int) -> tuple[Genes, Floats]:
        """Return up to `size` candidates and their violations, shapes (n, genes) and (n, constraints).

        There are fewer, or none, if nothing new and feasible was found.
        """
        parts: list[tuple[Genes, Floats]] = []
        missing, stale = size, 0
        for patience in range(1, ROUNDS + 1):
            if missing == 0 or stale >= 2 * PATIENCE:
                break
            # More candidates are requested each time, since feasible ones may be rare.
            fresh = self._unseen(self._draw(min(size, missing * patience), random=stale >= PATIENCE))
            stale = 0 if len(fresh) else stale + 1
            parts.append(self._accept(fresh, missing))
            missing -= len(parts[-1][0])
        if missing:
            parts.append(self._accept(self._list_space(), missing))
        filled = [part for part in parts if len(part[0])] or parts[:1]
        genes, violations = zip(*filled, strict=True)
        return np.concatenate(genes), np.concatenate(violations)

    def infeasible(self) -> InfeasibleError:
        """Return the error for a search without any feasible candidate."""
        nearest = [] if self._nearest is None else [f"{value:.4g}" for value in self._nearest]
        return InfeasibleError(
            f"expected candidates with every constraint at or below 0, found none among {self._rejected} "
            f"distinct ones; the nearest has [{', '.join(nearest)}]: relax the limits or extend the space"
        )

    def _draw(self, n: int, *, random: bool) -> Genes:
        if len(self._queue):
            drawn, self._queue = self._queue[:n], self._queue[n:]
        elif random:
            drawn = self._rng.integers(0, self._n_choices, size=(16 * n, len(self._n_choices)))
        else:
            drawn = check_genes(self.strategy.ask(n), self._n_choices, "the strategy's candidates")
        return canonical(drawn, self._n_choices, self._repair)

    def _keys(self, genes: Genes) -> list[bytes]:
        return [row.tobytes() for row in genes.astype(self._key_type)]

    def _unseen(self, genes: Genes) -> Genes:
        """Return rows that were never proposed before, each once. They count as seen only after `_accept`."""
        new = {key: row for row, key in reversed(list(enumerate(self._keys(genes)))) if key not in self._seen}
        return genes[sorted(new.values())]

    def _accept(self, fresh: Genes, count: int) -> tuple[Genes, Floats]:
        """Return the first `count` feasible rows; infeasible ones are recorded and passed to the strategy."""
        if self._constraints is None:
            fresh = fresh[:count]
        violations = self._violations(fresh)
        broken = (violations > 0).any(axis=1)
        self._reject(fresh[broken], violations[broken])
        taken = np.flatnonzero(~broken)[:count]
        self._seen.update(self._keys(fresh[taken]))
        return fresh[taken], violations[taken]

    def _violations(self, genes: Genes) -> Floats:
        if self._constraints is None or not len(genes):
            return np.empty((len(genes), 0))
        violations = np.asarray(self._constraints(genes.copy()), dtype=np.float64)
        if violations.ndim != 2 or len(violations) != len(genes):
            raise UserError(f"constraints: expected shape ({len(genes)}, k), got {violations.shape}")
        if np.isnan(violations).any():
            row = int(np.argwhere(np.isnan(violations))[0, 0])
            raise UserError(f"constraints: NaN for genes {genes[row].tolist()}; expected a number, <= 0 if feasible")
        return violations

    def _reject(self, genes: Genes, violations: Floats) -> None:
        if not len(genes):
            return
        self._seen.update(self._keys(genes))
        self._rejected += len(genes)
        compared = violations if self._nearest is None else np.vstack([self._nearest, violations])
        self._nearest = compared[np.maximum(compared, 0).sum(axis=1).argmin()]
        self.strategy.reject(genes, violations)

    def _list_space(self) -> Genes:
        """Return every unseen canonical row in random order if the space is small, else no row."""
        if self._listed is None:
            sizes = self._n_choices.tolist()
            settings = math.prod(sizes)
            rows = self._rng.permutation(settings) if settings <= ENUMERABLE else np.empty(0, dtype=np.int64)
            listed = np.stack(np.unravel_index(rows, sizes), axis=1).astype(np.int64)
            self._listed = canonical(listed, self._n_choices, self._repair)
        self._listed = self._unseen(self._listed)
        return self._listed


def canonical(genes: Genes, n_choices: Genes, repair: Repair | None) -> Genes:
    """Return genes in their canonical form, shape (n, genes).

    Raises:
        UserError: `repair` returns another number of rows, or invalid genes.
    """
    if repair is None:
        return genes
    repaired = check_genes(repair(genes.copy()), n_choices, "repair's result")
    if len(repaired) != len(genes):
        raise UserError(f"repair: expected {len(genes)} rows back, got {len(repaired)}")
    return repaired


def check_genes(genes: npt.ArrayLike, n_choices: Genes, what: str) -> Genes:
    """Return genes as an integer matrix of shape (n, genes), every gene among its choices.

    Raises:
        UserError: the shape is another, the type is not integer, or a gene is outside its choices.
    """
    matrix = np.asarray(genes)
    if matrix.ndim != 2 or matrix.shape[1] != len(n_choices) or matrix.dtype.kind not in "iu":
        raise UserError(
            f"{what}: expected an integer matrix of shape (n, {len(n_choices)}), "
            f"got {matrix.dtype} of shape {matrix.shape}"
        )
    outside = (matrix < 0) | (matrix >= n_choices)
    if outside.any():
        row, gene = np.argwhere(outside)[0]
        raise UserError(
            f"{what}: row {row} has {matrix[row, gene]} for gene {gene}, expected 0 to {n_choices[gene] - 1}"
        )
    return np.ascontiguousarray(matrix, dtype=np.int64)
