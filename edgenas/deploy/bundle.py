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
MODEL = "model.onnx"
MANIFEST = "manifest.json"

README = """# {name}

Pictures to labels with ONNX Runtime. Needs Python 3.9 or newer and `pip install numpy onnxruntime pillow`.

    python run.py model.onnx picture.png
    python bench.py model.onnx

The first prints the classes of a picture, the second how long the model takes on this machine (needs no
pillow). `manifest.json` says which network this is, how pictures are prepared for it, how accurate it is, and
what was measured where.
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


def write_bundle(folder: Path, *, model: Path, manifest: Manifest, replace: bool = False) -> Path:
    """Write a bundle: model.onnx, bench.py, run.py, manifest.json, README.md. All of it or nothing.

    Args:
        folder: the bundle, whose parent may be missing.
        model: the exported file, from `export_onnx`.
        manifest: what is known about it; `files` is filled in here.
        replace: whether a former bundle in `folder` may be replaced. Any other folder is never touched.

    Raises:
        UncalibratedError: the model was exported for timing, or was never calibrated.
        ParityError: the model is of another arch than the manifest's.
        RunFolderError: `folder` exists and may not be replaced.
    """
    _check_model(model, manifest)
    _check_free(folder, replace)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as temporary:
        fresh, old = Path(temporary) / "new", Path(temporary) / "old"
        _fill(fresh, model, manifest)
        if folder.exists():
            folder.rename(old)
        try:
            fresh.rename(folder)
        except OSError:
            if old.exists():
                old.rename(folder)
            raise
    return folder


def _fill(folder: Path, model: Path, manifest: Manifest) -> None:
    write_bytes(folder / MODEL, model.read_bytes())
    for name in KIT:
        write_bytes(folder / name, (shipped("export") / name).read_bytes())
    write_text(folder / "README.md", README.format(name=manifest.name))
    sums = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}
    write_json(folder / MANIFEST, dataclasses.replace(manifest, files=sums).to_json())


def _check_model(model: Path, manifest: Manifest) -> None:
    metadata = model_metadata(model)
    if metadata.get("calibrated") != "true" or metadata.get("for_timing") == "true":
        raise UncalibratedError(
            f"{model} was exported for timing or from an uncalibrated subnet and must not be deployed: "
            "export the subnet that edgenas.materialise(net, arch, images) returns"
        )
    if metadata["arch"] != manifest.arch:
        raise ParityError(f"{model} is arch {metadata['arch']}, the manifest is about {manifest.arch}")


def _check_free(folder: Path, replace: bool) -> None:
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
