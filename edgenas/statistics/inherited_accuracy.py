"""Whether accuracies that subnets inherit from a supernet tell those that they reach alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgenas.statistics.rank_agreement import kendall_tau, mean, tau_lead


@dataclass(frozen=True)
class Pair:
    """A subnet with the weights it inherits, and trained from scratch; top-1 on the same images, as fractions.

    Attributes:
        arch: its text.
        macs: multiply-accumulates.
        grouped: whether it is one of the group of near-equal MACs.
        inherited: with batch norm recalibrated.
        uncalibrated: with the statistics that all subnets share; None where these are not of its weights.
        alone: with batch norm recalibrated; the mean of several trainings, where there are several.
        alone_uncalibrated: with the statistics that its own training left; None likewise.
        alone_by_seed: of each training.
    """

    arch: str
    macs: int
    grouped: bool
    inherited: float
    uncalibrated: float | None
    alone: float
    alone_uncalibrated: float | None
    alone_by_seed: tuple[float, ...] = ()

    @property
    def gap(self) -> float:
        """Inherited minus alone: below zero, sharing weights costs accuracy."""
        return self.inherited - self.alone


def summarise(pairs: Sequence[Pair]) -> dict[str, Any]:
    """Gaps and taus over all subnets, and again within the group of near-equal MACs. Fractions, not points."""
    group = [pair for pair in pairs if pair.grouped]
    macs = [pair.macs for pair in group]
    return {
        "all": _of(pairs),
        "group": _of(group) | ({"macs_least": min(macs), "macs_greatest": max(macs)} if macs else {}),
    }


def _repeated(by_seed: npt.NDArray[np.float64]) -> float | None:
    """The tau of one training of all subnets with the mean of the others, on average; None of a single one.

    It tells how far seeds alone go: where such trainings do not agree, one of them ranks by its seed. A supernet, held
    against the mean of all, may well be above it.

    Args:
        by_seed: top-1, (seeds, subnets).
    """
    taus = [
        kendall_tau(own, np.delete(by_seed, place, axis=0).mean(axis=0)).value
        for place, own in enumerate(by_seed if len(by_seed) > 1 else ())
    ]
    known = [tau for tau in taus if tau is not None]
    return sum(known) / len(known) if known else None


def _of(pairs: Sequence[Pair]) -> dict[str, Any]:
    alone = [pair.alone for pair in pairs]
    inherited, macs = ([float(getattr(pair, name)) for pair in pairs] for name in ("inherited", "macs"))
    bare = [
        (pair.uncalibrated, pair.alone_uncalibrated)
        for pair in pairs
        if pair.uncalibrated is not None and pair.alone_uncalibrated is not None
    ]
    if not pairs:
        return {"subnets": 0}
    told = len(bare) == len(pairs)
    worst = min(pairs, key=lambda pair: pair.gap)
    return {
        "subnets": len(pairs),
        "gap": asdict(mean([pair.gap for pair in pairs])),
        "gap_uncalibrated": asdict(mean([own - other for own, other in bare])) if told else None,
        "worst_gap": {"arch": worst.arch, "gap": worst.gap},
        "tau": {
            "inherited": asdict(kendall_tau(inherited, alone)),
            "uncalibrated": asdict(kendall_tau([own for own, _ in bare], alone)) if told else None,
            "macs": asdict(kendall_tau(macs, alone)),
            "lead_over_macs": asdict(tau_lead(inherited, macs, alone)),
            "repeated": _repeated(np.array([pair.alone_by_seed for pair in pairs]).T),
        },
    }
