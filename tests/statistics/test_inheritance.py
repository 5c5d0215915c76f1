"""The summary of subnets whose ranking is known."""

from __future__ import annotations

import pytest

from edgenas.records.ranking import ComparedSubnet, Estimate
from edgenas.space.arch import parse_arch
from edgenas.statistics.inherited_accuracy import agreement


def subnets(inherited: list[float], standalone: list[float]) -> list[ComparedSubnet]:
    return [
        ComparedSubnet(
            arch=parse_arch(f"r8_w{n + 1}-k3e1"),
            macs=100 + n,
            grouped=False,
            inherited=one,
            uncalibrated=one / 2,
            standalone=other,
            standalone_uncalibrated=other,
            standalone_by_seed=(other,),
            seconds=1.0,
        )
        for n, (one, other) in enumerate(zip(inherited, standalone, strict=True))
    ]


def test_scores_that_rank_alike_have_tau_1_and_their_gap() -> None:
    standalone = [0.7, 0.9, 0.8, 0.85, 0.75]
    found = agreement(subnets([one - 0.02 for one in standalone], standalone))
    assert found.subnets == 5
    assert found.tau is not None
    assert found.gap is not None
    assert found.tau.inherited == Estimate(value=1.0, low=1.0, high=1.0, count=5)
    assert found.gap.value == pytest.approx(-0.02)
    # MACs rise with the number: pairs (0.7, 0.9), (0.7, 0.8), … agree or not.
    assert found.tau.macs.value == pytest.approx(0.0)
    assert found.tau.lead_over_macs.value == pytest.approx(1.0)
    assert (found.macs_least, found.macs_greatest) == (100, 104)


def test_scores_that_rank_the_other_way_round_have_tau_minus_1() -> None:
    compared = subnets([0.9, 0.8, 0.7, 0.6], [0.1, 0.2, 0.3, 0.4])
    found = agreement(compared)
    assert found.tau is not None
    assert found.worst_gap is not None
    assert found.tau.inherited.value == -1
    assert found.tau.macs.value == 1
    assert (found.worst_gap.arch, found.worst_gap.gap) == (compared[3].arch, pytest.approx(0.2))


def test_without_subnets_there_are_no_figures() -> None:
    found = agreement([])
    assert (found.subnets, found.gap, found.tau, found.macs_least) == (0, None, None, None)


def test_the_gain_of_recalibration_is_separated() -> None:
    found = agreement(subnets([0.5, 0.6, 0.7], [0.5, 0.6, 0.7]))
    assert found.gap is not None
    assert found.gap_uncalibrated is not None
    assert found.gap.value == 0
    assert found.gap_uncalibrated.value == pytest.approx(-0.3)


def test_there_is_no_uncalibrated_summary_without_uncalibrated_scores() -> None:
    compared = subnets([0.5, 0.6, 0.7], [0.5, 0.6, 0.7])
    found = agreement([subnet.model_copy(update={"uncalibrated": None}) for subnet in compared])
    assert found.tau is not None
    assert (found.gap_uncalibrated, found.tau.uncalibrated) == (None, None)
    assert found.tau.inherited.value == 1
