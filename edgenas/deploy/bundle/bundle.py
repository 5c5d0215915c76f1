"""Bundles: folders with the models, the scripts that run, time and verify them on a device, and a manifest."""

from __future__ import annotations

import hashlib
import io
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

from edgenas.archives import zip_entry
from edgenas.deploy.bundle.manifest import Manifest
from edgenas.deploy.bundle.model_card import model_card, readme
from edgenas.deploy.bundle.samples import SAMPLES, make_samples
from edgenas.deploy.onnx.exporter import model_metadata
from edgenas.errors import ParityError, RunFolderError, UncalibratedError, UserError, shortened
from edgenas.files import read_json, shipped, write_bytes, write_text

KIT = ("bench.py", "run.py", "verify.py")
MODEL, INT8_MODEL = "model.onnx", "model_int8.onnx"
MANIFEST = "manifest.json"


def write_bundle(
    folder: Path, *, model: Path, manifest: Manifest, int8_model: Path | None = None, replace: bool = False
) -> Path:
    """Write a bundle atomically, with models, samples, the kit, manifest.json, README.md and MODEL_CARD.md.

    Args:
        folder: folder of the bundle. Its parent is created if it is missing.
        model: file that `export_onnx` wrote.
        manifest: manifest of the model, without `samples`, `files` and `digest`, which are filled in.
        int8_model: int8 file that `quantise` wrote, which becomes model_int8.onnx; None for none.
        replace: whether an existing bundle in `folder` may be replaced. Any other folder is never changed.

    Raises:
        UncalibratedError: the model was exported for timing, or was not calibrated.
        ParityError: the architectures of the model and of the manifest differ.
        RunFolderError: `folder` exists and must not be replaced.
    """
    models = {MODEL: model} | ({INT8_MODEL: int8_model} if int8_model else {})
    for path in models.values():
        _check_model(path, manifest)
    check_free(folder, replace)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as temporary:
        new, old = Path(temporary) / "new", Path(temporary) / "old"
        _fill(new, models, manifest)
        if folder.exists():
            folder.rename(old)
        try:
            new.rename(folder)
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
    data, samples = make_samples({name: folder / name for name in models}, manifest.preprocess)
    write_bytes(folder / SAMPLES, data)
    write_text(folder / "README.md", readme(manifest))
    write_text(folder / "MODEL_CARD.md", model_card(manifest))
    sums = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}
    manifest.model_copy(update={"samples": samples, "files": sums}).sealed().write(folder / MANIFEST)


def read_bundle(folder: Path) -> Manifest:
    """Return the manifest of a bundle.

    Raises:
        RunFolderError: a value is missing or wrong.
        UserError: the folder is not a bundle.
    """
    return Manifest.read(folder / MANIFEST, "export again")


def zip_bundle(folder: Path, path: Path) -> Path:
    """Write a bundle as a zip, atomically. Equal bundles give equal bytes.

    Args:
        folder: folder of the bundle. Other files in it are not included.
        path: path of the zip. Its name without `.zip` is the name of the folder inside. An existing zip of a bundle is
            replaced.

    Raises:
        RunFolderError: the path is not valid, see `check_zip_free`.
        UserError: the folder is not a bundle.
    """
    check_zip_free(path)
    names = [MANIFEST, *read_bundle(folder).files]
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.writestr(zip_entry(f"{path.stem}/{name}"), (folder / name).read_bytes())
    write_bytes(path, stream.getvalue())
    return path


def check_zip_free(path: Path) -> None:
    """Raise an error unless a bundle's zip may be written to `path`.

    Raises:
        RunFolderError: the name does not end in .zip, or another file exists at the path.
    """
    if path.suffix != ".zip":
        raise RunFolderError(f"{path}: expected a file name that ends in .zip")
    if path.exists() and not _is_bundle_zip(path):
        raise RunFolderError(f"{path} exists and is not the zip of a bundle: move it or choose another name")


def _is_bundle_zip(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.rpartition("/")[2] == MANIFEST for name in archive.namelist())
    except (OSError, zipfile.BadZipFile):
        return False


def _check_model(model: Path, manifest: Manifest) -> None:
    metadata = model_metadata(model)
    if metadata.get("calibrated") != "true" or metadata.get("for_timing") == "true":
        raise UncalibratedError(
            f"{model} was exported for timing or from an uncalibrated subnet and must not be deployed: "
            "export the subnet that edgenas.materialise(net, arch, images) returns"
        )
    arch = manifest.arch.id
    if metadata["arch"] != arch:
        raise ParityError(f"{model}: expected the manifest's architecture {arch}, got {metadata['arch']}")


def check_free(folder: Path, replace: bool) -> None:
    """Raise an error unless a bundle may be written to `folder`.

    Raises:
        RunFolderError: the folder has files that do not belong to a bundle, or a bundle that must not be replaced.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    foreign = _foreign_files(folder)
    if foreign:
        raise RunFolderError(
            f"{folder} exists and has files that do not belong to a bundle ({shortened(foreign)}): "
            "move them or choose another folder"
        )
    if not replace:
        raise RunFolderError(f"{folder} already has a bundle: ask to replace it, or choose another folder")


def _foreign_files(folder: Path) -> list[str]:
    """Return the names in an existing folder that do not belong to a bundle."""
    try:
        exported = {*read_json(folder / MANIFEST)["files"], MANIFEST, "__pycache__"}
    except (UserError, KeyError, TypeError, NotADirectoryError):
        exported = set()
    names = [folder.name] if folder.is_file() else [path.name for path in folder.iterdir()]
    return sorted(set(names) - exported)
