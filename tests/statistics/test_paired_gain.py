"""The paired gain of one network over another, and its interval."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgenas.statistics.paired_gain import gain_of_answers, paired_gain


@pytest.mark.parametrize(
    ("images", "only_first", "only_second"),
    [(60, 0.1, 0.05), (60, 0.02, 0.02), (60, 0.3, 0.1), (300, 0.05, 0.03), (2000, 0.04, 0.04)],
)
def test_intervals_cover_the_true_difference(images: int, only_first: float, only_second: float) -> None:
    draws = np.random.default_rng(0).multinomial(images, [only_first, only_second, 1 - only_first - only_second], 4000)
    gains = [paired_gain(more, fewer, images) for more, fewer, _ in draws.tolist()]
    covered = np.mean([gain.low <= only_first - only_second <= gain.high for gain in gains])
    assert covered >= 0.94


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=80))
def test_the_gain_is_the_difference_of_the_rates_and_changes_sign_with_their_order(
    answers: list[tuple[bool, bool]],
) -> None:
    first, second = ("".join("01"[value] for value in column) for column in zip(*answers, strict=True))
    gain, reverse = gain_of_answers(first, second), gain_of_answers(second, first)
    assert gain.value == pytest.approx(first.count("1") / len(first) - second.count("1") / len(second))
    assert gain.low <= gain.value <= gain.high or abs(gain.value) == 1
    assert (reverse.value, reverse.low, reverse.high) == pytest.approx((-gain.value, -gain.high, -gain.low))
    assert gain.high - gain.low > 0
