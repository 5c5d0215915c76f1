"""From how many budgets on a supernet pays, against counting."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edgenas.evidence.crossover import Costs

SECONDS = st.floats(0.01, 1e6)


@given(SECONDS, SECONDS, SECONDS)
def test_it_is_the_first_number_of_budgets_that_costs_no_more(once: float, per_budget: float, alone: float) -> None:
    costs = Costs(once, per_budget, alone)
    found = costs.crossover
    if alone <= per_budget:
        assert found is None
        return
    assert found is not None
    assert once + found * per_budget <= found * alone
    assert found == 1 or once + (found - 1) * per_budget > (found - 1) * alone


def test_a_worked_example() -> None:
    costs = Costs(once=1800, per_budget=120, alone=420)
    assert costs.crossover == 6
    table = {row["budgets"]: row for row in costs.to_json()["table"]}
    assert table[6] == {"budgets": 6, "shared_seconds": 2520, "alone_seconds": 2520}
    assert table[1] == {"budgets": 1, "shared_seconds": 1920, "alone_seconds": 420}
    assert costs.to_json()["crossover_budgets"] == 6


def test_free_searches_pay_at_once_if_one_network_costs_as_much_as_the_supernet() -> None:
    assert Costs(once=100, per_budget=0, alone=100).crossover == 1
