import ast
import dataclasses
import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from kit_scripts import load_script
from PIL import Image

from edgenas.deploy.onnx.embedded_preprocessing import embed_preprocessing
from edgenas.deploy.onnx.exporter import export_onnx
from edgenas.files import shipped, write_json
from edgenas.space.loading import load_space
from edgenas.supernet.subnet import Subnet
from edgenas.training.data.preprocess import Preprocess

CLASSES = ["null", "eins", "zwei", "drei", "vier", "fünf", "sechs, halb", "七", "acht", "neun"]


@pytest.fixture(scope="module")
def run():
    """The kit's run.py as a module."""
    return load_script("run")


def varied_subnet(specs, arch, preprocess):
    """Random weights whose logits are centred and spread, so that no class always wins and few nearly tie."""
    torch.manual_seed(0)
    pixels = np.stack([smooth_pixels(arch.resolution, arch.resolution, 3, seed) for seed in range(32)])
    inputs = preprocess(torch.from_numpy(pixels).permute(0, 3, 1, 2))
    subnet = Subnet(specs, arch).train()
    with torch.no_grad():
        for _ in range(20):
            subnet(inputs)
        subnet.eval().blocks["head"].classifier.weight *= 3 / subnet(inputs).std(0).mean()
        subnet.blocks["head"].classifier.bias -= subnet(inputs).mean(0)
    subnet.calibration_images = len(inputs)
    return subnet


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """A folder with a model whose answers vary from image to image, its manifest, and run.py."""
    folder = tmp_path_factory.mktemp("bundle")
    space = load_space("digits-24")
    # Images of 8 pixels would be so few values that rounding one of them can turn a random network's answer.
    arch = dataclasses.replace(space.smallest, resolution=16)
    preprocess = Preprocess(arch.resolution, mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3))
    subnet = varied_subnet(space.with_classes(10).unroll(arch), arch, preprocess)
    export_onnx(subnet, folder / "model.onnx")
    export_onnx(subnet, folder / "open.onnx", dynamic_batch=True)
    embed_preprocessing(folder / "model.onnx", folder / "embedded.onnx", preprocess)
    write_json(folder / "manifest.json", {"classes": CLASSES, "preprocess": asdict(preprocess)})
    shutil.copy(shipped("export") / "run.py", folder)
    return folder


def preprocess_of(bundle):
    return Preprocess(**json.loads((bundle / "manifest.json").read_text())["preprocess"])


def smooth_pixels(height, width, channels, seed=0):
    """Blurred noise: images have no pixel-to-pixel jumps between black and white."""
    coarse = np.random.default_rng(seed).integers(0, 256, (height // 3 + 1, width // 3 + 1, channels), np.uint8)
    layers = [
        Image.fromarray(coarse[..., c]).resize((width, height), Image.Resampling.BICUBIC) for c in range(channels)
    ]
    return np.stack([np.asarray(layer) for layer in layers], axis=-1)


def start(bundle, *arguments, python=sys.executable, model="model.onnx"):
    # The device's interpreter sees neither edgenas nor this machine's settings.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    command = [str(python), "-I", "run.py", model, *map(str, arguments)]
    return subprocess.run(command, cwd=bundle, env=environment, capture_output=True, text=True, encoding="utf-8")


def assert_one_clear_line(result, *needles):
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("run: ")
    for needle in needles:
        assert needle in result.stderr


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(16, 16), (24, 24), (8, 8), (64, 64), (101, 57), (40, 90), (9, 31)])
def test_prepares_images_as_training_does(run, bundle, tmp_path, channels, size):
    reference = preprocess_of(bundle)
    pixels = smooth_pixels(*size, channels)
    Image.fromarray(pixels.squeeze()).save(tmp_path / "image.png")
    got = run.Preprocess(**asdict(reference))(run.open_image(str(tmp_path / "image.png")))
    expected = reference(torch.from_numpy(pixels).permute(2, 0, 1)[None]).numpy()
    assert got.shape == expected.shape
    assert got.dtype == expected.dtype
    one_level = 1 / 255 / np.array(reference.std).reshape(3, 1, 1)
    assert (np.abs(got - expected)[0] <= one_level * 1.001).all()


def test_names_images_as_onnx_runtime_does_from_torch_preprocessing(bundle, tmp_path):
    session = onnxruntime.InferenceSession(str(bundle / "model.onnx"), providers=["CPUExecutionProvider"])
    paths, expected = [], []
    for seed, (height, width) in enumerate([(12, 12), (30, 30), (64, 48), (8, 9)] * 3):
        pixels = smooth_pixels(height, width, 3, seed)
        paths.append(tmp_path / f"{seed}.png")
        Image.fromarray(pixels).save(paths[-1])
        inputs = preprocess_of(bundle)(torch.from_numpy(pixels).permute(2, 0, 1)[None])
        logits = torch.from_numpy(session.run(None, {"pixels": inputs.contiguous().numpy()})[0])
        confidences, indices = logits.softmax(1)[0].topk(2)
        expected.append((CLASSES[int(indices[0])], float(confidences[0]), float(confidences[0] - confidences[1])))
    result = start(bundle, *paths, "--json", "--top", "10")
    assert (result.returncode, result.stderr) == (0, "")
    summary = json.loads(result.stdout)
    assert [row["image"] for row in summary["images"]] == list(map(str, paths))
    assert len({name for name, _, margin in expected if margin > 0.05}) > 3
    for row, (name, confidence, margin) in zip(summary["images"], expected, strict=True):
        # Two image libraries round a pixel differently now and then: that may turn a tie, and nothing else.
        assert row["classes"][0]["class"] == name or margin <= 0.05
        assert row["classes"][0]["confidence"] == pytest.approx(confidence, abs=0.03)
        assert sum(entry["confidence"] for entry in row["classes"]) == pytest.approx(1)
        assert sorted(entry["class"] for entry in row["classes"]) == sorted(CLASSES)


def test_prints_a_line_for_each_image_with_its_top_classes(bundle, tmp_path):
    path = tmp_path / "image.png"
    Image.fromarray(smooth_pixels(16, 16, 3)).save(path)
    result = start(bundle, path, path, "--top", "2")
    assert (result.returncode, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith(f"{path}: ")
    assert lines[0].count("%") == 2


def test_names_with_commas_or_line_breaks_stay_one_name_on_one_line(run, capsys):
    ranked = [{"class": name, "confidence": 0.5} for name in ("cat, tame", "dög", "two\nlines", "七\u202e")]
    run.print_rows([{"image": "p.png", "classes": ranked}])
    assert (
        capsys.readouterr().out == 'p.png: "cat, tame" (50.0%), dög (50.0%), two\\nlines (50.0%), 七\\u202e (50.0%)\n'
    )


@pytest.mark.parametrize("model", ["open.onnx", "embedded.onnx"])
def test_models_with_an_open_batch_or_that_normalise_themselves_name_images_alike(bundle, tmp_path, model):
    paths = [tmp_path / f"{seed}.png" for seed in range(4)]
    for seed, path in enumerate(paths):
        Image.fromarray(smooth_pixels(20 + seed, 30, 3, seed)).save(path)
    plain, other = (start(bundle, *paths, "--json", model=name) for name in ("model.onnx", model))
    assert (other.returncode, other.stderr) == (0, "")
    for expected, got in zip(*(json.loads(shown.stdout)["images"] for shown in (plain, other)), strict=True):
        assert [entry["class"] for entry in got["classes"]] == [entry["class"] for entry in expected["classes"]]
        assert got["classes"][0]["confidence"] == pytest.approx(expected["classes"][0]["confidence"], abs=1e-4)


def converted(run, tmp_path, image, name="image.png", **options):
    image.save(tmp_path / name, **options)
    rgb = run.open_image(str(tmp_path / name))
    assert rgb.mode == "RGB"
    return np.asarray(rgb)


def test_modes_become_rgb_with_the_values_one_sees(run, tmp_path):
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    colour = np.stack([grey, grey.T, 255 - grey], axis=-1)
    three = np.repeat(grey[..., None], 3, axis=-1)
    assert (converted(run, tmp_path, Image.fromarray(grey)) == three).all()
    assert (converted(run, tmp_path, Image.fromarray(colour)) == colour).all()
    assert (converted(run, tmp_path, Image.fromarray(grey.astype(np.uint16) * 257)) == three).all()
    palette = Image.fromarray(colour).quantize(8)
    assert (converted(run, tmp_path, palette) == np.asarray(palette.convert("RGB"))).all()
    cmyk = Image.fromarray(colour).convert("CMYK")
    assert np.abs(converted(run, tmp_path, cmyk, "image.tiff").astype(int) - colour).max() <= 1
    black_and_white = Image.fromarray(grey > 100)
    assert (converted(run, tmp_path, black_and_white) == 255 * (three > 100)).all()


def test_transparent_parts_lie_on_white(run, tmp_path):
    clear, half, full = (255, 0, 0, 0), (0, 0, 0, 128), (10, 20, 30, 255)
    pixels = np.array([[clear, half, full]], dtype=np.uint8)
    seen = [[255, 255, 255], [127, 127, 127], [10, 20, 30]]
    assert converted(run, tmp_path, Image.fromarray(pixels)).tolist() == [seen]
    grey = Image.new("LA", (1, 1), (40, 0))
    assert converted(run, tmp_path, grey).tolist() == [[[255, 255, 255]]]
    palette = Image.fromarray(np.array([[0, 1]], dtype=np.uint8)).convert("P")
    palette.putpalette([255, 0, 0, 1, 2, 3])
    assert converted(run, tmp_path, palette, transparency=0).tolist() == [[[255, 255, 255], [1, 2, 3]]]


def test_exif_orientation_is_honoured(run, tmp_path):
    pixels = smooth_pixels(8, 12, 3)
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying, to be turned a quarter clockwise
    assert (converted(run, tmp_path, Image.fromarray(pixels), exif=exif) == np.rot90(pixels, -1)).all()


def test_of_an_animation_the_first_frame_is_taken(run, tmp_path):
    frames = [Image.new("RGB", (6, 6), colour) for colour in ("black", "white")]
    pixels = converted(run, tmp_path, frames[0], "film.gif", save_all=True, append_images=frames[1:])
    assert not pixels.any()


def test_useless_images_are_named_and_the_others_still_done(bundle, tmp_path):
    good, torn, text = tmp_path / "good.png", tmp_path / "torn.jpg", tmp_path / "text.png"
    image = Image.fromarray(smooth_pixels(64, 64, 3))
    image.save(good)
    image.save(torn)
    torn.write_bytes(torn.read_bytes()[:-300])
    text.write_text("no image")
    result = start(bundle, torn, text, tmp_path / "absent.png", tmp_path, good)
    assert result.returncode == 2
    assert [line.startswith(str(good)) for line in result.stdout.splitlines()] == [True]
    lines = result.stderr.splitlines()
    assert [str(name) in line for name, line in zip([torn, text, "absent.png", tmp_path], lines, strict=True)]
    assert "truncated" in lines[0]
    assert "not an image" in lines[1]
    assert "no such file" in lines[2]
    assert "Traceback" not in result.stderr


def edited(bundle, folder, change):
    shutil.copytree(bundle, folder)
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    return folder


def test_a_missing_or_unfit_manifest_is_one_clear_line(bundle, tmp_path):
    image = tmp_path / "image.png"
    Image.new("RGB", (9, 9)).save(image)
    alone = tmp_path / "alone"
    alone.mkdir()
    for name in ("run.py", "model.onnx"):
        shutil.copy(bundle / name, alone)
    assert_one_clear_line(start(alone, image), "manifest.json is missing")
    newer = edited(bundle, tmp_path / "newer", {"schema_version": 99})
    assert_one_clear_line(start(newer, image), "schema 99")
    foreign = edited(bundle, tmp_path / "foreign", {"classes": ["cat", "dog"]})
    assert_one_clear_line(start(foreign, image), "[1, 10]", "[1, 2]")
    assert_one_clear_line(start(edited(bundle, tmp_path / "seven", {"classes": 7}), image), "no list of classes")
    broken = edited(bundle, tmp_path / "broken", {})
    (broken / "model.onnx").write_bytes(b"not onnx")
    assert_one_clear_line(start(broken, image), "cannot be loaded")


@pytest.mark.parametrize("change", [{"crop": 0}, {"mean": ["a", "b", "c"]}, {"std": [0, 1, 1]}, {"size": 8.5}])
def test_invalid_preprocess_values_are_one_clear_line(bundle, tmp_path, change):
    image = tmp_path / "image.png"
    Image.new("RGB", (9, 9)).save(image)
    preprocess = json.loads((bundle / "manifest.json").read_text())["preprocess"]
    forged = edited(bundle, tmp_path / "forged", {"preprocess": preprocess | change})
    assert_one_clear_line(start(forged, image), "has invalid values")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda model: setattr(model.graph.node[0], "op_type", "Levitate"), "Levitate"),
        (lambda model: setattr(model.opset_import[0], "version", 999), "Opset 999"),
    ],
)
def test_an_operator_or_opset_that_the_runtime_lacks_is_named_in_one_line(bundle, tmp_path, change, named):
    Image.new("RGB", (9, 9)).save(tmp_path / "image.png")
    newer = edited(bundle, tmp_path / "newer", {})
    model = onnx.load(newer / "model.onnx")
    change(model)
    onnx.save(model, newer / "model.onnx")
    result = start(newer, tmp_path / "image.png")
    assert_one_clear_line(result, "model.onnx cannot be loaded by onnxruntime", named, "install a newer one")
    assert "onnxruntime_src" not in result.stderr


def test_imports_the_standard_library_numpy_onnxruntime_and_pillow_alone():
    source = (shipped("export") / "run.py").read_text(encoding="utf-8")
    tree = ast.parse(source, feature_version=(3, 9))
    plain = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    parts = [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    roots = {name.split(".")[0] for name in plain + parts}
    assert roots - sys.stdlib_module_names == {"numpy", "onnxruntime", "PIL"}


@pytest.mark.slow
def test_runs_in_a_fresh_environment_with_what_its_help_names(bundle, tmp_path):
    environment = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    python = environment / "bin" / "python"
    install = [python, "-m", "pip", "install", "--quiet", "numpy", "onnxruntime", "pillow"]
    done = subprocess.run(install, capture_output=True, text=True)
    if done.returncode and not os.environ.get("CI"):
        pytest.skip(f"pip cannot reach an index: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    image = tmp_path / "image.png"
    Image.fromarray(smooth_pixels(20, 20, 3)).save(image)
    fresh, here = start(bundle, image, python=python), start(bundle, image)
    assert (fresh.returncode, fresh.stderr) == (0, "")
    assert fresh.stdout == here.stdout
