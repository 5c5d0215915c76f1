"""The search loop: asks a strategy, evaluates what is new and feasible, keeps every evaluation in order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgenas.errors import ConfigError, EdgenasError, UserError
from edgenas.search.front import hypervolume, non_dominated, reference_of
from edgenas.search.proposals import Proposer, check_genes
from edgenas.search.strategies.by_name import strategy_class
from edgenas.search.strategies.protocol import Floats, Genes, GenesFunction, Repair

TOLERATED_FAILURES = 3
"""Non-finite rows that one batch may always have; more are an error if they are over half of it."""


@dataclass(frozen=True)
class Progress:
    """How far a search is, told after every batch."""

    done: int
    """Evaluations made, failed ones included."""
    total: int
    """Evaluations asked for."""
    hypervolume: float
    """Of the front so far, up to the result's reference point."""
    failed: int
    """Evaluations that came back NaN or infinite."""


@dataclass(frozen=True, eq=False)
class SearchResult:
    """Every evaluation in order, and what came of them."""

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
    failed: Genes
    """Genes whose objectives were NaN or infinite, shape (f, genes); they count as evaluations."""
    exhausted: bool
    """Whether nothing new and feasible was left before the evaluations asked for were made.

    Certain in spaces of up to 20,000 gene settings, which are then listed in full.
    """

    @property
    def evaluations_by_batch(self) -> npt.NDArray[np.intp]:
        """Number of rows of `genes` after each batch, shape (batches,)."""
        return np.searchsorted(self.batches, np.arange(len(self.hypervolume)), side="right")


def optimise(
    n_choices: npt.ArrayLike,
    evaluate: GenesFunction,
    *,
    constraints: GenesFunction | None = None,
    strategy: str = "nsga2",
    evaluations: int,
    population: int | None = None,
    seed: int,
    initial: npt.ArrayLike | None = None,
    repair: Repair | None = None,
    exact: GenesFunction | None = None,
    callback: Callable[[Progress], None] | None = None,
) -> SearchResult:
    """Search integer genes for the non-dominated front of several objectives under hard constraints.

    Constraints are functions of the genes alone, so they are worked out first and an infeasible candidate
    is never evaluated: evaluations, which cost, all go to candidates that may be chosen. Strategies still
    learn of the infeasible ones and, while feasible ones are scarce, follow their violations. No canonical
    genes are evaluated twice. Equal arguments give an equal result, and so does an `evaluate` that answers
    from the record of an interrupted run: that is how a search resumes.

    Args:
        n_choices: number of choices of each gene, shape (genes,), each at least 1.
        evaluate: genes, shape (n, genes), to objectives, shape (n, objectives), to be minimised. Rows with
            NaN or infinity are dropped and listed in `failed`.
        constraints: genes to violations, shape (n, constraints), <= 0 where feasible. Violations are summed
            when infeasible candidates are compared, so they should be of one scale (value / limit - 1).
        strategy: `nsga2` or `random`.
        evaluations: how many candidates to evaluate, failed ones included; fewer if the space is exhausted.
        population: candidates in a batch; by default a twentieth of `evaluations`, within 10 to 100.
        seed: of all randomness.
        initial: genes to propose first, shape (n, genes); infeasible ones are passed over.
        repair: genes to their canonical form, shape (n, genes) to (n, genes), idempotent.
        exact: genes to the last columns of `evaluate`'s result where these are cheap. Strategies that model
            objectives model only the others; `nsga2` and `random` have no use for it, and here it is only
            checked against `evaluate` on the first batch.
        callback: called after every batch.

    Raises:
        ConfigError: an unknown strategy, or a number out of range.
        UserError: an array of a wrong shape or range, or `exact` contradicts `evaluate`.
        InfeasibleError: no feasible candidate was found; the smallest violation is told.
        EdgenasError: over half of a batch, and more than 3, came back NaN or infinite.
    """
    choices = _checked_choices(n_choices)
    size = _checked_sizes(evaluations, population)
    strategy_seed, loop_seed = np.random.SeedSequence(_checked_seed(seed)).generate_state(2).tolist()
    first = None if initial is None else check_genes(initial, choices, "initial")
    asked = strategy_class(strategy)(
        choices, seed=strategy_seed, population=size, initial=first, repair=repair, exact=exact
    )
    proposer = Proposer(
        choices, asked, np.random.default_rng(loop_seed), repair=repair, constraints=constraints, initial=first
    )
    record = _Record(len(choices))
    while record.done < evaluations:
        genes, violations = proposer.batch(min(size, evaluations - record.done))
        if not len(genes):
            break
        objectives = _evaluated(evaluate, genes)
        if record.done == 0 and exact is not None:
            _check_exact(exact(genes.copy()), objectives)
        finite = record.add(genes, objectives, violations)
        proposer.strategy.tell(genes[finite], objectives[finite], violations[finite])
        if callback is not None:
            callback(Progress(record.done, evaluations, record.hypervolumes[-1], record.n_failed))
    if record.done == 0:
        raise proposer.infeasible()
    return record.result(exhausted=record.done < evaluations)


Flags = npt.NDArray[np.bool_]


class _Record:
    """Evaluations as they come in, and the front they form so far."""

    def __init__(self, n_genes: int) -> None:
        self.done = 0
        self.n_failed = 0
        self.hypervolumes: list[float] = []
        self._rows: list[tuple[Genes, Floats, Floats]] = []
        self._failed: list[Genes] = [np.empty((0, n_genes), dtype=np.int64)]
        self._front: Floats | None = None
        self._reference: Floats | None = None

    def add(self, genes: Genes, objectives: Floats, violations: Floats) -> Flags:
        """Take in a batch; returns which rows are finite."""
        finite: Flags = np.all(np.isfinite(objectives), axis=1)
        self._fail(genes[~finite], len(genes))
        self.done += len(genes)
        self._rows.append((genes[finite], objectives[finite], violations[finite]))
        if finite.any():
            self._extend_front(objectives[finite])
        self.hypervolumes.append(self._hypervolume())
        return finite

    def _fail(self, genes: Genes, of: int) -> None:
        self.n_failed += len(genes)
        self._failed.append(genes)
        if len(genes) > max(TOLERATED_FAILURES, of / 2):
            raise EdgenasError(
                f"evaluate: {len(genes)} of {of} candidates came back NaN or infinite, the first of them "
                f"genes {genes[0].tolist()}: the search would be blind; mend the objectives"
            )

    def _hypervolume(self) -> float:
        if self._front is None or self._reference is None:
            return 0.0
        return hypervolume(self._front, self._reference)

    def _extend_front(self, objectives: Floats) -> None:
        if self._front is None:
            self._front, self._reference = objectives[:0], reference_of(objectives)
        if objectives.shape[1] != self._front.shape[1]:
            raise UserError(f"evaluate: wanted {self._front.shape[1]} objectives as before, got {objectives.shape[1]}")
        merged = np.vstack([self._front, objectives])
        self._front = merged[non_dominated(merged)]

    def result(self, *, exhausted: bool) -> SearchResult:
        if self._reference is None:
            raise EdgenasError(f"evaluate: all {self.done} candidates came back NaN or infinite")
        genes, objectives, violations = (np.concatenate(column) for column in zip(*self._rows, strict=True))
        return SearchResult(
            genes=genes,
            objectives=objectives,
            violations=violations,
            batches=np.repeat(np.arange(len(self._rows)), [len(rows[0]) for rows in self._rows]),
            front=non_dominated(objectives),
            hypervolume=np.array(self.hypervolumes),
            reference_point=self._reference,
            failed=np.concatenate(self._failed),
            exhausted=exhausted,
        )


def _evaluated(evaluate: GenesFunction, genes: Genes) -> Floats:
    objectives = np.asarray(evaluate(genes.copy()), dtype=np.float64)
    if objectives.ndim != 2 or len(objectives) != len(genes) or objectives.shape[1] == 0:
        raise UserError(f"evaluate: wanted shape ({len(genes)}, objectives), got {objectives.shape}")
    return objectives


def _check_exact(exact: npt.ArrayLike, objectives: Floats) -> None:
    cheap = np.asarray(exact, dtype=np.float64)
    if cheap.ndim != 2 or len(cheap) != len(objectives) or not 0 < cheap.shape[1] <= objectives.shape[1]:
        raise UserError(
            f"exact: wanted some of the last columns of evaluate's result, of shape {objectives.shape}, "
            f"got shape {cheap.shape}"
        )
    same = np.isclose(cheap, objectives[:, -cheap.shape[1] :], rtol=1e-6, atol=1e-12, equal_nan=True)
    if not same.all():
        raise UserError(
            f"exact: {int((~same).sum())} of {same.size} values differ from the last columns of "
            "evaluate's result; both must compute the same objectives"
        )


def _checked_choices(n_choices: npt.ArrayLike) -> Genes:
    choices = np.asarray(n_choices)
    if choices.ndim != 1 or not len(choices) or choices.dtype.kind not in "iu" or (choices < 1).any():
        raise UserError(f"n_choices: wanted one whole number of at least 1 for each gene, got {choices.tolist()}")
    return choices.astype(np.int64)


def _checked_sizes(evaluations: int, population: int | None) -> int:
    """The size of a batch."""
    if evaluations < 1:
        raise ConfigError(f"evaluations: wanted at least 1, got {evaluations}")
    if population is None:
        return int(np.clip(evaluations // 20, 10, 100))
    if population < 2:
        raise ConfigError(f"population: wanted at least 2, got {population}")
    return population


def _checked_seed(seed: int) -> int:
    if seed < 0:
        raise ConfigError(f"seed: wanted 0 or above, got {seed}")
    return seed
