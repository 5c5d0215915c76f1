"""Successive halving: candidates up to the budget are fine-tuned, and the most accurate one is exported."""

from __future__ import annotations

import dataclasses
import itertools
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from copied_run import silent
from hypothesis import given
from hypothesis import strategies as st
from killing import kill_when, start
from pydantic import ValidationError
from small_run import SmallRun

from edgenas.config.reading import parse_config
from edgenas.config.sections import FinetuneConfig
from edgenas.files import read_json, read_yaml, write_yaml
from edgenas.records.export import ExportRecord
from edgenas.records.finetune import FinetuneRecord, HalvingRecord, RungScore
from edgenas.records.paths import HALVING
from edgenas.records.verify import VerifyRecord
from edgenas.runs.run import Run, open_run
from edgenas.space.arch import Arch, parse_arch
from edgenas.stages.budgets.limits import unchecked_limits
from edgenas.stages.tuning import halving
from edgenas.stages.tuning.candidates import split_range
from edgenas.stages.tuning.halving import PLAN
from edgenas.stages.tuning.rungs import best_scores, rung_counts, rung_seconds, rung_steps, survivors, whole_seconds
from edgenas.stages.weights.tuned_network import CHECKPOINTS, NETWORKS, WEIGHTS, halving_record, tuned_subnet
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
    counts, times = rung_counts(count), rung_seconds(count, seconds)
    assert (counts[0], counts[-1]) == (count, 1)
    assert all(later == -(-earlier // 2) for earlier, later in itertools.pairwise(counts))
    shares = [number * each for number, each in zip(counts, times, strict=True)]
    assert shares == pytest.approx([seconds / len(counts)] * len(counts))
    assert whole_seconds(count, sum(times)) == pytest.approx(seconds)


def test_networks_get_equal_time_not_equal_steps() -> None:
    seconds = rung_seconds(4, 120.0)
    fast, slow = rung_steps(seconds, 0.1), rung_steps(seconds, 0.5)
    assert [5 * steps for steps in slow] == list(fast)
    assert rung_steps((0.01,), 1.0) == (1,)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=9))
def test_survivors_are_at_least_as_accurate_as_the_others(right: list[int]) -> None:
    scores = [score(arch, value / 5) for arch, value in zip(archs(len(right)), right, strict=True)]
    better = survivors(scores)
    assert len(better) == (len(scores) + 1) // 2
    others = [one.val_top1 for one in scores if one not in better]
    assert min(one.val_top1 for one in better) >= max(others, default=0.0)


def test_a_network_ships_with_its_best_rung_and_of_equal_rungs_the_later_one() -> None:
    first, second, third = archs(3)
    rungs = [
        [score(first, 0.8, 5), score(second, 0.7, 5), score(third, 0.6, 5)],
        [score(second, 0.8, 5, 9), score(first, 0.75, 5, 9)],
        [score(second, 0.8, 5, 9, 20)],
    ]
    assert [(one.arch, one.steps) for one in best_scores(rungs)] == [
        (second, (5, 9, 20)),
        (first, (5,)),
        (third, (5,)),
    ]


def test_parts_of_a_range_are_equally_wide_and_hold_every_network_once() -> None:
    names = archs(5)
    shares = dict(zip(names, [0.1, 0.15, 0.5, 0.9, 1.0], strict=True))
    assert split_range(shares, 3) == [names[:2], names[2:3], names[3:]]
    assert split_range(dict.fromkeys(names, 0.5), 3) == [names]


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
    assert (comparison.images, comparison.candidates) == (len(run.images.scoring), len(record.order))
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

    monkeypatch.setattr(halving, "step_seconds", slower)
    run_stages(run, silent, ["finetune"])
    assert not timed
    record = read_json(run.folder / HALVING)
    assert {key: record[key] for key in plan} == plan
    verified = read_json(run.result_path("verify"))
    run.finish(run.result(VerifyRecord).model_copy(update={"notes": ("measured again",)}))
    assert read_json(run.result_path("verify")) != verified
    run_stages(run, silent, ["finetune"])
    assert timed == [CANDIDATES]
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
    shutil.rmtree(folder / NETWORKS)
    victim = Path(shutil.copytree(folder, tmp_path / "victim"))
    run_stages(open_run(folder), silent, ["finetune"])

    def begun() -> list[Path]:
        return list((victim / NETWORKS).glob(f"*/{CHECKPOINTS}/{checkpoint.FILE_NAME}"))

    def finished() -> list[Path]:
        return list((victim / NETWORKS).glob(f"*/{WEIGHTS}"))

    for due in (begun, lambda: len(finished()) >= 2 and begun(), lambda: len(finished()) >= CANDIDATES and begun()):
        process = start("finetune", str(victim), cwd=tmp_path, log=tmp_path / "log")
        assert kill_when(process, lambda due=due: bool(due())), (tmp_path / "log").read_text()
        assert not (victim / "finetune" / "result.json").exists()
    assert start("finetune", str(victim), cwd=tmp_path, log=tmp_path / "log").wait() == 0
    assert weights_of(victim) == weights_of(folder)
    assert without_seconds(victim) == without_seconds(folder)
    assert not list((victim / NETWORKS).glob(f"*/{CHECKPOINTS}"))


def weights_of(folder: Path) -> dict[str, bytes]:
    return {path.parent.name: path.read_bytes() for path in (folder / NETWORKS).glob(f"*/{WEIGHTS}")}


def without_seconds(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    result = read_json(folder / "finetune" / "result.json")
    return read_json(folder / HALVING), {key: value for key, value in result.items() if key != "seconds"}


def test_a_broken_plan_is_named(run: Run) -> None:
    (run.folder / PLAN).parent.mkdir(exist_ok=True)
    (run.folder / PLAN).write_text(json.dumps({"schema_version": 1, "setting": "x", "rung_seconds": []}))
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
    settings = FinetuneConfig(candidates=CANDIDATES)
    longer = dataclasses.replace(run, config=run.config.model_copy(update={"finetune": settings}))
    run_stages(longer, silent, ["finetune"])
    record = HalvingRecord.read(run.folder / HALVING, "", run.space)
    spent = sum(len(rung) * each for rung, each in zip(record.rungs, record.rung_seconds, strict=True))
    train_seconds = read_json(run.result_path("train"))["train_seconds"]
    assert spent == pytest.approx(halving.TUNING_SHARE * train_seconds)
