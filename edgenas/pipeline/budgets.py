"""Budgets of a run: resolved to devices, as one constraint on archs, and whether they can be met at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from edgenas.budget import Budget
from edgenas.deploy.onnx_export import EXPORTER_VERSION
from edgenas.errors import ConfigError, TableError
from edgenas.latency.device import Device
from edgenas.latency.predictor import LatencyPredictor
from edgenas.latency.table import LatencyTable
from edgenas.pipeline.devices import measured_devices, run_devices
from edgenas.pipeline.graphs import device_graphs
from edgenas.pipeline.profile import run_form, run_predictors, run_table
from edgenas.pipeline.run import Run
from edgenas.profiling.record import to_identity
from edgenas.profiling.transport import installed_runtime
from edgenas.search.objectives import Limit
from edgenas.space.arch import Arch
from edgenas.space.cost import cost
from edgenas.space.space import SearchSpace

RISK = 0.1
"""Share of networks that may be slower than the bound a latency budget is compared with."""

SPARE = 1.25
"""A budget of this many times the smallest subnet's latency leaves a choice."""


@dataclass(frozen=True)
class Limits:
    """A run's budgets and all it takes to hold archs against them."""

    run: Run
    budgets: tuple[Budget, ...]
    predictors: dict[str, LatencyPredictor]
    tail: dict[str, float]
    num_classes: int

    def values(self, archs: Sequence[Arch]) -> npt.NDArray[np.float64]:
        """What archs are expected to need of every budget, in its unit, shape (n, budgets).

        Latencies are the one-sided bound that only a share of `RISK` exceeds; of a device known by a table of blocks
        alone they are what is expected, since nothing is known of its error.
        """
        columns = [self._quantity(budget, archs) for budget in self.budgets]
        return np.asarray(np.column_stack(columns), dtype=np.float64)

    def as_search_limits(self) -> tuple[Limit, ...]:
        """The budgets as the search takes them."""
        return tuple(Limit(str(b), b.unit, partial(self._quantity, b), b.limit) for b in self.budgets)

    def check_feasible(self) -> None:
        """Refuse a budget that even the smallest subnet exceeds.

        Raises:
            ConfigError: the feasible range is stated.
        """
        ends = self.values([self.run.space.smallest, self.run.space.largest])
        for budget, smallest, largest in zip(self.budgets, *ends, strict=True):
            _check_reach(budget, smallest, largest)

    def _quantity(self, budget: Budget, archs: Sequence[Arch]) -> npt.NDArray[np.float64]:
        if budget.device is None:
            form = run_form(self.run)
            costs = [cost(self.run.space.unroll(arch, self.num_classes), form) for arch in archs]
            return np.array([getattr(c, budget.quantity) for c in costs], dtype=float)
        predictor = self.predictors[budget.device]
        bound = predictor.upper(archs, RISK) if predictor.calibrated_ else predictor.predict(archs)
        return bound * (self.tail[budget.device] if budget.quantity == "p95" else 1.0)


def _check_reach(budget: Budget, smallest: float, largest: float) -> None:
    if smallest > budget.limit:
        low, high = (str(budget.model_copy(update={"limit": float(f"{v:.3g}")})) for v in (smallest, largest))
        raise ConfigError(f"budget {budget} cannot be met: the space reaches from {low} to {high}")


def check_on_paper(budgets: Sequence[Budget], space: SearchSpace, num_classes: int) -> None:
    """Refuse a budget of MACs or bytes that even the smallest subnet exceeds: no device has to be asked for that.

    Raises:
        ConfigError: the feasible range is stated.
    """
    smallest, largest = (cost(space.unroll(arch, num_classes)) for arch in (space.smallest, space.largest))
    for budget in budgets:
        if budget.unit != "us":
            _check_reach(budget, getattr(smallest, budget.quantity), getattr(largest, budget.quantity))


def run_limits(run: Run, num_classes: int) -> Limits:
    """The run's budgets; without any, about half of the largest subnet's latency on the first device.

    Raises:
        ConfigError: a budget cannot be met; the feasible range is stated.
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
    limits = Limits(run, budgets, predictors, tail, num_classes)
    limits.check_feasible()
    return limits


def _own_table(run: Run, device: Device, num_classes: int) -> LatencyTable:
    """A device's table, once it is known to be of that device as it is run here, and of this run's space."""
    table = run_table(run, device.name)
    came = asdict(table.identity)
    graphs = device_graphs(device, measured_devices(run).values(), run_form(run))
    version = _comparable(device, came["runtime_version"])
    wanted = asdict(to_identity(device, version, EXPORTER_VERSION, graphs.form, graphs.quantiser_recipe))
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


def unasked_limit_us(smallest_us: float, largest_us: float) -> float:
    """The budget when none is asked for: half of the largest subnet's latency, which leaves something to trade.

    Where the smallest subnet needs about that much itself, it is midway between the two.
    """
    half = largest_us / 2
    return half if half >= SPARE * smallest_us else (smallest_us + largest_us) / 2


def _unasked(run: Run, table: LatencyTable, device: str, predictor: LatencyPredictor) -> Budget:
    if device not in measured_devices(run):
        expected = predictor.predict([run.space.smallest, run.space.largest]).tolist()
        return Budget(quantity="p50", limit=unasked_limit_us(*expected), device=device)
    rows = {row.key: row for row in table.networks(run.space.structure_id, predictor.num_classes_)}
    ends = (run.space.smallest.id, run.space.largest.id)
    for end, arch in zip(("smallest", "largest"), ends, strict=True):
        if arch not in rows:
            raise TableError(
                f"{run.folder}: the latency table of {device} lacks the {end} subnet, {arch}: {_again(run)}"
            )
    limit = unasked_limit_us(*(rows[arch].p50_us for arch in ends))
    return Budget(quantity="p50", limit=limit, device=device)


def _tail_ratio(run: Run, table: LatencyTable, num_classes: int) -> float:
    """A high estimate of p95 / p50 on this device: what nine of ten measured networks stay below.

    NaN where the table, one from elsewhere, does not state p95.
    """
    rows = table.networks(run.space.structure_id, num_classes)
    return float(np.quantile([row.p95_us / row.p50_us for row in rows], 1 - RISK)) if rows else np.nan


def _check_tails(budgets: Sequence[Budget], tail: Mapping[str, float]) -> None:
    for budget in budgets:
        if budget.quantity == "p95" and budget.device is not None and np.isnan(tail[budget.device]):
            raise ConfigError(f"budget {budget}: the table of {budget.device} states no p95: set a limit of the p50")
