"""Kendall's tau against scipy's, and its intervals against distributions whose tau is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from edgenas.statistics.rank_agreement import _Pairs, kendall_tau, mean, tau_lead

SCORES = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=3, max_size=12)


@given(SCORES)
def test_tau_is_scipys_ties_included(scores: list[tuple[int, int]]) -> None:
    x, y = np.array(scores, dtype=float).T
    found = kendall_tau(x, y).value
    if len(set(x)) == 1 or len(set(y)) == 1:
        assert found is None
    else:
        assert found == pytest.approx(stats.kendalltau(x, y).statistic)


@given(SCORES, st.integers(0, 2**16))
def test_a_network_that_is_drawn_twice_counts_twice(scores: list[tuple[int, int]], seed: int) -> None:
    x, y = np.array(scores, dtype=float).T
    times = np.random.default_rng(seed).multinomial(len(x), np.full(len(x), 1 / len(x)))
    drawn_x, drawn_y = np.repeat(x, times), np.repeat(y, times)
    found = _Pairs.of(x, y).tau(times[None].astype(float))[0]
    if len(set(drawn_x)) == 1 or len(set(drawn_y)) == 1:
        assert math.isnan(found)
    else:
        assert found == pytest.approx(stats.kendalltau(drawn_x, drawn_y).statistic)


@pytest.mark.parametrize("rho", [0.0, 0.7])
def test_the_interval_holds_the_tau_of_normal_scores(rho: float) -> None:
    rng, true = np.random.default_rng(0), 2 / math.pi * math.asin(rho)
    held = 0
    for _ in range(120):
        x, y = rng.multivariate_normal([0, 0], [[1, rho], [rho, 1]], 25).T
        found = kendall_tau(x, y)
        assert found.low is not None
        assert found.high is not None
        held += found.low <= true <= found.high
    # 95 % are asked for; 120 draws have a standard error of 2 %, and so few networks make the bootstrap narrow.
    assert held / 120 >= 0.87


def test_a_lead_is_the_difference_of_taus_on_the_same_networks() -> None:
    rng = np.random.default_rng(1)
    y = rng.normal(size=20)
    good, poor = y + rng.normal(0, 0.3, 20), y + rng.normal(0, 3, 20)
    found = tau_lead(good, poor, y)
    assert found.value == pytest.approx(stats.kendalltau(good, y)[0] - stats.kendalltau(poor, y)[0])
    assert found.low is not None
    assert found.low > 0
    assert tau_lead(y, y, good).value == 0


def test_the_interval_of_a_mean_is_that_of_the_normal_law() -> None:
    values = np.random.default_rng(2).normal(3, 2, 400)
    found = mean(values)
    assert found.value == pytest.approx(values.mean())
    assert found.low is not None
    assert found.high is not None
    half = 1.96 * values.std() / 20
    assert (found.low, found.high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.04)


@pytest.mark.parametrize(("x", "y"), [([1, 2], [1, 2]), ([1, 1, 1], [1, 2, 3]), ([], [])])
def test_of_too_few_networks_nothing_is_stated(x: list[float], y: list[float]) -> None:
    found = kendall_tau(x, y)
    assert (found.value, found.low, found.high, found.count) == (None, None, None, len(x))
