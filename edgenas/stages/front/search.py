"""The search of a space for architectures that trade off the objectives within every budget."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np

from edgenas.accuracy.scorer import Scorer
from edgenas.accuracy.scores import AccuracySource
from edgenas.config.sections import SearchConfig
from edgenas.objective import Objective
from edgenas.progress import Progress
from edgenas.quantities import BALANCED_ERROR, ERROR, WORST_CLASS_ERROR
from edgenas.records.ledger import Ledger
from edgenas.records.paths import ROUNDS
from edgenas.records.search import (
    BudgetRange,
    EvaluationRow,
    FailedNetwork,
    FeasibleShares,
    FrontNetwork,
    ObjectiveRow,
    RoundRow,
    SearchRecord,
    SurrogateFit,
    SurrogateQuality,
)
from edgenas.search import loop
from edgenas.search.gaussian_process import Quality, Round
from edgenas.search.objective_functions import ObjectiveFunction, as_constraints, as_evaluate
from edgenas.search.result import SearchResult
from edgenas.search.strategies.by_name import default_population
from edgenas.space.space import SearchSpace
from edgenas.stages.budgets.limits import Limits
from edgenas.stages.front.warm_start import first_genes

LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class FrontSearch:
    """Searches the space of a run for its front.

    Attributes:
        config: section `search` of the config.
        objectives: objectives that are minimised: those that are scored first.
        source: gives validation errors.
        ledger: every score is appended to it.
        folder: the run folder, for the rounds of surrogates and the initial architectures.
        progress: called with the current step, steps done and in all.
    """

    config: SearchConfig
    objectives: tuple[Objective, ...]
    source: AccuracySource
    ledger: Ledger[EvaluationRow]
    folder: Path
    progress: Progress

    def search(self, limits: Limits, refits: int) -> SearchRecord:
        """Search the space; return the front and how it was found.

        Args:
            limits: the budgets; its space is searched, its seed is that of the search.
            refits: number of times that the latency predictors were refitted on measured networks.

        Raises:
            EdgenasError: too many subnets could not be scored; the message gives the first one and the cause.
        """
        scorer = Scorer(self.source, self.ledger, limits.predictors, self._searching)
        functions = objective_functions(self.objectives, limits, scorer)
        result = self._optimise(functions, limits)
        for failure in result.failures:
            LOGGER.warning("note: not scored: %s", failure)
        return self._record(result, functions, limits, scorer, refits)

    def _searching(self, scored: int) -> None:
        self.progress("searching", scored, self.config.evaluations)

    @property
    def _scored(self) -> int:
        """The number of objectives that are scored; those after them are computed."""
        return sum(objective.scored for objective in self.objectives)

    def _optimise(self, functions: Sequence[ObjectiveFunction], limits: Limits) -> SearchResult:
        config, space = self.config, limits.space
        population = config.population or default_population(config.strategy)
        computed = functions[self._scored :]
        return loop.optimise(
            space.n_choices,
            as_evaluate(space, functions),
            constraints=as_constraints(space, limits.as_search_limits()),
            strategy=config.strategy,
            evaluations=config.evaluations,
            population=population,
            seed=limits.seed,
            initial=first_genes(config, limits, population, self.folder),
            repair=space.canonical,
            exact=as_evaluate(space, computed) if computed else None,
            callback=_Rounds(self.folder, [function.name for function in functions[: self._scored]]),
            named=lambda genes: space.decode(genes[None])[0].id,
        )

    def _record(
        self,
        result: SearchResult,
        functions: Sequence[ObjectiveFunction],
        limits: Limits,
        scorer: Scorer,
        refits: int,
    ) -> SearchRecord:
        return SearchRecord(
            strategy=self.config.strategy,
            refits=refits,
            asked=self.config.evaluations,
            evaluations=len(result.genes),
            origins=dict(result.origins),
            exhausted=result.exhausted,
            failures=_failures(limits.space, result),
            seconds=scorer.seconds,
            objectives=tuple(ObjectiveRow(name=function.name, unit=function.unit) for function in functions),
            hypervolume=float(result.hypervolume[-1]),
            reference_point=tuple(result.reference_point.tolist()),
            hypervolume_by_batch=tuple(result.hypervolume.tolist()),
            evaluations_by_batch=tuple(result.evaluations_by_batch.tolist()),
            budgets=limits.budgets,
            feasibility=_feasibility(limits),
            front=self._front(result, functions, limits.space, scorer),
        )

    def _front(
        self, result: SearchResult, functions: Sequence[ObjectiveFunction], space: SearchSpace, scorer: Scorer
    ) -> tuple[FrontNetwork, ...]:
        """Return the front's networks, sorted by the first objective that is computed."""
        column = min(self._scored, len(functions) - 1)
        order = result.front[np.argsort(result.objectives[result.front, column], kind="stable")]
        archs = space.decode(result.genes[order])
        names = [function.name for function in functions]
        return tuple(
            FrontNetwork(
                arch=arch,
                val_top1=1 - scorer.scores[arch].error,
                objectives=dict(zip(names, values.tolist(), strict=True)),
            )
            for arch, values in zip(archs, result.objectives[order], strict=True)
        )


def objective_functions(
    objectives: Iterable[Objective], limits: Limits, scorer: Scorer
) -> tuple[ObjectiveFunction, ...]:
    """Return the functions that a search minimises for objectives, in their order."""
    return tuple(_function(objective, limits, scorer) for objective in objectives)


def _function(objective: Objective, limits: Limits, scorer: Scorer) -> ObjectiveFunction:
    unit = objective.quantity.unit.name
    scores = {
        ERROR: scorer.error,
        WORST_CLASS_ERROR: scorer.worst_class_error,
        BALANCED_ERROR: scorer.balanced_error,
    }
    if objective.quantity in scores:
        return ObjectiveFunction(objective.key, unit, scores[objective.quantity])
    return ObjectiveFunction(objective.key, unit, partial(limits.expected, objective), of_genes=True)


class _Rounds:
    """Writes the quality of every fit of the strategy's surrogates during the search."""

    def __init__(self, folder: Path, modelled: Sequence[str]) -> None:
        self._ledger, self._modelled = Ledger(folder / ROUNDS, RoundRow), modelled
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


def _failures(space: SearchSpace, result: SearchResult) -> tuple[FailedNetwork, ...]:
    return tuple(
        FailedNetwork(arch=space.decode(np.array([failure.genes]))[0], cause=failure.cause)
        for failure in result.failures
    )


def _feasibility(limits: Limits) -> FeasibleShares:
    feasibility = limits.feasibility
    ranges = tuple(
        BudgetRange(smallest=reach.smallest, median=reach.median, largest=reach.largest, share=reach.share)
        for reach in feasibility.reaches
    )
    return FeasibleShares(share=feasibility.share, budgets=ranges)
