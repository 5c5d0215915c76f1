"""A network of the front with its files, and what was measured of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from edgenas.budget import Budget
from edgenas.objective import ObjectiveName
from edgenas.pipeline.front_int8 import Int8File
from edgenas.profiling.record import Measurement
from edgenas.space.arch import Arch

CHOOSING, JUDGING = 0, 1
"""Halves of a measurement's rounds."""


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
        deployed_top1: on validation pictures, see `front_int8.deployed_top1`.
        measured: by device; one that is known by a table alone is not among them.
    """

    arch: Arch
    files: Files
    deployed_top1: float
    measured: dict[str, Measurement]

    def may_be_chosen(self, budgets: tuple[Budget, ...]) -> bool:
        """Within every latency budget on the choosing half."""
        return not self.missed(budgets, CHOOSING)

    def missed(self, budgets: tuple[Budget, ...], half: int) -> list[str]:
        """The latency budgets it is over, in words, on one half of the rounds."""
        return [
            f"{self.latency_us(b, half) / 1e3:.3f} ms on {b.device}, over {b}"
            for b in budgets
            # Where nothing is measured, the search kept to the budget as far as is known.
            if b.device in self.measured and self.latency_us(b, half) > b.limit
        ]

    def latency_us(self, budget: Budget, half: int) -> float:
        """Measured latency that a budget limits, on one half of the rounds."""
        assert budget.device is not None
        return self._quantile_us(budget.device, budget.quantity, half)

    def point(self, names: Sequence[ObjectiveName], half: int) -> list[float]:
        """Values of the objectives: what was measured of one half of the rounds, all else as deployed or found."""
        return [self._value(name, half) for name in names]

    def _value(self, name: ObjectiveName, half: int) -> float:
        if name.quantity == "error":
            return 1 - self.deployed_top1
        if name.device not in self.measured:
            return self.files.found[name.key]
        return self._quantile_us(name.device, name.quantile, half)

    def _quantile_us(self, device: str, quantile: str, half: int) -> float:
        measurement = self.measured[device]
        median = half_p50_us(measurement, half)
        # Tails need every sample there is; they are scaled to the rounds by the medians' ratio.
        return median * (measurement.p95_us / measurement.p50_us if quantile == "p95" else 1.0)


def half_p50_us(measurement: Measurement, half: int) -> float:
    """The p50 over one half of a measurement's rounds. What is reported is the judging half's."""
    return float(np.median(np.array_split(measurement.rounds_p50_us, 2)[half]))
