"""Archs that are allowed: only these, of all sizes, also where a space has next to none."""

from __future__ import annotations

import numpy as np
import pytest

from edgenas.quantities import MACS
from edgenas.space import feasible_samples
from edgenas.space.covering_samples import macs_of
from edgenas.space.feasible_samples import Need, allowed
from edgenas.space.loading import load_space
from edgenas.space.space import Genes
from edgenas.stages.budgets.computed_costs import CostTable

SPACE = load_space("mobile-32")
COSTS = CostTable(SPACE.with_classes(1))
SMALLEST, LARGEST = macs_of(SPACE, [SPACE.smallest, SPACE.largest])


def up_to(macs: float) -> Need:
    def need(genes: Genes) -> np.ndarray:
        return COSTS(MACS, genes) / macs

    return need


@pytest.mark.parametrize("share", [0.01, 0.2])
def test_archs_are_distinct_allowed_and_ordered_by_their_need(share: float) -> None:
    """A hundredth of the way from the smallest to the largest: of a thousand leaning draws hardly one is within."""
    limit = SMALLEST + share * (LARGEST - SMALLEST)
    genes = allowed(SPACE, up_to(limit), 200, seed=3)
    assert len(genes) == 200 == len(np.unique(genes, axis=0))
    assert (genes == SPACE.canonical(genes)).all()
    macs = macs_of(SPACE, SPACE.decode(genes))
    assert (np.diff(macs) >= 0).all()
    assert macs[-1] <= limit
    assert macs[0] < (SMALLEST + limit) / 2 < macs[-1]
    assert (allowed(SPACE, up_to(limit), 200, seed=3) == genes).all()
    assert (allowed(SPACE, up_to(limit), 200, seed=4) != genes).any()


def test_one_arch_and_none_are_what_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feasible_samples, "ROUNDS", 4)
    only = allowed(SPACE, up_to(SMALLEST), 200, seed=0)
    assert SPACE.decode(only) == [SPACE.smallest]
    assert len(allowed(SPACE, up_to(SMALLEST / 2), 200, seed=0)) == 0
