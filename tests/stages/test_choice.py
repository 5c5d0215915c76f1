"""The choice among networks, and its description."""

import numpy as np
import pytest

from edgenas.config.sections import SearchConfig
from edgenas.errors import ConfigError, InfeasibleError
from edgenas.objective import Objective, parse_objective, resolve_objectives
from edgenas.stages.front.choice import choice_words, choose, weights_of

NAMES = resolve_objectives(map(parse_objective, ["error", "latency"]), ["here", "pi4"])
# On here alone: the second is the bend of the curve, the third the most accurate, the fourth over a budget.
POINTS = np.array([[0.20, 10.0, 5.0], [0.05, 12.0, 5.0], [0.04, 40.0, 5.0], [0.01, 50.0, 5.0]])
ALLOWED = [True, True, True, False]


def weights(by_text: dict[str, float]) -> dict[Objective, float]:
    return {parse_objective(text): weight for text, weight in by_text.items()}


def config(**search: object) -> SearchConfig:
    return SearchConfig.model_validate(search)


@pytest.mark.parametrize(
    ("search", "chosen"),
    [
        ({}, 2),
        ({"choose": "knee"}, 1),
        ({"choose": "weighted", "weights": {"error": 1}}, 2),
        ({"choose": "weighted", "weights": {"latency": 1}}, 0),
        ({"choose": "weighted", "weights": {"latency@here": 1, "error": 0.05}}, 0),
        ({"choose": "weighted", "weights": {"latency@pi4": 1, "error": 1}}, 2),
    ],
)
def test_infeasible_networks_are_never_chosen_and_others_as_asked(search: dict[str, object], chosen: int) -> None:
    assert choose(config(**search), NAMES, POINTS, ALLOWED) == chosen


def test_without_any_that_may_be_chosen_none_is() -> None:
    for rule in ({}, {"choose": "knee"}):
        with pytest.raises(InfeasibleError):
            choose(config(**rule), NAMES, POINTS, [False] * 4)


def test_a_weight_of_latency_is_that_of_each_device_without_its_own() -> None:
    assert weights_of(weights({"latency": 1, "latency@pi4": 3}), NAMES) == [0, 1, 3]
    with pytest.raises(ConfigError, match=r"p95 is no objective of this run; .*valid: error, latency"):
        weights_of(weights({"p95": 1}), NAMES)
    with pytest.raises(ConfigError, match="above 0, got none"):
        weights_of(weights({"error": 0}), NAMES)


def test_every_way_of_choosing_has_its_words() -> None:
    assert choice_words(config(), NAMES) == "the most accurate within every budget"
    assert choice_words(config(choose="knee"), NAMES) == "the knee of the front in error, latency@here, latency@pi4"
    weighted = config(choose="weighted", weights={"error": 2, "latency@pi4": 0.5})
    assert choice_words(weighted, NAMES) == "the smallest sum of 2 × error, 0.5 × latency@pi4"
    worst = resolve_objectives(map(parse_objective, ["worst_class_error", "macs"]), [])
    assert choice_words(config(), worst) == "the lowest worst-class error within every budget"
