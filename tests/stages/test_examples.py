"""Examples: every config loads and runs with a few steps, every script runs, the README's Python runs."""

from __future__ import annotations

import os
import re
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from forked import Forked, script
from in_browser import chromium, web_runtime
from PIL import Image
from small_run import SmallRun, edgenas

from edgenas.config.reading import load_config
from edgenas.files import read_json
from edgenas.training.data.named_sets import DEBIAN_FASHION_MNIST

REPOSITORY = Path(__file__).parents[2]
CONFIGS = [*sorted((REPOSITORY / "examples").glob("*.yaml")), REPOSITORY / "edgenas" / "demo.yaml"]
FEW_STEPS = {
    "train.epochs": "0.002",
    "finetune.epochs": "0.01",
    "profile.blocks": "40",
    "profile.networks": "12",
    "profile.rounds": "8",
    "search.evaluations": "8",
    "search.population": "4",
    "search.calibration_images": "64",
    "search.validation_images": "64",
    "verify.networks": "3",
    "verify.rounds": "8",
    "export.parity_images": "8",
}

IMAGES = {f"{name}.png" for name in ("report", "report_phone", "report_network", "page", "page_phone")}
MOST_IMAGE_BYTES = 300_000


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_every_config_loads(path: Path) -> None:
    config = load_config(path)
    assert config.has_auto_space or config.load_space().size > 1


def class_folders(root: Path) -> None:
    """32 pixels wide, as the recorded run's images are; more than the example's batch."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 60), ("test", 6)):
        for name in ("bright", "dark"):
            (root / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(0, 128, (32, 32, 3), dtype=np.uint8) + np.uint8(120 * (name == "bright"))
                Image.fromarray(pixels).save(root / split / name / f"{number}.png")


@pytest.mark.slow
@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_every_example_runs_with_a_few_steps(path: Path, tmp_path: Path) -> None:
    config = load_config(path)
    if config.data is None:
        pytest.skip("it runs as it is, below")
    if config.data.name == "fashion-mnist" and not DEBIAN_FASHION_MNIST.is_dir():
        message = "needs Fashion-MNIST: apt-get install dataset-fashion-mnist"
        assert not os.environ.get("CI"), message
        pytest.skip(message)
    if config.data.name == "imagefolder":
        class_folders(tmp_path / "images")
    sets = [word for key, value in FEW_STEPS.items() for word in ("--set", f"{key}={value}")]
    # With chance-level weights a network a little over budget proves nothing: leave it room.
    done = edgenas("run", str(path), *sets, "--budget", "100ms", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    summary = read_json(tmp_path / "runs" / config.name / "summary.json")
    assert summary["dataset"] == config.data.name
    assert summary["search"]["evaluations"] == 8


@pytest.mark.slow
def test_the_imagenet_front_takes_less_than_a_minute(tmp_path: Path) -> None:
    began = time.monotonic()
    done = edgenas("run", str(REPOSITORY / "examples" / "imagenet_ofa.yaml"), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - began < 60 or os.environ.get("CI")
    summary = read_json(tmp_path / "runs" / "imagenet-ofa" / "summary.json")
    assert summary["search"]["evaluations"] == 10_000
    assert summary["accuracy"]["rows"] == 1474
    assert summary["accuracy"]["rmse_points"] < 0.12
    # The measured ones span 71.0 to 77.5 %: a front under a budget in between lies above their middle.
    assert 0.75 < summary["chosen"]["val_top1"] < 0.785
    points = sorted((e["latency"]["i7-8700k"]["predicted_us"], e["val_top1"]) for e in summary["front"])
    assert [top1 for _, top1 in points] == sorted(top1 for _, top1 in points)
    assert "no ONNX file was written" in done.stdout


def example(cwd: Path, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a script of examples/ to its end."""
    path, out, errors = REPOSITORY / "examples" / name, cwd / "stdout", cwd / "stderr"
    return Forked(script, path, *arguments, cwd=cwd, stdout=out, stderr=errors).ended()


def test_the_script_exports_any_arch(small_run: SmallRun, tmp_path: Path) -> None:
    arch = small_run.summary["front"][0]["arch"]
    done = example(tmp_path, "export_any_arch.py", str(small_run.folder), arch, str(tmp_path / "any.onnx"))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "any.onnx").stat().st_size > 10_000
    expected = small_run.summary["front"][0]["val_top1"]
    assert f"{arch}: {expected:.2%} validation top-1" in done.stdout


def test_the_readmes_python_runs(small_run: SmallRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sklearn.datasets import load_digits
    from torch import from_numpy

    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").symlink_to(small_run.folder.parent)
    images = from_numpy(load_digits().images[:64] * 15).byte().unsqueeze(1)
    blocks = re.findall(r"```python\n(.*?)```", (REPOSITORY / "README.md").read_text(), re.DOTALL)
    assert blocks
    for block in blocks:
        exec(block.replace("runs/demo", "runs/small"), {"images": images})
    assert (tmp_path / "model.onnx").exists()


def test_images_are_made_of_a_run(small_run: SmallRun, tmp_path: Path) -> None:
    runtime = web_runtime()
    with chromium():
        pass
    images = tmp_path / "images"
    images.mkdir()
    done = example(tmp_path, "images.py", str(small_run.folder), str(images), "--web-runtime", str(runtime))
    assert done.returncode == 0, done.stderr
    made = {path.name: path.stat().st_size for path in images.iterdir()}
    assert set(made) == IMAGES
    assert all(5_000 < size <= MOST_IMAGE_BYTES for size in made.values())


def test_the_images_here_are_small_and_shown() -> None:
    shown = (REPOSITORY / "examples" / "README.md").read_text()
    for name in IMAGES:
        path = REPOSITORY / "examples" / "results" / name
        assert path.stat().st_size <= MOST_IMAGE_BYTES
        assert f"](results/{name})" in shown
