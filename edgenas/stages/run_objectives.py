"""The objectives of a run, and the functions that a search minimises for them."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from edgenas.accuracy.scorer import Scorer
from edgenas.objective import Objective, resolve_objectives
from edgenas.quantities import ERROR, WORST_CLASS_ERROR
from edgenas.runs.run import Run
from edgenas.search.objective_functions import ObjectiveFunction
from edgenas.stages.limits import Limits


def run_objectives(run: Run) -> tuple[Objective, ...]:
    """Return the objectives that a run's search minimises: those that are scored first.

    Raises:
        ConfigError: see `resolve_objectives`.
    """
    return resolve_objectives(run.config.search.objectives, run.devices.names)


def objective_functions(
    objectives: Iterable[Objective], limits: Limits, scorer: Scorer
) -> tuple[ObjectiveFunction, ...]:
    """Return the functions of objectives, in their order."""
    return tuple(_function(objective, limits, scorer) for objective in objectives)


def _function(objective: Objective, limits: Limits, scorer: Scorer) -> ObjectiveFunction:
    unit = objective.quantity.unit.name
    scores = {ERROR: scorer.error, WORST_CLASS_ERROR: scorer.worst_class_error}
    if objective.quantity in scores:
        return ObjectiveFunction(objective.key, unit, scores[objective.quantity])
    return ObjectiveFunction(objective.key, unit, partial(limits.expected, objective), of_genes=True)
