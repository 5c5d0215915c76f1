"""Functions that a search minimises or limits, and their batch form on genes.

An `ObjectiveFunction` or a `Limit` maps architectures to numbers. What they need for that (torch, data, a latency
predictor) stays inside the function.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgenas.errors import ConfigError
from edgenas.space.space import SearchSpace

Floats = npt.NDArray[np.float64]
GenesFunction = Callable[[npt.NDArray[np.int64]], Floats]


@dataclass(frozen=True)
class ObjectiveFunction:
    """A batch function of architectures that a search minimises.

    Attributes:
        name: e.g. `error`, `latency_us@pi4`.
        unit: e.g. `fraction`, `us`, `bytes`, `macs`.
        function: returns the value of each architecture, shape (n,).
        of_genes: whether `function` takes canonical genes, shape (n, genes), instead of architectures, which is much
            faster.
    """

    name: str
    unit: str
    function: Callable[[Any], Floats]
    of_genes: bool = False


@dataclass(frozen=True)
class Limit:
    """A hard upper limit on a batch function of architectures.

    Attributes:
        name: e.g. `pi4=20ms`.
        unit: the unit of its values.
        function: returns the value of each architecture, shape (n,).
        limit: the greatest value allowed, above 0.
        of_genes: whether `function` takes canonical genes, shape (n, genes), instead of architectures.
    """

    name: str
    unit: str
    function: Callable[[Any], Floats]
    limit: float
    of_genes: bool = False


def as_evaluate(space: SearchSpace, objectives: Sequence[ObjectiveFunction]) -> GenesFunction:
    """Return a function from genes, shape (n, genes), to the objectives' values in order, shape (n, objectives).

    Raises:
        ConfigError: no objective, or two of one name.
    """
    _check_names("objective", [objective.name for objective in objectives])
    if not objectives:
        raise ConfigError("expected at least one objective, got none")

    def evaluate(genes: npt.NDArray[np.int64]) -> Floats:
        return np.column_stack(_columns(space, objectives, genes))

    return evaluate


def as_constraints(space: SearchSpace, limits: Sequence[Limit]) -> GenesFunction:
    """Return a function from genes to violations, shape (n, limits): value / limit - 1, so <= 0 is feasible.

    Relative violations of different quantities can be summed, which is how strategies rank infeasible architectures.

    Raises:
        ConfigError: two limits of one name, or a limit that is not above 0.
    """
    check_limits(limits)

    def constraints(genes: npt.NDArray[np.int64]) -> Floats:
        columns = [values / c.limit - 1 for values, c in zip(_columns(space, limits, genes), limits, strict=True)]
        return np.column_stack(columns) if columns else np.empty((len(genes), 0))

    return constraints


def check_limits(limits: Sequence[Limit]) -> None:
    """Refuse two limits of one name, and limits that are not above 0.

    Raises:
        ConfigError: there are such limits.
    """
    _check_names("limit", [limit.name for limit in limits])
    for limit in limits:
        if not limit.limit > 0:
            raise ConfigError(f"limit {limit.name}: expected a limit above 0 {limit.unit}, got {limit.limit}")


def _columns(
    space: SearchSpace, functions: Sequence[ObjectiveFunction] | Sequence[Limit], genes: npt.NDArray[np.int64]
) -> list[Floats]:
    """Return the values of each function, shape (n,)."""
    archs = [] if all(each.of_genes for each in functions) else space.decode(genes)
    canonical = space.canonical(genes) if any(each.of_genes for each in functions) else genes
    return [_values(each.name, each.function(canonical if each.of_genes else archs), len(genes)) for each in functions]


def _values(name: str, values: npt.ArrayLike, count: int) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    if array.shape != (count,):
        raise ValueError(f"{name}: expected one value for each of {count} architectures, got shape {array.shape}")
    return array


def _check_names(kind: str, names: Sequence[str]) -> None:
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ConfigError(f"expected each {kind} once, got {', '.join(repeated)} more than once")
