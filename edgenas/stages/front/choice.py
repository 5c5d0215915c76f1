"""The choice among the verified networks: the best one, the knee, or the smallest weighted sum."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy.typing as npt

from edgenas.config.run_config import RunConfig
from edgenas.config.sections import SearchConfig
from edgenas.errors import ConfigError, one_of
from edgenas.objective import Objective, resolve_objectives
from edgenas.quantities import ERROR
from edgenas.search.front import choose_best, choose_knee, choose_weighted


def choose(
    config: SearchConfig, objectives: Sequence[Objective], points: npt.ArrayLike, feasible: Sequence[bool]
) -> int:
    """Return the index of the chosen network.

    Args:
        config: states the rule: best, knee or weighted.
        objectives: the objectives, those that are scored first.
        points: their values, minimised, shape (networks, objectives).
        feasible: which networks are eligible.

    Raises:
        InfeasibleError: no network is eligible.
    """
    if config.choose == "knee":
        return choose_knee(points, feasible)
    if config.choose == "weighted":
        return choose_weighted(points, weights_of(config.weights or {}, objectives), feasible)
    return choose_best(points, feasible)


def weights_of(weights: Mapping[Objective, float], objectives: Sequence[Objective]) -> list[float]:
    """Return a weight for each objective; `latency` is that of every device without a weight of its own.

    Raises:
        ConfigError: a weight is of no objective, or none is above 0.
    """
    valid = {*objectives, *(Objective(objective.quantity) for objective in objectives)}
    if unknown := [str(objective) for objective in weights if objective not in valid]:
        message = f"search.weights: {unknown[0]} is no objective of this run"
        raise ConfigError(f"{message}; {one_of(unknown[0], map(str, valid))}")
    resolved = [weights.get(each, weights.get(Objective(each.quantity), 0.0)) for each in objectives]
    if not any(resolved):
        raise ConfigError("search.weights: expected a weight above 0, got none")
    return resolved


def check_weights(config: RunConfig, devices: Sequence[str]) -> None:
    """Refuse weights that fit no objective of the run.

    Raises:
        ConfigError: a weight is of no objective, or none is above 0.
    """
    if config.search.weights is not None:
        weights_of(config.search.weights, resolve_objectives(config.search.objectives, devices))


def choice_words(config: SearchConfig, objectives: Sequence[Objective]) -> str:
    """Return how the network is chosen, in words."""
    if config.choose == "knee":
        return f"the knee of the front in {', '.join(map(str, objectives))}"
    if config.choose == "weighted":
        weights = zip(objectives, weights_of(config.weights or {}, objectives), strict=True)
        terms = ", ".join(f"{weight:g} × {objective}" for objective, weight in weights if weight)
        return f"the smallest sum of {terms}"
    first = objectives[0].quantity
    superlative = "most accurate" if first == ERROR else f"lowest {first.label}"
    return f"the {superlative} within every budget"
