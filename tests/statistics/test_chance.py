"""Differences beyond chance, against scipy's binomial test and against chance itself."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from edgenas.statistics.significance import ERROR, holm_significant, mcnemar_p_value


@pytest.mark.parametrize(("more", "fewer"), [(0, 0), (1, 0), (0, 3), (5, 5), (21, 1), (35, 25), (900, 800)])
def test_chances_are_those_of_a_fair_coin(more: int, fewer: int) -> None:
    wanted = binomtest(more, more + fewer, alternative="greater").pvalue if more + fewer else 1.0
    assert mcnemar_p_value(more, fewer) == pytest.approx(wanted, rel=1e-9)


def test_many_images_are_no_overflow() -> None:
    assert mcnemar_p_value(20_000, 10) == 0.0
    assert mcnemar_p_value(10, 2_000) == pytest.approx(1.0)


def test_holms_worked_steps() -> None:
    # 0.01 <= 0.05 / 4, 0.013 <= 0.05 / 3, 0.03 > 0.05 / 2: and what is greater than a refused one is refused.
    assert holm_significant([0.03, 0.01, 0.04, 0.013]) == [False, True, False, True]
    assert holm_significant([0.05]) == [True]
    assert holm_significant([]) == []


def test_where_no_class_lost_hardly_ever_one_of_a_thousand_is_called_so() -> None:
    rng = np.random.default_rng(0)
    reported = 0
    for _ in range(100):
        answered_otherwise = rng.binomial(50, 0.4, 1000)
        more = rng.binomial(answered_otherwise, 0.5)
        chances = [mcnemar_p_value(int(one), int(n - one)) for one, n in zip(more, answered_otherwise, strict=True)]
        # Without a correction, dozens are.
        assert sum(chance <= ERROR for chance in chances) > 10
        reported += any(holm_significant(chances))
    assert reported <= 100 * ERROR + 3
