"""A network of the front with its files, and what was measured of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from edgenas.budget import Budget
from edgenas.objective import ObjectiveName
from edgenas.profiling.measurement import Measurement
from edgenas.profiling.verdict import Judgement, Verdict, judge, worst
from edgenas.space.arch import Arch
from edgenas.stages.front_int8 import Int8File


@dataclass(frozen=True)
class Files:
    """A network's files; paths are within the run folder.

    Attributes:
        model: fp32; None where no device is measured.
        val_top1: of the subnet it was exported from.
        int8: where some device runs that.
        found: by the search, the values of its objectives.
    """

    model: str | None
    val_top1: float
    int8: Int8File | None = None
    found: Mapping[str, float] = field(default_factory=dict)

    def path(self, precision: str) -> str:
        """The file of devices of a precision."""
        if precision == "fp32":
            assert self.model is not None
            return self.model
        assert self.int8 is not None
        return self.int8.path


@dataclass(frozen=True)
class Candidate:
    """A network of the front, as measured on every device of the run.

    Attributes:
        arch: the network.
        files: what was measured.
        deployed_top1: on validation images, see `front_int8.deployed_top1`.
        measured: by device; one that is known by a table alone is not among them.
        slowdowns: by device, see `verdict.slowdown`.
    """

    arch: Arch
    files: Files
    deployed_top1: float
    measured: Mapping[str, Measurement]
    slowdowns: Mapping[str, float] = field(default_factory=dict)

    def judgements(self, budgets: Sequence[Budget]) -> dict[Budget, Judgement]:
        """Compare the measured latency with every budget of a measured device.

        Where a device is not measured, the search kept to the budget by predictions alone.
        """
        return {
            budget: judge_budget(measured, budget, self.slowdowns.get(name, 1.0))
            for name, measured in self.measured.items()
            for budget in budgets
            if budget.device == name
        }

    def verdict(self, budgets: Sequence[Budget]) -> Verdict | None:
        """Return the worst verdict over all budgets; None where no budget is of a measured device."""
        return worst(found.verdict for found in self.judgements(budgets).values())

    def missed(self, budgets: Sequence[Budget]) -> list[str]:
        """Describe the budgets that the measured median is over."""
        return [
            f"{found.value_us / 1e3:.3f} ms on {budget.device}, over {budget}"
            for budget, found in self.judgements(budgets).items()
            if found.verdict == "over"
        ]

    def point(self, names: Sequence[ObjectiveName]) -> list[float]:
        """Return the values of the objectives: measured latencies, all else as deployed or found by the search."""
        return [self._value(name) for name in names]

    def _value(self, name: ObjectiveName) -> float:
        if name.quantity == "error":
            return 1 - self.deployed_top1
        found = self.measured.get(name.device) if name.device else None
        if found is None:
            return self.files.found[name.key]
        return found.p95_us if name.quantile == "p95" else found.p50_us


def judge_budget(measured: Measurement, budget: Budget, slowdown: float) -> Judgement:
    """Compare a measurement with a latency budget of its device, see `verdict.judge`."""
    processes_us = measured.processes_p95_us if budget.quantity == "p95" else measured.processes_p50_us
    return judge(budget.quantity, processes_us, budget.limit, slowdown)
