"""The table of quantities: names, units and text forms fit each other."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgenas.budget import Budget, parse_budget
from edgenas.errors import ConfigError
from edgenas.objective import parse_objective
from edgenas.quantities import (
    ERROR,
    LATENCY,
    MACS,
    QUANTITIES,
    Quantity,
    Unit,
    format_bytes,
    format_count,
)
from edgenas.space.cost import Cost

EACH = pytest.mark.parametrize("quantity", QUANTITIES.values(), ids=QUANTITIES)


@EACH
def test_a_quantity_is_found_by_its_name_and_its_column_states_the_unit(quantity: Quantity) -> None:
    assert QUANTITIES[quantity.name] is quantity
    assert quantity.unit.name == "fraction" or quantity.column.endswith(quantity.unit.name)
    assert [each.column for each in QUANTITIES.values()].count(quantity.column) == 1


@EACH
def test_what_is_computed_is_a_cost_and_what_is_scored_is_not_limited(quantity: Quantity) -> None:
    assert (quantity.source == "computed") == (quantity.name in Cost.__dataclass_fields__)
    assert (quantity.source == "scored") == (not quantity.limitable) == (not quantity.example)


@EACH
def test_objectives_and_budgets_name_a_quantity_alike(quantity: Quantity) -> None:
    device = "@pi4" if quantity.per_device else ""
    objective = parse_objective(f"{quantity.name}{device}")
    assert (objective.quantity, objective.device) == (quantity, "pi4" if device else None)
    if quantity.limitable:
        unit = quantity.unit
        budget = Budget(quantity, unit.value("3", unit.suffix), objective.device)
        assert parse_budget(f"{objective}=3{unit.suffix}") == budget
        assert parse_budget(quantity.example).quantity == quantity


@given(st.sampled_from([quantity.unit for quantity in QUANTITIES.values()]), st.floats(1e-6, 1e15))
def test_the_canonical_text_of_a_value_is_exact(unit: Unit, value: float) -> None:
    text = unit.text(value)
    assert unit.value(text.removesuffix(unit.suffix), unit.suffix) == value
    assert "e" not in text.lower()


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (812, "812"), (999, "999"), (999.7, "1 k"), (12_345, "12.3 k"), (4.56e6, "4.56 M")]
)
def test_counts_have_three_figures_and_a_prefix(value: float, text: str) -> None:
    assert format_count(value) == text


def test_bytes_have_decimal_prefixes() -> None:
    assert [format_bytes(n) for n in (812, 64_000, 4_100_000)] == ["812 B", "64 kB", "4.1 MB"]


@pytest.mark.parametrize(
    ("budget", "words"),
    [
        (Budget(LATENCY, 412.4, "pi4"), "p50 on pi4 ≤ 0.412 ms"),
        (parse_budget("pi4=20ms@p95"), "p95 on pi4 ≤ 20.00 ms"),
        (parse_budget("macs=12.5M"), "MACs ≤ 12.5 M"),
        (parse_budget("weight_bytes=64kB"), "weights ≤ 64 kB"),
    ],
)
def test_budgets_have_words_for_people(budget: Budget, words: str) -> None:
    assert budget.words == words


def test_energy_has_a_text_form_but_no_device_measures_it_yet() -> None:
    assert str(parse_budget("energy_uj@pi4 = 0.5mJ")) == "energy_uj@pi4=500uJ"
    valid = "latency, p95, macs, weight_bytes, peak_activation_bytes"
    with pytest.raises(ConfigError, match=f"that pi4 measures, but no device measures energy yet; valid: {valid}"):
        parse_budget("energy_uj=500uJ").on(["pi4", "here"])
    with pytest.raises(
        ConfigError, match=f"no device measures energy yet; valid: error, worst_class_error, balanced_error, {valid}"
    ):
        parse_objective("energy_uj").on(["pi4", "here"])
    with pytest.raises(ConfigError, match="this run has no device 'pi5'"):
        parse_budget("energy_uj@pi5=500uJ").on(["pi4", "here"])


def test_budgets_that_no_text_stands_for_are_refused() -> None:
    with pytest.raises(ConfigError, match="error cannot have a budget; valid: latency, p95, macs"):
        Budget(ERROR, 0.1)
    with pytest.raises(ConfigError, match="expected no device, got 'pi4'"):
        Budget(MACS, 10, "pi4")
    for limit in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ConfigError, match="finite limit above 0"):
            Budget(MACS, limit)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("error=1", "error cannot have a budget"),
        ("macs@pi4=10M", "only measured quantities can name a device"),
        ("latency@=8ms", "only measured quantities can name a device"),
        ("latency=8ms@p95", "leave @p95 out"),
    ],
)
def test_budgets_of_named_quantities_that_make_no_sense_are_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_budget(text)
