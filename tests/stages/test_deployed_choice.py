"""The choice of a network for int8 devices: by the accuracy of the deployed file, not that of the fp32 file."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgenas.budget import Budget
from edgenas.config.sections import SearchConfig
from edgenas.deploy.int8.quantiser_recipe import QuantiserRecipe
from edgenas.errors import InfeasibleError
from edgenas.objective import parse_objective, resolve_objectives
from edgenas.profiling.measurement import Measurement
from edgenas.quantities import LATENCY
from edgenas.records.search import FrontNetwork
from edgenas.records.verify import Int8File
from edgenas.space.arch import Arch, parse_arch
from edgenas.stages.front import front_files
from edgenas.stages.front.candidate import Candidate, Files
from edgenas.stages.front.front_int8 import deployed_top1
from edgenas.stages.front.front_measuring import FrontMeasurer
from edgenas.stages.front.measured_front import MeasuredFront

RECIPE = QuantiserRecipe().id
# Right answers to a hundred images, and whole microseconds: what is equal is exactly so.
TOP1 = st.integers(0, 100).map(lambda right: right / 100)
NETWORKS = st.lists(st.tuples(TOP1, TOP1, st.integers(1, 20)), min_size=1, max_size=8)


def int8_file(int8: float, fp32: float) -> Int8File:
    model = "verify/models/000_int8.onnx"
    return Int8File(model=model, quantiser_recipe=RECIPE, recipes_tried={RECIPE: int8}, fp32_top1=fp32)


def candidate(number: int, fp32: float, int8: float, latency_us: float, used: set[str]) -> Candidate:
    measured = Measurement(*6 * (latency_us,), 8, 8 * (latency_us,), 0.0, (), *2 * (8 * (latency_us,),), 10.0, 0)
    files = Files(f"verify/models/{number}.onnx", fp32, int8_file(int8, fp32))
    top1 = deployed_top1(fp32, int8, used)
    return Candidate(parse_arch(f"r{8 + number}_w8-k3e1"), files, top1, dict.fromkeys(sorted(used), measured))


@given(NETWORKS, TOP1, st.sampled_from([{"int8"}, {"fp32", "int8"}]))
def test_the_chosen_network_is_the_best_as_deployed_of_those_that_int8_leaves(
    networks: list[tuple[float, float, int]], max_drop: float, used: set[str]
) -> None:
    candidates = tuple(candidate(number, *one, used) for number, one in enumerate(networks))
    allowed = [(fp32, int8, us) for fp32, int8, us in networks if round(100 * (fp32 - int8)) <= round(100 * max_drop)]
    names = resolve_objectives(map(parse_objective, ["error", "latency"]), sorted(used))
    front = MeasuredFront(candidates, names, (), max_drop)
    refused = [reason for reason in front.dropped.values() if reason.startswith("int8 loses")]
    assert len(refused) == len(networks) - len(allowed)
    if not allowed:
        with pytest.raises(InfeasibleError, match="int8 loses"):
            front.ordered(SearchConfig())
        return
    chosen = front.ordered(SearchConfig())[0]
    scores = {"int8": [int8 for _, int8, _ in allowed], "both": [min(fp32, int8) for fp32, int8, _ in allowed]}
    best = scores["int8" if used == {"int8"} else "both"]
    assert chosen.deployed_top1 == max(best)
    fastest = min(us for top1, (_, _, us) in zip(best, allowed, strict=True) if top1 == max(best))
    assert next(iter(chosen.measured.values())).p50_us == fastest


def test_a_network_with_exactly_the_allowed_drop_stays() -> None:
    file = int8_file(0.97, 0.98)
    assert file.refusal(0.01) is None
    assert file.refusal(0.0099) == (
        "int8 loses 1.00 points of validation top-1 (98.00% to 97.00%, export.max_drop allows 0.99)"
    )


def measured(number: int, top1: float, processes_us: tuple[float, ...]) -> Candidate:
    """A network of the front, as eight processes measured it."""
    p50_us = float(np.median(processes_us))
    found = Measurement(*6 * (p50_us,), 80, processes_us, 0.0, (), processes_us, processes_us, 10.0, 0)
    return Candidate(parse_arch(f"r{8 + number}_w8-k3e1"), Files("x.onnx", top1), top1, {"here": found})


BUDGET = Budget(LATENCY, limit=10.0, device="here")
NAMES = resolve_objectives(map(parse_objective, ["error", "latency"]), ["here"])


def front(*candidates: Candidate) -> MeasuredFront:
    return MeasuredFront(candidates, NAMES, (BUDGET,), 1.0)


def test_a_network_that_is_not_significantly_within_the_budget_dominates_none() -> None:
    """A faster and more accurate network that two of eight processes found over the budget leaves the other one."""
    steady, doubtful = measured(0, 0.8, 8 * (9.0,)), measured(1, 0.9, (*6 * (8.0,), *2 * (11.0,)))
    slower = measured(2, 0.8, 8 * (9.5,))
    found = front(steady, doubtful, slower)
    assert found.dropped == {slower.arch: "another is as accurate and faster"}
    # It is tried after those that are.
    assert found.ordered(SearchConfig()) == [steady, doubtful]


def test_where_none_is_significantly_within_the_budget_those_with_a_median_within_it_are_tried() -> None:
    doubtful, over = measured(1, 0.9, (*6 * (8.0,), *2 * (11.0,))), measured(2, 0.95, 8 * (10.5,))
    found = front(doubtful, over)
    assert found.dropped == {over.arch: "over budget: 0.011 ms measured, budget p50 on here ≤ 0.010 ms"}
    assert found.ordered(SearchConfig()) == [doubtful]
    with pytest.raises(InfeasibleError, match=r"none of the 1 measured networks is eligible:\n.*over budget"):
        front(over).ordered(SearchConfig())


def test_candidates_are_tried_from_the_best_to_the_least() -> None:
    candidates = [measured(number, top1, 8 * (us,)) for number, (top1, us) in enumerate([(0.7, 5), (0.9, 9), (0.8, 7)])]
    best, middle, least = (candidates[number] for number in (1, 2, 0))
    assert front(*candidates).ordered(SearchConfig()) == [best, middle, least]


def test_a_refused_network_is_dropped_for_the_reason_of_its_refusal() -> None:
    other, refused = measured(0, 0.7, 8 * (5.0,)), measured(1, 0.9, 8 * (9.0,))
    refused = dataclasses.replace(refused, files=dataclasses.replace(refused.files, refused="it scored 0.1 now"))
    assert front(other, refused).dropped == {refused.arch: "it scored 0.1 now"}
    assert front(other, refused).ordered(SearchConfig()) == [other]
    with pytest.raises(InfeasibleError, match=r"it scored 0\.1 now"):
        front(refused).ordered(SearchConfig())


def test_a_front_is_missed_where_one_is_over_the_budget_or_none_within_it() -> None:
    within, doubtful = measured(0, 0.7, 8 * (5.0,)), measured(1, 0.9, (*6 * (8.0,), *2 * (11.0,)))
    over = measured(2, 0.95, 8 * (10.5,))
    fronts = [front(within), front(within, doubtful), front(doubtful), front(within, over), front(over)]
    assert [found.missed for found in fronts] == [False, False, True, True, True]
    assert [found.all_over for found in fronts] == [False, False, False, False, True]


def test_a_front_is_not_missed_for_a_refused_network() -> None:
    within, over = measured(0, 0.7, 8 * (5.0,)), measured(1, 0.95, 8 * (10.5,))
    refused = [
        dataclasses.replace(one, files=dataclasses.replace(one.files, refused="it scored 0.1 now"))
        for one in (within, over)
    ]
    assert not front(within, refused[1]).missed
    # Nor is one met by a refused network.
    assert front(over, refused[0]).missed
    assert front(over, refused[0]).all_over
    # Refused networks are not timed.
    untimed = dataclasses.replace(refused[0], measured={})
    assert front(untimed, over).devices == ("here",)


def test_a_refused_network_gets_no_files_and_counts_with_its_accuracy_in_the_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is neither exported nor quantised, nor timed on a device that runs int8 only."""
    refused, other = (FrontNetwork(arch=parse_arch(f"r{side}_w8-k3e1"), val_top1=0.9, objectives={}) for side in (8, 9))
    exported, quantised = [], []

    class Source:
        def right(self, subnet: Arch) -> Any:
            return np.arange(10) < (1 if subnet == refused.arch else 9)

    class Quantiser:
        def int8_file(self, subnet: Arch, model: str) -> Int8File:
            quantised.append(subnet)
            return int8_file(0.8, 0.9)

    monkeypatch.setattr(front_files, "export_onnx", lambda subnet, *_, **__: exported.append(subnet))
    stand_ins: Any = (lambda arch: arch, Source(), tmp_path, None, Quantiser(), lambda *_: None)
    files = front_files.FrontExporter(*stand_ins).files([refused, other])
    assert exported == quantised == [other.arch]
    reason = f"{refused.arch} scored 0.9000 in the search and 0.1000 now: the weights or images changed"
    assert files[refused.arch] == Files(None, 0.9, refused=f"{reason}; start a new run")
    assert reason in caplog.text
    timed: list[str] = []

    class Timer:
        def time(self, paths: Mapping[str, Path], _: Path) -> Any:
            timed.extend(paths)
            return SimpleNamespace(measured=dict.fromkeys(paths, "measured"), slowdown=1.0)

    devices: Any = SimpleNamespace(
        measured={"here": SimpleNamespace(run=SimpleNamespace(precision="int8"))}, precisions={"int8"}
    )
    timers: Any = {"here": Timer()}
    first, second = FrontMeasurer(tmp_path, devices, 8, lambda _: files, timers).measure([refused, other])
    assert timed == [other.arch.id]
    assert (first.deployed_top1, first.measured) == (0.9, {})
    assert (second.deployed_top1, second.measured) == (0.8, {"here": "measured"})


def test_a_session_slower_than_this_one_counts_against_the_budget() -> None:
    found = measured(0, 0.8, 8 * (9.5,))
    assert found.verdict((BUDGET,)) == "within"
    slow = dataclasses.replace(found, slowdowns={"here": 1.1})
    assert slow.verdict((BUDGET,)) == "not significant"
