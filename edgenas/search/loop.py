"""The search loop: asks a strategy, evaluates what is new and feasible, keeps every evaluation in order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgenas.blas import one_blas_thread
from edgenas.errors import ConfigError, UserError
from edgenas.search.batch_evaluation import Failure, check_exact, evaluate_batch, unnamed
from edgenas.search.gaussian_process import Round
from edgenas.search.proposals import Proposer, canonical, check_genes
from edgenas.search.result import EvaluationLog, SearchResult
from edgenas.search.strategies.by_name import strategy_class
from edgenas.search.strategies.protocol import Genes, GenesFunction, Repair, Strategy


@dataclass(frozen=True)
class Progress:
    """How far a search is, told after every batch."""

    done: int
    """Evaluations made, failed ones included."""
    total: int
    """Evaluations asked for."""
    hypervolume: float
    """Of the front so far, up to the result's reference point."""
    failures: tuple[Failure, ...]
    """Candidates that could not be evaluated so far."""
    rounds: Sequence[Round] = ()
    """Every fit of models so far, where the strategy fits any."""


def optimise(
    n_choices: npt.ArrayLike,
    evaluate: GenesFunction,
    *,
    constraints: GenesFunction | None = None,
    strategy: str | type[Strategy] = "nsga2",
    evaluations: int,
    population: int | None = None,
    seed: int,
    initial: npt.ArrayLike | None = None,
    repair: Repair | None = None,
    exact: GenesFunction | None = None,
    callback: Callable[[Progress], None] | None = None,
    named: Callable[[Genes], str] = unnamed,
) -> SearchResult:
    """Search integer genes for the non-dominated front of several objectives under hard constraints.

    Constraints are functions of the genes alone, so they are worked out first and an infeasible candidate
    is never evaluated: evaluations, which cost, all go to candidates that may be chosen. Strategies still
    learn of the infeasible ones and, while feasible ones are scarce, follow their violations. No canonical
    genes are evaluated twice. Equal arguments give an equal result, and so does an `evaluate` that answers
    from the record of an interrupted run: that is how a search resumes. More `evaluations` and an equal
    `population` give a result that begins with the same evaluations. The number of BLAS threads changes none of
    it: strategies run with one, `evaluate`, which may score networks, with those that the process has.

    Args:
        n_choices: number of choices of each gene, shape (genes,), each at least 1.
        evaluate: genes, shape (n, genes), to objectives, shape (n, objectives), to be minimised. Rows with
            NaN or infinity are dropped and listed in `failures`, and so is what it raises on; whatever else
            it was asked for is kept. A UserError is no failure of a candidate, and passes.
        constraints: genes to violations, shape (n, constraints), <= 0 where feasible. Violations are summed
            when infeasible candidates are compared, so they should be of one scale (value / limit - 1).
        strategy: bayesian, gradient, grid, nsga2, random, regularized-evolution, reinforce or surrogate, which is for
            objectives that cost: it models those that are not `exact`, and evaluates what that promises most of. Or a
            class of your own, see `Strategy` and `edgenas.testing`.
        evaluations: how many candidates to evaluate, failed ones included; fewer if the space is exhausted.
        population: candidates in a batch, and the members of an evolving population (regularized-evolution
            then evaluates one at a time); by default a twentieth of `evaluations`, within 10 to 100.
        seed: of all randomness.
        initial: genes to propose first, shape (n, genes); infeasible ones are passed over.
        repair: genes to their canonical form, shape (n, genes) to (n, genes), idempotent.
        exact: genes to the last columns of `evaluate`'s result where these are cheap. Strategies that model
            objectives model only the others. It is checked against `evaluate` on the first batch.
        callback: called after every batch.
        named: what messages call a candidate, from its genes, shape (genes,).

    Raises:
        ConfigError: an unknown strategy, or a number out of range.
        UserError: an array of a wrong shape or range, or `exact` contradicts `evaluate`.
        InfeasibleError: no feasible candidate was found; the smallest violation is told.
        EdgenasError: over half of a batch, and more than 3, failed.
    """
    choices = _checked_choices(n_choices)
    size = _checked_sizes(evaluations, population)
    strategy_seed, loop_seed = np.random.SeedSequence(_checked_seed(seed)).generate_state(2).tolist()
    first = None if initial is None else canonical(check_genes(initial, choices, "initial"), choices, repair)
    chosen = strategy_class(strategy) if isinstance(strategy, str) else strategy
    asked = chosen(choices, seed=strategy_seed, population=size, initial=first, repair=repair, exact=exact)
    proposer = Proposer(
        choices, asked, np.random.default_rng(loop_seed), repair=repair, constraints=constraints, initial=first
    )
    record = EvaluationLog(size)
    while record.done < evaluations:
        with one_blas_thread():
            genes, violations = proposer.batch(asked.batch_size(size))
        if not len(genes):
            break
        # A whole batch is asked for even at the end, so that a longer search begins with the same evaluations.
        left = evaluations - record.done
        batch = evaluate_batch(evaluate, genes[:left], violations[:left], named)
        if record.done == 0 and exact is not None and len(batch.genes):
            check_exact(exact(batch.genes.copy()), batch.objectives)
        with one_blas_thread():
            record.add(batch)
            if len(batch.genes):
                asked.tell(batch.genes, batch.objectives, batch.violations)
        if callback is not None:
            failures = tuple(record.failures)
            callback(Progress(record.done, evaluations, record.hypervolumes[-1], failures, tuple(asked.rounds)))
    if record.done == 0:
        raise proposer.infeasible()
    return record.result(exhausted=record.done < evaluations, rounds=asked.rounds, origins=asked.origins)


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
