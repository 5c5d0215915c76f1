"""A front that misses its budget trains the predictors, and the search runs again."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from copied_run import LATER
from small_run import SmallRun

from edgenas.budget import Budget
from edgenas.config.sections import FinetuneConfig, VerifyConfig
from edgenas.errors import InfeasibleError, ParityError, RunFolderError
from edgenas.files import read_json, write_json
from edgenas.latency.device import Device
from edgenas.latency.predictor import LatencyPredictor
from edgenas.latency.table import LatencyTable
from edgenas.profiling.measurement import Measurement, network_row
from edgenas.quantities import LATENCY
from edgenas.records.latency import LatencyRow
from edgenas.records.paths import REFIT
from edgenas.records.search import FrontNetwork, SearchRecord
from edgenas.records.verify import FirstPrediction, VerifyRecord
from edgenas.runs import measuring_sessions
from edgenas.runs.run import Run, open_run
from edgenas.stages.budgets.limits import default_limit_us, run_limits
from edgenas.stages.devices import measuring
from edgenas.stages.devices.device_latencies import read_latencies
from edgenas.stages.front import front_files
from edgenas.stages.front.front_files import model_path
from edgenas.stages.whole_run import run_stages

Latency = Callable[[float], float]
NONE: dict[str, tuple[FirstPrediction, ...]] = {"here": ()}


SENTINEL_US = 1000.0
"""Slower than the sentinel of any real machine: no earlier session of the small run counts against this one."""


def silent(*_: object) -> None:
    """No progress."""


def measurement(p50_us: float) -> Measurement:
    """A machine without noise."""
    processes_us = (p50_us,) * 8
    return Measurement(
        p50_us,
        p50_us,
        p50_us,
        0.0,
        p50_us,
        p50_us,
        80,
        processes_us,
        0.0,
        (),
        processes_us,
        processes_us,
        SENTINEL_US,
        0,
    )


@pytest.fixture(scope="module")
def searched(small_run: SmallRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small run's folder: searched, not verified."""
    folder = tmp_path_factory.mktemp("steady") / "run"
    shutil.copytree(small_run.folder, folder, ignore=shutil.ignore_patterns(*LATER))
    run = open_run(folder)
    run_stages(run, silent, ["search"])
    return folder


@pytest.fixture
def run(searched: Path, tmp_path: Path) -> Run:
    """Searched, not verified, under a budget that all of its front is predicted to meet."""
    shutil.copytree(searched, tmp_path / "run")
    run = open_run(tmp_path / "run")
    front = [run.space.parse(entry["arch"]) for entry in run.result(SearchRecord).to_json()["front"]]
    slowest = float(read_latencies(run).predictors["here"].predict(front).max())
    budget = Budget(LATENCY, limit=1.05 * slowest, device="here")
    often = run.config.verify.model_copy(update={"refits": 5})
    config = run.config.model_copy(update={"budgets": (budget,), "verify": often})
    return dataclasses.replace(run, config=config)


def keep(run: Run, rows: Sequence[LatencyRow], *, discard_earlier: bool = False) -> None:
    """Keep measured rows as a refit does."""
    latencies = read_latencies(run).refitted({"here": rows}, NONE, discard_earlier=discard_earlier)
    latencies.refit.write(run.folder / REFIT)


def extended(run: Run) -> LatencyTable:
    """The table that predictors are fitted on."""
    latencies = read_latencies(run)
    return latencies.tables["here"].extended(latencies.rows("here"))


def slower_than_predicted(run: Run, factor: Latency, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Stands in for the timer: networks take `factor` of their prediction times the first fit's prediction."""
    first = LatencyPredictor(run.space).fit(read_latencies(run).tables["here"])
    asked: list[str] = []

    def measure(networks: Mapping[str, Path], device: Device, **_: Any) -> dict[str, Measurement]:
        asked.extend(networks)
        predicted = {arch: float(first.predict([run.space.parse(arch)])[0]) for arch in networks}
        return {arch: measurement(us * factor(us)) for arch, us in predicted.items()}

    monkeypatch.setattr(measuring, "measure_networks", measure)
    return asked


def test_a_front_within_its_budget_is_not_searched_again(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    slower_than_predicted(run, lambda us: 0.8, monkeypatch)
    run_stages(run, silent, ["verify"])
    assert run.result(VerifyRecord).refits == read_latencies(run).refits == 0
    assert not (run.folder / REFIT).exists()


def test_a_network_that_no_longer_scores_as_in_the_search_is_dropped(
    run: Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is neither exported nor timed. The run ends only where that holds for the whole front."""
    asked = slower_than_predicted(run, lambda us: 0.8, monkeypatch)
    refused = max(run.result(SearchRecord).front, key=lambda network: network.val_top1).arch

    def refusal(network: FrontNetwork, right: object) -> str | None:
        return "it scored otherwise" if network.arch == refused else None

    monkeypatch.setattr(front_files, "refusal", refusal)
    run_stages(run, silent, ["verify"])
    result = run.result(VerifyRecord)
    reasons = {network.arch: network.dropped_because for network in result.front}
    assert reasons[refused] == "it scored otherwise"
    assert refused not in result.candidates
    assert result.candidates
    assert [network.arch for network in result.front if network.refused] == [refused]
    assert refused.id not in asked
    index = [network.arch for network in result.front].index(refused)
    assert not (run.folder / model_path(index)).exists()
    assert "a network of the front is dropped: it scored otherwise" in caplog.text
    monkeypatch.setattr(front_files, "refusal", lambda *_: "it scored otherwise")
    run.result_path("verify").unlink()
    with pytest.raises(ParityError, match="it scored otherwise"):
        run_stages(run, silent, ["verify"])


def test_after_a_miss_all_that_ships_is_measured_within_the_budget(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    limit = run.config.budgets[0].limit
    smallest = float(read_latencies(run).predictors["here"].upper([run.space.smallest], 0.1)[0])
    # So much slower that the front's slowest misses the budget, and the smallest does not.
    factor = (1.05 * limit / smallest) ** 0.5
    assert factor > 1.05
    asked = slower_than_predicted(run, lambda us: factor, monkeypatch)
    run_stages(run, silent, ["verify"])
    result = run.result(VerifyRecord).to_json()
    assert result["refits"] == read_latencies(run).refits >= 1
    assert run.result(SearchRecord).refits == result["refits"]
    kept = [entry for entry in result["front"] if not entry["dropped"]]
    assert kept
    assert all(entry["latency"]["here"]["p50_us"] <= limit for entry in kept)
    assert all(not entry["dropped_because"] or "over" not in entry["dropped_because"] for entry in result["front"])
    # What was learned: networks that were measured are predicted nearer to what they took.
    first = LatencyPredictor(run.space).fit(read_latencies(run).tables["here"])
    archs = [run.space.parse(arch) for arch in dict.fromkeys(asked)]
    truth, before, after = (
        factor * first.predict(archs),
        first.predict(archs),
        read_latencies(run).predictors["here"].predict(archs),
    )
    assert np.abs(after / truth - 1).mean() < 0.7 * np.abs(before / truth - 1).mean()


def test_where_candidates_are_timed_anyway_a_search_is_repeated_only_if_all_are_over(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    several = run.config.model_copy(update={"finetune": FinetuneConfig(candidates=4)})
    run = dataclasses.replace(run, config=several)
    limit = run.config.budgets[0].limit
    smallest = float(read_latencies(run).predictors["here"].upper([run.space.smallest], 0.1)[0])
    slower_than_predicted(run, lambda us: (1.05 * limit / smallest) ** 0.5, monkeypatch)
    run_stages(run, silent, ["verify"])
    result = run.result(VerifyRecord)
    assert result.refits == read_latencies(run).refits == 0
    assert any(network.dropped for network in result.front)
    assert not all(network.dropped for network in result.front)


def test_coverage_is_of_predictions_made_before_the_network_was_measured(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = run.config.budgets[0].limit
    first = read_latencies(run).predictors["here"]
    profiled = {row.key for row in read_latencies(run).tables["here"].networks(run.space.structure_id, 10)}
    factor = (1.05 * limit / float(first.upper([run.space.smallest], 0.1)[0])) ** 0.5
    asked = slower_than_predicted(run, lambda us: factor, monkeypatch)
    front = [entry["arch"] for entry in run.result(SearchRecord).to_json()["front"]]
    run_stages(run, silent, ["verify"])
    result = run.result(VerifyRecord).to_json()
    assert result["refits"] >= 1
    kept = {one["arch"]: one for one in result["first_predictions"]["here"]}
    assert set(kept) == set(asked) - profiled
    # Networks of the first front keep the first predictor's predictions, also where a later front has them, too.
    for arch in set(front) & set(kept):
        archs = [run.space.parse(arch)]
        assert kept[arch]["predicted_us"] == pytest.approx(float(first.predict(archs)[0]))
        assert kept[arch]["interval_us"] == pytest.approx(first.interval(archs, run.config.profile.coverage)[0])
        assert kept[arch]["p50_us"] == pytest.approx(factor * kept[arch]["predicted_us"], rel=0.2)
    for entry in result["front"]:
        if entry["arch"] in kept:
            assert entry["latency"]["here"]["predicted_us"] == kept[entry["arch"]]["predicted_us"]


def test_a_budget_that_nobody_asked_for_gives_way_where_the_machine_slowed_down(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    default = run.config.verify.model_copy(update={"refits": VerifyConfig().refits})
    run = dataclasses.replace(run, config=run.config.model_copy(update={"budgets": (), "verify": default}))
    table = {row.key: row.p50_us for row in read_latencies(run).tables["here"].rows}
    before = default_limit_us(run.space, read_latencies(run).predictors["here"], run.config.seed)
    (profiled,) = run_limits(run).budgets
    assert (profiled.quantity, profiled.limit) == (LATENCY, before)
    # Nothing of the space is within it any more.
    factor = 1.2 * before / table[run.space.smallest.id]
    slower_than_predicted(run, lambda us: factor, monkeypatch)
    run_stages(run, silent, ["verify"])
    (budget,) = run_limits(run).budgets
    result = run.result(VerifyRecord).to_json()
    chosen = next(entry for entry in result["front"] if entry["arch"] == result["chosen"])
    assert before < chosen["latency"]["here"]["p50_us"] <= budget.limit


def test_a_budget_that_nobody_asked_for_is_refitted_for_more_often(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine is busy while three fronts are measured: all of each miss what the budget is by then."""
    default = run.config.verify.model_copy(update={"refits": VerifyConfig().refits})
    run = dataclasses.replace(run, config=run.config.model_copy(update={"budgets": (), "verify": default}))
    first, fronts = LatencyPredictor(run.space).fit(read_latencies(run).tables["here"]), list[int]()

    def measure(networks: Mapping[str, Path], device: Device, **_: Any) -> dict[str, Measurement]:
        fronts.append(len(networks))
        predicted = {arch: float(first.predict([run.space.parse(arch)])[0]) for arch in networks}
        (budget,) = run_limits(run).budgets
        factor = 1.1 * budget.limit / min(predicted.values()) if len(fronts) <= 3 else 0.9
        return {arch: measurement(factor * us) for arch, us in predicted.items()}

    monkeypatch.setattr(measuring, "measure_networks", measure)
    run_stages(run, silent, ["verify"])
    result = run.result(VerifyRecord).to_json()
    assert VerifyConfig().refits < 3 <= result["refits"]
    chosen = next(entry for entry in result["front"] if entry["arch"] == result["chosen"])
    (budget,) = run_limits(run).budgets
    assert chosen["latency"]["here"]["p50_us"] <= budget.limit


def test_a_front_of_which_none_is_significantly_within_the_budget_is_searched_again(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two of eight processes found every network over the budget, so none is significantly within it."""
    fronts: list[int] = []
    first = LatencyPredictor(run.space).fit(read_latencies(run).tables["here"])

    def measure(networks: Mapping[str, Path], device: Device, **_: Any) -> dict[str, Measurement]:
        fronts.append(len(networks))
        predicted = {arch: 0.8 * float(first.predict([run.space.parse(arch)])[0]) for arch in networks}
        slow = run.config.budgets[0].limit * 1.1 if len(fronts) == 1 else 0.0
        return {
            arch: dataclasses.replace(measurement(us), processes_p50_us=(max(us, slow),) * 2 + (us,) * 6)
            for arch, us in predicted.items()
        }

    monkeypatch.setattr(measuring, "measure_networks", measure)
    run_stages(run, silent, ["verify"])
    assert len(fronts) == 2
    assert run.result(VerifyRecord).refits == 1


def test_it_is_tried_as_often_as_the_config_says_and_then_says_why_not(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = run.config.model_copy(update={"verify": run.config.verify.model_copy(update={"refits": 1})})
    run = dataclasses.replace(run, config=config)
    monkeypatch.setattr(measuring_sessions, "discount", lambda *_: None)
    slower_than_predicted(run, lambda us: 50.0, monkeypatch)
    # Refitted on networks that are all far over it, the budget is out of reach; an error before the search states it.
    with pytest.raises((InfeasibleError, ValueError), match=r"over budget|cannot be met"):
        run_stages(run, silent, ["verify"])
    assert read_latencies(run).refits == 1


def test_a_search_cut_off_after_a_refit_is_made_again(run: Run) -> None:
    before = run.result(SearchRecord).to_json()
    predictor = read_latencies(run).predictors["here"]
    archs = [run.space.parse(entry["arch"]) for entry in before["front"]]
    rows = [
        network_row(run.space.structure_id, 10, arch.id, measurement(1.02 * float(us)))
        for arch, us in zip(archs, predictor.predict(archs), strict=True)
    ]
    keep(run, rows)
    scored = (run.folder / "search" / "evaluations.jsonl").read_text().count("\n")
    run_stages(run, silent, ["search"])
    after = run.result(SearchRecord).to_json()
    assert (before["refits"], after["refits"]) == (0, 1)
    # Archs that were scored are not scored again.
    lines = (run.folder / "search" / "evaluations.jsonl").read_text().splitlines()
    assert len(lines) - scored < run.config.search.evaluations
    assert (run.folder / "search" / "result.json").stat().st_mtime_ns > 0
    changed = (run.folder / "search" / "result.json").read_bytes()
    run_stages(run, silent, ["search"])
    assert (run.folder / "search" / "result.json").read_bytes() == changed


def test_rows_of_every_refit_are_kept_the_newest_of_each_network(run: Run) -> None:
    table = read_latencies(run).tables["here"]
    small, large = run.space.smallest.id, run.space.largest.id
    space = run.space.structure_id
    for us, arch in ((1.0, small), (2.0, large), (3.0, small)):
        keep(run, [network_row(space, 10, arch, measurement(us))])
    measured = {row.key: row.p50_us for row in extended(run).networks(space, 10)}
    assert (measured[small], measured[large]) == (3.0, 2.0)
    assert read_latencies(run).refits == 3
    assert len(measured) == len({row.key for row in table.networks(space, 10)} | {small, large})


def test_rows_of_earlier_fronts_are_left_out_where_the_machine_is_another_one(run: Run) -> None:
    table, space = read_latencies(run).tables["here"], run.space.structure_id
    small, large = run.space.smallest.id, run.space.largest.id
    before = {row.key: row.p50_us for row in table.networks(space, 10)}
    keep(run, [network_row(space, 10, small, measurement(1.0))])
    keep(run, [network_row(space, 10, large, measurement(2.0))], discard_earlier=True)
    measured = {row.key: row.p50_us for row in extended(run).networks(space, 10)}
    assert measured == before | {large: 2.0}
    assert read_latencies(run).refits == 2


def test_rows_of_another_setting_count_for_nothing(run: Run) -> None:
    keep(run, [network_row(run.space.structure_id, 10, run.space.smallest.id, measurement(1.0))])
    latencies = read_latencies(run)
    table = latencies.tables["here"]
    other = dataclasses.replace(table, identity=dataclasses.replace(table.identity, runtime_version="9.9"))
    assert len(latencies.rows("here")) == 1
    elsewhere = dataclasses.replace(latencies, tables={"here": other})
    assert elsewhere.rows("here") == elsewhere.first_predictions("here") == ()
    assert elsewhere.predictors == elsewhere.profiled


@pytest.mark.parametrize(
    "damage",
    [
        {"count": "many"},
        {"devices": {"here": {"rows": []}}},
        {"devices": {"here": {"identity": {}, "rows": []}}},
        {"devices": []},
    ],
)
def test_a_damaged_file_is_named_with_what_to_do(run: Run, damage: dict[str, Any]) -> None:
    keep(run, [network_row(run.space.structure_id, 10, run.space.smallest.id, measurement(1.0))])
    write_json(run.folder / REFIT, read_json(run.folder / REFIT) | damage)
    with pytest.raises(RunFolderError, match=r"refit\.json: .*: delete it"):
        read_latencies(run)
