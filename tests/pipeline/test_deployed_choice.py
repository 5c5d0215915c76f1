"""Which network is chosen where devices run int8: by the accuracy of what is deployed, whatever fp32 reaches."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgenas.budget import Budget
from edgenas.config.sections import SearchConfig
from edgenas.deploy.recipe import QuantiserRecipe
from edgenas.errors import InfeasibleError
from edgenas.objective import objectives_on
from edgenas.pipeline.candidate import Candidate, Files
from edgenas.pipeline.front_int8 import Int8File, deployed_top1
from edgenas.pipeline.verify import _choose, _dropped
from edgenas.profiling.record import Measurement
from edgenas.space.arch import parse_arch

RECIPE = QuantiserRecipe()
# Right answers to a hundred pictures, and whole microseconds: what is equal is exactly so.
TOP1 = st.integers(0, 100).map(lambda right: right / 100)
NETWORKS = st.lists(st.tuples(TOP1, TOP1, st.integers(1, 20)), min_size=1, max_size=8)


def candidate(number: int, fp32: float, int8: float, latency_us: float, used: set[str]) -> Candidate:
    measured = Measurement(*6 * (latency_us,), 8, 8 * (latency_us,), 0.0, (), *2 * (8 * (latency_us,),), 10.0, 0)
    files = Files(f"verify/models/{number}.onnx", fp32, Int8File("x.onnx", RECIPE, {RECIPE: int8}, fp32))
    top1 = deployed_top1(fp32, int8, used)
    return Candidate(parse_arch(f"r{8 + number}_w8-k3e1"), files, top1, dict.fromkeys(sorted(used), measured))


@given(NETWORKS, TOP1, st.sampled_from([{"int8"}, {"fp32", "int8"}]))
def test_the_chosen_network_is_the_best_as_deployed_of_those_that_int8_leaves(
    networks: list[tuple[float, float, int]], max_drop: float, used: set[str]
) -> None:
    candidates = [candidate(number, *one, used) for number, one in enumerate(networks)]
    allowed = [(fp32, int8, us) for fp32, int8, us in networks if round(100 * (fp32 - int8)) <= round(100 * max_drop)]
    names = objectives_on(["error", "latency"], sorted(used))
    dropped = _dropped(candidates, names, (), max_drop)
    refused = [said for said in dropped.values() if said.startswith("int8 loses")]
    assert len(refused) == len(networks) - len(allowed)
    if not allowed:
        with pytest.raises(InfeasibleError, match="int8 loses"):
            _choose(SearchConfig(), names, candidates, dropped, ())
        return
    chosen = _choose(SearchConfig(), names, candidates, dropped, ())
    scores = {"int8": [int8 for _, int8, _ in allowed], "both": [min(fp32, int8) for fp32, int8, _ in allowed]}
    best = scores["int8" if used == {"int8"} else "both"]
    assert chosen.deployed_top1 == max(best)
    fastest = min(us for top1, (_, _, us) in zip(best, allowed, strict=True) if top1 == max(best))
    assert next(iter(chosen.measured.values())).p50_us == fastest


def test_what_loses_just_as_much_as_allowed_stays() -> None:
    file = Int8File("x.onnx", RECIPE, {RECIPE: 0.97}, 0.98)
    assert file.refusal(0.01) is None
    assert file.refusal(0.0099) == (
        "int8 loses 1.00 points of validation top-1 (98.00% to 97.00%, export.max_drop allows 0.99)"
    )


def test_what_may_not_be_chosen_takes_nobodys_place() -> None:
    """A faster and more accurate network that one half of the rounds found over the budget leaves the other one."""
    budget = Budget(quantity="p50", limit=10.0, device="here")
    names = objectives_on(["error", "latency"], ["here"])

    def measured(number: int, top1: float, halves_us: tuple[float, float]) -> Candidate:
        rounds = 4 * (halves_us[0],) + 4 * (halves_us[1],)
        found = Measurement(*6 * (halves_us[1],), 80, rounds, 0.0, (), rounds, rounds, 10.0, 0)
        return Candidate(parse_arch(f"r{8 + number}_w8-k3e1"), Files("x.onnx", top1), top1, {"here": found})

    steady, doubtful, slower = measured(0, 0.8, (9, 9)), measured(1, 0.9, (11, 8)), measured(2, 0.8, (9.5, 9.5))
    candidates = [steady, doubtful, slower]
    dropped = _dropped(candidates, names, (budget,), 1.0)
    assert dropped == {slower.arch.id: "another is as accurate and faster"}
    assert _choose(SearchConfig(), names, candidates, dropped, (budget,)) is steady
    # Where no network is within the budget on both halves, none has been dropped for another.
    assert _dropped([doubtful], names, (budget,), 1.0) == {}
    with pytest.raises(InfeasibleError, match="over budget on the choosing half"):
        _choose(SearchConfig(), names, [doubtful], {}, (budget,))
