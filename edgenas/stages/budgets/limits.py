"""The budgets of a run, resolved to its devices, as limits on architectures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from edgenas.budget import Budget
from edgenas.config.run_config import RunConfig
from edgenas.errors import ConfigError
from edgenas.latency.predictor import Archs, LatencyPredictor
from edgenas.latency.table import LatencyTable
from edgenas.objective import Objective
from edgenas.quantities import LATENCY, P95, Quantity
from edgenas.runs.devices import RunDevices
from edgenas.runs.run import Run
from edgenas.search.feasibility import Feasibility, find_feasibility
from edgenas.search.objective_functions import Limit
from edgenas.space.space import ClassifierSpace, Genes, SearchSpace
from edgenas.stages.budgets.computed_budgets import used_precisions
from edgenas.stages.budgets.computed_costs import CostTable
from edgenas.stages.budgets.feasibility_notes import as_limits, require_feasible
from edgenas.stages.devices.device_latencies import DeviceLatencies, read_latencies

Floats = npt.NDArray[np.float64]
RISK = 0.1
"""Share of networks that may be slower than the bound that a latency budget is compared with."""
DEFAULT_SHARE = 0.65
"""Share of the space's networks that are within the default budget: the slowest third is left out."""
DEFAULT_SAMPLES = 2000
"""Number of random networks that the share is counted over."""
REPEATS = 1.05
"""Largest expected ratio between two measurements of the same network."""


@dataclass(frozen=True)
class Limits:
    """The budgets of a run, and the predictors and costs that architectures are compared with them by.

    Attributes:
        space: the run's space, with its number of classes.
        budgets: resolved to devices; the default budget where none is given.
        predictors: latency predictors by device.
        p95_ratios: high estimates of p95 / p50 by device; NaN where that is unknown.
        costs: MACs and bytes of networks in the run's graph variant, weight bytes of the file that devices run.
        seed: seed of the samples that feasibility is estimated from.
    """

    space: ClassifierSpace
    budgets: tuple[Budget, ...]
    predictors: Mapping[str, LatencyPredictor]
    p95_ratios: Mapping[str, float]
    costs: CostTable
    seed: int

    def values(self, archs: Archs) -> Floats:
        """Return the values of architectures for every budget, in its unit, shape (n, budgets).

        Latencies are the one-sided bound that only a share of `RISK` exceeds. On a device with a table of blocks alone
        they are the expected latencies, since the error is unknown.
        """
        return np.column_stack([self._values(budget, archs) for budget in self.budgets])

    def greatest_share(self, archs: Archs, drift: Mapping[str, float] | None = None) -> Floats:
        """Return the greatest ratio of value to limit over all budgets, shape (n,): up to 1 is within all of them.

        Args:
            archs: see `values`.
            drift: factor on the latencies of a device that is slower, or faster, than it was when it was profiled.
        """
        factors = [(drift or {}).get(budget.device or "", 1.0) / budget.limit for budget in self.budgets]
        return np.asarray((self.values(archs) * factors).max(axis=1))

    def of_device(self, device: str) -> Limits:
        """Return the latency budgets of one device."""
        return replace(self, budgets=tuple(budget for budget in self.budgets if budget.device == device))

    def as_search_limits(self) -> tuple[Limit, ...]:
        """Return the budgets as limits of a search."""
        return as_limits(self.budgets, self._values)

    def expected(self, objective: Objective, genes: Genes) -> Floats:
        """Return the expected values of an objective that is not scored, for canonical genes, in its unit, shape (n,).

        Latencies are the most likely ones, as a front is drawn; budgets are compared with a bound.
        """
        if objective.device is None:
            return self.costs(objective.quantity, genes)
        return self._ratio(objective.quantity, objective.device) * self.predictors[objective.device].predict(genes)

    @cached_property
    def feasibility(self) -> Feasibility:
        """The shares of the space within the budgets, and the range of each budget."""
        return find_feasibility(
            self.space.n_choices, self.as_search_limits(), repair=self.space.canonical, seed=self.seed
        )

    def require_feasible(self) -> None:
        """Refuse budgets that no network of the space is within.

        Raises:
            ConfigError: states what can be met, and which budgets clash.
        """
        require_feasible(self.feasibility, self.budgets)

    def _values(self, budget: Budget, archs: Archs) -> Floats:
        if budget.device is None:
            genes = archs if isinstance(archs, np.ndarray) else self.space.encode(archs)
            return self.costs(budget.quantity, genes)
        return self._ratio(budget.quantity, budget.device) * bound_us(self.predictors[budget.device], archs)

    def _ratio(self, quantity: Quantity, device: str) -> float:
        return self.p95_ratios[device] if quantity == P95 else 1.0


def run_limits(run: Run) -> Limits:
    """Return the budgets of a run, or its default budget, which leaves a choice: see `default_limit_us`.

    Raises:
        ConfigError: the budgets cannot be met; states what can be, and which clash.
        RunFolderError, TableError: see `unchecked_limits`.
    """
    limits = unchecked_limits(run)
    limits.require_feasible()
    return limits


def unchecked_limits(run: Run) -> Limits:
    """Return the budgets of a run, without a check that any network of the space is within them.

    Raises:
        RunFolderError: the run was not profiled yet.
        ConfigError, TableError: see `find_limits`.
    """
    return find_limits(run.config, run.networks, run.devices, read_latencies(run))


def find_limits(config: RunConfig, space: ClassifierSpace, devices: RunDevices, latencies: DeviceLatencies) -> Limits:
    """Return the budgets of a config as limits on architectures, or the default budget where it names none.

    Args:
        config: config of the run.
        space: its space, with its number of classes.
        devices: its devices.
        latencies: their tables and predictors.

    Raises:
        ConfigError: a p95 budget is of a device whose table states no p95.
        TableError: a latency table or predictor is of another setting, space or number of classes.
    """
    latencies.check(devices, space)
    predictors = latencies.predictors
    budgets = tuple(budget.on(list(predictors)) for budget in config.budgets)
    if not budgets:
        budgets = (_default_budget(latencies, next(iter(predictors)), config.seed),)
    ratios = {name: _p95_ratio(latencies.tables[name], space) for name in predictors}
    _require_ratios(budgets, ratios)
    costs = CostTable(space, latencies.variant, used_precisions(devices.measured.values()))
    return Limits(space, budgets, predictors, ratios, costs, config.seed)


def bound_us(predictor: LatencyPredictor, archs: Archs) -> Floats:
    """Return the latency that a budget is compared with, in microseconds, shape (n,); see `Limits.values`."""
    return predictor.upper(archs, RISK) if predictor.calibrated_ else predictor.predict(archs)


def default_limit_us(space: SearchSpace, predictor: LatencyPredictor, seed: int) -> float:
    """Return the limit of the default budget: a share of `DEFAULT_SHARE` of random networks is within it.

    It depends on space and device alone, leaves a choice wherever latencies differ, and spares training and search the
    slowest networks.

    Args:
        space: space of the networks; every gene is drawn uniformly.
        predictor: predictor of the device.
        seed: seed of the draws.
    """
    genes = np.random.default_rng(seed).integers(0, space.n_choices, (DEFAULT_SAMPLES, len(space.n_choices)))
    return float(np.quantile(bound_us(predictor, space.canonical(genes)), DEFAULT_SHARE))


def _default_budget(latencies: DeviceLatencies, device: str, seed: int) -> Budget:
    """Return the default budget, which follows from the profile alone, so that no later measurement moves it.

    If almost no network is within it by all that was measured since (on a device that slowed down, say), the limit is
    midway between the fastest network and the largest: a default shall not stop the run.
    """
    predictor, profiled = latencies.predictors[device], latencies.tables[device].rows
    space = predictor.space_
    limit = default_limit_us(space, latencies.profiled[device], seed)
    smallest, largest = bound_us(predictor, [space.smallest, space.largest]).tolist()
    measured = (row.p50_us for row in latencies.rows(device) if row not in profiled)
    fastest = max(smallest, min(measured, default=0.0))
    if limit <= REPEATS * fastest:
        limit = max(REPEATS * fastest, (fastest + largest) / 2)
    return Budget(LATENCY, limit, device)


def _p95_ratio(table: LatencyTable, space: ClassifierSpace) -> float:
    """Return a high estimate of p95 / p50 on a device: nine of ten measured networks stay below it.

    NaN where the table, one from elsewhere, does not state p95.
    """
    rows = table.networks(space.structure_id, space.num_classes)
    return float(np.quantile([row.p95_us / row.p50_us for row in rows], 1 - RISK)) if rows else np.nan


def _require_ratios(budgets: Sequence[Budget], ratios: Mapping[str, float]) -> None:
    for budget in budgets:
        if budget.quantity == P95 and budget.device is not None and np.isnan(ratios[budget.device]):
            raise ConfigError(f"budget {budget}: the table of {budget.device} states no p95: set a limit of the p50")
