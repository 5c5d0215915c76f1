"""The search loop: asks a strategy, evaluates new and feasible candidates, and records every evaluation in order."""

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
    """Progress of a search, reported after every batch."""

    done: int
    """Evaluations made, failed ones included."""
    total: int
    """Evaluations requested."""
    hypervolume: float
    """Hypervolume of the front so far, up to the result's reference point."""
    failures: tuple[Failure, ...]
    """Candidates that failed so far."""
    rounds: Sequence[Round] = ()
    """Every fit of surrogates so far, if the strategy fits any."""


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

    Constraints depend only on the genes, so they are computed first, and infeasible candidates are never evaluated.
    Strategies still see the infeasible ones and, while feasible ones are scarce, follow their violations. No canonical
    genes are evaluated twice. Equal arguments give an equal result, also if `evaluate` returns the recorded values of
    an interrupted run: so a search resumes. More `evaluations` with an equal `population` give a result that begins
    with the same evaluations. The number of BLAS threads changes nothing: strategies run with one, and `evaluate`,
    which may score networks, with those of the process.

    Args:
        n_choices: number of choices of each gene, shape (genes,), each at least 1.
        evaluate: function from genes, shape (n, genes), to objectives to minimise, shape (n, objectives). Candidates
            with NaN or infinity, and those it raises on, are listed in `failures`. A UserError is passed on.
        constraints: function from genes to violations, shape (n, constraints), <= 0 if feasible. Violations are summed
            to compare infeasible candidates, so they should have one scale (value / limit - 1).
        strategy: bayesian, gradient, grid, nsga2, random, regularized-evolution, reinforce or surrogate. The last is
            for expensive objectives: it models those that are not `exact`, and evaluates the most promising candidates.
            Or a class of your own, see `Strategy` and `edgenas.testing`.
        evaluations: number of candidates to evaluate, failed ones included; fewer if the space is exhausted.
        population: candidates in a batch, and the members of an evolving population (regularized-evolution
            then evaluates one at a time); by default a twentieth of `evaluations`, within 10 to 100.
        seed: seed of all randomness.
        initial: genes to propose first, shape (n, genes); infeasible ones are skipped.
        repair: function from genes to their canonical form, shape (n, genes) to (n, genes), idempotent.
        exact: function from genes to the last columns of `evaluate`'s result, if these are cheap. Strategies with
            surrogates model only the others. It is compared with `evaluate` on the first batch.
        callback: called after every batch.
        named: function from genes, shape (genes,), to the candidate's name in messages.

    Raises:
        ConfigError: an unknown strategy, or a number out of range.
        UserError: an array of a wrong shape or range, or `exact` contradicts `evaluate`.
        InfeasibleError: no feasible candidate was found; the message states the smallest violation.
        EdgenasError: over half of a batch, and more than 3, failed.
    """
    choices = _checked_choices(n_choices)
    size = _checked_sizes(evaluations, population)
    strategy_seed, loop_seed = np.random.SeedSequence(_checked_seed(seed)).generate_state(2).tolist()
    first = None if initial is None else canonical(check_genes(initial, choices, "initial"), choices, repair)
    chosen = strategy_class(strategy) if isinstance(strategy, str) else strategy
    searcher = chosen(choices, seed=strategy_seed, population=size, initial=first, repair=repair, exact=exact)
    proposer = Proposer(
        choices, searcher, np.random.default_rng(loop_seed), repair=repair, constraints=constraints, initial=first
    )
    log = EvaluationLog(size)
    while log.done < evaluations:
        with one_blas_thread():
            genes, violations = proposer.batch(searcher.batch_size(size))
        if not len(genes):
            break
        # The strategy proposes a whole batch even at the end, so that an extended search begins with the same ones.
        remaining = evaluations - log.done
        batch = evaluate_batch(evaluate, genes[:remaining], violations[:remaining], named)
        if log.done == 0 and exact is not None and len(batch.genes):
            check_exact(exact(batch.genes.copy()), batch.objectives)
        with one_blas_thread():
            log.add(batch)
            if len(batch.genes):
                searcher.tell(batch.genes, batch.objectives, batch.violations)
        if callback is not None:
            failures = tuple(log.failures)
            callback(Progress(log.done, evaluations, log.hypervolumes[-1], failures, tuple(searcher.rounds)))
    if log.done == 0:
        raise proposer.infeasible()
    return log.result(exhausted=log.done < evaluations, rounds=searcher.rounds, origins=searcher.origins)


def _checked_choices(n_choices: npt.ArrayLike) -> Genes:
    choices = np.asarray(n_choices)
    if choices.ndim != 1 or not len(choices) or choices.dtype.kind not in "iu" or (choices < 1).any():
        raise UserError(f"n_choices: expected one whole number of at least 1 for each gene, got {choices.tolist()}")
    return choices.astype(np.int64)


def _checked_sizes(evaluations: int, population: int | None) -> int:
    """Return the size of a batch."""
    if evaluations < 1:
        raise ConfigError(f"evaluations: expected at least 1, got {evaluations}")
    if population is None:
        return int(np.clip(evaluations // 20, 10, 100))
    if population < 2:
        raise ConfigError(f"population: expected at least 2, got {population}")
    return population


def _checked_seed(seed: int) -> int:
    if seed < 0:
        raise ConfigError(f"seed: expected 0 or above, got {seed}")
    return seed
