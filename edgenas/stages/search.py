"""Stage search: architectures that trade off the objectives within every budget."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict

import numpy as np

from edgenas.accuracy.source import open_source
from edgenas.progress import Progress
from edgenas.records.ledger import Ledger
from edgenas.records.search import (
    BudgetRange,
    FailedNetwork,
    FeasibleShares,
    FrontNetwork,
    ObjectiveRow,
    RoundRow,
    SearchRecord,
    SurrogateFit,
    SurrogateQuality,
)
from edgenas.runs.run import Run
from edgenas.search import loop
from edgenas.search.gaussian_process import Quality, Round
from edgenas.search.objective_functions import ObjectiveFunction, as_constraints, as_evaluate
from edgenas.search.result import SearchResult
from edgenas.search.strategies.by_name import default_population
from edgenas.space.space import SearchSpace
from edgenas.stages.limits import Limits, run_limits
from edgenas.stages.refit import refits
from edgenas.stages.run_objectives import objective_functions, run_objectives
from edgenas.stages.run_subnets import run_subnets
from edgenas.stages.source_scores import SourceScorer
from edgenas.stages.supernet_scores import Scorer, SupernetScorer, evaluation_ledger
from edgenas.stages.warm_start import first_genes

LOGGER = logging.getLogger(__name__)
ROUNDS = "search/rounds.jsonl"


def run_scorer(run: Run, limits: Limits, progress: Progress, *, keep: bool = True) -> Scorer:
    """Return the scorer of the run's architectures: its supernet, or the source of accuracies that the config names.

    Args:
        run: trained, where it has a supernet.
        limits: limits of the run, whose predictors give latencies.
        progress: called with the current step, steps done and in all.
        keep: whether scores of a source are appended to search/evaluations.jsonl; those of a supernet always are.
    """
    if run.config.accuracy is not None:
        source = open_source(run.config.accuracy, run.space)
        return SourceScorer(run, source, limits.predictors, evaluation_ledger(run) if keep else None, progress)
    return SupernetScorer(run, run_subnets(run), limits, progress)


def run_search(run: Run, progress: Progress) -> None:
    """Search the run's space, again where predictors were refitted, further where more evaluations are asked for.

    No subnet is scored twice: a search that was stopped repeats its steps with scores from search/evaluations.jsonl.

    Raises:
        ConfigError: the budgets cannot be met; the message gives the nearest that can, and which contradict.
        EdgenasError: too many subnets could not be scored; the message gives the first one and the cause.
    """
    if run.done("search") and _is_current(run):
        return
    limits = run_limits(run, run.num_classes)
    scorer = run_scorer(run, limits, progress)
    objectives = objective_functions(run_objectives(run), limits, scorer)
    result = _searched(run, limits, objectives)
    for failure in result.failures:
        LOGGER.warning("note: not scored: %s", failure)
    run.finish(_record(run, result, limits, objectives, scorer))


def _is_current(run: Run) -> bool:
    """Return whether the finished search is as long as the config asks for, and used the present predictors."""
    record = run.result(SearchRecord)
    return record.asked >= run.config.search.evaluations and record.refits == refits(run)


def _searched(run: Run, limits: Limits, objectives: Sequence[ObjectiveFunction]) -> SearchResult:
    config, space = run.config.search, run.space
    population = config.population or default_population(config.strategy)
    scored = sum(name.scored for name in run_objectives(run))
    computed = objectives[scored:]
    log = _Rounds(run, [objective.name for objective in objectives[:scored]])
    return loop.optimise(
        space.n_choices,
        as_evaluate(space, objectives),
        constraints=as_constraints(space, limits.as_search_limits()),
        strategy=config.strategy,
        evaluations=config.evaluations,
        population=population,
        seed=run.config.seed,
        initial=first_genes(run, population, limits),
        repair=space.canonical,
        exact=as_evaluate(space, computed) if computed else None,
        callback=log,
        named=lambda genes: space.decode(genes[None])[0].id,
    )


class _Rounds:
    """Writes the quality of every fit of the strategy's surrogates during the search."""

    def __init__(self, run: Run, modelled: Sequence[str]) -> None:
        self._ledger, self._modelled = Ledger(run.folder / ROUNDS, RoundRow), modelled
        self._hypervolumes: dict[int, float] = {}

    def __call__(self, progress: loop.Progress) -> None:
        self._hypervolumes[progress.done - len(progress.failures)] = progress.hypervolume
        if progress.rounds:
            self._ledger.write(self._row(fit) for fit in progress.rounds)

    def _row(self, fit: Round) -> RoundRow:
        batches = fit.batch or (None,) * len(fit.quality)
        models = {
            name: SurrogateFit(kind=kind, left_out=_quality(left_out), next_batch=_quality(batch) if batch else None)
            for name, kind, left_out, batch in zip(self._modelled, fit.kinds, fit.quality, batches, strict=True)
        }
        hypervolume = self._hypervolumes[fit.evaluations]
        return RoundRow(evaluations=fit.evaluations, hypervolume=hypervolume, models=models)


def _quality(quality: Quality) -> SurrogateQuality:
    return SurrogateQuality(**asdict(quality))


def _record(
    run: Run, result: SearchResult, limits: Limits, objectives: Sequence[ObjectiveFunction], scorer: Scorer
) -> SearchRecord:
    return SearchRecord(
        strategy=run.config.search.strategy,
        refits=refits(run),
        asked=run.config.search.evaluations,
        evaluations=len(result.genes),
        origins=dict(result.origins),
        exhausted=result.exhausted,
        failures=_failures(run.space, result),
        seconds=scorer.seconds,
        objectives=tuple(ObjectiveRow(name=each.name, unit=each.unit) for each in objectives),
        hypervolume=float(result.hypervolume[-1]),
        reference_point=tuple(result.reference_point.tolist()),
        hypervolume_by_batch=tuple(result.hypervolume.tolist()),
        evaluations_by_batch=tuple(result.evaluations_by_batch.tolist()),
        budgets=limits.budgets,
        feasibility=_feasibility(limits),
        front=_front(run, result, objectives, scorer),
    )


def _failures(space: SearchSpace, result: SearchResult) -> tuple[FailedNetwork, ...]:
    return tuple(
        FailedNetwork(arch=space.decode(np.array([failure.genes]))[0], cause=failure.cause)
        for failure in result.failures
    )


def _feasibility(limits: Limits) -> FeasibleShares:
    found = limits.feasibility
    ranges = tuple(
        BudgetRange(smallest=reach.smallest, median=reach.median, largest=reach.largest, share=reach.share)
        for reach in found.reaches
    )
    return FeasibleShares(share=found.share, budgets=ranges)


def _front(
    run: Run, result: SearchResult, objectives: Sequence[ObjectiveFunction], scorer: Scorer
) -> tuple[FrontNetwork, ...]:
    """Return the front's networks, sorted by the first objective that is computed."""
    scored = sum(name.scored for name in run_objectives(run))
    column = min(scored, len(objectives) - 1)
    order = result.front[np.argsort(result.objectives[result.front, column], kind="stable")]
    names = [objective.name for objective in objectives]
    return tuple(
        FrontNetwork(
            arch=arch,
            val_top1=1 - scorer.known[arch.id].error,
            objectives=dict(zip(names, values.tolist(), strict=True)),
        )
        for arch, values in zip(run.space.decode(result.genes[order]), result.objectives[order], strict=True)
    )
