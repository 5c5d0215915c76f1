"""Stage search: archs that trade the objectives within every budget."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from edgenas.accuracy.source import open_source
from edgenas.files import write_jsonl
from edgenas.runs.folder import Progress, Run
from edgenas.runs.run_data import run_classes, run_dataset
from edgenas.search import loop
from edgenas.search.gaussian_process import Round
from edgenas.search.objective_functions import ObjectiveFunction, as_constraints, as_evaluate
from edgenas.search.result import SearchResult
from edgenas.search.strategies.by_name import default_population
from edgenas.stages import feasibility_notes
from edgenas.stages.limits import Limits, run_limits
from edgenas.stages.refit import refits
from edgenas.stages.run_objectives import objective_functions, run_objectives, to_json
from edgenas.stages.run_subnets import run_subnets
from edgenas.stages.source_scores import SourceScorer
from edgenas.stages.supernet_scores import Scorer, SupernetScorer, evaluations_path
from edgenas.stages.warm_start import first_genes

LOGGER = logging.getLogger(__name__)
ROUNDS = "search/rounds.jsonl"


def run_scorer(run: Run, limits: Limits, progress: Progress, *, keep: bool = True) -> Scorer:
    """What scores the run's archs: its supernet, or what the config names instead, which need not be kept."""
    if run.config.accuracy is not None:
        source = open_source(run.config.accuracy, run.space)
        return SourceScorer(run, source, limits.predictors, evaluations_path(run) if keep else None, progress)
    dataset = run_dataset(run)
    return SupernetScorer(run, run_subnets(run, dataset), dataset, limits, progress)


def run_search(run: Run, progress: Progress) -> None:
    """Search the run's space; again where predictors were refitted since, on where more evaluations are asked for.

    What was scored is not scored again: from the file of evaluations a search that was stopped takes the same way.

    Raises:
        ConfigError: the budgets cannot be met; what can be, and which clash, is told.
        EdgenasError: too many subnets could not be scored; the first one and why is named.
    """
    if run.done("search") and _settled(run):
        return
    limits = run_limits(run, run_classes(run))
    scorer = run_scorer(run, limits, progress)
    objectives = objective_functions(run_objectives(run), limits, scorer)
    result = _searched(run, limits, objectives)
    for failure in result.failures:
        LOGGER.warning("note: not scored: %s", failure)
    run.finish("search", _to_json(run, result, limits, objectives, scorer))


def _settled(run: Run) -> bool:
    """Whether the finished search is as long as the config asks for, and under the predictors there are now."""
    done = run.result("search")
    asked = done.get("asked", run.config.search.evaluations)
    return bool(asked >= run.config.search.evaluations and done.get("refits", 0) == refits(run))


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
    """Keeps what models foresaw in a file, a row for each fit of them, as the search goes on."""

    def __init__(self, run: Run, modelled: Sequence[str]) -> None:
        self._path, self._modelled = run.folder / ROUNDS, modelled
        self._hypervolumes: dict[int, float] = {}

    def __call__(self, progress: loop.Progress) -> None:
        self._hypervolumes[progress.done - len(progress.failures)] = progress.hypervolume
        if progress.rounds:
            write_jsonl(self._path, [self._row(each) for each in progress.rounds])

    def _row(self, fit: Round) -> dict[str, Any]:
        batches = fit.batch or (None,) * len(fit.quality)
        models = {
            name: {"kind": kind, "left_out": asdict(left_out), "next_batch": batch and asdict(batch)}
            for name, kind, left_out, batch in zip(self._modelled, fit.kinds, fit.quality, batches, strict=True)
        }
        return {"evaluations": fit.evaluations, "hypervolume": self._hypervolumes[fit.evaluations], "models": models}


def _to_json(
    run: Run, result: SearchResult, limits: Limits, objectives: tuple[ObjectiveFunction, ...], scorer: Scorer
) -> dict[str, Any]:
    config = run.config.search
    return {
        "strategy": config.strategy,
        "refits": refits(run),
        "asked": config.evaluations,
        "evaluations": len(result.genes),
        "origins": dict(result.origins),
        "exhausted": result.exhausted,
        "failures": [{"arch": failure.name, "cause": failure.cause} for failure in result.failures],
        "seconds": scorer.seconds,
        "objectives": to_json(objectives),
        "hypervolume": float(result.hypervolume[-1]),
        "reference_point": result.reference_point.tolist(),
        "hypervolume_by_batch": result.hypervolume.tolist(),
        "evaluations_by_batch": result.evaluations_by_batch.tolist(),
        "budgets": [str(budget) for budget in limits.budgets],
        "feasibility": feasibility_notes.to_json(limits.feasibility),
        "front": _front(run, result, objectives, scorer),
    }


def _front(
    run: Run, result: SearchResult, objectives: Sequence[ObjectiveFunction], scorer: Scorer
) -> list[dict[str, Any]]:
    """The front's networks, those first that need least of the first objective that is computed."""
    scored = sum(name.scored for name in run_objectives(run))
    by = min(scored, len(objectives) - 1)
    order = result.front[np.argsort(result.objectives[result.front, by], kind="stable")]
    return [
        {
            "arch": arch.id,
            "val_top1": 1 - scorer.known[arch.id].error,
            "objectives": dict(zip([each.name for each in objectives], values.tolist(), strict=True)),
        }
        for arch, values in zip(run.space.decode(result.genes[order]), result.objectives[order], strict=True)
    ]
