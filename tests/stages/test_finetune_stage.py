"""`finetune` in a run's config: the chosen subnet is trained on its own before it is exported."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image
from pydantic import ValidationError
from small_run import SmallRun
from typer.testing import CliRunner

from edgenas.cli.commands import app
from edgenas.config.sections import FinetuneConfig
from edgenas.errors import ConfigError, RunFolderError
from edgenas.files import read_json
from edgenas.records.export import ExportRecord
from edgenas.records.finetune import FinetuneRecord
from edgenas.records.train import TrainRecord
from edgenas.records.verify import VerifyRecord
from edgenas.runs.run import Run, open_run
from edgenas.stages.export import export_bundle
from edgenas.stages.shipping.bundle_network import BundleOptions
from edgenas.stages.weights import tuner
from edgenas.stages.weights.tuned_network import NETWORKS, WEIGHTS, tuned_subnet
from edgenas.stages.whole_run import run_stages
from edgenas.supernet.subnet import Subnet
from edgenas.training.data.split import Split
from edgenas.training.frozen_teacher import TEACHER, save_teacher
from edgenas.training.materialise import Accuracy, accuracy


def silent(*_: object) -> None:
    """No progress."""


@pytest.fixture
def run(small_run: SmallRun, tmp_path: Path) -> Run:
    """Verified, and with a config that fine-tunes."""
    shutil.copytree(small_run.folder, tmp_path / "run")
    run = open_run(tmp_path / "run")
    run.result_path("export").unlink()
    settings = FinetuneConfig(epochs=2, learning_rate_share=1.0)
    return dataclasses.replace(run, config=run.config.model_copy(update={"finetune": settings}))


def test_the_fine_tuned_network_is_what_is_exported_and_scored(run: Run) -> None:
    labels: list[str] = []
    run_stages(run, lambda label, done, total: labels.append(label), ("finetune", "export", "report"))
    assert "fine-tuning" in labels
    found = run.result(FinetuneRecord).to_json()
    verified = run.result(VerifyRecord).to_json()
    (entry,) = [one for one in verified["front"] if one["arch"] == found["arch"]]
    assert found["val_top1_before"] == pytest.approx(entry["val_top1"])
    assert found["val_top1_after"] > found["val_top1_before"]
    manifest = read_json(run.folder / "export" / "bundle" / "manifest.json")
    chosen = run.result(ExportRecord).to_json()["chosen"]
    assert chosen["arch"] == manifest["arch"] == found["arch"]
    assert chosen["arch"] in verified["candidates"]
    assert chosen["val_top1"] == pytest.approx(found["val_top1_after"], abs=0.006)
    stated = manifest["fine_tuning"]
    assert stated == {key: found[key] for key in stated}
    assert (stated["epochs"], stated["dataset"]) == (2, "digits")
    assert stated["supernet"] == {"dataset": "digits", "weights": run.result(TrainRecord).weights}
    images = f"{len(run.images.dataset.train):,} images of digits"
    card = (run.folder / "export" / "bundle" / "MODEL_CARD.md").read_text()
    assert f"It was then fine-tuned for 2 epochs on {images}, starting from its inherited weights. " in card
    # Measured again, since it is another file.
    assert manifest["latency"]["here"]["p50_us"] > 0
    dataset = run.images.dataset
    tuned = tuned_subnet(run, run.space.parse(manifest["arch"]))
    assert tuned is not None
    subnet = tuned.subnet
    assert subnet.calibrated
    inputs = tuned.images.preprocess(subnet.arch)(dataset.test.images[:1])
    session = onnxruntime.InferenceSession(run.folder / "export" / "bundle" / "model.onnx")
    (logits,) = session.run(None, {session.get_inputs()[0].name: inputs.numpy()})
    np.testing.assert_allclose(logits, subnet(inputs).detach().numpy(), atol=1e-3)
    summary, page = read_json(run.folder / "summary.json"), (run.folder / "report" / "report.md").read_text()
    assert summary["finetune"]["val_top1_after"] == found["val_top1_after"]
    assert f"(2 epochs) on {images}, from the inherited weights: validation" in page
    assert re.search(r"Fine-tuned for .*: validation top-1 [\d.]+ % before, [\d.]+ % after\.", page)
    # Both networks are compared with inherited weights: fine-tuning would make up for the speed.
    looked_back = read_json(run.folder / "export" / "hindsight.json")
    inherited = next(one for one in looked_back["front"] if one["arch"] == chosen["arch"])
    right, images = (sum(one[key] for one in looked_back["classes"]) for key in ("chosen", "images"))
    assert right / images == pytest.approx(inherited["test_top1"])
    assert inherited["test_top1"] != chosen["test_top1"]


def test_the_largest_subnet_trains_where_it_is_asked_for(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    teachers: list[Subnet | None] = []

    def noted(subnet: Subnet, *_: object, teacher: Subnet | None, **__: object) -> tuple[Subnet, float]:
        teachers.append(teacher)
        return subnet, 1.0

    monkeypatch.setattr(tuner, "finetune", noted)
    for teacher in ("none", "largest"):
        settings = run.config.finetune.model_copy(update={"teacher": teacher})
        asked = dataclasses.replace(run, config=run.config.model_copy(update={"finetune": settings}))
        asked.result_path("finetune").unlink(missing_ok=True)
        run_stages(asked, silent, ["finetune"])
        assert asked.result(FinetuneRecord).teacher == teacher
    none, largest = teachers
    assert none is None
    assert largest is not None
    assert largest.arch == run.space.largest
    with pytest.raises(ValidationError, match="data needs teacher: none: the largest subnet lacks"):
        FinetuneConfig.model_validate({"epochs": 1, "teacher": "largest", "data": {"name": "digits"}})


def test_the_teacher_is_the_largest_subnet_as_it_was_tuned_where_the_recipe_tunes_it(run: Run) -> None:
    training = run.config.training.model_copy(update={"recipe": "teacher-first"})
    settings = run.config.finetune.model_copy(update={"teacher": "largest"})
    asked = dataclasses.replace(run, config=run.config.model_copy(update={"train": training, "finetune": settings}))
    folder, tuned = run.result_path("train").parent, Subnet(run.networks.unroll(run.space.largest), run.space.largest)
    save_teacher(folder, tuned)
    teacher = tuner.tuner(asked).teacher
    assert teacher is not None
    assert teacher.calibrated
    for name, parameter in tuned.named_parameters():
        torch.testing.assert_close(teacher.get_parameter(name), parameter, rtol=0, atol=0, check_device=False)
    (folder / TEACHER).unlink()
    with pytest.raises(RunFolderError, match=r"teacher\.safetensors is missing"):
        tuner.tuner(asked)


def test_it_is_done_once_and_broken_weights_are_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RunFolderError, match="finetune has not been done: run `edgenas finetune"):
        run_stages(run, silent, ["export"])
    run_stages(run, silent, ["finetune"])
    first = run.result(FinetuneRecord).to_json()
    monkeypatch.setattr(tuner, "finetune", None)
    run_stages(run, silent, ["finetune"])
    assert run.result(FinetuneRecord).to_json() == first
    (weights,) = (run.folder / NETWORKS).glob(f"*/{WEIGHTS}")
    weights.write_bytes(b"no")
    with pytest.raises(RunFolderError, match=r"subnet\.safetensors is missing or broken"):
        run_stages(run, silent, ["export"])


def fine_tuned_with_wrong_answers(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """Let the inherited network have the answers of the fine-tuned one, which has so many less."""
    scored: list[Accuracy] = []

    def faked(subnet: Subnet, split: Split) -> Accuracy:
        scored.append(accuracy(subnet, split))
        right = scored[0].right.clone()
        if len(scored) == 1:
            right[right.nonzero()[:count]] = False
        return dataclasses.replace(scored[0], right=right)

    monkeypatch.setattr(tuner, "accuracy", faked)


def test_patience_ends_a_fine_tuning_early(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = iter([0.9, 0.8, 0.7])
    monkeypatch.setattr(tuner, "validation_score", lambda *_, **__: lambda net: next(scores))
    settings = run.config.finetune.model_copy(update={"patience": 2, "validations": 6, "average": 0.9})
    patient = dataclasses.replace(run, config=run.config.model_copy(update={"finetune": settings}))
    run_stages(patient, silent, ["finetune"])
    result = patient.result(FinetuneRecord)
    # The third of six validations of two epochs.
    assert result.epochs == pytest.approx(1.0, abs=0.1)
    assert (result.patience, result.average) == (2, 0.9)


def test_three_images_fewer_do_not_discard_a_fine_tuning(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    fine_tuned_with_wrong_answers(monkeypatch, 3)
    run_stages(run, silent, ["finetune"])
    result = run.result(FinetuneRecord)
    assert result.val_top1_before is not None
    assert result.val_top1_after < result.val_top1_before
    assert result.ships
    assert tuned_subnet(run, result.arch) is not None


def test_a_network_that_fine_tuning_made_worse_is_not_exported(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    fine_tuned_with_wrong_answers(monkeypatch, 60)
    run_stages(run, silent, ("finetune", "export", "report"))
    chosen = run.result(ExportRecord).to_json()["chosen"]
    # An image or two may be on the edge between two classes.
    assert chosen["val_top1"] == pytest.approx(run.result(VerifyRecord).val_top1, abs=0.006)
    assert tuned_subnet(run, run.space.parse(chosen["arch"])) is None
    bundle = run.folder / "export" / "bundle"
    assert read_json(bundle / "manifest.json")["fine_tuning"] == {}
    assert "The network was not fine-tuned. Its weights are inherited" in (bundle / "MODEL_CARD.md").read_text()
    assert "the network is exported as it was before" in (run.folder / "report" / "report.md").read_text()


def test_a_run_that_does_not_ask_for_it_goes_without(small_run: SmallRun) -> None:
    run = open_run(small_run.folder)
    assert "finetune.epochs is 0" in str(run.lacks("finetune"))
    with pytest.raises(ConfigError, match=r"finetune\.epochs is 0"):
        run_stages(run, silent, ["finetune"])
    assert not run.result_path("finetune").exists()


def images_of_two_classes(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    for name, low in (("dark", 0), ("light", 160)):
        (folder / name).mkdir(parents=True)
        for number in range(60):
            noise = rng.integers(low, low + 90, (20, 24, 3), np.uint8)
            Image.fromarray(noise).save(folder / name / f"{number}.png")
    return folder


def test_by_default_it_is_trained_for_as_many_epochs_as_the_supernet(run: Run) -> None:
    by_default = dataclasses.replace(run, config=run.config.model_copy(update={"finetune": FinetuneConfig()}))
    assert by_default.lacks("finetune") is None
    run_stages(by_default, silent, ["finetune"])
    assert run.config.training.epochs == 3
    assert by_default.result(FinetuneRecord).epochs == pytest.approx(3)
    taken = run.config.training.model_copy(update={"init": "other", "epochs": 0.0})
    config = run.config.model_copy(update={"finetune": FinetuneConfig(), "train": taken})
    assert "null, with no train.epochs" in str(dataclasses.replace(run, config=config).lacks("finetune"))


def test_a_finished_run_is_trained_other_images_with_a_new_classifier(small_run: SmallRun, tmp_path: Path) -> None:
    folder, images = shutil.copytree(small_run.folder, tmp_path / "run"), images_of_two_classes(tmp_path / "two")
    words = ["finetune", str(folder), "--epochs", "30", "--onto", str(images), "--json", "-q"]
    shown = CliRunner().invoke(app, words)
    assert shown.exit_code == 0, shown.output
    found = json.loads(shown.stdout)["finetune"]
    assert (found["dataset"], found["val_top1_before"]) == ("imagefolder", None)
    assert found["val_top1_after"] > 0.9
    assert CliRunner().invoke(app, ["export", str(folder), "-q"]).exit_code == 0
    assert CliRunner().invoke(app, ["report", str(folder), "-q"]).exit_code == 0
    bundle = folder / "export" / "bundle"
    manifest = read_json(bundle / "manifest.json")
    assert (manifest["classes"], manifest["dataset"]) == (["dark", "light"], "imagefolder")
    assert manifest["accuracy"]["test_top1"] > 0.9
    # From the raw file to its label, by the bundle alone.
    command = [sys.executable, "run.py", "model.onnx", str(images / "light" / "3.png"), "--top", "1"]
    done = subprocess.run(command, cwd=bundle, capture_output=True, text=True, check=True)
    assert "light" in done.stdout
    stated, card = manifest["fine_tuning"], (bundle / "MODEL_CARD.md").read_text()
    assert (stated["dataset"], stated["supernet"]["dataset"], stated["val_top1_before"]) == (
        "imagefolder",
        "digits",
        None,
    )
    assert "its inherited weights and a new classifier, because the supernet was trained on digits" in card
    assert "with a new classifier for its classes" in (folder / "report" / "report.md").read_text()
    # Another network is unchanged: it classifies digits.
    chosen, space = open_run(folder).result(VerifyRecord).to_json()["chosen"], open_run(folder).space
    another = next(arch.id for arch in (space.smallest, space.largest) if arch.id != chosen)
    other = export_bundle(open_run(folder), another, BundleOptions(), tmp_path / "other", silent)
    kept = read_json(other / "manifest.json")
    assert (len(kept["classes"]), kept["fine_tuning"]) == (10, {})
    (images / "light" / "3.png").unlink()
    run = open_run(folder)
    run.result_path("export").unlink()
    with pytest.raises(RunFolderError, match="changed since the network was fine-tuned"):
        run_stages(run, silent, ["export"])


def test_fresh_weights_are_reported(run: Run) -> None:
    settings = FinetuneConfig(epochs=12, start="fresh")
    run = dataclasses.replace(run, config=run.config.model_copy(update={"finetune": settings}))
    run_stages(run, silent, ("finetune", "export", "report"))
    found = run.result(FinetuneRecord).to_json()
    assert (found["start"], found["learning_rate_share"]) == ("fresh", 1.0)
    assert found["val_top1_after"] > found["val_top1_before"]
    manifest = read_json(run.folder / "export" / "bundle" / "manifest.json")
    assert manifest["fine_tuning"]["start"] == "fresh"
    card = (run.folder / "export" / "bundle" / "MODEL_CARD.md").read_text()
    assert re.search(r"trained from scratch for 12 epochs on .*\. The validation top-1 was .* with inherited", card)
    page = (run.folder / "report" / "report.md").read_text()
    assert re.search(
        r"Trained from scratch for .*, from fresh weights: validation top-1 [\d.]+ % with the inherited ones", page
    )


def test_other_images_are_what_inherited_weights_are_for() -> None:
    with pytest.raises(ValidationError, match="data needs start: inherited"):
        FinetuneConfig(start="fresh", data={"name": "digits"})
