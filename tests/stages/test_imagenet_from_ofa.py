"""`edgenas import ofa`, and the page that leads from a checkpoint to an ONNX file, on a random checkpoint."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from ofa_networks import activate, ofa_network
from PIL import Image
from small_run import edgenas

from edgenas.errors import RunFolderError, UserError, WeightsError
from edgenas.files import read_json, read_jsonl
from edgenas.records.train import TrainRecord
from edgenas.runs.run import open_run
from edgenas.space.loading import load_space
from edgenas.stages.import_ofa import import_ofa, ofa_config
from edgenas.stages.weights.run_supernet import trained_supernet
from edgenas.supernet.pixels import IMAGENET
from edgenas.supernet.supernet import SuperNet
from edgenas.training.initial_weights import load_init, load_whole

PAGE = Path(__file__).parents[2] / "examples" / "imagenet_from_ofa.md"
CLASSES = ("n01", "n02", "n03")
FEW = {
    "space": "{preset: ofa-mbv3-w1.0, resolution: [128]}",
    "profile.blocks": "24",
    "profile.networks": "10",
    "profile.rounds": "8",
    "search.evaluations": "6",
    "search.population": "4",
    "search.calibration_images": "8",
    "verify.networks": "2",
    "verify.rounds": "8",
    "export.parity_images": "2",
    "export.graph_variant": "direct",
}


@pytest.fixture
def cwd(tmp_path: Path) -> Path:
    """A folder with a checkpoint and images, as the page has them."""
    torch.save({"state_dict": ofa_network(1.0, len(CLASSES)).state_dict()}, tmp_path / "ofa_mbv3_d234_e346_k357_w1.0")
    rng = np.random.default_rng(0)
    for label, name in enumerate(CLASSES):
        folder = tmp_path / "imagenet" / "val" / name
        folder.mkdir(parents=True)
        for number in range(12):
            pixels = rng.integers(0, 128, (150, 160, 3), dtype=np.uint8) + np.uint8(40 * label)
            Image.fromarray(pixels).save(folder / f"{number}.png")
    Image.fromarray(pixels).save(tmp_path / "image.jpg")
    return tmp_path


def importing(cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["import", "ofa", "ofa_mbv3_d234_e346_k357_w1.0", "--calibration-images", "imagenet/val", *arguments]
    return edgenas(*command, cwd=cwd)


def test_a_run_folder_holds_the_checkpoints_weights(cwd: Path) -> None:
    done = importing(cwd, "--json", "--run", "run")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["run"] == "run"
    run = open_run(cwd / "run")
    dataset = run.images.dataset
    net = trained_supernet(run)
    theirs = ofa_network(1.0, len(CLASSES))
    x = torch.randn(2, 3, 128, 128)
    arch = run.space.parse("r128" + run.space.smallest.id[4:])
    activate(theirs, arch)
    with torch.no_grad():
        torch.testing.assert_close(net.extract(arch)(x), theirs(x), rtol=0, atol=1e-4)
    assert run.done("train")
    assert run.result(TrainRecord).images_per_second == 0
    assert (net.pixels.mean, net.pixels.crop, dataset.presize) == ((0.485, 0.456, 0.406), 0.875, 256)
    # Weights that get lost are taken from the checkpoint again; nothing is trained.
    (run.folder / "supernet" / "checkpoint.safetensors").unlink()
    assert edgenas("train", "run", cwd=cwd).returncode == 0
    torch.testing.assert_close(trained_supernet(run).state_dict(), net.state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("space", "override", "message"),
    [
        ("ofa-mbv3-w1.2", "seed=1", r"of another width than ofa-mbv3-w1\.2: its space is ofa-mbv3-w1\.0"),
        ("mobile-32", "seed=1", "mobile-32 has no once-for-all checkpoints"),
        ("ofa", "seed=1", "space 'ofa' is neither a preset nor a file"),
        ("ofa-mbv3-w1.0", "train.epoch=1", "did you mean 'train.epochs'"),
        ("ofa-mbv3-w1.0", "data.path=fewer", "has 3 classes, but the data has 2"),
        ("ofa-mbv3-w1.0", "train.init=none.pth", r"none\.pth does not exist"),
    ],
)
def test_mistakes_are_named_before_anything_is_written(
    cwd: Path, monkeypatch: pytest.MonkeyPatch, space: str, override: str, message: str
) -> None:
    monkeypatch.chdir(cwd)
    shutil.copytree("imagenet/val", "fewer")
    shutil.rmtree("fewer/n03")

    def begin() -> None:
        config = ofa_config(Path("ofa_mbv3_d234_e346_k357_w1.0"), space, Path("imagenet/val"), [override])
        import_ofa(config, Path("run"), lambda *_: None)

    with pytest.raises(UserError, match=message):
        begin()
    assert not Path("run").exists()


def test_other_classes_get_a_new_classifier_only_where_there_is_training(cwd: Path) -> None:
    space, path = load_space("ofa-mbv3-w1.0"), cwd / "ofa_mbv3_d234_e346_k357_w1.0"
    net = SuperNet(space.with_classes(5), kernel_transforms=True)
    own = net.blocks["head"].classifier.weight.detach().clone()
    load_init(path, net, "flowers", tuple("abcde"))
    assert torch.equal(net.blocks["head"].classifier.weight, own)
    stem = torch.load(path, weights_only=True)["state_dict"]["first_conv.conv.weight"]
    assert torch.equal(net.blocks["stem"].conv.conv.weight, stem)
    with pytest.raises(WeightsError, match="has 3 classes, but the data has 5"):
        load_whole(path, net, tuple("abcde"))


def test_weights_that_are_not_trained_further_need_the_same_pixels(cwd: Path) -> None:
    space, path = load_space("ofa-mbv3-w1.0"), cwd / "ofa_mbv3_d234_e346_k357_w1.0"
    with pytest.raises(RunFolderError, match=r"trained with mean \(0\.485, .*data\.mean, data\.std and data\.crop"):
        load_whole(path, SuperNet(space.with_classes(3), kernel_transforms=True), tuple("abc"))
    header = load_whole(path, SuperNet(space.with_classes(3), kernel_transforms=True, pixels=IMAGENET), tuple("abc"))
    assert (header.classes, header.pixels) == (tuple("abc"), IMAGENET)


def commands() -> list[str]:
    (block,) = re.findall(r"^```sh\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    return block.splitlines()


def test_the_page_says_that_its_checkpoint_is_random() -> None:
    assert "**randomly initialised**" in PAGE.read_text()
    assert [shlex.split(line)[:2] for line in commands()][1:6] == [
        ["edgenas", stage] for stage in ("profile", "search", "verify", "export", "report")
    ]


@pytest.mark.slow
def test_the_pages_commands_lead_from_the_checkpoint_to_an_onnx_file(cwd: Path) -> None:
    for line in commands():
        program, *arguments = shlex.split(line)
        if arguments[0] == "import":
            # Nothing that is random meets a budget on any machine.
            arguments[arguments.index("--budget") + 1] = "1000ms"
            arguments += [word for key, value in FEW.items() for word in ("--set", f"{key}={value}")]
        if program == "edgenas":
            done = edgenas(*arguments, cwd=cwd)
        else:
            done = subprocess.run([sys.executable, *arguments], cwd=cwd, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
    run = cwd / "runs" / "imagenet"
    assert re.search("n0[123]", done.stdout)
    summary, manifest = read_json(run / "summary.json"), read_json(run / "export" / "bundle" / "manifest.json")
    assert summary["supernet"]["images_per_second"] == 0
    assert manifest["preprocess"]["crop"] == 0.875
    assert "weights used without training" in (run / "report" / "report.md").read_text()
    row = next(row for row in read_jsonl(run / "evaluate" / "accuracy.jsonl") if row["arch"] == manifest["arch"])
    assert row["top1"] == pytest.approx(manifest["accuracy"]["test_top1"])
