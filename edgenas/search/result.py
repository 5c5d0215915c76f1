"""Results of a search: every evaluation in order, failures, and the front."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from edgenas.errors import EdgenasError, UserError
from edgenas.search.batch_evaluation import Batch, Failure
from edgenas.search.front import hypervolume, non_dominated, reference_of
from edgenas.search.gaussian_process import Round
from edgenas.search.strategies.protocol import Floats, Genes


@dataclass(frozen=True, eq=False)
class SearchResult:
    """All evaluations of a search in order, and their front."""

    genes: Genes
    """Canonical genes, shape (n, genes), no row twice."""
    objectives: Floats
    """Shape (n, objectives), minimised."""
    violations: Floats
    """Shape (n, constraints), <= 0 throughout: infeasible candidates are not evaluated."""
    batches: npt.NDArray[np.intp]
    """Index of the batch of each evaluation, shape (n,)."""
    front: npt.NDArray[np.intp]
    """Indices of the non-dominated evaluations, ascending."""
    hypervolume: Floats
    """Of the front after each batch, shape (batches,)."""
    reference_point: Floats
    """Shape (objectives,): worst of the first batch plus a tenth of its range, kept for all batches."""
    failures: tuple[Failure, ...]
    """Candidates that failed, in order; they count as evaluations."""
    exhausted: bool
    """Whether no new feasible candidate was left before the requested number of evaluations.

    Exact in spaces of up to 20,000 gene settings, which are then enumerated.
    """
    rounds: tuple[Round, ...] = ()
    """Every fit of surrogates, if the strategy fits any."""
    origins: Mapping[str, int] = field(default_factory=dict)
    """Number of evaluations by the origin of their candidates, if the strategy has several origins."""

    @property
    def evaluations_by_batch(self) -> npt.NDArray[np.intp]:
        """Return the number of rows of `genes` after each batch, shape (batches,)."""
        return np.searchsorted(self.batches, np.arange(len(self.hypervolume)), side="right")


MAX_FAILED_POPULATIONS = 3
"""Consecutive populations without a successful evaluation, at most."""


class EvaluationLog:
    """Log of evaluations, and their front so far."""

    def __init__(self, population: int) -> None:
        """Store the number of candidates of a batch."""
        self._population = population
        self.done = self._failed_in_a_row = 0
        self.failures: list[Failure] = []
        self.hypervolumes: list[float] = []
        self._rows: list[Batch] = []
        self._front: Floats | None = None
        self._reference: Floats | None = None

    def add(self, batch: Batch) -> None:
        """Add a batch.

        Raises:
            EdgenasError: nothing has succeeded for more than 3 populations.
        """
        self.done += len(batch.genes) + len(batch.failures)
        self.failures.extend(batch.failures)
        self._rows.append(batch)
        self._failed_in_a_row = 0 if len(batch.genes) else self._failed_in_a_row + len(batch.failures)
        if self._failed_in_a_row > MAX_FAILED_POPULATIONS * self._population:
            raise EdgenasError(
                f"evaluate: each of the last {self._failed_in_a_row} candidates failed, the last is "
                f"{self.failures[-1]}. Fix the objectives"
            )
        if len(batch.objectives):
            self._extend_front(batch.objectives)
        # Above five objectives it is an estimate, which must not decrease.
        self.hypervolumes.append(max([self._hypervolume(), *self.hypervolumes[-1:]]))

    def _hypervolume(self) -> float:
        if self._front is None or self._reference is None:
            return 0.0
        return hypervolume(self._front, self._reference)

    def _extend_front(self, objectives: Floats) -> None:
        if self._front is None:
            self._front, self._reference = objectives[:0], reference_of(objectives)
        if objectives.shape[1] != self._front.shape[1]:
            raise UserError(
                f"evaluate: expected {self._front.shape[1]} objectives as before, got {objectives.shape[1]}"
            )
        merged = np.vstack([self._front, objectives])
        self._front = merged[non_dominated(merged)]

    def result(
        self, *, exhausted: bool, rounds: Sequence[Round] = (), origins: Mapping[str, int] | None = None
    ) -> SearchResult:
        """Return all evaluations.

        Raises:
            EdgenasError: not one evaluation succeeded.
        """
        if self._reference is None:
            first = self.failures[0]
            raise EdgenasError(f"evaluate: all {self.done} candidates failed, the first is {first}")
        rows = [row for row in self._rows if len(row.genes)]
        objectives = np.concatenate([row.objectives for row in rows])
        return SearchResult(
            genes=np.concatenate([row.genes for row in rows]),
            objectives=objectives,
            violations=np.concatenate([row.violations for row in rows]),
            batches=np.repeat(np.arange(len(self._rows)), [len(row.genes) for row in self._rows]),
            front=non_dominated(objectives),
            hypervolume=np.array(self.hypervolumes),
            reference_point=self._reference,
            failures=tuple(self.failures),
            exhausted=exhausted,
            rounds=tuple(rounds),
            origins=dict(origins or {}),
        )
