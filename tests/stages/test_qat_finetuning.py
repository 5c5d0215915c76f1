"""Quantisation-aware fine-tuning in `edgenas export`: when it is due, which file is kept, and what is reported."""

from __future__ import annotations

import copy
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from small_run import SmallRun

from edgenas.deploy.onnx.embedded_preprocessing import device_inputs
from edgenas.errors import ParityError
from edgenas.records.export import QatRecord
from edgenas.records.verify import VerifyRecord
from edgenas.runs.run import Run, open_run
from edgenas.stages.export import export_bundle
from edgenas.stages.shipping.bundle_network import BundleOptions
from edgenas.stages.weights import qat_finetuning as quantisation_aware
from edgenas.stages.weights.qat_finetuning import qat_sentence, tuning_due
from edgenas.supernet.subnet import Subnet

STEPS = 12


class Seen:
    """The progress that was reported."""

    def __init__(self) -> None:
        self.steps: list[tuple[str, int, int]] = []

    def __call__(self, label: str, done: int, total: int) -> None:
        self.steps.append((label, done, total))

    @property
    def tuned(self) -> list[int]:
        return [done for label, done, total in self.steps if label == "fine-tuning for int8" and total == STEPS]


@pytest.fixture(scope="module")
def run(small_run: SmallRun, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("tuned") / "small"
    shutil.copytree(small_run.folder, folder)
    return open_run(folder)


@pytest.fixture(autouse=True)
def _few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantisation_aware, "STEPS", STEPS)


def with_tuning(run: Run, when: str, max_drop: float = 1.0) -> Run:
    """Return the run with other settings of quantisation-aware fine-tuning."""
    changes = {"calibration_images": 32, "max_drop": max_drop, "quantisation_aware": when}
    export = run.config.export.model_copy(update=changes)
    return replace(run, config=run.config.model_copy(update={"export": export}))


def int8_of(bundle: Path) -> dict[str, Any]:
    return json.loads((bundle / "manifest.json").read_text())["int8"]


@pytest.mark.parametrize(
    ("when", "drop", "due"),
    [
        ("auto", 0.010001, True),
        ("auto", 0.96 - 0.95, False),
        ("auto", -0.5, False),
        ("never", 0.9, False),
        ("always", -0.5, True),
    ],
)
def test_it_is_due_above_one_point_or_when_asked_for(
    when: Literal["auto", "always", "never"], drop: float, due: bool
) -> None:
    assert tuning_due(when, drop) is due


def test_always_fine_tunes_and_manifest_and_readme_say_so(run: Run, tmp_path: Path) -> None:
    seen = Seen()
    bundle = export_bundle(with_tuning(run, "always"), "chosen", BundleOptions("int8"), tmp_path / "bundle", seen)
    int8 = int8_of(bundle)
    found = int8["fine_tuning"]
    assert seen.tuned == list(range(1, STEPS + 1))
    assert found["steps"] == STEPS
    images = json.loads((run.folder / "data.json").read_text())["counts"]["train"]
    assert found["epochs"] == pytest.approx(STEPS * 64 / images)
    assert found["seconds"] > 0
    assert found["kept"] == (found["drop_after"] < found["drop_before"])
    fp32 = int8["parity"]["fp32_val_top1"]
    assert int8["accuracy"]["validation_top1"] == fp32 - min(found["drop_after"], found["drop_before"])
    note, *_ = int8["notes"]
    assert f"{STEPS} steps" in note
    assert note in (bundle / "README.md").read_text()
    plain = run.folder / run.result(VerifyRecord).model
    assert (bundle / "model.onnx").read_bytes() == plain.read_bytes()


def test_a_drop_of_nothing_is_left_alone(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantisation_aware, "DUE_ABOVE", 1.0)
    seen = Seen()
    int8 = int8_of(export_bundle(with_tuning(run, "auto"), "chosen", BundleOptions("int8"), tmp_path / "bundle", seen))
    assert int8["fine_tuning"] is None
    assert not seen.tuned
    assert len(int8["notes"]) == 1


def test_auto_saves_what_would_be_refused(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The quantiser's ranges are spoiled the first time, as if the network did not take to int8."""
    calls = iter(range(9))

    def spoiling(*arguments: Any, **options: Any) -> Any:
        inputs = device_inputs(*arguments, **options)
        return inputs if next(calls) else np.zeros_like(inputs)

    monkeypatch.setattr("edgenas.stages.devices.int8_export.device_inputs", spoiling)
    # What the machine's clock has no say in, as it has in what is chosen.
    out, largest = tmp_path / "bundle", run.space.largest.id
    with pytest.raises(ParityError, match="points below fp32's"):
        export_bundle(with_tuning(run, "never", max_drop=0.1), largest, BundleOptions("int8"), out, Seen())
    assert not out.exists()
    calls = iter(range(9))
    tuned = export_bundle(
        with_tuning(run, "auto", max_drop=0.1), largest, BundleOptions("int8", True, True), out, Seen()
    )
    int8 = int8_of(tuned)
    assert int8["fine_tuning"]["kept"]
    assert int8["fine_tuning"]["drop_before"] > 0.1 >= int8["parity"]["val_top1_drop"]
    assert int8["parity"]["val_top1_drop"] == pytest.approx(int8["fine_tuning"]["drop_after"])


def test_a_file_that_fine_tuning_made_worse_is_not_kept(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def worse(subnet: Subnet, *_: Any, **__: Any) -> Subnet:
        net = copy.deepcopy(subnet)
        torch.nn.init.zeros_(net.blocks["head"].classifier.weight)  # type: ignore[arg-type,union-attr]
        return net

    without = int8_of(
        export_bundle(with_tuning(run, "never"), "chosen", BundleOptions("int8"), tmp_path / "without", Seen())
    )
    monkeypatch.setattr(quantisation_aware, "finetune_for_int8", worse)
    bundle = export_bundle(with_tuning(run, "always"), "chosen", BundleOptions("int8"), tmp_path / "bundle", Seen())
    int8 = int8_of(bundle)
    assert not int8["fine_tuning"]["kept"]
    assert int8["fine_tuning"]["drop_after"] > int8["fine_tuning"]["drop_before"]
    assert "the int8 file is the one without" in int8["notes"][0]
    assert {key: int8[key] for key in ("recipes_tried", "accuracy")} == {
        key: without[key] for key in ("recipes_tried", "accuracy")
    }
    assert (bundle / "model_int8.onnx").read_bytes() == (tmp_path / "without" / "model_int8.onnx").read_bytes()


def test_the_sentence_has_a_sign_for_what_is_gained_and_what_is_lost() -> None:
    tuning = QatRecord(steps=600, epochs=2.5, seconds=31.4, drop_before=0.031, drop_after=-0.002, kept=True)
    assert qat_sentence(tuning) == (
        "int8 after 600 steps (2.5 epochs, 31 s) of quantisation-aware fine-tuning: "
        "+0.20 points of validation top-1, -3.10 without"
    )
