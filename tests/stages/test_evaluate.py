"""`edgenas evaluate`: accuracies of named subnets, class by class."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from sklearn.metrics import balanced_accuracy_score
from small_run import SmallRun, edgenas

from edgenas.errors import ConfigError, RunFolderError, SpaceError
from edgenas.files import read_json, read_jsonl
from edgenas.records.evaluate import AccuracyRow
from edgenas.records.export import ExportRecord
from edgenas.records.ledger import Ledger
from edgenas.records.search import SearchRecord
from edgenas.runs.run import Run, open_run
from edgenas.stages.evaluate import FILE, evaluate
from edgenas.stages.weights.run_supernet import trained_supernet
from edgenas.training.materialise import materialise, predict


def silent(*_: object) -> None:
    """No progress."""


@pytest.fixture
def run(small_run: SmallRun, tmp_path: Path) -> Run:
    shutil.copytree(small_run.folder, tmp_path / "run")
    return open_run(tmp_path / "run")


def test_rows_say_what_searching_found_and_every_class_on_its_own(run: Run) -> None:
    front = run.result(SearchRecord).to_json()["front"]
    rows = evaluate(run, ["front"], "val", silent)
    assert [(row.arch.id, row.top1) for row in rows] == [
        (found["arch"], pytest.approx(found["val_top1"], abs=1e-9)) for found in front
    ]
    dataset = run.images.dataset
    subnet = materialise(trained_supernet(run), run.space.parse(front[0]["arch"]), run.images.calibration)
    images = run.images.scoring
    found = predict(subnet, images.tensor()).argmax(1)
    for label, name in enumerate(dataset.classes):
        own = images.labels == label
        assert rows[0].class_top1[name] == pytest.approx(float((found[own] == label).float().mean()), abs=1e-6)
    by_class = rows[0].class_top1
    assert rows[0].worst_class_top1 == min(by_class.values()) == by_class[rows[0].worst_class]
    answers = found.numpy()
    assert rows[0].macro_top1 == pytest.approx(balanced_accuracy_score(images.labels.numpy(), answers))
    assert Ledger(run.folder / FILE, AccuracyRow, run.space).rows() == tuple(rows)


def test_evaluated_networks_are_not_evaluated_again(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    first = evaluate(run, ["chosen", "best:1"], "test", silent)
    shipped = run.result(ExportRecord).chosen
    # An image or two may be on the edge between two classes in the exported file.
    assert shipped.test_class_top1 == pytest.approx(first[0].class_top1, abs=0.06)
    assert shipped.test_macro_top1 == pytest.approx(first[0].macro_top1, abs=0.01)
    monkeypatch.setattr("edgenas.accuracy.subnets.materialise", None)
    assert evaluate(run, ["chosen"], "test", silent) == first[:1]
    assert len(read_jsonl(run.folder / FILE)) == len(first)
    # A file of other weights says nothing about these.
    path = run.result_path("train")
    path.write_text(json.dumps({**read_json(path), "weights": "0" * 64}))
    with pytest.raises(RunFolderError, match="not as training left it"):
        evaluate(run, ["chosen"], "test", silent)


def test_the_test_split_waits_for_the_choice(run: Run) -> None:
    run.result_path("verify").unlink()
    with pytest.raises(RunFolderError, match=r"test images judge the network that was chosen.*--split val"):
        evaluate(run, [run.space.smallest.id], "test", silent)
    assert evaluate(run, [run.space.smallest.id], "val", silent)[0].arch == run.space.smallest


def test_mistakes_are_named(run: Run) -> None:
    with pytest.raises(SpaceError, match="resolution is 99"):
        evaluate(run, ["r99" + run.space.smallest.id.partition("_")[1] + run.space.smallest.id.partition("_")[2]],
                 "val", silent)  # fmt: skip
    with pytest.raises(ConfigError, match=r"best:99.*best:1 to"):
        evaluate(run, ["best:99"], "val", silent)
    with pytest.raises(ConfigError, match="at least one of chosen"):
        evaluate(run, [], "val", silent)


def test_the_command_prints_a_table(run: Run) -> None:
    arch = run.space.largest.id
    done = edgenas("evaluate", str(run.folder), "--archs", f"{arch},chosen", cwd=run.folder)
    assert done.returncode == 0, done.stderr
    rows = read_jsonl(run.folder / FILE)
    assert f"{rows[0]['top1']:.2%}" in next(line for line in done.stdout.splitlines() if arch in line)
    assert "worst class" in done.stdout
