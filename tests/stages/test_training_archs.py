"""A supernet that is trained within the budgets only: which subnets it trains, and which are reported as untrained."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest
from small_run import SHORT, SMALL_CONFIG, SMALL_SPACE
from trained_run import quiet, trained_run

from edgenas.config.reading import load_config
from edgenas.errors import ConfigError, UserError
from edgenas.files import read_jsonl
from edgenas.records.export import ExportRecord
from edgenas.records.paths import HINDSIGHT
from edgenas.report.hindsight_findings import class_losses
from edgenas.report.load import load_run
from edgenas.runs.run import Run, open_run
from edgenas.space.arch import Arch
from edgenas.space.cost import cost
from edgenas.space.covering_samples import macs_of
from edgenas.stages.evaluate import evaluate
from edgenas.stages.start import start_run
from edgenas.stages.weights.training_archs import FILE, TrainingPool
from edgenas.stages.whole_run import run_stages
from edgenas.studies.ranking_design import pool_design

WITHIN = ("train.recipe=within-budgets", "train.subnets_per_step=2", "budgets=[macs=0.25M]", *SHORT[1::2])


def pool_of(run: Run) -> tuple[Arch, ...] | None:
    return TrainingPool(run.folder, run.config.training, run.space).archs()


def begun(cwd: Path, *overrides: str) -> Run:
    (cwd / "tiny-16.yaml").write_text(SMALL_SPACE)
    (cwd / "small.yaml").write_text(SMALL_CONFIG)
    config = load_config(cwd / "small.yaml", [f"space={cwd / 'tiny-16.yaml'}", *WITHIN, *overrides])
    return start_run(config, cwd / "run")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = begun(tmp_path_factory.mktemp("within"))
    run_stages(run, quiet)
    return open_run(run.folder)


def test_nothing_is_trained_before_latencies_are_known(tmp_path: Path) -> None:
    run = begun(tmp_path)
    with pytest.raises(ConfigError, match=f"edgenas profile {run.folder}"):
        run_stages(run, quiet, ["train"])
    assert not (run.folder / FILE).exists()


def test_all_that_is_trained_is_within_the_budgets(whole: Run) -> None:
    pool = pool_of(whole)
    assert pool is not None
    macs = macs_of(whole.space.with_classes(10), pool)
    assert macs.max() <= 250_000 < macs_of(whole.space.with_classes(10), [whole.space.largest])[0]
    assert (np.diff(macs) >= 0).all()
    assert len(set(pool)) == len(pool) > 10
    chosen = whole.space.parse(whole.result(ExportRecord).to_json()["chosen"]["arch"])
    assert chosen in pool
    # The last validation is of subnets that were trained, not of the space's largest.
    rows = [row for row in read_jsonl(whole.folder / "supernet/training.jsonl") if row["kind"] == "validation"]
    assert rows[-1]["top1"]["largest"] > 0.3


def test_hindsight_compares_with_the_largest_subnet_that_was_trained(whole: Run) -> None:
    hindsight, pool = json.loads((whole.folder / HINDSIGHT).read_text()), pool_of(whole)
    assert pool
    macs = {arch.id: cost(whole.space.with_classes(10).unroll(arch)).macs for arch in pool}
    assert macs[hindsight["largest"]] == max(macs.values()) <= 0.25e6
    assert hindsight["within_budgets"]
    assert sum(row["images"] for row in hindsight["classes"]) > 0
    assert (
        "largest one that was trained" in (sentence := class_losses(load_run(whole.folder).hindsight))
        or "largest subnet that was" in sentence
    )


def test_the_ranking_study_compares_subnets_that_were_trained(whole: Run) -> None:
    pool = pool_of(whole)
    assert pool is not None
    design = pool_design(whole.networks, pool, 8, 0)
    assert set(design.archs) <= set(pool)
    assert len(set(design.archs)) == len(design.archs) == 8
    assert {pool[0], pool[-1]} <= set(design.archs)
    assert design == pool_design(whole.networks, pool, 8, 0)


def test_an_arch_that_was_not_trained_is_reported(whole: Run, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        evaluate(whole, ["chosen"], "val", quiet)
        assert "trained within the budgets only" not in caplog.text
        evaluate(whole, ["chosen", whole.space.largest.id], "val", quiet)
    assert "trained within the budgets only" in caplog.text
    assert f"networks score lower than they could: {whole.space.largest.id}" in caplog.text


def test_the_pool_of_weights_that_are_taken_is_reported(
    whole: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        taken = trained_run(tmp_path, f"train.init={whole.folder}", "train.epochs=0")
    assert "was trained on architectures within macs=250000 only" in caplog.text
    assert pool_of(taken) == pool_of(whole)


@pytest.mark.parametrize("archs", [None, "", "[]", "[7]", '["r9_w8"]', '"r9_w8"', "[", "{}"])
def test_a_damaged_or_lost_pool_is_an_error_that_says_what_to_do(whole: Run, tmp_path: Path, archs: str | None) -> None:
    (tmp_path / "supernet").mkdir()
    if archs is not None:
        (tmp_path / FILE).write_text('{"schema_version": 1, "archs": ' + archs + "}")
    with pytest.raises(UserError, match=rf"pool\.json.*delete {tmp_path}/supernet and run `edgenas train"):
        TrainingPool(tmp_path, whole.config.training, whole.space).archs()


def test_a_teacher_that_the_recipe_never_trains_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="teacher largest needs another"):
        begun(tmp_path, "finetune.teacher=largest")
