"""Networks by the weights they ship with: fine-tuned ones, and inherited ones with what that costs."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

import pytest
from trained_run import copied_to, quiet

from edgenas.config.sections import FinetuneConfig
from edgenas.records.finetune import FinetuneRecord
from edgenas.runs.run import Run, open_run
from edgenas.stages.evaluate import evaluate
from edgenas.stages.export import export_bundle
from edgenas.stages.shipping.bundle_network import BundleOptions
from edgenas.stages.weights.inherited_weights import inherited_note
from edgenas.stages.weights.run_accuracy import run_subnets
from edgenas.stages.weights.tuned_network import tuned_subnet
from edgenas.stages.whole_run import run_stages
from edgenas.training.materialise import top1


@pytest.fixture(scope="module")
def finished(finished_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Its chosen network is fine-tuned; the other one of the front is not."""
    run = copied_to(tmp_path_factory.mktemp("finished"), finished_folder)
    tuning = FinetuneConfig(epochs=2, learning_rate_share=1.0)
    run = dataclasses.replace(run, config=run.config.model_copy(update={"finetune": tuning}))
    run_stages(run, quiet, ["finetune"])
    return run


def test_the_chosen_network_is_evaluated_with_the_weights_that_ship(finished: Run) -> None:
    found = finished.result(FinetuneRecord).to_json()
    tuned = tuned_subnet(finished, finished.chosen)
    assert tuned is not None
    (row,) = evaluate(finished, ["chosen"], "val", quiet)
    assert row.fine_tuned is True
    assert row.top1 == pytest.approx(found["val_top1_after"], abs=1e-9)
    assert row.top1 == pytest.approx(top1(tuned.subnet, finished.images.scoring), abs=1e-9)
    assert row.top1 > found["val_top1_before"]
    # Its text and its place are other names of the same network.
    assert evaluate(finished, [finished.chosen.id, "best:1"], "val", quiet) == [row]


def test_the_front_has_the_weights_that_it_was_searched_with(finished: Run) -> None:
    rows = evaluate(finished, ["front", "chosen"], "val", quiet)
    assert [row.fine_tuned for row in rows] == [False, False, True]
    subnets, images = run_subnets(finished), finished.images.scoring
    for row in rows[:2]:
        assert row.top1 == pytest.approx(top1(subnets(row.arch), images), abs=1e-9)
    assert rows[1].arch == rows[2].arch
    assert rows[1].weights != rows[2].weights


def test_inherited_weights_and_their_accuracy_drop_are_reported(
    finished: Run, caplog: pytest.LogCaptureFixture
) -> None:
    found = finished.result(FinetuneRecord).to_json()
    gain = f"from {found['val_top1_before']:.2%} to {found['val_top1_after']:.2%}"
    with caplog.at_level(logging.WARNING):
        (row,) = evaluate(finished, ["best:2"], "val", quiet)
        assert row.fine_tuned is False
        assert f"not fine-tuned: {row.arch}; fine-tuning raised the chosen network's" in caplog.text
        assert gain in caplog.text
        caplog.clear()
        evaluate(finished, ["chosen", "front"], "val", quiet)
        assert "inherited" not in caplog.text


def test_an_export_says_so_before_it_begins(
    finished: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[str] = []

    def made(run: Run, arch: object, *_: object) -> None:
        begun.append(caplog.text)

    monkeypatch.setattr("edgenas.stages.export.make_bundle", made)
    with caplog.at_level(logging.WARNING):
        export_bundle(finished, "best:2", BundleOptions(), tmp_path / "other", quiet)
        caplog.clear()
        export_bundle(finished, "chosen", BundleOptions(), tmp_path / "chosen", quiet)
    other, chosen = begun
    assert "fine-tuning raised the chosen network's validation top-1" in other
    assert "inherited" not in chosen


def test_no_note_is_given_without_fine_tuning_or_where_it_did_not_help(finished: Run) -> None:
    archs = [finished.space.smallest]
    assert inherited_note(finished, []) is None
    assert inherited_note(open_run(finished.folder), archs) is None
    result = finished.result(FinetuneRecord)
    finished.finish(result.model_copy(update={"worse": True}))
    try:
        assert inherited_note(finished, archs) is None
        finished.result_path("finetune").unlink()
        note = inherited_note(finished, archs)
        assert note is not None
        assert "`edgenas finetune" in note
    finally:
        finished.finish(result)
