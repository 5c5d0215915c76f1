"""Web page that runs a bundle's model in browsers, as a folder for any static server."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

from edgenas.deploy.bundle.bundle import INT8_MODEL, MODEL, read_bundle
from edgenas.deploy.bundle.manifest import Manifest
from edgenas.errors import RunFolderError, UserError, shortened
from edgenas.files import shipped, write_bytes, write_json

PAGE = ("index.html", "page.js")
DESCRIPTION = "model.json"
RUNTIME_FILES = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
RUNTIME_FOLDER = "runtime"
RUNTIME_URL = "https://cdn.jsdelivr.net/npm/onnxruntime-web@1.30.0/dist/"
"""URL that the page loads the runtime from if the folder has none."""


def write_web(bundle: Path, out: Path, runtime: Path | None = None) -> Path:
    """Write the web page of a bundle: index.html, page.js, model.json, the model, and the runtime if it is given.

    Args:
        bundle: folder of the bundle.
        out: folder of the page. An existing page is replaced.
        runtime: `dist` folder of onnxruntime-web; without it the page loads the runtime from a public server.

    Returns:
        Folder of the page.

    Raises:
        RunFolderError: `out` has files that do not belong to a page.
        UserError: the bundle or the runtime lacks a file.
    """
    check_web_free(out)
    manifest = read_bundle(bundle)
    model = _model(manifest)
    if runtime:
        _check_runtime(runtime)
    description = {
        "name": manifest.name,
        "arch": manifest.arch.id,
        "classes": manifest.classes,
        "preprocess": dataclasses.asdict(manifest.preprocess),
        "model": model,
        "takes_bytes": manifest.preprocessing_included,
        "runtime": (f"{RUNTIME_FOLDER}/" if runtime else RUNTIME_URL) + RUNTIME_FILES[0],
    }
    for name in PAGE:
        write_bytes(out / name, (shipped("export") / "web" / name).read_bytes())
    write_bytes(out / model, (bundle / model).read_bytes())
    if runtime:
        (out / RUNTIME_FOLDER).mkdir(exist_ok=True)
        for name in RUNTIME_FILES:
            shutil.copyfile(runtime / name, out / RUNTIME_FOLDER / name)
    write_json(out / DESCRIPTION, description)
    return out


def _model(manifest: Manifest) -> str:
    """Return the file name of the model, which is the int8 file if all devices of the run use it."""
    return INT8_MODEL if set(manifest.deployed.values()) == {INT8_MODEL} else MODEL


def _check_runtime(runtime: Path) -> None:
    missing = [name for name in RUNTIME_FILES if not (runtime / name).is_file()]
    if missing:
        raise UserError(
            f"{runtime} lacks {', '.join(missing)}: expected the folder node_modules/onnxruntime-web/dist that "
            "`npm install onnxruntime-web` makes"
        )


def check_web_free(out: Path) -> None:
    """Raise an error unless a page may be written to `out`.

    Raises:
        RunFolderError: the folder has files that do not belong to a page.
    """
    if not out.exists():
        return
    names = {*PAGE, DESCRIPTION, MODEL, INT8_MODEL, RUNTIME_FOLDER}
    foreign = [out.name] if out.is_file() else sorted({path.name for path in out.iterdir()} - names)
    if foreign:
        raise RunFolderError(
            f"{out} exists and has files that do not belong to a page ({shortened(foreign)}): choose another folder"
        )
