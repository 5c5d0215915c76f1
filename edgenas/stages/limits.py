"""Budgets of a run: resolved to devices, as one constraint on archs, and whether they can be met at all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import get_args

import numpy as np
import numpy.typing as npt

from edgenas.budget import Budget
from edgenas.deploy.onnx.exporter import EXPORTER_VERSION
from edgenas.errors import ConfigError, TableError
from edgenas.latency.device import Device, Precision
from edgenas.latency.predictor import Archs, LatencyPredictor
from edgenas.latency.table import NETWORK, LatencyTable
from edgenas.objective import Objective
from edgenas.profiling.measurement import to_identity
from edgenas.profiling.transport import installed_runtime
from edgenas.quantities import LATENCY, P95, WEIGHT_BYTES, Quantity
from edgenas.runs.folder import Run
from edgenas.runs.run_devices import measured_devices, run_devices
from edgenas.search.feasibility import Feasibility, find_feasibility
from edgenas.search.objective_functions import Limit
from edgenas.space.space import Genes, SearchSpace
from edgenas.stages.computed_costs import CostTable
from edgenas.stages.device_graphs import device_graphs
from edgenas.stages.feasibility_notes import as_limits, feasibility_lines, require_feasible
from edgenas.stages.profile import profiled_predictor, run_predictors, run_table, run_variant
from edgenas.stages.refit import refitted

PRECISIONS: tuple[Precision, ...] = get_args(Precision)
RISK = 0.1
"""Share of networks that may be slower than the bound a latency budget is compared with."""

UNASKED_SHARE = 0.65
"""Share of the space's networks that are within the budget when none is asked for: the slowest third is left out."""
UNASKED_SAMPLES = 2000
"""Random networks that the share is counted over."""

REPEATS = 1.05
"""How many times as long a network may take when it is measured once more."""


@dataclass(frozen=True)
class Limits:
    """A run's budgets and all it takes to hold archs against them."""

    run: Run
    budgets: tuple[Budget, ...]
    predictors: dict[str, LatencyPredictor]
    tail: dict[str, float]
    num_classes: int

    def values(self, archs: Archs) -> npt.NDArray[np.float64]:
        """What archs are expected to need of every budget, in its unit, shape (n, budgets).

        Latencies are the one-sided bound that only a share of `RISK` exceeds; of a device known by a table of blocks
        alone they are what is expected, since nothing is known of its error.
        """
        columns = [self._quantity(budget, archs) for budget in self.budgets]
        return np.asarray(np.column_stack(columns), dtype=np.float64)

    def greatest_share(self, archs: Archs) -> npt.NDArray[np.float64]:
        """What archs take of the budget that they take most of, shape (n,): up to 1 is within all budgets."""
        ceilings = np.array([budget.limit for budget in self.budgets])
        shares: npt.NDArray[np.float64] = (self.values(archs) / ceilings).max(axis=1)
        return shares

    def as_search_limits(self) -> tuple[Limit, ...]:
        """Return the budgets as limits of a search."""
        return as_limits(self.budgets, self._quantity)

    def expected(self, objective: Objective, genes: Genes) -> npt.NDArray[np.float64]:
        """Return the expected values of an objective that is not scored, for canonical genes, in its unit, shape (n,).

        Latencies are the most likely ones, as a front is drawn; budgets are compared with a bound.
        """
        if objective.device is None:
            return self.costs(objective.quantity, genes)
        likely = self.predictors[objective.device].predict(genes)
        return likely * (self.tail[objective.device] if objective.quantity == P95 else 1.0)

    def costs(self, quantity: Quantity, genes: Genes) -> npt.NDArray[np.float64]:
        """Return MACs or bytes of networks by canonical genes, shape (n,), in the run's graph variant.

        Weight bytes are those of the file that devices run, of two files the larger one's.
        """
        return _largest(self._cost_tables, quantity, genes)

    @cached_property
    def _cost_tables(self) -> list[CostTable]:
        used = used_precisions(measured_devices(self.run).values())
        return [CostTable(self.run.space, self.num_classes, run_variant(self.run), precision) for precision in used]

    @cached_property
    def feasibility(self) -> Feasibility:
        """What the space offers for the budgets."""
        return space_feasibility(self.run.space, self.as_search_limits(), self.run.config.seed)

    def check_feasible(self) -> None:
        """Refuse budgets that nothing of the space is within.

        Raises:
            ConfigError: what can be met, and which budgets clash.
        """
        require_feasible(self.feasibility, self.budgets)

    def _quantity(self, budget: Budget, archs: Archs) -> npt.NDArray[np.float64]:
        if budget.device is None:
            genes = archs if isinstance(archs, np.ndarray) else self.run.space.encode(archs)
            return self.costs(budget.quantity, genes)
        times = self.tail[budget.device] if budget.quantity == P95 else 1.0
        return bound(self.predictors[budget.device], archs) * times


def used_precisions(devices: Iterable[Device]) -> list[Precision]:
    """Return what devices run models in; fp32 where none of them is measured."""
    used = {device.run.precision for device in devices if device.is_measured}
    return [precision for precision in PRECISIONS if precision in used] or ["fp32"]


def file_notes(budgets: Sequence[Budget], used: Sequence[Precision]) -> list[str]:
    """Return which file budgets of weight bytes are of, in lines; none where every device runs fp32."""
    if "int8" not in used:
        return []
    words = "of int8 files: int8 weights and int32 biases with their scales; the stem and the classifier stay fp32"
    if len(used) > 1:
        words = "of fp32 and of int8 files, since devices run both: the larger one has to be within it"
    return [f"budget {budget} is {words}" for budget in budgets if budget.quantity == WEIGHT_BYTES]


def _largest(tables: Sequence[CostTable], quantity: Quantity, genes: Genes) -> npt.NDArray[np.float64]:
    values: npt.NDArray[np.float64] = np.max([table(quantity, genes) for table in tables], axis=0)
    return values


def check_on_paper(
    budgets: Sequence[Budget], space: SearchSpace, num_classes: int, devices: Iterable[Device] = ()
) -> list[str]:
    """Refuse budgets of MACs and bytes that nothing of the space is within: no device has to be asked for that.

    Args:
        budgets: of the run.
        space: of its networks.
        num_classes: of its networks.
        devices: of the run, whose precisions say which file weight bytes are of.

    Returns:
        How much of the space is within them, in lines; none where there are no such budgets.

    Raises:
        ConfigError: what can be met, and which budgets clash.
    """
    computed = [budget for budget in budgets if not budget.quantity.per_device]
    if not computed:
        return []
    used = used_precisions(devices)
    tables = [CostTable(space, num_classes, precision=precision) for precision in used]
    limits = as_limits(computed, lambda budget, genes: _largest(tables, budget.quantity, genes))
    feasibility = space_feasibility(space, limits, seed=0)
    require_feasible(feasibility, computed)
    return feasibility_lines(feasibility, computed) + file_notes(computed, used)


def space_feasibility(space: SearchSpace, limits: Sequence[Limit], seed: int) -> Feasibility:
    """Return what a space offers for limits on its canonical genes."""
    return find_feasibility(space.n_choices, limits, repair=space.canonical, seed=seed)


def run_limits(run: Run, num_classes: int) -> Limits:
    """The run's budgets; without any, one that leaves a choice on the first device, see `unasked_limit_us`.

    Raises:
        ConfigError: the budgets cannot be met; what can be, and which clash, is told.
        TableError: see `unchecked_limits`.
    """
    limits = unchecked_limits(run, num_classes)
    limits.check_feasible()
    return limits


def unchecked_limits(run: Run, num_classes: int) -> Limits:
    """The run's budgets, which perhaps nothing of the space is within.

    Raises:
        TableError: a latency table or predictor is of another setting, space or number of classes.
    """
    predictors = run_predictors(run)
    tables = {
        name: _own_table(run, device, num_classes) if device.is_measured else run_table(run, name)
        for name, device in run_devices(run).items()
    }
    for name, predictor in predictors.items():
        if predictor.num_classes_ != num_classes:
            came = f"of {predictor.num_classes_} classes, wanted {num_classes}"
            raise TableError(f"{run.folder}: the latency predictor of {name} is {came}: {_again(run)}")
    budgets = tuple(budget.on(list(predictors)) for budget in run.config.budgets)
    if not budgets:
        first = next(iter(predictors))
        budgets = (_unasked(run, tables[first], first, predictors[first]),)
    tail = {name: _tail_ratio(run, tables[name], num_classes) for name in predictors}
    _check_tails(budgets, tail)
    return Limits(run, budgets, predictors, tail, num_classes)


def _own_table(run: Run, device: Device, num_classes: int) -> LatencyTable:
    """A device's table, once it is known to be of that device as it is run here, and of this run's space."""
    table = run_table(run, device.name)
    came = asdict(table.identity)
    graphs = device_graphs(device, measured_devices(run).values(), run_variant(run))
    version = _comparable(device, came["runtime_version"])
    wanted = asdict(to_identity(device, version, EXPORTER_VERSION, graphs.variant, graphs.quantiser_recipe))
    other = [f"{key} is {came[key]}, wanted {value}" for key, value in wanted.items() if came[key] != value]
    if other:
        said = f"is of another setting ({'; '.join(other)})"
        raise TableError(f"{run.folder}: the latency table of {device.name} {said}: {_again(run)}")
    if not table.networks(run.space.structure_id, num_classes):
        raise TableError(
            f"{run.folder}: the latency table of {device.name} holds no network of {run.space.structure_id} with "
            f"{num_classes} classes: {_again(run)}"
        )
    return table


def _comparable(device: Device, version: str) -> str:
    """The installed runtime's version; `version`, the measured one's, where that is the same but for a suffix.

    What is installed on another machine, only measuring tells.
    """
    if device.run.transport != "local":
        return version
    installed = installed_runtime()
    same = version.startswith(installed) or installed.startswith(version)
    return version if same else installed


def _again(run: Run) -> str:
    return f"delete {run.result_path('profile')} and run `edgenas profile {run.folder}`"


def bound(predictor: LatencyPredictor, archs: Archs) -> npt.NDArray[np.float64]:
    """What a latency budget is compared with, in microseconds, shape (n,); see `Limits.values`."""
    return predictor.upper(archs, RISK) if predictor.calibrated_ else predictor.predict(archs)


def unasked_limit_us(space: SearchSpace, predictor: LatencyPredictor, seed: int) -> float:
    """Return the budget when none is asked for: a share of `UNASKED_SHARE` of random networks is within it.

    It depends on space and device alone, leaves something to trade wherever latencies differ, and spares training and
    search the slowest networks.

    Args:
        space: of the networks, every gene of which is drawn uniformly.
        predictor: of the device; its bound is what budgets are compared with.
        seed: of the draws.
    """
    genes = np.random.default_rng(seed).integers(0, space.n_choices, (UNASKED_SAMPLES, len(space.n_choices)))
    return float(np.quantile(bound(predictor, space.canonical(genes)), UNASKED_SHARE))


def _unasked(run: Run, table: LatencyTable, device: str, predictor: LatencyPredictor) -> Budget:
    """Return the budget of a run that asks for none: that of its profile, which no later measurement moves.

    Where next to nothing is within it as far as is known now (of a device that slowed down since, say), it is midway
    between the fastest network and the largest: a number that nobody asked for shall not stop the run.
    """
    limit = unasked_limit_us(run.space, profiled_predictor(run, device), run.config.seed)
    smallest, largest = bound(predictor, [run.space.smallest, run.space.largest]).tolist()
    measured = (row.p50_us for row in refitted(run, table).rows if row.kind == NETWORK and row not in table.rows)
    fastest = max(smallest, min(measured, default=0.0))
    if limit <= REPEATS * fastest:
        limit = max(REPEATS * fastest, (fastest + largest) / 2)
    return Budget(LATENCY, limit, device)


def _tail_ratio(run: Run, table: LatencyTable, num_classes: int) -> float:
    """A high estimate of p95 / p50 on this device: what nine of ten measured networks stay below.

    NaN where the table, one from elsewhere, does not state p95.
    """
    rows = table.networks(run.space.structure_id, num_classes)
    return float(np.quantile([row.p95_us / row.p50_us for row in rows], 1 - RISK)) if rows else np.nan


def _check_tails(budgets: Sequence[Budget], tail: Mapping[str, float]) -> None:
    for budget in budgets:
        if budget.quantity == P95 and budget.device is not None and np.isnan(tail[budget.device]):
            raise ConfigError(f"budget {budget}: the table of {budget.device} states no p95: set a limit of the p50")
