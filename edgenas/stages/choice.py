"""Which of the verified networks is handed over: the best, the knee, or that of the smallest weighted sum."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy.typing as npt

from edgenas.config.run_config import RunConfig
from edgenas.config.sections import SearchConfig
from edgenas.errors import ConfigError, one_of
from edgenas.objective import ObjectiveName, objectives_on, parse_objective
from edgenas.search.front import choose_best, choose_knee, choose_weighted


def choose(
    config: SearchConfig, names: Sequence[ObjectiveName], points: npt.ArrayLike, feasible: Sequence[bool]
) -> int:
    """Index of the network to hand over.

    Args:
        config: says how.
        names: the objectives.
        points: their values, minimised, shape (networks, objectives).
        feasible: which networks may be chosen.

    Raises:
        InfeasibleError: none of them.
    """
    if config.choose == "knee":
        return choose_knee(points, feasible)
    if config.choose == "weighted":
        return choose_weighted(points, weights_of(config.weights or {}, names), feasible)
    return choose_best(points, feasible)


def weights_of(weights: Mapping[str, float], names: Sequence[ObjectiveName]) -> list[float]:
    """A weight for each objective; `latency` is that of every device without a weight of its own.

    Raises:
        ConfigError: a weight is of no objective, or none is above 0.
    """
    parsed = {parse_objective(text): weight for text, weight in weights.items()}
    valid = {str(name) for name in names} | {name.quantity for name in names}
    unknown = [str(name) for name in parsed if str(name) not in valid]
    if unknown:
        raise ConfigError(f"search.weights: {unknown[0]} is no objective of this run; {one_of(unknown[0], valid)}")
    found = [parsed.get(name, parsed.get(ObjectiveName(name.quantity), 0.0)) for name in names]
    if not any(found):
        raise ConfigError("search.weights: wanted a weight above 0, got none")
    return found


def check_weights(config: RunConfig, devices: Sequence[str]) -> None:
    """Refuse weights that fit no objective of the run.

    Raises:
        ConfigError: a weight is of no objective, or none is above 0.
    """
    if config.search.weights is not None:
        weights_of(config.search.weights, objectives_on(config.search.objectives, devices))


def words(config: SearchConfig, names: Sequence[ObjectiveName]) -> str:
    """How the network is chosen, in words."""
    if config.choose == "knee":
        return f"the knee of the front in {', '.join(map(str, names))}"
    if config.choose == "weighted":
        weights = zip(names, weights_of(config.weights or {}, names), strict=True)
        return f"the smallest sum of {', '.join(f'{weight:g} × {name}' for name, weight in weights if weight)}"
    first = "most accurate" if names[0].quantity == "error" else f"lowest {str(names[0]).replace('_', ' ')}"
    return f"the {first} within every budget"
