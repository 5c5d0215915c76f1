"""The summary of subnets whose ranking is known."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgenas.statistics.inherited_accuracy import Pair, summarise


def pairs(inherited: list[float], standalone: list[float], grouped: int = 0) -> list[Pair]:
    return [
        Pair(f"arch{n}", 100 + n, n < grouped, one, one / 2, other, other)
        for n, (one, other) in enumerate(zip(inherited, standalone, strict=True))
    ]


def test_scores_that_rank_alike_have_tau_1_and_their_gap() -> None:
    standalone = [0.7, 0.9, 0.8, 0.85, 0.75]
    found = summarise(pairs([one - 0.02 for one in standalone], standalone, grouped=4))
    assert found["all"]["subnets"] == 5
    assert found["all"]["tau"]["inherited"] == {"value": 1.0, "low": 1.0, "high": 1.0, "count": 5}
    assert found["all"]["gap"]["value"] == pytest.approx(-0.02)
    # MACs rise with the number: pairs (0.7, 0.9), (0.7, 0.8), … agree or not.
    assert found["all"]["tau"]["macs"]["value"] == pytest.approx(0.0)
    assert found["all"]["tau"]["lead_over_macs"]["value"] == pytest.approx(1.0)
    assert (found["group"]["subnets"], found["group"]["macs_least"], found["group"]["macs_greatest"]) == (4, 100, 103)


def test_scores_that_rank_the_other_way_round_have_tau_minus_1() -> None:
    found = summarise(pairs([0.9, 0.8, 0.7, 0.6], [0.1, 0.2, 0.3, 0.4]))
    assert found["all"]["tau"]["inherited"]["value"] == -1
    assert found["all"]["tau"]["macs"]["value"] == 1
    assert found["all"]["worst_gap"] == {"arch": "arch3", "gap": pytest.approx(0.2)}
    assert found["group"] == {"subnets": 0}


def test_the_gain_of_recalibration_is_separated() -> None:
    standalone = [0.5, 0.6, 0.7]
    found = summarise(pairs(standalone, standalone))["all"]
    assert found["gap"]["value"] == 0
    assert found["gap_uncalibrated"]["value"] == pytest.approx(-0.3)


def test_there_is_no_uncalibrated_summary_without_uncalibrated_scores() -> None:
    found = summarise([replace(pair, uncalibrated=None) for pair in pairs([0.5, 0.6, 0.7], [0.5, 0.6, 0.7])])["all"]
    assert (found["gap_uncalibrated"], found["tau"]["uncalibrated"]) == (None, None)
    assert found["tau"]["inherited"]["value"] == 1
