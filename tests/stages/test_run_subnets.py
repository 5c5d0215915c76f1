"""Subnets of a run are recalibrated once."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from small_run import SmallRun

from edgenas.config.reading import parse_config
from edgenas.records.search import SearchRecord
from edgenas.runs.run import Run, open_run
from edgenas.stages.weights.run_accuracy import SUBNETS, run_subnets
from edgenas.stages.weights.run_supernet import trained_supernet
from edgenas.training.materialise import CALIBRATION_IMAGES, materialise, predict


@pytest.fixture
def run(small_run: SmallRun, tmp_path: Path) -> Run:
    shutil.copytree(small_run.folder, tmp_path / "run")
    return open_run(tmp_path / "run")


def files(run: Run) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (run.folder / SUBNETS).iterdir()}


def test_a_kept_subnet_is_bit_for_bit_a_fresh_one(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = run.images.dataset
    images = run.images.calibration
    # The search has met these.
    monkeypatch.setattr("edgenas.accuracy.subnets.materialise", None)
    for row in run.result(SearchRecord).to_json()["front"][:3]:
        arch = run.space.parse(row["arch"])
        kept = run_subnets(run)(arch)
        fresh = materialise(trained_supernet(run), arch, images)
        assert kept.calibration_images == fresh.calibration_images == 128
        assert not kept.training
        scored = dataset.validation.images[:40]
        assert torch.equal(predict(kept, scored), predict(fresh, scored))


SPOILED: list[Callable[[bytes], bytes]] = [
    lambda data: b"",
    lambda data: data[:-9],
    lambda data: b"[]" + data,
    lambda data: data[:-9] + bytes([data[-9] ^ 1]) + data[-8:],
    lambda data: data.replace(b"statistics_sha256", b"statistics_sha257"),
]


@pytest.mark.parametrize("spoil", SPOILED)
def test_a_file_that_is_broken_is_made_again(run: Run, spoil: Callable[[bytes], bytes]) -> None:
    arch = run.space.smallest
    run_subnets(run)(arch)
    before = files(run)
    for path in (run.folder / SUBNETS).iterdir():
        path.write_bytes(spoil(path.read_bytes()))
    again = run_subnets(run)(arch)
    assert again.calibrated
    (made,) = (name for name, data in files(run).items() if data == before[name])
    assert made


def test_other_images_and_weights_have_subnets_of_their_own(run: Run) -> None:
    arch = run.space.largest
    run_subnets(run)(arch)
    before = set(files(run))
    fewer = run.config.search.model_copy(update={"calibration_images": 64})
    other = Run(run.folder, run.config.model_copy(update={"search": fewer}), run.space)
    assert run_subnets(other)(arch).calibration_images == 64
    assert len(set(files(run)) - before) == 1


def test_by_default_2048_images_recalibrate() -> None:
    config = {"name": "x", "space": "digits-24", "data": {"name": "digits"}, "train": {"epochs": 1}}
    assert parse_config(config, "here").search.calibration_images == CALIBRATION_IMAGES == 2048
