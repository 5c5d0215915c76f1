"""Verdicts on synthetic processes and sessions of known truth."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edgenas.budget import Budget
from edgenas.files import shipped
from edgenas.profiling.measurement import DISTURBANCES, Measurement
from edgenas.profiling.verdict import disturbed, judge, slowdown, upper_limit_us, worst
from edgenas.quantities import LATENCY

BUDGET = Budget(LATENCY, 100.0, "pi4")
PROCESSES, REPETITIONS = 8, 4000


@pytest.mark.parametrize(
    ("processes_us", "verdict"),
    [
        ([90.0] * 8, "within"),
        ([90.0] * 7 + [130.0], "within"),
        ([90.0] * 6 + [130.0] * 2, "not significant"),
        ([90.0] * 4 + [104.0] * 4, "not significant"),
        ([90.0] * 3 + [130.0] * 5, "over"),
        ([100.0] * 8, "within"),
        ([np.nextafter(100.0, 101.0)] * 8, "over"),
    ],
)
def test_seven_of_eight_processes_within_the_limit_make_a_file_within(processes_us: list[float], verdict: str) -> None:
    found = judge(BUDGET, processes_us)
    assert (found.verdict, found.budget) == (verdict, BUDGET)
    assert found.value_us == np.median(processes_us)
    assert found.upper_us == sorted(processes_us)[6]


def test_the_upper_limit_is_below_the_true_median_as_rarely_as_the_binomial_says() -> None:
    # A skewed distribution: order statistics assume none. Its median is 100.
    drawn = 100 * np.random.default_rng(0).lognormal(0.0, 0.05, (REPETITIONS, PROCESSES))
    missed = np.mean([upper_limit_us(list(row)) < 100 for row in drawn])
    expected = sum(math.comb(8, k) for k in (7, 8)) / 2**8
    assert missed == pytest.approx(expected, abs=4 * math.sqrt(expected / REPETITIONS))


def test_too_few_processes_are_never_within() -> None:
    assert upper_limit_us([1.0] * 4) is None
    assert judge(BUDGET, [1.0] * 4).verdict == "not significant"
    assert judge(BUDGET, [1.0] * 5).verdict == "within"


def test_a_session_faster_than_the_slowest_is_scaled_to_it() -> None:
    assert slowdown(10.0, [10.0, 11.0, 9.0]) == pytest.approx(1.1)
    assert slowdown(11.0, [10.0, 9.0]) == 1.0
    assert slowdown(10.0, []) == 1.0
    assert judge(BUDGET, [95.0] * 8, slowdown=1.1).verdict == "not significant"
    assert judge(BUDGET, [90.0] * 8, slowdown=1.1).verdict == "within"


def test_the_worst_verdict_counts() -> None:
    assert worst(["within", None, "not significant"]) == "not significant"
    assert worst(["over", "within"]) == "over"
    assert worst([None]) is None


@pytest.mark.parametrize(("flagged", "expected"), [((8, 8), True), ((5, 5), True), ((8, 4), False), ((4, 4), False)])
def test_a_session_is_disturbed_where_most_networks_have_warnings_from_most_processes(
    flagged: tuple[int, int], expected: bool
) -> None:
    measured = {f"net {number}": _measurement(count) for number, count in enumerate(flagged)}
    assert disturbed(measured) is expected


def _measurement(flagged_processes: int) -> Measurement:
    values = (100.0,) * PROCESSES
    return Measurement(*6 * (100.0,), 80, values, 0.0, (), values, values, 10.0, flagged_processes)


def test_disturbances_are_the_timers_own_words() -> None:
    """Warnings that hold for every session alike, of a governor say, repeat none."""
    timer = (shipped("export") / "bench.py").read_text()
    for beginning in DISTURBANCES:
        assert f'"{beginning} ' in timer
    assert not any("the frequency governor is 'powersave'".startswith(words) for words in DISTURBANCES)
