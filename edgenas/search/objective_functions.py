"""Objectives and limits on archs, and the batch functions on genes that a search wants.

An `Objective` or a `Limit` maps archs to numbers; what that takes (torch, data, a latency predictor) stays
behind its function.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from edgenas.errors import ConfigError
from edgenas.space.space import SearchSpace

Floats = npt.NDArray[np.float64]
GenesFunction = Callable[[npt.NDArray[np.int64]], Floats]


@dataclass(frozen=True)
class Objective:
    """What is to be minimised: a batch function of archs, with a name and a unit."""

    name: str
    """E.g. `error`, `latency_us@here`."""
    unit: str
    """E.g. `fraction`, `us`, `bytes`, `macs`."""
    function: Callable[[Any], Floats]
    """Archs to values, shape (n,)."""
    sense: Literal["min"] = "min"
    """The direction of better. Only minimisation: give the error, not the accuracy."""
    of_genes: bool = False
    """Whether `function` takes canonical genes, shape (n, genes), instead of archs: much faster where it can."""


@dataclass(frozen=True)
class Limit:
    """A hard upper limit on a batch function of archs."""

    name: str
    unit: str
    function: Callable[[Any], Floats]
    """Archs to values, shape (n,), in `unit`."""
    limit: float
    """The greatest value allowed, in `unit`, above 0."""
    of_genes: bool = False
    """Whether `function` takes canonical genes, shape (n, genes), instead of archs."""


def as_evaluate(space: SearchSpace, objectives: Sequence[Objective]) -> GenesFunction:
    """A batch function of genes, shape (n, genes), to the objectives' values in order, shape (n, objectives).

    Raises:
        ConfigError: no objective, or two of one name.
    """
    _check_names("objective", [objective.name for objective in objectives])
    if not objectives:
        raise ConfigError("wanted at least one objective, got none")

    def evaluate(genes: npt.NDArray[np.int64]) -> Floats:
        return np.column_stack(_columns(space, objectives, genes))

    return evaluate


def as_constraints(space: SearchSpace, limits: Sequence[Limit]) -> GenesFunction:
    """A batch function of genes to violations, shape (n, limits): value / limit - 1, so <= 0 is feasible.

    Relative violations of different quantities can be summed, which is how strategies rank infeasible archs.

    Raises:
        ConfigError: two limits of one name, or a limit that is not above 0.
    """
    _check_names("limit", [limit.name for limit in limits])
    for limit in limits:
        if not limit.limit > 0:
            raise ConfigError(f"limit {limit.name}: wanted a limit above 0 {limit.unit}, got {limit.limit}")

    def constraints(genes: npt.NDArray[np.int64]) -> Floats:
        columns = [values / c.limit - 1 for values, c in zip(_columns(space, limits, genes), limits, strict=True)]
        return np.column_stack(columns) if columns else np.empty((len(genes), 0))

    return constraints


def _columns(
    space: SearchSpace, functions: Sequence[Objective] | Sequence[Limit], genes: npt.NDArray[np.int64]
) -> list[Floats]:
    """Values of each function, shape (n,)."""
    archs = [] if all(each.of_genes for each in functions) else space.decode(genes)
    canonical = space.canonical(genes) if any(each.of_genes for each in functions) else genes
    return [_values(each.name, each.function(canonical if each.of_genes else archs), len(genes)) for each in functions]


def _values(name: str, found: npt.ArrayLike, count: int) -> Floats:
    values = np.asarray(found, dtype=np.float64)
    if values.shape != (count,):
        raise ValueError(f"{name}: wanted one value for each of {count} archs, got shape {values.shape}")
    return values


def _check_names(kind: str, names: Sequence[str]) -> None:
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ConfigError(f"wanted each {kind} once, got {', '.join(repeated)} more than once")
