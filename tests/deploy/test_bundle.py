import dataclasses
import hashlib
import json
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import yaml
from little_bundle import ACCURACY, FOUND, LATENCY, PARITY, int8_facts

from edgenas.deploy.bundle.bundle import KIT, read_bundle, write_bundle, zip_bundle
from edgenas.deploy.bundle.manifest import Manifest, library_versions
from edgenas.deploy.bundle.model_card import model_card
from edgenas.deploy.onnx.embedded_preprocessing import embed_preprocessing
from edgenas.deploy.onnx.exporter import export_onnx
from edgenas.errors import ParityError, RunFolderError, UncalibratedError, UserError
from edgenas.files import read_json, shipped
from edgenas.latency.device import probe
from edgenas.records.finetune import FinetuneSummary, SupernetSource
from edgenas.space.arch import parse_arch
from edgenas.space.cost import cost
from edgenas.space.loading import load_space
from edgenas.supernet.subnet import Subnet
from edgenas.training.data.preprocess import Preprocess

NAMES = {"model.onnx", "samples.npz", "manifest.json", "README.md", "MODEL_CARD.md"} | set(KIT)


def manifest_of(subnet, space):
    return Manifest(
        name="digits under 1 ms",
        created="2026-01-31",
        arch=subnet.arch,
        space=space.structure_id,
        dataset="digits",
        classes=tuple("0123456789"),
        preprocess=Preprocess(subnet.resolution),
        accuracy=ACCURACY,
        latency={"here": LATENCY},
        costs=cost(subnet.specs).to_json(),
        calibration_images=subnet.calibration_images,
        parity=PARITY,
        versions=library_versions(),
        seed=0,
    )


@pytest.fixture(scope="module")
def exports(tmp_path_factory):
    """A model fit to be deployed, the same for timing, the manifest of both, and facts about the model in int8."""
    space = load_space("digits-24")
    arch = space.sample(np.random.default_rng(0))
    subnet = Subnet(space.with_classes(10).unroll(arch), arch).eval()
    subnet.calibration_images = 64
    folder = tmp_path_factory.mktemp("exports")
    model = export_onnx(subnet, folder / "good.onnx")
    timing = export_onnx(subnet, folder / "timing.onnx", for_timing=True)
    return model, timing, manifest_of(subnet, space), int8_facts(subnet)


def test_a_bundle_holds_the_kit_the_model_and_sums_of_both(exports, tmp_path):
    model, _, manifest, _ = exports
    folder = write_bundle(tmp_path / "runs" / "bundle", model=model, manifest=manifest)
    assert {path.name for path in folder.iterdir()} == NAMES
    assert (folder / "model.onnx").read_bytes() == model.read_bytes()
    for name in KIT:
        assert (folder / name).read_bytes() == (shipped("export") / name).read_bytes()
    written = read_json(folder / "manifest.json")
    assert written["files"] == {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in NAMES - {"manifest.json"}
    }
    filled = {"files": {}, "samples": {}, "digest": ""}
    assert written | filled == json.loads(json.dumps(manifest.to_json()))
    assert written["samples"] == {"file": "samples.npz", "images": 8, "tolerance": {"model.onnx": pytest.approx(1e-3)}}
    assert [path.name for path in folder.parent.iterdir()] == ["bundle"]


@pytest.mark.parametrize("embedded", [False, True])
def test_a_network_that_sees_the_middle_of_images_is_verified_and_described(exports, tmp_path, embedded):
    model, _, manifest, _ = exports
    preprocess = dataclasses.replace(manifest.preprocess, crop=0.7, mean=(0.4, 0.5, 0.6))
    if embedded:
        model = embed_preprocessing(model, tmp_path / "embedded.onnx", preprocess)
    wanted = manifest.model_copy(update={"preprocess": preprocess, "preprocessing_included": embedded})
    folder = write_bundle(tmp_path / "bundle", model=model, manifest=wanted)
    # Samples are of the network's own size, and verify.py crops nothing.
    done = subprocess.run([sys.executable, "verify.py"], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert (
        f"resized to a shorter side of {preprocess.shorter}, cropped at the centre"
        in (folder / "MODEL_CARD.md").read_text()
    )
    assert preprocess.shorter > preprocess.size


def test_models_for_timing_are_refused_and_leave_nothing(exports, tmp_path):
    _, timing, manifest, _ = exports
    with pytest.raises(UncalibratedError, match="timing"):
        write_bundle(tmp_path / "bundle", model=timing, manifest=manifest)
    assert not list(tmp_path.iterdir())


def test_a_manifest_of_another_arch_is_refused(exports, tmp_path):
    model, _, manifest, _ = exports
    other = manifest.model_copy(update={"arch": parse_arch("r99_w1-k3e1")})
    with pytest.raises(ParityError, match="r99"):
        write_bundle(tmp_path / "bundle", model=model, manifest=other)


def test_a_missing_model_is_a_user_error(exports, tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        write_bundle(tmp_path / "bundle", model=tmp_path / "absent.onnx", manifest=exports[2])


def test_a_former_bundle_is_replaced_only_when_asked(exports, tmp_path):
    model, _, manifest, _ = exports
    folder = write_bundle(tmp_path / "bundle", model=model, manifest=manifest)
    again = manifest.model_copy(update={"name": "again"})
    with pytest.raises(RunFolderError, match="already has a bundle"):
        write_bundle(folder, model=model, manifest=again)
    assert read_json(folder / "manifest.json")["name"] == manifest.name
    write_bundle(folder, model=model, manifest=again, replace=True)
    assert read_json(folder / "manifest.json")["name"] == "again"
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_folders_with_foreign_files_are_never_touched(exports, tmp_path):
    model, _, manifest, _ = exports
    for name in ("bundle", "thesis"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "notes.txt").write_text("mine")
    folder = write_bundle(tmp_path / "new", model=model, manifest=manifest)
    (folder / "notes.txt").write_text("mine")
    for taken in (tmp_path / "bundle", tmp_path / "thesis", folder, folder / "notes.txt"):
        with pytest.raises(RunFolderError, match=r"notes\.txt"):
            write_bundle(taken, model=model, manifest=manifest, replace=True)
    assert (tmp_path / "thesis" / "notes.txt").read_text() == (folder / "notes.txt").read_text() == "mine"


def test_a_failure_half_way_leaves_the_former_bundle(exports, tmp_path, monkeypatch):
    model, _, manifest, _ = exports
    folder = write_bundle(tmp_path / "bundle", model=model, manifest=manifest)

    def full_disk(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr("edgenas.records.record.write_json", full_disk)
    with pytest.raises(OSError, match="no space"):
        write_bundle(folder, model=model, manifest=manifest, replace=True)
    assert {path.name for path in folder.iterdir()} == NAMES
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_a_bundle_may_hold_the_int8_form_and_says_what_is_inside(exports, tmp_path):
    model, timing, manifest, int8 = exports
    fuller = manifest.model_copy(
        update={"int8": int8, "batch": "dynamic", "preprocessing_included": True, "size_bytes": 5}
    )
    folder = write_bundle(tmp_path / "bundle", model=model, int8_model=model, manifest=fuller)
    assert {path.name for path in folder.iterdir()} == NAMES | {"model_int8.onnx"}
    assert set(read_json(folder / "manifest.json")["files"]) == NAMES - {"manifest.json"} | {"model_int8.onnx"}
    text = (folder / "README.md").read_text()
    assert "- slower here" in text
    assert f"uint8 of shape (1, {fuller.preprocess.size}, " in text
    assert "any number of images" in text
    write_bundle(folder, model=model, manifest=manifest, replace=True)
    assert {path.name for path in folder.iterdir()} == NAMES
    with pytest.raises(UncalibratedError, match="timing"):
        write_bundle(tmp_path / "other", model=model, int8_model=timing, manifest=fuller)


def test_the_card_has_metadata_for_hubs_and_escapes_labels(exports, tmp_path):
    model, _, manifest, _ = exports
    names = ("a, b", "c | d", "*e*", "七", "<f>", "g`", "new\nline", "[8]", "9", "“ten”")
    by_class = {"test_images_by_class": (*(36,) * 9, 5), "test_top1_by_class": (0.5, *(0.9,) * 8, None)}
    accuracy = ACCURACY.model_copy(update=by_class)
    known = manifest.model_copy(update={"name": "Ünder: 1 ms", "classes": names, "accuracy": accuracy})
    folder = write_bundle(tmp_path / "bundle", model=model, manifest=known)
    _, head, text = (folder / "MODEL_CARD.md").read_text(encoding="utf-8").split("---\n", 2)
    card = yaml.safe_load(head)
    assert card["pipeline_tag"] == "image-classification"
    assert card["model-index"][0]["name"] == "Ünder: 1 ms"
    assert card["model-index"][0]["results"][0]["metrics"][0]["value"] == 0.97
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert "| a, b | 36 | 50.00 % |" in rows
    assert "| c \\| d | 36 | 90.00 % |" in rows
    assert "| new\\\\nline | 36 | 90.00 % |" in rows
    assert "Class with the lowest accuracy: a, b, 50.00 %" in text
    assert "Mean accuracy of the classes (macro accuracy): 85.56 %" in text
    assert "fewer than 30 test images: “ten”" in text
    assert read_json(folder / "manifest.json")["classes"] == list(names)


def test_the_card_states_the_origin_of_the_weights(exports):
    manifest = exports[2].model_copy(update={"found": FOUND})
    assert "The network was not fine-tuned. Its weights are inherited from the supernet." in model_card(manifest)
    tuning = FinetuneSummary(
        dataset="a*b",
        training_images=1500,
        epochs=2.5,
        start="inherited",
        teacher="none",
        learning_rate_share=0.1,
        supernet=SupernetSource(dataset="digits", weights="0"),
        val_top1_before=0.9,
        val_top1_after=0.925,
        seconds=90.0,
    )
    card = model_card(manifest.model_copy(update={"fine_tuning": tuning}))
    assert "for 2.5 epochs on 1,500 images of a\\*b, starting from its inherited weights. The validation" in card
    assert "was 90.00 % before and is 92.50 % after. Seed" in card
    elsewhere = tuning.model_copy(update={"val_top1_before": None})
    card = model_card(manifest.model_copy(update={"fine_tuning": elsewhere}))
    assert "its inherited weights and a new classifier, because the supernet was trained on digits." in card
    assert "The validation top-1 is 92.50 %." in card


def test_zips_replace_only_zips_of_bundles(exports, tmp_path):
    model, _, manifest, _ = exports
    folder = write_bundle(tmp_path / "bundle", model=model, manifest=manifest)
    (folder / "image.png").write_bytes(b"mine")
    path = zip_bundle(folder, tmp_path / "b.zip")
    zip_bundle(folder, path)
    with zipfile.ZipFile(path) as archive:
        assert {name.removeprefix("b/") for name in archive.namelist()} == NAMES
    (tmp_path / "mine.zip").write_bytes(b"mine")
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("notes.txt", "mine")
    for name in ("mine.zip", "other.zip", "bundle.tar"):
        with pytest.raises(RunFolderError, match=name):
            zip_bundle(folder, tmp_path / name)


def test_a_manifest_is_read_as_it_was_written(exports, tmp_path):
    model, _, manifest, int8 = exports
    fuller = manifest.model_copy(update={"int8": int8, "found": FOUND, "devices": {"here": probe()}})
    for number, written in enumerate((manifest, fuller)):
        folder = write_bundle(tmp_path / str(number), model=model, int8_model=model, manifest=written)
        assert read_bundle(folder).to_json() == read_json(folder / "manifest.json")
