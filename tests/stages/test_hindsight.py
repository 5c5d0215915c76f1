"""Test accuracies of a whole front, compared with torch and counting."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from small_run import SmallRun
from trained_run import copied_to, quiet

from edgenas.deploy.onnx.exporter import export_onnx
from edgenas.records.paths import HINDSIGHT
from edgenas.records.verify import VerifyRecord
from edgenas.runs.run import Run
from edgenas.stages.front.front_files import model_path
from edgenas.stages.shipping.hindsight import write_hindsight
from edgenas.stages.weights.run_supernet import trained_supernet
from edgenas.training.materialise import materialise, predict, top1


@pytest.fixture(scope="module")
def run(finished_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return copied_to(tmp_path_factory.mktemp("hindsight"), finished_folder)


def test_every_network_of_the_front_is_scored_as_torch_scores_it(run: Run) -> None:
    write_hindsight(run, run.space.largest, run.folder / model_path(1), quiet)
    found, dataset = json.loads((run.folder / HINDSIGHT).read_text()), run.images.dataset
    net = trained_supernet(run)
    for entry in found["front"]:
        subnet = materialise(net, run.space.parse(entry["arch"]), run.images.calibration)
        # An image or two may be on the edge between two classes.
        assert entry["test_top1"] == pytest.approx(top1(subnet, dataset.test), abs=2.1 / len(dataset.test))
    assert [entry["val_top1"] for entry in found["front"]] == [0.5, 0.6]
    assert (found["chosen"], found["largest"]) == (run.space.largest.id, run.space.largest.id)


def test_a_refused_network_is_not_scored(run: Run) -> None:
    """Its file, where there is one, is that of an earlier front."""
    verified = run.result(VerifyRecord)
    refused, other = verified.front
    front = (refused.model_copy(update={"refused": True}), other)
    try:
        run.finish(verified.model_copy(update={"front": front}))
        write_hindsight(run, run.space.largest, run.folder / model_path(1), quiet)
    finally:
        run.finish(verified)
    found = json.loads((run.folder / HINDSIGHT).read_text())
    assert (run.folder / model_path(0)).exists()
    assert [entry["arch"] for entry in found["front"]] == [other.arch.id]


def test_classes_are_counted_image_by_image(run: Run) -> None:
    dataset = run.images.dataset
    net, calibration = trained_supernet(run), run.images.calibration
    # A small network stands for the chosen one, of the same images' size, so that there is something to lose.
    genes = np.zeros((1, len(run.space.choices)), dtype=np.int64)
    genes[0, 0] = run.space.n_choices[0] - 1
    small = materialise(net, run.space.decode(genes)[0], calibration)
    write_hindsight(run, small.arch, export_onnx(small, run.folder / "small.onnx"), quiet)
    right = {
        name: predict(subnet, dataset.test.tensor()).argmax(1) == dataset.test.labels
        for name, subnet in (("chosen", small), ("largest", materialise(net, run.space.largest, calibration)))
    }
    classes = json.loads((run.folder / HINDSIGHT).read_text())["classes"]
    for label, one in enumerate(classes):
        own = dataset.test.labels == label
        assert one["images"] == int(own.sum())
        assert one["largest"] == int((right["largest"] & own).sum())
        assert one["chosen"] - one["only_chosen"] == one["largest"] - one["only_largest"]
        assert abs(one["only_largest"] - int((right["largest"] & ~right["chosen"] & own).sum())) <= 1
    assert sum(one["images"] for one in classes) == len(dataset.test)
    assert sum(one["chosen"] for one in classes) == pytest.approx(int(right["chosen"].sum()), abs=1)


def test_where_nothing_was_measured_the_chosen_subnet_itself_is_scored(run: Run) -> None:
    write_hindsight(run, run.space.largest, None, quiet)
    by_subnet = json.loads((run.folder / HINDSIGHT).read_text())
    # Chosen by hand is the largest subnet, whose file is the front's second.
    write_hindsight(run, run.space.largest, run.folder / model_path(1), quiet)
    by_file = json.loads((run.folder / HINDSIGHT).read_text())
    assert [one["chosen"] for one in by_subnet["classes"]] == [one["largest"] for one in by_file["classes"]]
    assert sum(one["images"] for one in by_subnet["classes"]) == len(run.images.dataset.test)


def test_a_whole_run_looks_back_after_its_choice(small_run: SmallRun) -> None:
    found = json.loads((small_run.folder / HINDSIGHT).read_text())
    verified = json.loads((small_run.folder / "verify" / "result.json").read_text())
    assert [one["arch"] for one in found["front"]] == [one["arch"] for one in verified["front"]]
    assert found["chosen"] == verified["chosen"] == small_run.summary["chosen"]["arch"]
    # The file that is handed over is that of the front, unless it was fine-tuned.
    chosen = next(one for one in found["front"] if one["arch"] == found["chosen"])
    assert chosen["test_top1"] == pytest.approx(small_run.summary["chosen"]["test_top1"])
    assert sum(one["chosen"] for one in found["classes"]) == round(
        chosen["test_top1"] * sum(one["images"] for one in found["classes"])
    )
    assert (small_run.folder / "search/result.json").stat().st_mtime_ns < (
        small_run.folder / HINDSIGHT
    ).stat().st_mtime_ns
    assert (small_run.folder / "verify/result.json").stat().st_mtime_ns < (
        small_run.folder / HINDSIGHT
    ).stat().st_mtime_ns
    text = (small_run.folder / "report" / "report.md").read_text()
    assert "Compared with the largest subnet" in text or "no class lost accuracy" in text
    assert (small_run.folder / "report" / "accuracy.png").stat().st_size > 1000
