"""Archs of near-equal MACs."""

from __future__ import annotations

import numpy as np
import pytest
from spaces import SMALL

from edgenas.space.cost import cost
from edgenas.space.covering_samples import covering, near_in_macs
from edgenas.space.loading import load_space


@pytest.mark.parametrize("preset", ["mobile-32", "ofa-mbv3-w1.0"])
def test_they_are_distinct_and_within_the_share(preset: str) -> None:
    space = load_space(preset)
    others = covering(space, 4, 0)
    found = near_in_macs(space, others[2], 0.1, 6, 3, but=others)
    assert len(set(found)) == 6
    assert not set(found) & set(others)
    macs = [cost(space.with_classes(1).unroll(arch)).macs for arch in (others[2], *found)]
    assert np.abs(np.array(macs[1:]) / macs[0] - 1).max() <= 0.1


def test_equal_seeds_give_equal_archs() -> None:
    centre = covering(SMALL, 4, 0)[2]
    first, again, other = (near_in_macs(SMALL, centre, 0.1, 5, seed) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_fewer_come_back_where_there_are_no_more() -> None:
    lonely = load_space({"preset": "mobile-32", "resolution": [28], "depth": [1], "kernel": [3], "expand": [3]})
    found = near_in_macs(lonely, lonely.largest, 0.01, 50, 0)
    assert 0 <= len(found) < 50
