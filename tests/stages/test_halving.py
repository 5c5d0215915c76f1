"""Successive halving: candidates up to the budget are fine-tuned, and the most accurate one is exported."""

from __future__ import annotations

import dataclasses
import itertools
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from copied_run import silent
from hypothesis import given
from hypothesis import strategies as st
from killing import kill_when, start
from pydantic import ValidationError
from small_run import SmallRun

from edgenas.cli.run_source import check_train_minutes
from edgenas.config.reading import parse_config
from edgenas.config.run_config import CANDIDATES as CANDIDATES_BY_DEFAULT
from edgenas.config.sections import FinetuneConfig
from edgenas.errors import ConfigError
from edgenas.files import read_json, read_yaml, write_yaml
from edgenas.progress import Progress
from edgenas.records.export import ExportRecord, TimedLatency
from edgenas.records.finetune import CandidatePlan, FinetuneRecord, HalvingRecord, RungScore
from edgenas.records.paths import HALVING, PLAN, PLANS
from edgenas.records.record import Verdict
from edgenas.records.shelf import TimedNetwork
from edgenas.records.verify import VerifyRecord
from edgenas.runs.run import Run, open_run
from edgenas.runs.stage_costs import spent_on_results
from edgenas.runs.unfinished import stage_state
from edgenas.space.arch import Arch, parse_arch
from edgenas.stages.budgets.limits import Limits, unchecked_limits
from edgenas.stages.start import change_finetuning
from edgenas.stages.time_shares import LEAST_SHARE, finetuning_seconds, training_minutes
from edgenas.stages.tuning import plan as planning
from edgenas.stages.tuning.candidates import split_range
from edgenas.stages.tuning.rungs import (
    last_count,
    last_scores,
    rung_counts,
    rung_seconds,
    rung_steps,
    spread,
    survivors,
    whole_seconds,
)
from edgenas.stages.weights.tuned_network import CHECKPOINTS, WEIGHTS, halving_record, tuned_subnet
from edgenas.stages.weights.tuner import Tuner
from edgenas.stages.whole_run import run_stages
from edgenas.training import checkpoint
from edgenas.training.materialise import top1

CANDIDATES = 4


@pytest.fixture
def run(small_run: SmallRun, tmp_path: Path) -> Run:
    """Verified, and with a config that fine-tunes several networks."""
    return halving_run(small_run, tmp_path / "run")


def halving_run(small_run: SmallRun, folder: Path) -> Run:
    """Return a copy of the small run, verified, whose config fine-tunes several networks."""
    shutil.copytree(small_run.folder, folder)
    config = read_yaml(folder / "config.yaml")
    config["finetune"] = {"candidates": CANDIDATES, "epochs": 3}
    write_yaml(folder / "config.yaml", config)
    (folder / "export" / "result.json").unlink()
    return open_run(folder)


def archs(count: int) -> list[Arch]:
    return [parse_arch(f"r{8 + number}_w8-k3e1") for number in range(count)]


def score(arch: Arch, top1: float, *steps: int) -> RungScore:
    return RungScore(arch=arch, steps=steps or (1,), val_top1=top1, val_score=top1)


@given(st.integers(1, 64), st.floats(1, 1e5))
def test_every_rung_takes_an_equal_part_of_the_time_and_keeps_the_better_half(count: int, seconds: float) -> None:
    counts = rung_counts(count)
    times = rung_seconds(counts, seconds)
    assert (counts[0], counts[-1]) == (count, 1)
    assert all(later == -(-earlier // 2) for earlier, later in itertools.pairwise(counts))
    shares = [number * each for number, each in zip(counts, times, strict=True)]
    assert shares == pytest.approx([seconds / len(counts)] * len(counts))
    assert whole_seconds(counts, sum(times)) == pytest.approx(seconds)


def test_networks_get_equal_time_not_equal_steps() -> None:
    seconds = rung_seconds(rung_counts(4), 120.0)
    fast, slow = rung_steps(seconds, 0.1), rung_steps(seconds, 0.5)
    assert [5 * steps for steps in slow] == list(fast)
    assert rung_steps((0.01,), 1.0) == (1,)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=9))
def test_survivors_are_at_least_as_accurate_as_the_others(right: list[int]) -> None:
    scores = [score(arch, value / 5) for arch, value in zip(archs(len(right)), right, strict=True)]
    count = (len(scores) + 1) // 2
    better = survivors(scores, count)
    assert len(better) == count
    others = [one.val_top1 for one in scores if one not in better]
    assert min(one.val_top1 for one in better) >= max(others, default=0.0)


def test_the_best_of_search_and_shelf_are_compared_after_equal_training() -> None:
    own = archs(3)
    shelf = [parse_arch(f"timm:{name}:r64_w8-k3e1") for name in ("a", "b")]
    assert (last_count([*own, *shelf]), last_count(own), last_count(shelf)) == (2, 1, 1)
    assert rung_counts(5, 2) == (5, 3, 2)
    scores = [score(arch, 0.9 - 0.1 * rank) for rank, arch in enumerate([*own, *shelf])]
    assert [one.arch for one in survivors(scores, 3)] == [own[0], own[1], shelf[0]]
    assert [one.arch for one in survivors(scores, 2)] == [own[0], shelf[0]]
    assert [one.arch for one in survivors(scores[:3], 2)] == own[:2]
    assert [one.arch for one in survivors(scores, 1)] == [own[0]]


def test_the_best_of_the_last_rung_ships_whatever_shorter_trainings_scored() -> None:
    first, second, third = archs(3)
    rungs = [
        [score(first, 0.9, 5), score(second, 0.8, 5), score(third, 0.6, 5)],
        [score(second, 0.8, 5, 9), score(first, 0.75, 5, 9)],
        [score(second, 0.5, 5, 9, 20)],
    ]
    assert [(one.arch, one.steps) for one in last_scores(rungs)] == [
        (second, (5, 9, 20)),
        (first, (5, 9)),
        (third, (5,)),
    ]


def test_the_time_of_all_networks_counts_every_rung_once() -> None:
    first, second = archs(2)
    plans = [
        CandidatePlan(arch=arch, latency_us={}, step_seconds=seconds, steps=(5, 9))
        for arch, seconds in ((first, 0.5), (second, 2.0))
    ]
    rungs = ((score(first, 0.8, 5), score(second, 0.7, 5)), (score(first, 0.9, 5, 9),))
    record = HalvingRecord.model_construct(candidates=tuple(plans), rungs=rungs)
    assert record.seconds == 5 * 0.5 + 5 * 2.0 + 9 * 0.5


def test_parts_of_a_range_are_equally_wide_and_hold_every_network_of_it_once() -> None:
    names = archs(5)
    shares = dict(zip(names, [0.72, 0.73, 0.8, 0.87, 0.9], strict=True))
    assert split_range(shares, 3) == [names[:2], names[2:3], names[3:]]
    assert split_range(dict.fromkeys(names, 0.5), 3) == [names]


def test_networks_that_leave_much_of_the_budget_unused_are_no_candidates() -> None:
    names = archs(4)
    shares = dict(zip(names, [0.1, 0.29, 0.31, 0.4], strict=True))
    assert split_range(shares, 2) == [[names[2]], [names[3]]]


def test_candidates_are_spread_up_to_the_budget_and_the_most_accurate_one_ships(run: Run) -> None:
    labels: list[str] = []
    run_stages(run, lambda label, done, total: labels.append(label), ["finetune"])
    assert "fine-tuning 4 networks, rung 1 of 3" in labels
    record = halving_record(run)
    assert record is not None
    names = [candidate.arch for candidate in record.candidates]
    limits = unchecked_limits(run)
    shares = limits.greatest_share(names)
    assert len(set(names)) == CANDIDATES
    assert sorted(shares) == list(shares)
    chosen = run.result(VerifyRecord).chosen
    assert chosen in names
    assert (run.folder / "finetune" / "measured" / "here.jsonl").exists()
    assert all(share <= 1 for name, share in zip(names, shares, strict=True) if name != chosen)
    # The last part of the range is that of the slowest networks.
    assert max(shares) > min(shares) + 0.5 * (1 - min(shares))
    assert [len(rung) for rung in record.rungs] == [4, 2, 1]
    for rung, later in itertools.pairwise(record.rungs):
        assert {one.arch for one in later} == {one.arch for one in rung[: len(later)]}
    for candidate in record.candidates:
        assert candidate.steps == rung_steps(record.rung_seconds, candidate.step_seconds)
    tuned = run.result(FinetuneRecord)
    assert (tuned.arch, tuned.val_top1_after) == (record.order[0].arch, record.order[0].val_top1)
    comparison = record.comparison
    assert (comparison.images, comparison.candidates) == (len(run.images.scoring), 2)
    assert run.chosen == tuned.arch
    images = len(run.images.dataset.train) // run.config.training.batch_size
    assert tuned.epochs == pytest.approx(sum(record.order[0].steps) / images)
    assert tuned.val_top1_before is not None
    for one in record.order:
        found = tuned_subnet(run, one.arch)
        if found is not None:
            assert top1(found.subnet, run.images.scoring) == pytest.approx(one.val_top1)
    run_stages(run, silent, ["export"])
    exported = run.result(ExportRecord)
    assert [attempt.arch for attempt in exported.attempts] == [
        one.arch for one in record.order[: len(exported.attempts)]
    ]
    assert exported.chosen.arch == run.result(FinetuneRecord).arch
    manifest = read_json(run.folder / "export" / "bundle" / "manifest.json")
    assert manifest["fine_tuning"]["epochs"] == pytest.approx(run.result(FinetuneRecord).epochs)


def test_candidates_that_are_measured_over_a_budget_are_replaced_before_they_are_trained(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[Arch]] = []

    def timed(_: Run, limits: Limits, archs: Sequence[Arch], progress: Progress) -> tuple[TimedNetwork, ...]:
        asked.append(list(archs))
        verdict: Verdict = "over" if len(asked) == 1 else "within"
        return tuple(TimedNetwork(arch=arch, latency={}, verdict=verdict, over=()) for arch in archs)

    monkeypatch.setattr(planning, "time_candidates", timed)
    run_stages(run, silent, ["finetune"])
    first, second = map(set, asked)
    names = {candidate.arch for candidate in HalvingRecord.read(run.folder / HALVING, "", run.space).candidates}
    assert not first & second
    assert names == second | {run.result(VerifyRecord).chosen}


@pytest.mark.parametrize("factor", [0.5, 1.0])
def test_candidates_reach_up_to_the_budget_as_the_device_is_measured_now(
    run: Run, monkeypatch: pytest.MonkeyPatch, factor: float
) -> None:
    """On a device that became twice as fast, larger candidates are chosen; on an unchanged one, none are again."""
    asked: list[list[Arch]] = []

    def timed(_: Run, limits: Limits, archs: Sequence[Arch], progress: Progress) -> tuple[TimedNetwork, ...]:
        asked.append(list(archs))
        (budget,) = limits.budgets
        values = factor * budget.limit * limits.greatest_share(archs)
        return tuple(timed_network(arch, value, budget.limit) for arch, value in zip(archs, values, strict=True))

    monkeypatch.setattr(planning, "time_candidates", timed)
    run_stages(run, silent, ["finetune"])
    names = [one.arch for one in HalvingRecord.read(run.folder / HALVING, "", run.space).candidates]
    shares = unchecked_limits(run).greatest_share(names)
    if factor == 1.0:
        assert len(asked) == 1
        assert max(shares) <= 1
    else:
        assert len(asked) == 2
        assert 1 < max(shares) <= 2


def timed_network(arch: Arch, value_us: float, limit_us: float) -> TimedNetwork:
    """Return a network as it was timed on the run's device: within its budget, or over it."""
    verdict: Verdict = "within" if value_us <= limit_us else "over"
    latency = TimedLatency(
        verdict=verdict,
        limited="p50",
        limit_us=limit_us,
        value_us=value_us,
        upper_us=value_us,
        sessions=1,
        repeated=False,
        p50_us=value_us,
        p95_us=value_us,
        ci_low_us=value_us,
        ci_high_us=value_us,
        count=8,
        warnings=(),
        model_rss_bytes=None,
        process_rss_bytes=None,
    )
    return TimedNetwork(arch=arch, latency={"here": latency}, verdict=verdict, over=())


class Stopped(Exception):
    """Raised by a test to end a training."""


def test_a_plan_is_kept_until_the_front_is_measured_again(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(label: str, done: int, total: int) -> None:
        if "rung 2" in label:
            raise Stopped

    with pytest.raises(Stopped):
        run_stages(run, stop, ["finetune"])
    plan = read_json(run.folder / PLAN)
    # Another speed of the machine does not change what was fixed.
    timed: list[int] = []

    def slower(nets: list[Any], *_: object, **__: object) -> list[float]:
        timed.append(len(nets))
        return [9.0] * len(nets)

    monkeypatch.setattr(planning, "step_seconds", slower)
    run_stages(run, silent, ["finetune"])
    assert not timed
    record = read_json(run.folder / HALVING)
    assert {key: record[key] for key in plan} == plan
    verified = read_json(run.result_path("verify"))
    run.finish(run.result(VerifyRecord).model_copy(update={"notes": ("measured again",)}))
    assert read_json(run.result_path("verify")) != verified
    run_stages(run, silent, ["finetune"])
    assert timed == [1] * CANDIDATES
    assert read_json(run.folder / PLAN) != plan


def test_killed_in_a_rung_it_ends_with_the_bits_of_an_undisturbed_one(small_run: SmallRun, tmp_path: Path) -> None:
    """Killed before its first checkpoint, within a rung and between rungs: the same command resumes."""
    folder = halving_run(small_run, tmp_path / "run").folder
    config = read_yaml(folder / "config.yaml")
    config["train"]["checkpoint_seconds"] = 0.0
    write_yaml(folder / "config.yaml", config)

    def stop(label: str, done: int, total: int) -> None:
        if label.startswith("fine-tuning") and done:
            raise Stopped

    # Step times are part of the plan, which both share.
    with pytest.raises(Stopped):
        run_stages(open_run(folder), stop, ["finetune"])
    shutil.rmtree(folder / PLANS)
    victim = Path(shutil.copytree(folder, tmp_path / "victim"))
    run_stages(open_run(folder), silent, ["finetune"])

    def begun() -> list[Path]:
        return list((victim / PLANS).glob(f"*/*/{CHECKPOINTS}/{checkpoint.FILE_NAME}"))

    def finished() -> list[Path]:
        return list((victim / PLANS).glob(f"*/*/{WEIGHTS}"))

    for due in (begun, lambda: len(finished()) >= 2 and begun(), lambda: len(finished()) >= CANDIDATES and begun()):
        process = start("finetune", str(victim), cwd=tmp_path, log=tmp_path / "log")
        assert kill_when(process, lambda due=due: bool(due())), (tmp_path / "log").read_text()
        assert not (victim / "finetune" / "result.json").exists()
    assert start("finetune", str(victim), cwd=tmp_path, log=tmp_path / "log").wait() == 0
    assert weights_of(victim) == weights_of(folder)
    assert without_seconds(victim) == without_seconds(folder)
    assert not list((victim / PLANS).glob(f"*/*/{CHECKPOINTS}"))


def weights_of(folder: Path) -> dict[str, bytes]:
    return {path.parent.name: path.read_bytes() for path in (folder / PLANS).glob(f"*/*/{WEIGHTS}")}


def without_seconds(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    result = read_json(folder / "finetune" / "result.json")
    return read_json(folder / HALVING), {key: value for key, value in result.items() if key != "seconds"}


def test_a_broken_plan_is_named(run: Run) -> None:
    (run.folder / PLAN).parent.mkdir(exist_ok=True)
    (run.folder / PLAN).write_text(
        json.dumps({"schema_version": 1, "setting": "x", "rung_seconds": [], "rung_networks": []})
    )
    with pytest.raises(Exception, match=r"plan\.json: candidates.* delete it and run `edgenas finetune"):
        run_stages(run, silent, ["finetune"])


def test_several_candidates_need_a_choice_by_accuracy_and_the_runs_own_images(small_run: SmallRun) -> None:
    value = open_run(small_run.folder).config.model_dump(mode="json")
    value["finetune"] = {"candidates": 3}
    parse_config(value, "a config")
    with pytest.raises(Exception, match=r"candidates above 1 needs search\.choose: best"):
        parse_config(value | {"search": {"choose": "knee"}}, "a config")
    with pytest.raises(ValidationError, match="data needs candidates: 1"):
        FinetuneConfig(candidates=3, data={"name": "digits"})


def test_without_epochs_the_time_follows_the_training_of_the_supernet(run: Run) -> None:
    """Scoring takes its part, so training has at least half of the time and at most all of it."""
    settings = FinetuneConfig(candidates=CANDIDATES)
    longer = dataclasses.replace(run, config=run.config.model_copy(update={"finetune": settings}))
    run_stages(longer, silent, ["finetune"])
    record = HalvingRecord.read(run.folder / HALVING, "", run.space)
    spent = sum(len(rung) * each for rung, each in zip(record.rungs, record.rung_seconds, strict=True))
    stages = spent_on_results(run.folder)
    train = max(read_json(run.result_path("train"))["train_seconds"], stages["train"])
    search = max(read_json(run.result_path("search"))["seconds"], stages["search"])
    whole = finetuning_seconds(None, {"train": train, "search": search})
    assert whole == pytest.approx(max(train - search, LEAST_SHARE * 2 * train))
    assert 0.5 * whole <= spent * (1 + 1e-9) <= whole * (1 + 2e-9)


def test_the_minutes_of_a_run_are_shared_by_all_stages_up_to_fine_tuning(small_run: SmallRun, tmp_path: Path) -> None:
    """What earlier stages left is spent, in a run of one candidate as well."""
    folder = halving_run(small_run, tmp_path / "run").folder
    config = read_yaml(folder / "config.yaml")
    config |= {"finetune": {}, "minutes": 0.2}
    write_yaml(folder / "config.yaml", config)
    run = open_run(folder)
    assert run.config.halves
    run_stages(run, silent, ["finetune"])
    record = HalvingRecord.read(folder / HALVING, "", run.space)
    assert [len(rung) for rung in record.rungs] == [1]
    assert run.result(FinetuneRecord).arch == run.result(VerifyRecord).chosen
    spent = spent_on_results(folder)
    left = 12 - spent["profile"] - spent["train"] - spent["search"] - spent["verify"]
    # Candidates were chosen and timed in the run's minutes, too.
    assert 0.5 * LEAST_SHARE * 12 <= sum(record.rung_seconds) <= max(left, LEAST_SHARE * 12)
    # Epochs of another fine-tuning end the minutes, which are spent.
    change_finetuning(run, FinetuneConfig(epochs=1))
    assert (open_run(folder).config.minutes, open_run(folder).config.halves) == (None, False)


def test_profiling_counts_among_the_minutes_but_leaves_training_a_share() -> None:
    assert training_minutes(10, {"profile": 120.0, "search": 60.0}) == pytest.approx(4.0)
    assert training_minutes(10, {}) == pytest.approx(5.0)
    assert training_minutes(10, {"profile": 3600.0}) == pytest.approx(LEAST_SHARE * 10)
    spent = {"profile": 120.0, "train": 240.0, "search": 60.0, "verify": 30.0, "finetune": 10.0}
    assert finetuning_seconds(10, spent) == pytest.approx(140.0)
    assert finetuning_seconds(10, spent | {"export": 500.0}) == pytest.approx(140.0)
    assert finetuning_seconds(10, spent | {"verify": 900.0}) == pytest.approx(LEAST_SHARE * 600)


def test_minutes_go_with_a_run_that_trains_and_not_with_minutes_of_training(small_run: SmallRun) -> None:
    value = open_run(small_run.folder).config.model_dump(mode="json") | {"finetune": {}}
    config = parse_config(value | {"minutes": 5}, "a config")
    with pytest.raises(ConfigError, match="the whole run has --minutes 5: leave one"):
        check_train_minutes(config, 2.0)
    taken = {**value, "minutes": 5, "train": {**value["train"], "init": "runs/other", "epochs": 0}}
    with pytest.raises(ConfigError, match="minutes needs a run that trains"):
        parse_config(taken, "a config")


def test_a_run_from_a_pretrained_network_fine_tunes_several_by_default() -> None:
    value = {
        "name": "x",
        "space": "auto",
        "data": {"name": "imagefolder", "path": "x"},
        "train": {"epochs": 5, "recipe": "from-pretrained"},
    }
    config = parse_config(value, "a config")
    assert (config.tuned_candidates, config.halves) == (CANDIDATES_BY_DEFAULT, True)
    knee = parse_config(value | {"search": {"choose": "knee"}}, "a config")
    assert (knee.tuned_candidates, knee.halves) == (1, False)
    alone = value | {"finetune": {"candidates": 1}}
    # A shelf is compared with the one network of the search.
    assert parse_config(alone, "a config").halves
    assert not parse_config(alone | {"shelf": []}, "a config").halves


def test_minutes_take_the_place_of_epochs_and_are_refused_beside_those_of_fine_tuning() -> None:
    value: dict[str, Any] = {"name": "x", "space": "mobile-32", "data": {"name": "digits"}, "train": {}, "minutes": 5}
    config = parse_config(value, "a config")
    assert config.finetunes
    assert config.halves
    for tuned in ({"epochs": 0}, {"epochs": 20}, {"data": {"name": "digits"}}):
        (key,) = tuned
        with pytest.raises(ConfigError, match=rf"leave finetune\.{key} out"):
            parse_config(value | {"finetune": tuned}, "a config")
    with pytest.raises(ConfigError, match="epochs"):
        parse_config(value | {"minutes": None}, "a config")


@given(st.integers(1, 64), st.integers(1, 64))
def test_fewer_candidates_are_spread_evenly_and_hold_the_slowest(count: int, most: int) -> None:
    kept = spread(count, most)
    assert len(kept) == min(count, most)
    assert kept[-1] == count - 1
    gaps = [later - earlier for earlier, later in itertools.pairwise(kept)]
    assert not gaps or max(gaps) - min(gaps) <= 1


def test_status_states_how_many_trainings_are_finished(run: Run) -> None:
    def stop(label: str, done: int, total: int) -> None:
        if "rung 2" in label:
            raise Stopped

    assert stage_state(run, "finetune") == "to do"
    with pytest.raises(Stopped):
        run_stages(run, stop, ["finetune"])
    assert stage_state(run, "finetune") == "4 of 7 trainings of 4 networks"


def test_settings_that_were_stopped_keep_the_networks_of_earlier_ones(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(label: str, done: int, total: int) -> None:
        if "rung 2" in label:
            raise Stopped

    run_stages(run, silent, ["finetune"])
    trained = weights_of(run.folder)
    other = change_finetuning(run, run.config.finetune.model_copy(update={"epochs": 2.0}))
    with pytest.raises(Stopped):
        run_stages(other, stop, ["finetune"])
    assert stage_state(other, "finetune") == "4 of 7 trainings of 4 networks"
    assert len(weights_of(run.folder)) > len(trained)
    back = change_finetuning(other, run.config.finetune)
    # Nothing is trained, and the other settings' networks are not kept.
    monkeypatch.setattr(Tuner, "train", None)
    run_stages(back, silent, ["finetune"])
    assert weights_of(run.folder) == trained
