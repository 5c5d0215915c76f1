"""The search of a space for architectures that trade off the objectives within every budget."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from edgenas.accuracy.scorer import Scorer
from edgenas.config.sections import SearchConfig
from edgenas.objective import Objective
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
from edgenas.search import loop
from edgenas.search.gaussian_process import Quality, Round
from edgenas.search.objective_functions import ObjectiveFunction, as_constraints, as_evaluate
from edgenas.search.result import SearchResult
from edgenas.search.strategies.by_name import default_population
from edgenas.space.space import SearchSpace
from edgenas.stages.limits import Limits
from edgenas.stages.run_objectives import objective_functions
from edgenas.stages.warm_start import first_genes

LOGGER = logging.getLogger(__name__)
ROUNDS = "search/rounds.jsonl"


@dataclass(frozen=True)
class FrontSearch:
    """A search for the front of a run.

    Attributes:
        config: section `search` of the config.
        objectives: objectives that are minimised: those that are scored first.
        limits: the budgets; its space is searched, its seed is that of the search.
        scorer: gives validation errors.
        folder: the run folder, for the rounds of surrogates and the initial architectures.
    """

    config: SearchConfig
    objectives: tuple[Objective, ...]
    limits: Limits
    scorer: Scorer
    folder: Path

    def search(self, refits: int) -> SearchRecord:
        """Search the space; return the front and how it was found.

        Args:
            refits: number of times that the latency predictors were refitted on measured networks.

        Raises:
            EdgenasError: too many subnets could not be scored; the message gives the first one and the cause.
        """
        functions = objective_functions(self.objectives, self.limits, self.scorer)
        result = self._optimise(functions)
        for failure in result.failures:
            LOGGER.warning("note: not scored: %s", failure)
        return self._record(result, functions, refits)

    @property
    def _scored(self) -> int:
        """The number of objectives that are scored; those after them are computed."""
        return sum(objective.scored for objective in self.objectives)

    def _optimise(self, functions: Sequence[ObjectiveFunction]) -> SearchResult:
        config, limits, space = self.config, self.limits, self.limits.space
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

    def _record(self, result: SearchResult, functions: Sequence[ObjectiveFunction], refits: int) -> SearchRecord:
        return SearchRecord(
            strategy=self.config.strategy,
            refits=refits,
            asked=self.config.evaluations,
            evaluations=len(result.genes),
            origins=dict(result.origins),
            exhausted=result.exhausted,
            failures=_failures(self.limits.space, result),
            seconds=self.scorer.seconds,
            objectives=tuple(ObjectiveRow(name=function.name, unit=function.unit) for function in functions),
            hypervolume=float(result.hypervolume[-1]),
            reference_point=tuple(result.reference_point.tolist()),
            hypervolume_by_batch=tuple(result.hypervolume.tolist()),
            evaluations_by_batch=tuple(result.evaluations_by_batch.tolist()),
            budgets=self.limits.budgets,
            feasibility=_feasibility(self.limits),
            front=self._front(result, functions),
        )

    def _front(self, result: SearchResult, functions: Sequence[ObjectiveFunction]) -> tuple[FrontNetwork, ...]:
        """Return the front's networks, sorted by the first objective that is computed."""
        column = min(self._scored, len(functions) - 1)
        order = result.front[np.argsort(result.objectives[result.front, column], kind="stable")]
        archs = self.limits.space.decode(result.genes[order])
        names = [function.name for function in functions]
        return tuple(
            FrontNetwork(
                arch=arch,
                val_top1=1 - self.scorer.known[arch].error,
                objectives=dict(zip(names, values.tolist(), strict=True)),
            )
            for arch, values in zip(archs, result.objectives[order], strict=True)
        )


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
