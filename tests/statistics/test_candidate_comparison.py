"""Comparison of candidates on the same validation images."""

import numpy as np
import pytest
from scipy.stats import binomtest

from edgenas.statistics.candidate_comparison import best_shares, compare_candidates, is_worse

LABELS = np.arange(60) % 3


def answers(rng: np.random.Generator, *rates: float) -> np.ndarray:
    return rng.random((len(rates), len(LABELS))) < np.array(rates)[:, None]


def best_first(right: np.ndarray) -> np.ndarray:
    return right[np.argsort(-right.sum(axis=1))]


def test_equal_candidates_are_rarely_distinguished_and_share_the_resamples() -> None:
    rng = np.random.default_rng(0)
    comparisons = [compare_candidates(best_first(answers(rng, *[0.8] * 6)), LABELS) for _ in range(100)]
    # The best of six equals is compared, so its lead is greater than that of one picked before.
    assert np.mean([comparison.worse > 0 for comparison in comparisons]) < 0.12
    assert np.mean([comparison.best_share for comparison in comparisons]) < 0.6


def test_a_far_better_candidate_is_distinguished_from_all_others() -> None:
    comparison = compare_candidates(answers(np.random.default_rng(0), 0.97, 0.4, 0.5, 0.3), LABELS)
    assert (comparison.images, comparison.candidates, comparison.worse) == (60, 4, 3)
    assert comparison.best_share > 0.99


def test_three_images_of_63_are_no_evidence() -> None:
    inherited = np.arange(63) < 51
    tuned = np.arange(63) < 48
    assert not is_worse(tuned, inherited)
    assert is_worse(np.arange(63) < 45, inherited)


@pytest.mark.parametrize(("only_first", "only_second"), [(3, 0), (5, 0), (9, 2), (20, 12), (0, 5)])
def test_worse_is_scipys_exact_test_of_the_images_that_differ(only_first: int, only_second: int) -> None:
    first = np.arange(100) < only_first
    second = (np.arange(100) >= 50) & (np.arange(100) < 50 + only_second)
    p_value = binomtest(only_first, only_first + only_second, 0.5, alternative="greater").pvalue
    assert is_worse(second, first) == (p_value <= 0.05)


def test_shares_are_those_of_a_plain_stratified_bootstrap() -> None:
    right, rng = answers(np.random.default_rng(1), 0.7, 0.75, 0.75), np.random.default_rng(2)
    wins = np.zeros(3)
    for _ in range(2000):
        drawn = np.concatenate([rng.choice(np.flatnonzero(label == LABELS), 20) for label in range(3)])
        totals = right[:, drawn].sum(axis=1)
        wins += (totals == totals.max()) / (totals == totals.max()).sum()
    shares = best_shares(right, LABELS)
    assert shares.sum() == pytest.approx(1)
    assert shares == pytest.approx(wins / 2000, abs=0.04)


def test_one_candidate_is_always_first() -> None:
    comparison = compare_candidates(answers(np.random.default_rng(0), 0.5), LABELS)
    assert (comparison.worse, comparison.best_share) == (0, 1.0)
