"""Agreement of accuracies that subnets inherit from a supernet with those of standalone training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from edgenas.records.ranking import Agreement, ComparedSubnet, Taus, WorstGap
from edgenas.statistics.rank_agreement import kendall_tau, mean, tau_lead


def agreement(subnets: Sequence[ComparedSubnet]) -> Agreement:
    """Return the gaps (fractions) and taus over subnets."""
    if not subnets:
        return Agreement(subnets=0)
    worst, macs = min(subnets, key=lambda subnet: subnet.gap), [subnet.macs for subnet in subnets]
    gaps = [
        subnet.uncalibrated - subnet.standalone_uncalibrated
        for subnet in subnets
        if subnet.uncalibrated is not None and subnet.standalone_uncalibrated is not None
    ]
    return Agreement(
        subnets=len(subnets),
        gap=mean([subnet.gap for subnet in subnets]),
        gap_uncalibrated=mean(gaps) if len(gaps) == len(subnets) else None,
        worst_gap=WorstGap(arch=worst.arch, gap=worst.gap),
        tau=_taus(subnets),
        macs_least=min(macs),
        macs_greatest=max(macs),
    )


def _taus(subnets: Sequence[ComparedSubnet]) -> Taus:
    standalone = [subnet.standalone for subnet in subnets]
    inherited, macs = [subnet.inherited for subnet in subnets], [float(subnet.macs) for subnet in subnets]
    uncalibrated = [subnet.uncalibrated for subnet in subnets if subnet.uncalibrated is not None]
    return Taus(
        inherited=kendall_tau(inherited, standalone),
        uncalibrated=kendall_tau(uncalibrated, standalone) if len(uncalibrated) == len(subnets) else None,
        macs=kendall_tau(macs, standalone),
        lead_over_macs=tau_lead(inherited, macs, standalone),
        repeated=_repeated(np.array([subnet.standalone_by_seed for subnet in subnets]).T),
    )


def _repeated(by_seed: npt.NDArray[np.float64]) -> float | None:
    """Return the mean tau of each training with the mean of the others; None for a single training.

    It measures the effect of seeds on rankings. The tau of a supernet with the mean of all trainings can be higher.

    Args:
        by_seed: top-1 of each training, shape (seeds, subnets).
    """
    taus = [
        kendall_tau(scores, np.delete(by_seed, index, axis=0).mean(axis=0)).value
        for index, scores in enumerate(by_seed if len(by_seed) > 1 else ())
    ]
    defined = [tau for tau in taus if tau is not None]
    return sum(defined) / len(defined) if defined else None
