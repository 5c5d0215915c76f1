"""`finetune` in a run's config: the chosen subnet is taught on its own before it is exported."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from small_run import SmallRun

from edgenas.config import FinetuneConfig
from edgenas.errors import RunFolderError
from edgenas.files import read_json
from edgenas.pipeline import finetune
from edgenas.pipeline.data import deployed_preprocess, run_dataset
from edgenas.pipeline.export import run_export
from edgenas.pipeline.finetune import RESULT, WEIGHTS, finetuned_subnet
from edgenas.pipeline.run import Run, open_run


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
    told: list[str] = []
    run_export(run, lambda label, done, total: told.append(label))
    assert "fine-tuning" in told
    found = read_json(run.folder / RESULT)
    verified = run.result("verify")
    assert found["val_top1_before"] == pytest.approx(verified["val_top1"])
    assert found["val_top1_after"] > found["val_top1_before"]
    manifest = read_json(run.folder / "export" / "bundle" / "manifest.json")
    chosen = run.result("export")["chosen"]
    assert chosen["arch"] == manifest["arch"] == verified["chosen"]
    assert chosen["val_top1"] == pytest.approx(found["val_top1_after"], abs=0.003)
    # Measured anew, since it is another file.
    assert manifest["latency"]["here"]["p50_us"] > 0
    dataset = run_dataset(run)
    subnet = finetuned_subnet(run, dataset, run.space.parse(manifest["arch"]))
    assert subnet is not None
    assert subnet.calibrated
    inputs = deployed_preprocess(subnet.arch, dataset)(dataset.test.pictures[:1])
    session = onnxruntime.InferenceSession(run.folder / "export" / "bundle" / "model.onnx")
    (logits,) = session.run(None, {session.get_inputs()[0].name: inputs.numpy()})
    np.testing.assert_allclose(logits, subnet(inputs).detach().numpy(), atol=1e-3)


def test_it_is_done_once_and_broken_weights_are_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run_export(run, silent)
    first = read_json(run.folder / RESULT)
    run.result_path("export").unlink()
    monkeypatch.setattr(finetune, "finetune", None)
    run_export(run, silent)
    assert read_json(run.folder / RESULT) == first
    (run.folder / WEIGHTS).write_bytes(b"no")
    run.result_path("export").unlink()
    with pytest.raises(RunFolderError, match=r"subnet\.safetensors is missing or broken"):
        run_export(run, silent)


def test_what_fine_tuning_made_worse_is_not_exported(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = iter([0.9, 0.4])
    monkeypatch.setattr(finetune, "top1", lambda *_: next(scores))
    run_export(run, silent)
    chosen = run.result("export")["chosen"]
    assert chosen["val_top1"] == run.result("verify")["val_top1"]
    assert finetuned_subnet(run, run_dataset(run), run.space.parse(chosen["arch"])) is None
