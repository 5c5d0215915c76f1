"""A network of the front with its files and measurements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from edgenas.budget import Budget
from edgenas.objective import Objective
from edgenas.profiling.measurement import Measurement
from edgenas.profiling.verdict import Judgement, judge_measured, worst
from edgenas.quantities import ERROR
from edgenas.records.comparison import Bools
from edgenas.records.record import Verdict
from edgenas.records.verify import Int8File
from edgenas.space.arch import Arch


@dataclass(frozen=True)
class Files:
    """A network's files; paths are within the run folder.

    Attributes:
        model: fp32; None where no device is measured, or the network is refused.
        val_top1: validation top-1 of the subnet that it was exported from.
        int8: where some device runs that, and the network is not refused.
        objectives: values of the objectives as the search found them, by the objectives' names in files.
        refused: why the network must not ship, so that it has no files; None where it may.
        right: whether it classifies each validation image correctly, (n,); None where that is not counted.
    """

    model: str | None
    val_top1: float
    int8: Int8File | None = None
    objectives: Mapping[str, float] = field(default_factory=dict)
    refused: str | None = None
    right: Bools | None = None

    def path(self, precision: str) -> str:
        """Return the file for devices of a precision."""
        if precision == "fp32":
            assert self.model is not None
            return self.model
        assert self.int8 is not None
        return self.int8.model


@dataclass(frozen=True)
class Candidate:
    """A network of the front, as measured on every device of the run.

    Attributes:
        arch: the network.
        files: what was measured.
        deployed_top1: on validation images, see `front_int8.deployed_top1`; of a refused network, the search's top-1.
        measured: measurements by device, without devices that are known by a table alone; none of a refused network.
        slowdowns: slowdown by device, see `verdict.slowdown`.
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
            budget: judge_measured(measured, budget, self.slowdowns.get(name, 1.0))
            for name, measured in self.measured.items()
            for budget in budgets
            if budget.device == name
        }

    def verdict(self, budgets: Sequence[Budget]) -> Verdict | None:
        """Return the worst verdict over all budgets; None where no budget is of a measured device."""
        return worst(judgement.verdict for judgement in self.judgements(budgets).values())

    def missed(self, budgets: Sequence[Budget]) -> list[str]:
        """Describe the budgets that the measured median is over."""
        return [
            f"{budget.quantity.unit.format(judgement.value_us)} measured, budget {budget.words}"
            for budget, judgement in self.judgements(budgets).items()
            if judgement.verdict == "over"
        ]

    def point(self, objectives: Sequence[Objective]) -> list[float]:
        """Return the values of the objectives: measured latencies, others as deployed or as the search found them."""
        return [self._value(objective) for objective in objectives]

    def _value(self, objective: Objective) -> float:
        if objective.quantity == ERROR:
            return 1 - self.deployed_top1
        measured = self.measured.get(objective.device) if objective.device else None
        return self.files.objectives[objective.key] if measured is None else measured.value_us(objective.quantity)
