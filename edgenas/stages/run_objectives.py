"""A run's objectives: what they are called, and the functions that a search asks."""

from __future__ import annotations

from functools import partial
from typing import Any

from edgenas.objective import ObjectiveName, objectives_on
from edgenas.runs.folder import Run
from edgenas.runs.run_devices import run_devices
from edgenas.search.objective_functions import Objective
from edgenas.stages.limits import Limits
from edgenas.stages.supernet_scores import Scorer


def objective_names(run: Run) -> tuple[ObjectiveName, ...]:
    """What the run's search minimises: what images have to be scored for first, then what is computed.

    Raises:
        ConfigError: see `objectives_on`.
    """
    return objectives_on(run.config.search.objectives, list(run_devices(run)))


def run_objectives(run: Run, limits: Limits, scorer: Scorer) -> tuple[Objective, ...]:
    """The run's objectives, in the order of their names."""
    return tuple(_objective(name, limits, scorer) for name in objective_names(run))


def _objective(name: ObjectiveName, limits: Limits, scorer: Scorer) -> Objective:
    if name.quantity == "error":
        return Objective(name.key, name.unit, scorer.error)
    if name.quantity == "worst_class_error":
        return Objective(name.key, name.unit, scorer.worst_class_error)
    return Objective(name.key, name.unit, partial(limits.expected, name), of_genes=True)


def to_json(objectives: tuple[Objective, ...]) -> list[dict[str, Any]]:
    """As they stand in a search's result."""
    return [{"name": each.name, "unit": each.unit, "sense": each.sense} for each in objectives]
