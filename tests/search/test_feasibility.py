import itertools

import numpy as np
import pytest

from edgenas.errors import ConfigError
from edgenas.search.feasibility import find_feasibility
from edgenas.search.objective_functions import Limit

N_CHOICES = np.array([3] * 12)


def total(genes: np.ndarray) -> np.ndarray:
    return 1.0 + genes.sum(axis=1)


def missing(genes: np.ndarray) -> np.ndarray:
    return 25.0 - genes.sum(axis=1)


def first_half(genes: np.ndarray) -> np.ndarray:
    return 1.0 + genes[:, :6].sum(axis=1)


def test_shares_and_median_are_those_of_the_whole_space() -> None:
    everything = np.array(list(itertools.product(range(3), repeat=6)))
    values = total(everything)
    limit = 6.0
    found = find_feasibility([3] * 6, [Limit("a", "ms", total, limit)], seed=0)
    assert found.share == found.reaches[0].share == pytest.approx((values <= limit).mean(), abs=0.04)
    assert found.reaches[0].median == pytest.approx(np.median(values), abs=1)
    assert (found.reaches[0].smallest, found.reaches[0].largest) == (values.min(), values.max())
    assert found.feasible
    assert found.nearest == (limit,)


def test_a_descent_finds_what_no_sample_meets() -> None:
    # One of 3^12 settings has a total of 1.
    found = find_feasibility(N_CHOICES, [Limit("a", "ms", total, 1.0)], seed=0)
    assert found.feasible
    assert found.reaches[0].smallest == 1.0
    assert found.share == 0.0


def test_an_impossible_budget_names_the_nearest_one() -> None:
    found = find_feasibility(N_CHOICES, [Limit("a", "ms", total, 0.5)], seed=0)
    assert not found.feasible
    assert found.nearest == (1.0,)
    assert found.clash is None


def test_of_three_limits_the_pair_that_clashes_is_named() -> None:
    limits = [
        Limit("small", "ms", total, 9.0),
        Limit("half", "ms", first_half, 8.0),
        Limit("large", "points", missing, 10.0),
    ]
    found = find_feasibility(N_CHOICES, limits, seed=0)
    assert all(reach.feasible for reach in found.reaches)
    assert not found.feasible
    assert found.clash == ("small", "large")
    small, half, large = found.nearest
    # A total of g costs 1 + g in one and 25 - g in the other: together 26, wherever g is.
    assert small + large == pytest.approx(26.0)
    assert half == 8.0


def test_limits_that_fit_together_are_feasible() -> None:
    limits = [Limit("small", "ms", total, 13.0), Limit("large", "points", missing, 13.0)]
    found = find_feasibility(N_CHOICES, limits, seed=0)
    assert found.feasible
    assert found.clash is None
    exactly = np.random.default_rng(1).integers(0, 3, size=(20_000, 12)).sum(axis=1) == 12
    assert found.share == pytest.approx(exactly.mean(), abs=0.03)


def test_inactive_genes_are_made_canonical_first() -> None:
    def off(genes: np.ndarray) -> np.ndarray:
        canonical = genes.copy()
        canonical[canonical[:, 0] == 0, 1:] = 0
        return canonical

    def seen(genes: np.ndarray) -> np.ndarray:
        assert not genes[genes[:, 0] == 0, 1:].any()
        return total(genes)

    assert find_feasibility([2, 3, 3], [Limit("a", "ms", seen, 4.0)], repair=off, seed=0).feasible


def test_equal_seeds_give_equal_reports() -> None:
    limits = [Limit("small", "ms", total, 9.0), Limit("large", "points", missing, 10.0)]
    reports = [find_feasibility(N_CHOICES, limits, seed=seed, samples=100) for seed in (0, 0, 1)]
    assert reports[0] == reports[1] != reports[2]


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ([], "at least one limit"),
        ([Limit("a", "ms", total, 1.0), Limit("a", "ms", total, 2.0)], "a more than once"),
        ([Limit("a", "ms", total, 0.0)], "above 0 ms"),
    ],
)
def test_wrong_limits_are_named(limits: list[Limit], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        find_feasibility(N_CHOICES, limits, seed=0)
