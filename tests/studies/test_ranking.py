"""`edgenas study ranking`: the design, the comparison, and that a killed one ends like an undisturbed one."""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from forked import Forked, command_line
from killing import kill_when
from scipy import stats
from small_run import edgenas
from trained_run import copied_to, quiet, trained_run

from edgenas.errors import ConfigError
from edgenas.files import append_jsonl, read_json, read_jsonl
from edgenas.runs.run import Run, open_run
from edgenas.space.cost import cost
from edgenas.space.loading import load_space
from edgenas.stages.weights import standalone_networks
from edgenas.stages.weights.standalone_networks import StandaloneTrainer, supernet_epochs
from edgenas.studies import ranking
from edgenas.studies.ranking import RankingSettings, plan_ranking, run_ranking
from edgenas.studies.ranking_design import NEAR, design
from edgenas.supernet.subnet import Subnet
from edgenas.supernet.supernet import SuperNet
from edgenas.training import training_loop as loop

SETTINGS = RankingSettings(subnets=6, epochs=0.5)


@pytest.fixture(scope="module")
def trained(trained_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return copied_to(tmp_path_factory.mktemp("trained"), trained_folder)


@pytest.fixture(scope="module")
def compared(trained: Run) -> dict[str, Any]:
    return run_ranking(trained, SETTINGS, quiet).to_json()


def copied(run: Run, folder: Path, *without: str) -> Run:
    shutil.copytree(run.folder, folder, ignore=shutil.ignore_patterns(*without, ".lock*"))
    return open_run(folder)


def lasting(found: dict[str, Any]) -> dict[str, Any]:
    """Return the values that do not depend on the clock."""
    subnets = [{k: v for k, v in one.items() if k != "seconds"} for one in found["subnets"]]
    return {**{k: v for k, v in found.items() if k not in ("seconds", "schema_version")}, "subnets": subnets}


@pytest.mark.parametrize("count", [6, 12, 13])
def test_half_of_the_subnets_cover_the_space_and_half_are_of_near_equal_macs(count: int) -> None:
    space = load_space("mobile-32").with_classes(10)
    found = design(space, count, 0)
    assert len(set(found.archs)) == len(found.archs) == count
    assert found.archs[:2] == (space.smallest, space.largest)
    assert list(found.macs) == [cost(space.unroll(arch)).macs for arch in found.archs]
    middle = found.macs[found.archs.index(found.centre)]
    group = [macs for number, macs in enumerate(found.macs) if found.grouped(number)]
    assert len(group) > count // 2
    assert all(abs(macs / middle - 1) <= NEAR for macs in group)
    assert min(found.macs) < middle < max(found.macs)
    assert found == design(space, count, 0)
    assert found.archs != design(space, count, 1).archs


def test_result_table_and_figure_are_written(compared: dict[str, Any], trained: Run) -> None:
    folder = trained.folder / "study/ranking"
    assert json.loads((folder / "ranking.json").read_text()) == {"schema_version": 1, **compared}
    rows = list(csv.DictReader((folder / "ranking.csv").read_text().splitlines()))
    assert [row["arch"] for row in rows] == [one["arch"] for one in compared["subnets"]]
    assert (folder / "ranking.png").read_bytes()[:4] == b"\x89PNG"
    assert not list((folder / "training").glob("*"))
    assert compared["steps"] == round(0.5 * (len(trained_images(trained)) // 64))
    gaps = [one["inherited"] - one["standalone"] for one in compared["subnets"]]
    assert compared["all"]["gap"]["value"] == pytest.approx(sum(gaps) / len(gaps))
    assert compared["group"]["subnets"] == sum(one["grouped"] for one in compared["subnets"])


def trained_images(run: Run) -> torch.Tensor:
    return run.images.dataset.train.labels


def test_recalibration_of_batch_norm_changes_scores(compared: dict[str, Any]) -> None:
    assert any(one["inherited"] != one["uncalibrated"] for one in compared["subnets"])


def test_finished_trainings_are_reused(
    compared: dict[str, Any], trained: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = copied(trained, tmp_path / "run")
    lines, seconds = plan_ranking(run, SETTINGS)
    assert "6 are trained already" in lines[0]
    assert seconds == 0
    monkeypatch.setattr(standalone_networks, "train_network", None)
    assert lasting(run_ranking(run, SETTINGS, quiet).to_json()) == lasting(compared)


def test_several_trainings_are_averaged_and_their_agreement_is_reported(
    compared: dict[str, Any], trained: Run, tmp_path: Path
) -> None:
    run = copied(trained, tmp_path / "run")
    settings = replace(SETTINGS, repeats=3)
    lines, _ = plan_ranking(run, settings)
    assert "6 are trained already" in lines[0]
    assert lines[1].endswith(", 3 times")
    found = run_ranking(run, settings, quiet).to_json()
    by_seed = np.array([one["standalone_by_seed"] for one in found["subnets"]])
    # The first training of each was saved before.
    assert [one[0] for one in by_seed] == [one["standalone"] for one in compared["subnets"]]
    assert [one["standalone"] for one in found["subnets"]] == pytest.approx(by_seed.mean(axis=1).tolist())
    assert len({tuple(scores) for scores in by_seed.T}) == 3
    taus = [stats.kendalltau(by_seed[:, n], np.delete(by_seed, n, axis=1).mean(axis=1))[0] for n in range(3)]
    assert found["all"]["tau"]["repeated"] == pytest.approx(np.mean(taus))
    assert compared["all"]["tau"]["repeated"] is None
    with pytest.raises(ConfigError, match="--repeats: expected 1 to 100, got 0"):
        run_ranking(run, replace(SETTINGS, repeats=0), quiet)


def test_the_plan_states_the_cost(trained: Run, tmp_path: Path) -> None:
    lines, seconds = plan_ranking(copied(trained, tmp_path / "run", "study"), SETTINGS)
    assert "each trained from scratch for 0.5 epochs of " in lines[1]
    assert seconds > 0
    lines, longer = plan_ranking(trained, RankingSettings(subnets=6, epochs=500))
    assert "0 are trained already" in lines[0]
    assert longer > 20 * seconds


def test_rows_of_other_weights_images_or_steps_do_not_count(
    compared: dict[str, Any], trained: Run, tmp_path: Path
) -> None:
    run = copied(trained, tmp_path / "run", "study")
    for row in read_jsonl(trained.folder / "study/ranking" / "rows.jsonl"):
        strange = {"weights": "other"} if row["kind"] == "inherited" else {"setting": "other"}
        append_jsonl(run.folder / "study/ranking" / "rows.jsonl", {**row, **strange, "top1": 0.123})
    assert lasting(run_ranking(run, SETTINGS, quiet).to_json()) == lasting(compared)


def test_killed_it_ends_as_an_undisturbed_one_and_prints_the_verdict(
    compared: dict[str, Any], trained: Run, tmp_path: Path
) -> None:
    run = copied(trained, tmp_path / "run", "study")
    rows, log = run.folder / "study/ranking" / "rows.jsonl", tmp_path / "log"
    command = ("study", "ranking", str(run.folder), "--subnets", "6", "--epochs", "0.5")
    process = Forked(command_line, *command, "--jobs", "2", cwd=tmp_path, stdout=log, stderr=log)
    # Six rows are of inherited accuracies; the eighth belongs to the second standalone subnet. Worker
    # processes end by themselves, or rows of this command would occur twice. The rest is trained in one process.
    assert kill_when(process, lambda: len(read_jsonl(rows)) >= 8), log.read_text()
    done = edgenas(*command, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert lasting(json.loads((run.folder / "study/ranking" / "ranking.json").read_text())) == lasting(compared)
    assert len(read_jsonl(rows)) == 12
    assert re.search(r"6 subnets, \d of them within ±10% of the same MACs; [2-5] are trained already", done.stderr)
    assert "minutes in all, as timed now" in done.stderr
    assert all(one["arch"] in done.stdout for one in compared["subnets"])
    assert "MACs alone" in done.stdout


def test_a_trainer_that_ranks_as_the_supernet_does_has_tau_1(
    trained: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scores are made up: inherited by parameters, standalone a little more."""

    @contextmanager
    def train(self: StandaloneTrainer, subnet: Subnet, *others: Any) -> Iterator[tuple[Subnet, float]]:
        yield subnet, 1.0

    def score(subnet: Subnet, split: object) -> float:
        standalone = 0.03 if subnet.calibration_images == 1 else 0.0
        return sum(p.numel() for p in subnet.parameters()) / 1e6 + standalone

    def calibrated(self: StandaloneTrainer, subnet: Subnet) -> Subnet:
        subnet.calibration_images = 1
        return subnet

    for name, stand_in in (("trained", train), ("calibrated", calibrated)):
        monkeypatch.setattr(StandaloneTrainer, name, stand_in)
    for name in ("top1", "uncalibrated_top1"):
        monkeypatch.setattr(ranking, name, score)
    found = run_ranking(copied(trained, tmp_path / "run", "study"), SETTINGS, quiet).to_json()
    assert found["all"]["tau"]["inherited"]["value"] == 1.0
    assert found["all"]["gap"]["value"] == pytest.approx(-0.03)
    assert found["all"]["gap_uncalibrated"]["value"] == pytest.approx(0)


def test_a_supernet_that_stopped_early_is_compared_with_subnets_of_as_many_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "validate", lambda net, dataset, pool: {"largest": 0.5})
    run = trained_run(tmp_path, "train.validations=8", "train.patience=2")
    dataset, planned = run.images.dataset, read_json(run.folder / "supernet/fixed_settings.json")["steps"]
    a_validation = planned // 8
    assert a_validation >= 2
    per_epoch = len(dataset.train) // run.config.training.batch_size
    # The first is the best; two more, and training ends.
    assert supernet_epochs(run) * per_epoch == pytest.approx(3 * a_validation)
    lines, _ = plan_ranking(run, RankingSettings(subnets=6))
    assert f"{3 * a_validation} steps of " in lines[1]


def test_a_supernet_that_ended_as_planned_had_its_epochs(trained: Run) -> None:
    assert supernet_epochs(trained) == 1


def test_averaged_weights_are_not_scored_with_the_statistics_of_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranking, "uncalibrated_top1", None)
    run = trained_run(tmp_path, "train.average=0.9")
    found = run_ranking(run, RankingSettings(subnets=6, epochs=0.1), quiet).to_json()
    assert found["average"] == 0.9
    assert found["all"]["gap_uncalibrated"] is None
    assert found["all"]["gap"]["value"] is not None
    assert {one["uncalibrated"] for one in found["subnets"]} == {
        one["standalone_uncalibrated"] for one in found["subnets"]
    }
    assert {row["top1_uncalibrated"] for row in read_jsonl(run.folder / "study/ranking/rows.jsonl")} == {None}


def test_invalid_settings_are_refused(trained: Run) -> None:
    with pytest.raises(ConfigError, match="--subnets: expected at least 6, got 3"):
        run_ranking(trained, RankingSettings(subnets=3), quiet)
    with pytest.raises(ConfigError, match="--epochs: expected a number above 0, got -1"):
        run_ranking(trained, RankingSettings(epochs=-1), quiet)


def test_subnets_of_a_pretrained_run_start_from_their_part_of_the_network(
    trained: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arch = trained.space.smallest
    specs = trained.networks.unroll(arch)
    torch.manual_seed(3)
    supernet = SuperNet(trained.networks)
    trainer = replace(StandaloneTrainer.of(trained), pretrained="a network", supernet=lambda: supernet)
    trainer = replace(trainer, config=trainer.config.model_copy(update={"layer_decay": 0.5}))
    first, again, other = (trainer.initial(arch, specs, seed).state_dict() for seed in (1, 1, 2))
    for name, tensor in supernet.extract(arch).state_dict().items():
        is_classifier = ".classifier." in name
        assert torch.equal(first[name], again[name])
        assert torch.equal(first[name], tensor) != is_classifier
        assert torch.equal(first[name], other[name]) != is_classifier
    decays: list[float] = []
    monkeypatch.setattr(
        standalone_networks, "train_network", lambda net, train, config, **_: decays.append(config.layer_decay) or 1.0
    )
    random = replace(trainer, pretrained=None)
    for one in (trainer, random):
        with one.trained(one.initial(arch, specs, 1), 1, 1, tmp_path, lambda done, total: None):
            pass
    # Random weights have as much to change in early layers as in late ones.
    assert decays == [0.5, 1.0]
    weights = [one.initial(arch, specs, 1).blocks["stem"].conv.conv.weight for one in (trainer, random)]
    assert not torch.equal(*weights)
