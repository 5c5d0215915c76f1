"""How well accuracies that subnets inherit from a supernet predict those of standalone training."""

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
        arch: text of the architecture.
        macs: multiply-accumulates.
        grouped: whether it is in the group of near-equal MACs.
        inherited: top-1 with inherited weights and recalibrated batch norm.
        uncalibrated: the same with the supernet's batch-norm statistics; None if the weights are averaged.
        standalone: top-1 trained from scratch with recalibrated batch norm; the mean if trained several times.
        standalone_uncalibrated: the same with training's batch-norm statistics; None if the weights are averaged.
        standalone_by_seed: top-1 of each training from scratch.
    """

    arch: str
    macs: int
    grouped: bool
    inherited: float
    uncalibrated: float | None
    standalone: float
    standalone_uncalibrated: float | None
    standalone_by_seed: tuple[float, ...] = ()

    @property
    def gap(self) -> float:
        """Return inherited minus standalone top-1; below zero, weight sharing costs accuracy."""
        return self.inherited - self.standalone


def summarise(pairs: Sequence[Pair]) -> dict[str, Any]:
    """Return gaps and taus over all subnets, and within the group of near-equal MACs. Gaps are fractions."""
    group = [pair for pair in pairs if pair.grouped]
    macs = [pair.macs for pair in group]
    return {
        "all": _agreement(pairs),
        "group": _agreement(group) | ({"macs_least": min(macs), "macs_greatest": max(macs)} if macs else {}),
    }


def _repeated(by_seed: npt.NDArray[np.float64]) -> float | None:
    """Return the mean tau of one training of all subnets with the mean of the others; None for a single training.

    It measures the effect of seeds: if trainings disagree, a single one ranks by its seed. The tau of a supernet with
    the mean of all may well be higher.

    Args:
        by_seed: top-1, (seeds, subnets).
    """
    taus = [
        kendall_tau(scores, np.delete(by_seed, index, axis=0).mean(axis=0)).value
        for index, scores in enumerate(by_seed if len(by_seed) > 1 else ())
    ]
    defined = [tau for tau in taus if tau is not None]
    return sum(defined) / len(defined) if defined else None


def _agreement(pairs: Sequence[Pair]) -> dict[str, Any]:
    standalone = [pair.standalone for pair in pairs]
    inherited, macs = ([float(getattr(pair, name)) for pair in pairs] for name in ("inherited", "macs"))
    uncalibrated = [
        (pair.uncalibrated, pair.standalone_uncalibrated)
        for pair in pairs
        if pair.uncalibrated is not None and pair.standalone_uncalibrated is not None
    ]
    if not pairs:
        return {"subnets": 0}
    complete = len(uncalibrated) == len(pairs)
    worst = min(pairs, key=lambda pair: pair.gap)
    return {
        "subnets": len(pairs),
        "gap": asdict(mean([pair.gap for pair in pairs])),
        "gap_uncalibrated": asdict(mean([shared - own for shared, own in uncalibrated])) if complete else None,
        "worst_gap": {"arch": worst.arch, "gap": worst.gap},
        "tau": {
            "inherited": asdict(kendall_tau(inherited, standalone)),
            "uncalibrated": (
                asdict(kendall_tau([shared for shared, _ in uncalibrated], standalone)) if complete else None
            ),
            "macs": asdict(kendall_tau(macs, standalone)),
            "lead_over_macs": asdict(tau_lead(inherited, macs, standalone)),
            "repeated": _repeated(np.array([pair.standalone_by_seed for pair in pairs]).T),
        },
    }
