"""The bundle: a folder with the model, what runs and times it on the device, and what is known about it."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgenas.deploy.onnx_export import model_metadata
from edgenas.errors import ParityError, RunFolderError, UncalibratedError, UserError
from edgenas.files import SCHEMA_VERSION, read_json, shipped, write_bytes, write_json, write_text

KIT = ("bench.py", "run.py")
MODEL, INT8_MODEL = "model.onnx", "model_int8.onnx"
MANIFEST = "manifest.json"

README = """# {name}

Pictures to labels with ONNX Runtime. Needs Python 3.9 or newer and `pip install numpy onnxruntime pillow`.

    python run.py model.onnx picture.png
    python bench.py model.onnx

The first prints the classes of a picture, the second how long the model takes on this machine (needs no
pillow). `manifest.json` says which network this is, how pictures are prepared for it, how accurate it is, and
what was measured where.
"""
INT8_README = """
`model_int8.onnx` is the same network in int8, and runs the same way; its accuracy and latency are the manifest's
`int8`.
{notes}
"""
EMBEDDED_README = """
Models take RGB pixels of exactly {size} x {size}, uint8 (1, {size}, {size}, 3), and normalise them inside. Resizing and
cropping stay outside: `run.py` does them. Latencies include what is inside.
"""
OPEN_BATCH_README = """
Models take any number of pictures at once; accuracies and latencies are those of one at a time.
"""


@dataclass(frozen=True)
class Manifest:
    """All that is known about a bundle's model. Rates are fractions, times microseconds.

    Attributes:
        name: of the bundle.
        created: date, ISO 8601.
        arch: the network's text form.
        space: the search space's structure_id.
        dataset: the pictures' name.
        classes: labels in the order of the logits.
        preprocess: `Preprocess.to_json()`.
        accuracy: validation_top1, test_top1 and test_images (how many).
        latency: for each device predicted_us, interval_us, p50_us, p95_us and the circumstances.
        costs: macs, params, weight_bytes, peak_activation_bytes.
        calibration_images: on how many training pictures batch norm was recalibrated.
        parity: `Parity.to_json()`.
        versions: of what it was made with (see `library_versions`).
        seed: of the run.
        precision: of model.onnx.
        form: of its graph, see `space.form`.
        batch: how many pictures model.onnx takes at once, or `dynamic`; all is stated for one at a time.
        preprocessing_included: whether models normalise pixels themselves, and latencies include that. Resizing and
            cropping are never inside.
        size_bytes: of model.onnx.
        int8: of model_int8.onnx: its quantiser_recipe, the recipes_tried, accuracy, latency (and fp32's, timed beside
            it), parity (with the network of model.onnx), size_bytes, fine_tuning (null, or what quantisation-aware
            fine-tuning took and brought), and notes for people; empty where there is none.
        deployed: which file is meant for which device, by its name.
        files: SHA-256 of every other file of the bundle, by name; `write_bundle` fills it in.
        schema_version: of the manifest.
    """

    name: str
    created: str
    arch: str
    space: str
    dataset: str
    classes: tuple[str, ...]
    preprocess: Mapping[str, Any]
    accuracy: Mapping[str, Any]
    latency: Mapping[str, Mapping[str, Any]]
    costs: Mapping[str, int]
    calibration_images: int
    parity: Mapping[str, Any]
    versions: Mapping[str, str]
    seed: int
    precision: str = "fp32"
    form: str = "direct"
    batch: int | str = 1
    preprocessing_included: bool = False
    size_bytes: int = 0
    int8: Mapping[str, Any] = field(default_factory=dict)
    deployed: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION

    def to_json(self) -> dict[str, Any]:
        """As it stands in `manifest.json`."""
        return dataclasses.asdict(self)


def library_versions() -> dict[str, str]:
    """Versions of edgenas, torch, onnx and onnxruntime, for a manifest."""
    versions = {"edgenas": _edgenas_version()}
    return versions | {name: importlib.metadata.version(name) for name in ("torch", "onnx", "onnxruntime")}


def _edgenas_version() -> str:
    try:
        return importlib.metadata.version("edgenas")
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def write_bundle(
    folder: Path, *, model: Path, manifest: Manifest, int8_model: Path | None = None, replace: bool = False
) -> Path:
    """Write a bundle: model.onnx, bench.py, run.py, manifest.json, README.md. All of it or nothing.

    Args:
        folder: the bundle, whose parent may be missing.
        model: the exported file, from `export_onnx`.
        manifest: what is known about it; `files` is filled in here.
        int8_model: its int8 form, from `quantise`; it becomes model_int8.onnx.
        replace: whether a former bundle in `folder` may be replaced. Any other folder is never touched.

    Raises:
        UncalibratedError: the model was exported for timing, or was never calibrated.
        ParityError: the model is of another arch than the manifest's.
        RunFolderError: `folder` exists and may not be replaced.
    """
    models = {MODEL: model} | ({INT8_MODEL: int8_model} if int8_model else {})
    for path in models.values():
        _check_model(path, manifest)
    check_free(folder, replace)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as temporary:
        fresh, old = Path(temporary) / "new", Path(temporary) / "old"
        _fill(fresh, models, manifest)
        if folder.exists():
            folder.rename(old)
        try:
            fresh.rename(folder)
        except OSError:
            if old.exists():
                old.rename(folder)
            raise
    return folder


def _fill(folder: Path, models: Mapping[str, Path], manifest: Manifest) -> None:
    for name, model in models.items():
        write_bytes(folder / name, model.read_bytes())
    for name in KIT:
        write_bytes(folder / name, (shipped("export") / name).read_bytes())
    write_text(folder / "README.md", _readme(manifest))
    sums = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}
    write_json(folder / MANIFEST, dataclasses.replace(manifest, files=sums).to_json())


def _readme(manifest: Manifest) -> str:
    parts = [README.format(name=manifest.name)]
    if manifest.int8:
        notes = [*manifest.int8["notes"], *_meant_for(manifest.deployed)]
        parts.append(INT8_README.format(notes="\n".join(f"- {note}" for note in notes)))
    if manifest.preprocessing_included:
        parts.append(EMBEDDED_README.format(size=manifest.preprocess["size"]))
    if manifest.batch != 1:
        parts.append(OPEN_BATCH_README)
    return "".join(parts)


def _meant_for(deployed: Mapping[str, str]) -> list[str]:
    return [f"the file for {device}: `{model}`" for device, model in deployed.items()]


def _check_model(model: Path, manifest: Manifest) -> None:
    metadata = model_metadata(model)
    if metadata.get("calibrated") != "true" or metadata.get("for_timing") == "true":
        raise UncalibratedError(
            f"{model} was exported for timing or from an uncalibrated subnet and must not be deployed: "
            "export the subnet that edgenas.materialise(net, arch, images) returns"
        )
    if metadata["arch"] != manifest.arch:
        raise ParityError(f"{model} is arch {metadata['arch']}, the manifest is about {manifest.arch}")


def check_free(folder: Path, replace: bool) -> None:
    """Refuse a folder that no bundle may be written to.

    Raises:
        RunFolderError: it holds what is no part of a bundle, or a bundle that may not be replaced.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    foreign = _foreign_files(folder)
    if foreign:
        raise RunFolderError(
            f"{folder} exists and holds what is no part of a bundle ({', '.join(foreign[:5])}): "
            "move that away or choose another folder"
        )
    if not replace:
        raise RunFolderError(f"{folder} already holds a bundle: ask to replace it, or choose another folder")


def _foreign_files(folder: Path) -> list[str]:
    """What in an existing folder no former export of ours wrote."""
    try:
        ours = {*read_json(folder / MANIFEST)["files"], MANIFEST, "__pycache__"}
    except (UserError, KeyError, TypeError, NotADirectoryError):
        ours = set()
    names = [folder.name] if folder.is_file() else [path.name for path in folder.iterdir()]
    return sorted(set(names) - ours)
