"""The interval of a median covers it as often as stated, whatever the noise between processes looks like."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import quantile_test

from edgenas.profiling.median_interval import coverage, median_interval, one_sided_coverage, trimmed

DRAWS = 4000
NOISE: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "normal": lambda rng, n: rng.normal(100, 3, (DRAWS, n)),
    "heavy tails": lambda rng, n: 100 + 3 * rng.standard_cauchy((DRAWS, n)),
    "skewed": lambda rng, n: 100 * np.exp(0.05 * (rng.exponential(1, (DRAWS, n)) - np.log(2))),
}
"""Independent p50s of n processes with a true median of 100 microseconds."""


@pytest.mark.parametrize("noise", NOISE.values(), ids=NOISE)
@pytest.mark.parametrize("processes", [5, 8, 11])
def test_the_interval_covers_the_median_as_often_as_stated(noise, processes: int) -> None:
    ends = np.array([median_interval(own) for own in noise(np.random.default_rng(0), processes)])
    held = (ends[:, 0] <= 100) & (ends[:, 1] >= 100)
    # Three standard errors of a share in DRAWS draws.
    assert held.mean() == pytest.approx(coverage(processes), abs=3 * np.sqrt(0.07 * 0.93 / DRAWS))
    assert (ends[:, 1] >= 100).mean() == pytest.approx(one_sided_coverage(processes), abs=3 * np.sqrt(0.04 / DRAWS))


def test_ties_do_not_lower_the_coverage() -> None:
    coarse = np.round(NOISE["normal"](np.random.default_rng(0), 8) / 5) * 5
    ends = np.array([median_interval(own) for own in coarse])
    assert ((ends[:, 0] <= 100) & (ends[:, 1] >= 100)).mean() >= coverage(8)


@pytest.mark.parametrize("processes", range(5, 40))
def test_each_end_is_the_tightest_one_sided_limit_that_scipy_finds(processes: int) -> None:
    own = np.random.default_rng(processes).normal(100, 3, processes)
    upper, lower = (
        quantile_test(own, q=100, p=0.5, alternative=side).confidence_interval(0.95) for side in ("less", "greater")
    )
    assert median_interval(own) == (lower.low, upper.high)


def test_the_exact_coverage_of_eight() -> None:
    assert (trimmed(8), one_sided_coverage(8), coverage(8)) == (1, 1 - 9 / 256, 1 - 18 / 256)


@pytest.mark.parametrize("processes", [0, 1, 4])
def test_too_few_processes_are_refused(processes: int) -> None:
    with pytest.raises(ValueError, match=f"5 processes, got {processes}"):
        median_interval([100.0] * processes)
