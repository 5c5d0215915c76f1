"""Budgets of MACs and bytes, which are checked before any device measures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import get_args

from edgenas.budget import Budget
from edgenas.latency.device import Device, Precision
from edgenas.quantities import WEIGHT_BYTES
from edgenas.search.feasibility import find_feasibility
from edgenas.space.space import ClassifierSpace
from edgenas.stages.budgets.computed_costs import CostTable
from edgenas.stages.budgets.feasibility_notes import as_limits, feasibility_lines, require_feasible

PRECISIONS: tuple[Precision, ...] = get_args(Precision)


def used_precisions(devices: Iterable[Device]) -> list[Precision]:
    """Return the precisions that devices run models in; fp32 where no device is measured."""
    used = {device.run.precision for device in devices if device.is_measured}
    return [precision for precision in PRECISIONS if precision in used] or ["fp32"]


def weight_bytes_notes(budgets: Sequence[Budget], precisions: Sequence[Precision]) -> list[str]:
    """Return which file each budget of weight bytes limits, in lines; none where every device runs fp32."""
    if "int8" not in precisions:
        return []
    words = "limits int8 files: int8 weights and int32 biases with their scales; the stem and the classifier stay fp32"
    if len(precisions) > 1:
        words = "limits fp32 and int8 files, since devices run both: the larger one has to be within it"
    return [f"budget {budget} {words}" for budget in budgets if budget.quantity == WEIGHT_BYTES]


def check_computed_budgets(
    budgets: Sequence[Budget], networks: ClassifierSpace, devices: Iterable[Device] = ()
) -> list[str]:
    """Refuse budgets of MACs and bytes that no network of the space is within.

    Args:
        budgets: the budgets of a run; those of measured quantities are ignored.
        networks: the search space.
        devices: the devices of the run, whose precisions decide which file weight bytes are of.

    Returns:
        How much of the space is within them, in lines; none where there are no such budgets.

    Raises:
        ConfigError: states what can be met, and which budgets clash.
    """
    computed = [budget for budget in budgets if not budget.quantity.per_device]
    if not computed:
        return []
    precisions = used_precisions(devices)
    costs = CostTable(networks, precisions=precisions)
    limits = as_limits(computed, lambda budget, genes: costs(budget.quantity, genes))
    feasibility = find_feasibility(networks.n_choices, limits, repair=networks.canonical, seed=0)
    require_feasible(feasibility, computed)
    return feasibility_lines(feasibility, computed) + weight_bytes_notes(computed, precisions)
