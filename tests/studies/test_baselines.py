"""`edgenas worth`: rivals of equal latency and time, and that a stopped comparison ends as an undisturbed one."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from trained_run import finished_by_hand, quiet, trained_run

from edgenas.config.sections import FinetuneConfig
from edgenas.deploy.onnx.exporter import EXPORTER_VERSION, model_metadata
from edgenas.errors import ConfigError, RunFolderError
from edgenas.files import append_jsonl, read_json, read_jsonl, write_json
from edgenas.runs.folder import Run, open_run
from edgenas.runs.run_data import run_dataset
from edgenas.runs.stage_costs import spent_on_results
from edgenas.space.arch import Arch
from edgenas.space.cost import cost
from edgenas.space.covering_samples import covering
from edgenas.space.loading import load_space
from edgenas.space.mobilenet_v3 import mobilenet_v3_small
from edgenas.stages.standalone_networks import Lone
from edgenas.studies import baseline_networks as rivals
from edgenas.studies import baseline_sizes as sizing
from edgenas.studies.baseline_networks import (
    Scale,
    Timer,
    at_scale,
    equal,
    finer_scales,
    fits,
    rival_device,
    scales,
    session_timer,
    widest,
)
from edgenas.studies.baseline_sizes import MOBILENET, RANDOM, Settled, Sizer, Wanted
from edgenas.studies.baseline_training import Contest, Worth
from edgenas.studies.baselines import _crossover, run_worth, worth_told
from edgenas.training import training_loop as loop
from edgenas.training.checkpoint import file_digest

WANTED = Worth(seeds=2, minutes=0.02)
TUNED = {"dataset": "digits", "data_digest": "0", "val_top1_before": 0.5, "val_top1_after": 0.6, "epochs": 1.0}
STEP_SECONDS = 0.04
"""So 30 steps for each rival and seed, against 19 steps of an epoch."""


class Killed(Exception):
    """What a test ends a comparison with."""


def by_size(models: Mapping[str, Path], session: str) -> dict[str, float]:
    """A timer: of equal files, equal latencies."""
    return {name: path.stat().st_size / 1e3 for name, path in models.items()}


def as_fast(run: Run, chosen: Arch, networks: Mapping[str, Any], num_classes: int, timer: Timer) -> Any:
    """Latencies by MACs, those of scales by width and pixels, without the exporting that takes most of the time."""
    own = cost(run.space.unroll(chosen, num_classes)).macs
    found = {name: cost(specs).macs / own for name, specs in networks.items()}
    scaled = {name: Scale.parse(name) for name in found if name.startswith("width ")}
    largest = run.space.resolution[-1]
    return found | {name: 0.5 + one.width * (one.resolution / largest) ** 2 for name, one in scaled.items()}


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = trained_run(tmp_path_factory.mktemp("exported"))
    finished_by_hand(run)
    return run


@pytest.fixture(scope="module", autouse=True)
def clockwork(exported: Run) -> Iterator[None]:
    """Predictions by MACs, and steps that all take as long."""

    def predict(archs: Any) -> Any:
        genes = archs if isinstance(archs, np.ndarray) else exported.space.encode(archs)
        return np.array([cost(exported.space.unroll(arch, 10)).macs for arch in exported.space.decode(genes)]) / 1e3

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(rivals, "DRAWS", 64)
        monkeypatch.setattr(rivals, "WIDTHS", (0.1, 0.3, 0.5, 1.0))
        monkeypatch.setattr(sizing, "as_fast", as_fast)
        monkeypatch.setattr(sizing, "run_predictors", lambda run: {"here": SimpleNamespace(predict=predict)})
        monkeypatch.setattr(Lone, "step_seconds", lambda self, networks: dict.fromkeys(networks, STEP_SECONDS))
        yield


@pytest.fixture(scope="module")
def compared(exported: Run, elsewhere: Callable[[Run], Run]) -> tuple[Run, dict[str, Any]]:
    run = elsewhere(exported)
    return run, run_worth(run, WANTED, quiet, timer=by_size)


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Run], Run]:
    def copied(run: Run) -> Run:
        folder = tmp_path_factory.mktemp("copy") / "run"
        shutil.copytree(run.folder, folder, ignore=shutil.ignore_patterns("worth", ".lock*"))
        return open_run(folder)

    return copied


def lasting(found: Any) -> Any:
    """What does not depend on the clock."""
    if isinstance(found, dict):
        return {k: lasting(v) for k, v in found.items() if "seconds" not in k and k != "crossover"}
    return [lasting(one) for one in found] if isinstance(found, list | tuple) else found


def test_rivals_are_as_fast_and_have_their_time(compared: tuple[Run, dict[str, Any]]) -> None:
    run, found = compared
    settled = json.loads((run.folder / "worth/settled.json").read_text())
    assert found["steps"] == {MOBILENET: {"0": 30, "1": 30}, RANDOM: {"0": 30, "1": 30}}
    assert found["left_out"] == {}
    assert settled["epoch_steps"] == 19
    assert [one["tried"] for one in found["rivals"][RANDOM]["seeds"]] == [1, 1]
    shares, scale = settled["latency_shares"], Scale.parse(settled["scale"])
    for archs in settled["archs"].values():
        assert all(fits(shares[arch]) for arch in archs)
    measured = {Scale.parse(name): share for name, share in shares.items() if name.startswith("width ")}
    assert {one.resolution for one in measured} == {run.space.resolution[-1] * n // 4 for n in (4, 3, 2)}
    # Of those of equal latency, which lie between the widths of the ladder, the one that computes most.
    candidates = equal(measured)
    assert all(0.95 <= measured[one] <= 1.02 for one in candidates)
    macs = {one: cost(at_scale(run.space, 10, one)).macs for one in candidates}
    assert macs[scale] == max(macs.values())
    assert {one["network"] for one in found["rivals"][MOBILENET]["seeds"]} == {scale.name}


def test_everything_is_told_and_written(compared: tuple[Run, dict[str, Any]]) -> None:
    run, found = compared
    assert json.loads((run.folder / "worth/worth.json").read_text()) == {"schema_version": 1, **found}
    assert {row["rival"] for row in read_jsonl(run.folder / "worth/rows.jsonl")} == {MOBILENET, RANDOM}
    assert found["seconds"]["each_rival"] == pytest.approx(1.2)
    assert found["edgenas"]["test_top1"] == 0.5
    best = max(rival["test_top1"]["mean"] for rival in found["rivals"].values())
    assert found["lead"] == pytest.approx(0.5 - best)
    assert 0 < found["lead_error"] < 0.1
    assert found["model_sha256"] == file_digest(run.folder / "export/bundle/model.onnx")
    assert found["supernet_from"] is None
    # The run was finished by hand: nobody knows what its stages took.
    assert found["crossover"]["verdict"] == "unknown"
    assert found["crossover"]["reason"] == "costs.jsonl lacks the seconds of profile, verify, export"
    assert found["crossover"]["per_budget_seconds"] is None
    rows = list(csv.DictReader((run.folder / "worth/worth.csv").read_text().splitlines()))
    assert [row["who"] for row in rows] == ["edgenas", *[MOBILENET] * 2, *[RANDOM] * 2]
    assert (run.folder / "worth/worth.png").read_bytes()[:4] == b"\x89PNG"


def test_every_rivals_file_is_of_the_one_exporter(compared: tuple[Run, dict[str, Any]]) -> None:
    files = list((compared[0].folder / "worth/models").iterdir())
    assert len(files) == 4
    assert {model_metadata(path)["calibrated"] for path in files} == {"true"}
    assert {model_metadata(path)["exporter_version"] for path in files} == {str(EXPORTER_VERSION)}


def test_networks_are_sized_beside_the_chosen_one_by_the_same_exporter(exported: Run) -> None:
    seen = {}

    def timer(models: Mapping[str, Path], session: str) -> dict[str, float]:
        seen.update({name: model_metadata(path)["for_timing"] for name, path in models.items()})
        return by_size(models, session)

    networks = {
        "narrow": mobilenet_v3_small(10, 16, width=0.1),
        "small": exported.space.unroll(exported.space.smallest, 10),
    }
    found = rivals.as_fast(exported, exported.space.largest, networks, 10, timer)
    assert seen == dict.fromkeys(("narrow", "small", "chosen"), "true")
    assert set(found) == set(networks)
    assert found["small"] < 1


def test_as_many_random_networks_as_the_time_holds(exported: Run, elsewhere: Callable[[Run], Run]) -> None:
    run = elsewhere(exported)
    found = run_worth(run, Worth(seeds=1, minutes=0.04), quiet, timer=by_size)
    (seed,) = found["rivals"][RANDOM]["seeds"]
    assert seed["tried"] == 3
    # 60 steps hold three networks of 19; the rest is shared out.
    assert found["steps"] == {MOBILENET: {"0": 60}, RANDOM: {"0": 20}}
    rows = [row for row in read_jsonl(run.folder / "worth/rows.jsonl") if row["rival"] == RANDOM]
    assert len({row["network"] for row in rows}) == 3
    assert seed["val_top1"] == max(row["val_top1"] for row in rows)
    assert not any("test_top1" in row for row in rows)


def tuned_by_hand(run: Run, seconds: float) -> Run:
    """A finished run whose network is fine-tuned for an epoch of 19 steps, which took so long."""
    tuned = replace(run, config=run.config.model_copy(update={"finetune": FinetuneConfig(epochs=1.0)}))
    handed_over = run.result("export")
    tuned.finish("finetune", {**TUNED, "arch": run.space.largest.id, "calibration_images": 64, "seconds": seconds})
    tuned.finish("export", handed_over)
    return tuned


def test_random_networks_are_trained_as_long_as_the_chosen_one_fine_tuning_included(
    exported: Run, elsewhere: Callable[[Run], Run]
) -> None:
    run = elsewhere(exported)
    tuned = tuned_by_hand(run, 19 * STEP_SECONDS)
    found = run_worth(tuned, Worth(seeds=1, minutes=0.04), quiet, timer=by_size)
    assert read_json(run.folder / "worth/settled.json")["epoch_steps"] == 38
    assert found["steps"][RANDOM] == {"0": 60}
    assert found["seconds"]["fine_tuning"] == pytest.approx(19 * STEP_SECONDS)


def test_rivals_have_the_runs_time_at_the_clock_that_it_was_taken_at(
    exported: Run, elsewhere: Callable[[Run], Run]
) -> None:
    """Fine-tuning took 3 seconds for 19 steps, which would take 0.76 now: rivals would have four times as many."""
    run = elsewhere(exported)
    tuned = tuned_by_hand(run, 3.0)
    charge(run)
    found = run_worth(tuned, Worth(seeds=1), quiet, timer=by_size)
    seconds = run.result("train")["train_seconds"] + 2.0 + 3.0
    assert found["seconds"]["each_rival"] == pytest.approx(seconds)
    assert found["steps"][MOBILENET]["0"] == pytest.approx(seconds * 19 / 3.0, abs=1)
    assert found["crossover"]["alone_seconds"] == pytest.approx(38 * 3.0 / 19 + 7.0)
    # Timed once more while rivals were sized, at another clock.
    assert read_json(run.folder / "worth/settled.json")["step_times"] == [STEP_SECONDS, 3.0 / 19, STEP_SECONDS]
    low, high = found["crossover"]["alone_range_seconds"]
    assert (low, high) == (pytest.approx(38 * STEP_SECONDS + 7.0), pytest.approx(38 * 3.0 / 19 + 7.0))


def charge(run: Run) -> None:
    """Costs of the stages that a run finished by hand lacks."""
    for stage, seconds in (("profile", 30.0), ("verify", 11.0), ("export", 7.0)):
        row = {"stage": stage, "seconds": seconds, "energy_joules": None, "finished": True}
        append_jsonl(run.folder / "costs.jsonl", row)


@pytest.fixture
def sized(exported: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Settled]:
    """How rivals are sized where seeds have so many networks, and some are trained more slowly than others."""

    def sized(*counts: int, seconds: float = 1000.0, slow: float = 1.0, drift: float = 1.0) -> Settled:
        rng = np.random.default_rng(1)
        archs = list(dict.fromkeys(exported.space.sample(rng) for _ in range(40)))
        left, dear, timed = iter(counts), {exported.space.unroll(arch, 10) for arch in archs[::2]}, count()

        def draw(*args: Any) -> list[Arch]:
            return [] if args[4] == sizing.PROBE_SEED else archs[: next(left)]

        monkeypatch.setattr(sizing, "draw", draw)
        monkeypatch.setattr(sizing, "fits", lambda *args: True)

        def step_seconds(lone: Lone, networks: Mapping[str, Any]) -> dict[str, float]:
            now = drift ** next(timed)
            return {name: now * (slow if specs in dear else 1.0) for name, specs in networks.items()}

        monkeypatch.setattr(Lone, "step_seconds", step_seconds)
        wanted = Wanted(exported.space.largest, 10, seconds, range(len(counts)), 1.0)
        lone = Lone.of(exported, run_dataset(exported))
        return Sizer(exported, lone, wanted, by_size, quiet).settle(tmp_path / "s", "s")

    return sized


def test_every_seed_has_the_whole_time_however_many_networks_it_has(sized: Callable[..., Settled]) -> None:
    found = sized(3, 7, 1)
    assert {seed: len(own) for seed, own in found.archs.items()} == {"0": 3, "1": 7, "2": 1}
    assert found.random_steps == {"0": 333, "1": 142, "2": 1000}
    assert found.mobilenet_steps == 1000


def test_networks_that_are_trained_more_slowly_take_no_more_time(sized: Callable[..., Settled]) -> None:
    found = sized(4, 5, seconds=100.0, slow=2.0)
    # 19 steps of networks that take 2 + 1 + 2 seconds a step; another one would leave fewer to each.
    assert {seed: len(own) for seed, own in found.archs.items()} == {"0": 3, "1": 3}
    assert found.random_steps == {"0": 20, "1": 20}


def test_a_clock_that_changes_while_networks_are_timed_changes_no_steps(sized: Callable[..., Settled]) -> None:
    steady = sized(10, 10, slow=2.0)
    assert len(steady.archs["0"]) == 10
    drifting = sized(10, 10, slow=2.0, drift=1.3)
    assert drifting.random_steps == steady.random_steps
    assert drifting.mobilenet_steps == steady.mobilenet_steps


def test_networks_are_drawn_around_what_the_chosen_one_takes_when_measured(
    exported: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes 1.3 times as long as predicted, as what a search picks tends to; all others what is predicted."""
    by_macs = sizing.as_fast
    monkeypatch.setattr(sizing, "as_fast", lambda *args: {name: share / 1.3 for name, share in by_macs(*args).items()})
    middle = sorted(covering(exported.space, 9, 0), key=lambda arch: cost(exported.space.unroll(arch, 10)).macs)[4]
    wanted = Wanted(middle, 10, 20 * STEP_SECONDS, range(3), 1.0)
    lone = Lone.of(exported, run_dataset(exported))
    found = Sizer(exported, lone, wanted, by_size, quiet).settle(tmp_path / "s", "s")
    shares = [found.latency_shares[arch] for archs in found.archs.values() for arch in archs]
    assert len(shares) == 3
    assert all(0.94 < share <= 1.02 for share in shares)


def test_a_seed_without_a_network_as_fast_has_none(sized: Callable[..., Settled]) -> None:
    found = sized(0, 2)
    assert (found.archs["0"], found.random_steps["0"], found.left_out) == ([], 0, {RANDOM: [0]})
    assert found.random_steps["1"] == 500
    assert "networks by seed: 2 of 500 steps, none for 1 seed(s), since no other network is as fast" in found.told()


def test_random_search_is_left_out_where_no_other_network_is_as_fast(
    exported: Run, elsewhere: Callable[[Run], Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sizing, "draw", lambda *args: [])
    run, wanted = elsewhere(exported), Worth(seeds=1, minutes=0.01)
    found = run_worth(run, wanted, quiet, timer=by_size)
    assert set(found["rivals"]) == set(found["steps"]) == {found["best_rival"]} == {MOBILENET}
    assert found["left_out"] == {RANDOM: [0]}
    lines, seconds = worth_told(run, wanted)
    assert f"{RANDOM}, networks by seed: none for 1 seed(s)" in lines[2]
    assert seconds == 0


def test_what_is_left_of_the_time_is_told_once_rivals_are_sized(exported: Run, elsewhere: Callable[[Run], Run]) -> None:
    run, wanted = elsewhere(exported), Worth(seeds=1, minutes=0.04)

    def killing(label: str, done: int, total: int) -> None:
        if label.startswith(f"{RANDOM}, seed 0, 2"):
            raise Killed

    with pytest.raises(Killed):
        run_worth(run, wanted, killing, timer=by_size)
    lines, seconds = worth_told(run, wanted)
    # MobileNetV3-Small and one of three networks are trained.
    assert seconds == pytest.approx(2.4 * 2 / 3)
    assert f" for 60 steps; {RANDOM}, networks by seed: 3 of 20 steps" in lines[2]


def test_rivals_that_an_older_version_settled_are_settled_anew(
    exported: Run, elsewhere: Callable[[Run], Run], caplog: pytest.LogCaptureFixture
) -> None:
    run, wanted = elsewhere(exported), Worth(seeds=1, minutes=0.01)
    run_worth(run, wanted, quiet, timer=by_size)
    path, rows = run.folder / "worth/settled.json", run.folder / "worth/rows.jsonl"
    settled, before = read_json(path), read_jsonl(rows)
    write_json(path, settled | {"setting": "older", "random_steps": 30})
    run_worth(run, wanted, quiet, timer=by_size)
    assert "is of another comparison, or older: rivals are sized and trained anew" in caplog.text
    assert read_json(path) == settled
    # What is settled as before is not trained again.
    assert read_jsonl(rows) == before
    write_json(path, settled | {"random_steps": 30})
    with pytest.raises(RunFolderError, match=r"random_steps.*delete it and run `edgenas worth` again"):
        run_worth(run, wanted, quiet, timer=by_size)


def test_rows_of_rivals_that_were_sized_otherwise_do_not_count(exported: Run, elsewhere: Callable[[Run], Run]) -> None:
    run, wanted = elsewhere(exported), Worth(seeds=1, minutes=0.01)
    run_worth(run, wanted, quiet, timer=by_size)
    path = run.folder / "worth/settled.json"
    settled = read_json(path)
    write_json(path, settled | {"mobilenet_steps": settled["mobilenet_steps"] - 2})
    _, seconds = worth_told(run, wanted)
    assert seconds == pytest.approx(0.6)
    found = run_worth(run, wanted, quiet, timer=by_size)
    assert found["steps"][MOBILENET] == {"0": settled["mobilenet_steps"] - 2}
    trained = [row["steps"] for row in read_jsonl(run.folder / "worth/rows.jsonl") if row["rival"] == MOBILENET]
    assert trained == [settled["mobilenet_steps"], settled["mobilenet_steps"] - 2]


@pytest.mark.slow
def test_stopped_it_ends_as_an_undisturbed_one(
    exported: Run,
    elsewhere: Callable[[Run], Run],
    compared: tuple[Run, dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    run, met = elsewhere(exported), []

    def killing(label: str, done: int, total: int) -> None:
        if done == 11 and label not in met:
            met.append(label)
            raise Killed

    for _ in range(4):
        with pytest.raises(Killed):
            run_worth(run, WANTED, killing, timer=by_size)
    assert len(set(met)) == 4
    assert lasting(run_worth(run, WANTED, killing, timer=by_size)) == lasting(compared[1])
    assert not list((run.folder / "worth/training").iterdir())
    assert len(read_jsonl(run.folder / "worth/rows.jsonl")) == 4


@pytest.mark.slow
def test_rivals_trained_side_by_side_are_the_same(
    exported: Run, elsewhere: Callable[[Run], Run], compared: tuple[Run, dict[str, Any]]
) -> None:
    run, labels = elsewhere(exported), set()
    found = run_worth(run, WANTED, lambda label, done, total: labels.add(label), timer=by_size, jobs=2)
    assert lasting(found) == lasting(compared[1])
    assert {f"{rival}, seed {seed}, 1" for rival in (MOBILENET, RANDOM) for seed in (0, 1)} < labels
    assert len(read_jsonl(run.folder / "worth/rows.jsonl")) == 4


def test_time_that_was_taken_with_other_threads_is_not_handed_on(
    exported: Run, elsewhere: Callable[[Run], Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, before = elsewhere(exported), torch.get_num_threads()
    said = rf"with {before} thread\(s\), and rivals would have 77: set OMP_NUM_THREADS={before}"
    monkeypatch.setattr(torch, "get_num_threads", lambda: 77)
    with pytest.raises(ConfigError, match=said):
        worth_told(run, Worth(seeds=2))
    assert worth_told(run, WANTED)[1] > 0


def test_profiling_verification_and_export_are_charged(exported: Run, elsewhere: Callable[[Run], Run]) -> None:
    run = elsewhere(exported)
    charge(run)
    found = run_worth(run, Worth(seeds=1, minutes=0.01), quiet, timer=by_size)["crossover"]
    settled = read_json(run.folder / "worth/settled.json")
    assert settled["step_seconds"] == STEP_SECONDS
    assert found["charged_seconds"] == {"profile": 30.0, "verify": 11.0, "export": 7.0}
    assert found["once_seconds"] == pytest.approx(run.result("train")["train_seconds"] + 30.0)
    assert found["per_budget_seconds"] == pytest.approx(2.0 + 11.0 + 7.0)
    # The network that is trained alone is exported, too.
    assert found["alone_seconds"] == pytest.approx(settled["epoch_steps"] * STEP_SECONDS + 7.0)
    assert found["alone_range_seconds"] == [pytest.approx(found["alone_seconds"])] * 2
    assert found["verdict"] == "never"


def test_a_supernet_for_one_budget_has_no_crossover(exported: Run, elsewhere: Callable[[Run], Run]) -> None:
    run = elsewhere(exported)
    charge(run)
    run_worth(run, Worth(seeds=1, minutes=0.01), quiet, timer=by_size)
    training = run.config.training.model_copy(update={"recipe": "within-budgets"})
    narrowed = replace(run, config=run.config.model_copy(update={"train": training}))
    contest, settled = (
        Contest.of(narrowed, Worth(seeds=1, minutes=0.01)),
        Settled.read(run.folder / "worth/settled.json", read_json(run.folder / "worth/settled.json")["setting"]),
    )
    assert settled is not None
    found = _crossover(contest, settled)
    assert (found["verdict"], found["budgets"]) == ("unknown", None)
    assert "trained for one budget only" in found["reason"]
    assert [row["budgets"] for row in found["table"]] == [1]


def test_the_cost_is_told_before(exported: Run, elsewhere: Callable[[Run], Run]) -> None:
    run = elsewhere(exported)
    lines, seconds = worth_told(run, WANTED)
    assert seconds == pytest.approx(2 * 2 * 1.2)
    assert "2 seeds each, as fast as " in lines[0]
    assert worth_told(run, WANTED, jobs=2)[1] == pytest.approx(seconds / 2)
    _, whole = worth_told(run, Worth(seeds=3))
    assert whole == pytest.approx(2 * 3 * (run.result("train")["train_seconds"] + 2.0))


def test_scales_of_equal_latency_are_neither_slower_nor_much_faster() -> None:
    shares = {
        Scale(0.1, 64): 0.8,
        Scale(0.2, 64): 1.01,
        Scale(0.3, 64): 1.1,
        Scale(0.9, 32): 0.94,
        Scale(1.0, 32): 0.96,
    }
    assert set(widest(shares)) == {Scale(0.2, 64), Scale(1.0, 32)}
    assert equal(shares) == [Scale(0.2, 64), Scale(1.0, 32)]
    assert widest({Scale(0.1, 64): 1.3}) == equal({Scale(0.1, 64): 1.3}) == equal({Scale(0.1, 64): 0.5}) == []


def test_a_scale_is_told_from_its_name() -> None:
    for scale in (Scale(0.35, 96), Scale(2.0, 4)):
        assert Scale.parse(scale.name) == scale


def test_scales_are_distinct_networks_of_the_spaces_stride() -> None:
    space = load_space("mobile-32")
    found = scales(space, 10)
    assert len(set(found.values())) == len(found) == 12
    assert {specs[0].in_size for specs in found.values()} == {64, 48, 32}
    assert {specs[0].in_size // specs[-1].in_size for specs in found.values()} == {8}
    for size in (64, 48, 32):
        macs = [cost(specs).macs for scale, specs in found.items() if scale.resolution == size]
        assert macs == sorted(macs)
    finer = finer_scales(space, 10, Scale(0.3, 48), 0.5)
    assert finer[Scale(0.3, 48)] == found[Scale(0.3, 48)]
    assert len(set(finer.values())) == len(finer) > 2
    assert all(0.3 <= scale.width < 0.5 and scale.resolution == 48 for scale in finer)
    assert finer_scales(space, 10, Scale(1.0, 64), 1.0) == {Scale(1.0, 64): found[Scale(1.0, 64)]}


def test_mobilenet_is_left_out_where_no_scale_has_the_latency(
    exported: Run, elsewhere: Callable[[Run], Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(*args: Any) -> dict[str, float]:
        return {name: (3.0 if name.startswith("width ") else 1.0) * share for name, share in as_fast(*args).items()}

    monkeypatch.setattr(sizing, "as_fast", slow)
    run, wanted = elsewhere(exported), Worth(seeds=1, minutes=0.01)
    found = run_worth(run, wanted, quiet, timer=by_size)
    assert set(found["rivals"]) == {found["best_rival"]} == {RANDOM}
    assert found["left_out"] == {MOBILENET: [0]}
    lines, _ = worth_told(run, wanted)
    assert f"{MOBILENET} left out, since it is as fast at no width and resolution" in lines[2]
    # Nothing is left to compare with where random search has no network, either.
    monkeypatch.setattr(sizing, "draw", lambda *args: [])
    with pytest.raises(ConfigError, match="there is nothing to compare it with"):
        run_worth(elsewhere(exported), wanted, quiet, timer=by_size)


def test_more_seeds_later_leave_what_is_trained_as_it_is(
    exported: Run, elsewhere: Callable[[Run], Run], compared: tuple[Run, dict[str, Any]]
) -> None:
    run, one = elsewhere(exported), replace(WANTED, seeds=1)
    first = run_worth(run, one, quiet, timer=by_size)
    rows = read_jsonl(run.folder / "worth/rows.jsonl")
    assert worth_told(run, WANTED)[1] == pytest.approx(2 * 1.2)
    assert lasting(run_worth(run, WANTED, quiet, timer=by_size)) == lasting(compared[1])
    assert read_jsonl(run.folder / "worth/rows.jsonl")[: len(rows)] == rows
    # Nor does a seed fewer take anything away.
    assert lasting(run_worth(run, one, quiet, timer=by_size)) == lasting(first)
    assert worth_told(run, WANTED)[1] == 0


def test_other_files_are_timed_in_a_session_of_their_own(
    exported: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions = []

    def measured(models: Mapping[str, Path], *args: Any, out: Path, **kwargs: Any) -> dict[str, Any]:
        sessions.append(out.name)
        return {name: SimpleNamespace(p50_us=1.0) for name in models}

    monkeypatch.setattr(rivals, "measure_networks", measured)
    timer = session_timer(exported, rival_device(exported), tmp_path, quiet)
    one, other = tmp_path / "one.onnx", tmp_path / "other.onnx"
    for path in (one, other):
        path.write_bytes(path.name.encode())
    for models in ({"a": one}, {"a": one}, {"a": other}, {"a": one, "b": other}):
        timer(models, "judging")
    assert sessions[0] == sessions[1]
    assert len(set(sessions)) == 3


def test_fine_tuning_that_was_given_up_for_another_is_charged_to_nobody(tmp_path: Path) -> None:
    rows = [("train", 3.0, False), ("train", 4.0, True), ("finetune", 50.0, True), ("finetune", 6.0, True)]
    for stage, seconds, finished in rows:
        row = {"stage": stage, "seconds": seconds, "energy_joules": None, "finished": finished}
        append_jsonl(tmp_path / "costs.jsonl", row)
    assert spent_on_results(tmp_path) == {"train": 7.0, "finetune": 6.0}


def test_what_cannot_be_compared_is_refused(exported: Run) -> None:
    with pytest.raises(ConfigError, match="--seeds: wanted at least 1, got 0"):
        run_worth(exported, Worth(seeds=0), quiet, timer=by_size)
    with pytest.raises(ConfigError, match="--minutes: wanted a number above 0"):
        run_worth(exported, Worth(minutes=0), quiet, timer=by_size)
