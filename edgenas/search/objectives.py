"""Objectives and limits on archs, and the batch functions on genes that a search wants.

An `Objective` or a `Limit` maps archs to numbers; what that takes (torch, data, a latency predictor) stays
behind its function.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from edgenas.errors import ConfigError
from edgenas.space.arch import Arch
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
    function: Callable[[Sequence[Arch]], Floats]
    """Archs to values, shape (n,)."""
    sense: Literal["min"] = "min"
    """The direction of better. Only minimisation: give the error, not the accuracy."""


@dataclass(frozen=True)
class Limit:
    """A hard upper limit on a batch function of archs."""

    name: str
    unit: str
    function: Callable[[Sequence[Arch]], Floats]
    """Archs to values, shape (n,), in `unit`."""
    limit: float
    """The greatest value allowed, in `unit`, above 0."""


def as_evaluate(space: SearchSpace, objectives: Sequence[Objective]) -> GenesFunction:
    """A batch function of genes, shape (n, genes), to the objectives' values in order, shape (n, objectives).

    Raises:
        ConfigError: no objective, or two of one name.
    """
    _check_names("objective", [objective.name for objective in objectives])
    if not objectives:
        raise ConfigError("wanted at least one objective, got none")

    def evaluate(genes: npt.NDArray[np.int64]) -> Floats:
        archs = space.decode(genes)
        return np.column_stack([_values(o.name, o.function, archs) for o in objectives])

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
        archs = space.decode(genes)
        columns = [_values(c.name, c.function, archs) / c.limit - 1 for c in limits]
        return np.column_stack(columns) if columns else np.empty((len(archs), 0))

    return constraints


def _values(name: str, function: Callable[[Sequence[Arch]], Floats], archs: Sequence[Arch]) -> Floats:
    values = np.asarray(function(archs), dtype=np.float64)
    if values.shape != (len(archs),):
        raise ValueError(f"{name}: wanted one value for each of {len(archs)} archs, got shape {values.shape}")
    return values


def _check_names(kind: str, names: Sequence[str]) -> None:
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ConfigError(f"wanted each {kind} once, got {', '.join(repeated)} more than once")
