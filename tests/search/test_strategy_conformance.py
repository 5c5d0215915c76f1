"""Every shipped strategy passes the public checks; the checks find strategies that break a promise."""

from __future__ import annotations

import numpy as np
import pytest

from edgenas.search.strategies.by_name import STRATEGIES, strategy_class
from edgenas.search.strategies.protocol import Genes
from edgenas.search.strategies.random import RandomStrategy
from edgenas.testing import strategy_conformance as conformance
from edgenas.testing.strategy_conformance import STRATEGY_CHECKS, StrategyCheck, check_strategy


@pytest.mark.parametrize("check", STRATEGY_CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
@pytest.mark.parametrize("name", sorted(STRATEGIES))
def test_conformance(name: str, check: StrategyCheck, capfd: pytest.CaptureFixture[str]) -> None:
    if name == "bayesian":
        pytest.importorskip("optuna")
    check(strategy_class(name))
    assert capfd.readouterr() == ("", "")


def test_every_check_is_listed() -> None:
    names = {name for name in vars(conformance) if name.startswith("check_")} - {check_strategy.__name__}
    assert names == {check.__name__ for check in STRATEGY_CHECKS}


class Narrow(RandomStrategy):
    """Proposes the first choice of gene 0 alone."""

    def ask(self, count: int) -> Genes:
        genes = super().ask(count)
        genes[:, 0] = 0
        return genes


class Loud(RandomStrategy):
    """Prints, and forgets its seed."""

    def ask(self, count: int) -> Genes:
        print("asked")
        return np.random.default_rng().integers(0, conformance.N_CHOICES, (count, len(conformance.N_CHOICES)))


@pytest.mark.parametrize(
    ("strategy", "check"),
    [
        (Narrow, conformance.check_every_choice_is_reached),
        (Loud, conformance.check_nothing_is_printed),
        (Loud, conformance.check_equal_seeds_give_equal_searches),
    ],
)
def test_broken_promises_are_found(strategy: type[RandomStrategy], check: StrategyCheck) -> None:
    with pytest.raises(AssertionError):
        check(strategy)
    with pytest.raises(AssertionError):
        check_strategy(strategy)
