"""From how many budgets on a supernet pays, against counting."""

from __future__ import annotations

from itertools import count

from hypothesis import given
from hypothesis import strategies as st

from edgenas.records.baselines import BudgetsCost
from edgenas.statistics.crossover import Costs, Crossover

SECONDS = st.floats(1, 1e3)


def counted(once: float, per_budget: float, standalone: float) -> int:
    return next(n for n in count(1) if once + n * per_budget <= n * standalone)


@given(SECONDS, SECONDS, st.floats(0.5, 1), st.floats(1, 2), st.floats(0.1, 4))
def test_it_is_counted_at_both_ends_of_the_range(
    once: float, per_budget: float, least: float, most: float, times: float
) -> None:
    standalone = times * per_budget
    low, high = least * standalone, most * standalone
    found = Costs(once, per_budget, standalone, (low, high)).crossover
    if high <= per_budget:
        assert found == Crossover("never")
    elif low <= per_budget:
        assert found.verdict == "unknown"
        assert "spread of step times" in (found.reason or "")
    elif (low - per_budget) / once > 1e-4:
        assert found == Crossover("pays", (counted(once, per_budget, high), counted(once, per_budget, low)))


def test_a_worked_example() -> None:
    costs = Costs(once=1800, per_budget=120, standalone=420, standalone_range=(380, 470))
    assert costs.crossover == Crossover("pays", (6, 7))
    record = costs.record({})
    table = {row.budgets: row for row in record.table}
    assert table[6] == BudgetsCost(budgets=6, shared_seconds=2520, standalone_seconds=2520)
    assert table[1] == BudgetsCost(budgets=1, shared_seconds=1920, standalone_seconds=420)
    assert (record.verdict, record.budgets, record.reason) == ("pays", (6, 7), None)
    assert set(table) == {1, 2, 3, 5, 6, 7, 10, 20}


def test_a_step_that_was_timed_once_has_no_range() -> None:
    found = Costs(once=1, per_budget=1, standalone=100).crossover
    assert found.verdict == "unknown"
    assert "timed only once" in (found.reason or "")


def test_nothing_is_claimed_of_a_supernet_for_one_budget() -> None:
    costs = Costs(10, 1, 100, (90, 110), unknown="the supernet was trained for one budget only", one_budget=True)
    record = costs.record({})
    assert (record.verdict, record.budgets) == ("unknown", None)
    assert record.reason == "the supernet was trained for one budget only"
    assert [row.budgets for row in record.table] == [1]


def test_free_searches_pay_at_once_if_one_network_costs_as_much_as_the_supernet() -> None:
    assert Costs(once=100, per_budget=0, standalone=100, standalone_range=(100, 100)).crossover == Crossover(
        "pays", (1, 1)
    )
