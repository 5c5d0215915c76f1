"""Proposals: candidates that are canonical, feasible and new, whatever a strategy asks for."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from edgenas.errors import InfeasibleError, UserError
from edgenas.search.strategies.protocol import Floats, Genes, GenesFunction, Repair, Strategy

ROUNDS = 100
"""Askings for one batch before it is left short: bounds the search for a needle that may not exist."""
PATIENCE = 4
"""Askings in a row that bring nothing new before random draws take over, and of those before they end too."""
ENUMERABLE = 20_000
"""Gene settings up to which a space that seems exhausted is listed in full, so that nothing is missed."""


class Proposer:
    """Turns a strategy's wishes into batches fit to be evaluated.

    Every candidate is made canonical and looked up among all seen before; the constraints of the new ones are
    worked out, and the infeasible ones are handed back to the strategy (`reject`) instead of being evaluated.
    When a strategy brings nothing new, random candidates fill the batch; when those do not either, a small
    space is listed in full.
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
        # Millions may be kept: as many bytes as the choices need, not eight a gene.
        self._key_type = np.min_scalar_type(int(n_choices.max()))
        self._listed: Genes | None = None
        self._rejected = 0
        self._nearest: Floats | None = None

    def batch(self, size: int) -> tuple[Genes, Floats]:
        """Up to `size` candidates and their violations, shapes (n, genes) and (n, constraints).

        Fewer, or none, come back when nothing new and feasible could be found.
        """
        parts: list[tuple[Genes, Floats]] = []
        missing, stale = size, 0
        for patience in range(1, ROUNDS + 1):
            if missing == 0 or stale >= 2 * PATIENCE:
                break
            # Whoever finds little is asked for more: feasible candidates may be rare.
            fresh = self._unseen(self._draw(min(size, missing * patience), random=stale >= PATIENCE))
            stale = 0 if len(fresh) else stale + 1
            parts.append(self._accept(fresh, missing))
            missing -= len(parts[-1][0])
        if missing:
            parts.append(self._accept(self._list_space(), missing))
        found = [part for part in parts if len(part[0])] or parts[:1]
        return np.concatenate([genes for genes, _ in found]), np.concatenate([broken for _, broken in found])

    def infeasible(self) -> InfeasibleError:
        """What to raise when not one feasible candidate was found."""
        nearest = [] if self._nearest is None else [f"{value:.4g}" for value in self._nearest]
        return InfeasibleError(
            f"wanted candidates with every constraint at or below 0, found none among {self._rejected} "
            f"distinct ones; the nearest has [{', '.join(nearest)}]: loosen the limits or widen the space"
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
        """Rows never proposed before, each once. They count as seen only when `_accept` has taken them."""
        new = {key: row for row, key in reversed(list(enumerate(self._keys(genes)))) if key not in self._seen}
        return genes[sorted(new.values())]

    def _accept(self, fresh: Genes, wanted: int) -> tuple[Genes, Floats]:
        """The first `wanted` feasible rows; the infeasible ones are remembered and handed back."""
        if self._constraints is None:
            fresh = fresh[:wanted]
        violations = self._violations(fresh)
        broken = (violations > 0).any(axis=1)
        self._reject(fresh[broken], violations[broken])
        taken = np.flatnonzero(~broken)[:wanted]
        self._seen.update(self._keys(fresh[taken]))
        return fresh[taken], violations[taken]

    def _violations(self, genes: Genes) -> Floats:
        if self._constraints is None or not len(genes):
            return np.empty((len(genes), 0))
        violations = np.asarray(self._constraints(genes.copy()), dtype=np.float64)
        if violations.ndim != 2 or len(violations) != len(genes):
            raise UserError(f"constraints: wanted shape ({len(genes)}, k), got {violations.shape}")
        if np.isnan(violations).any():
            row = int(np.argwhere(np.isnan(violations))[0, 0])
            raise UserError(f"constraints: NaN for genes {genes[row].tolist()}; wanted a number, <= 0 if feasible")
        return violations

    def _reject(self, genes: Genes, violations: Floats) -> None:
        if not len(genes):
            return
        self._seen.update(self._keys(genes))
        self._rejected += len(genes)
        known = violations if self._nearest is None else np.vstack([self._nearest, violations])
        self._nearest = known[np.maximum(known, 0).sum(axis=1).argmin()]
        self.strategy.reject(genes, violations)

    def _list_space(self) -> Genes:
        """Every canonical row in random order, if the space is small; no row if it is not."""
        if self._listed is None:
            sizes = self._n_choices.tolist()
            settings = math.prod(sizes)
            rows = self._rng.permutation(settings) if settings <= ENUMERABLE else np.empty(0, dtype=np.int64)
            listed = np.stack(np.unravel_index(rows, sizes), axis=1).astype(np.int64)
            self._listed = canonical(listed, self._n_choices, self._repair)
        self._listed = self._unseen(self._listed)
        return self._listed


def canonical(genes: Genes, n_choices: Genes, repair: Repair | None) -> Genes:
    """Genes in their canonical form, shape (n, genes) in and out.

    Raises:
        UserError: `repair` gives something else than as many rows of genes.
    """
    if repair is None:
        return genes
    repaired = check_genes(repair(genes.copy()), n_choices, "repair's result")
    if len(repaired) != len(genes):
        raise UserError(f"repair: wanted {len(genes)} rows back, got {len(repaired)}")
    return repaired


def check_genes(genes: npt.ArrayLike, n_choices: Genes, what: str) -> Genes:
    """Genes as an integer matrix of shape (n, genes), every gene among its choices.

    Raises:
        UserError: another shape, no whole numbers, or a gene outside its choices.
    """
    matrix = np.asarray(genes)
    if matrix.ndim != 2 or matrix.shape[1] != len(n_choices) or matrix.dtype.kind not in "iu":
        raise UserError(
            f"{what}: wanted an integer matrix of shape (n, {len(n_choices)}), "
            f"got {matrix.dtype} of shape {matrix.shape}"
        )
    outside = (matrix < 0) | (matrix >= n_choices)
    if outside.any():
        row, gene = np.argwhere(outside)[0]
        raise UserError(f"{what}: row {row} has {matrix[row, gene]} for gene {gene}, wanted 0 to {n_choices[gene] - 1}")
    return np.ascontiguousarray(matrix, dtype=np.int64)
