"""The rate at which files over their budget ship as `within`, on a synthetic device of known truth."""

from __future__ import annotations

import pytest
from synthetic_shipping import share_within

RUNS = 200
PROCESSES, SESSIONS, BOTH = (1, 0), (0, 1), (1, 1)


@pytest.mark.parametrize("noise", [0.01, 0.03, 0.05])
@pytest.mark.parametrize("kinds", [PROCESSES, SESSIONS, BOTH], ids=["processes", "sessions", "both"])
def test_a_file_that_is_one_percent_over_rarely_ships_as_within(noise: float, kinds: tuple[int, int]) -> None:
    assert share_within(kinds[0] * noise, kinds[1] * noise, over=0.01, runs=RUNS) <= 0.05


@pytest.mark.parametrize("kinds", [PROCESSES, SESSIONS], ids=["processes", "sessions"])
@pytest.mark.parametrize(("noise", "over", "least"), [(0.03, -0.15, 0.95), (0.01, -0.03, 0.9), (0.03, -0.03, 0.3)])
def test_the_further_below_its_budget_the_more_often_a_file_ships_as_within(
    kinds: tuple[int, int], noise: float, over: float, least: float
) -> None:
    assert share_within(kinds[0] * noise, kinds[1] * noise, over, runs=RUNS) >= least
