#!/usr/bin/env python3
"""Verify a bundle on a device: one file, Python 3.9 or newer, NumPy and ONNX Runtime.

    python verify.py [BUNDLE] [--budget 8ms] [--digest HEX] [--json]

BUNDLE is a folder or a zip, by default the folder of this file. The script checks the manifest's own digest and every
file's SHA-256. Each model must load, be the manifest's network and have its shapes, and its outputs for the sample
inputs of `samples.npz` must equal those at the export. With --budget, the bundle's `bench.py` times the deployed model
on this machine, in the setting it was measured in. Files with a wrong SHA-256 are not run.

Digests detect damaged, mixed-up and edited files. To detect an edited manifest whose digest was edited too, pass the
digest that the export printed: --digest, all 64 hexadecimal digits or at least the first 12.

A zip is read in memory; paths out of it, links, encryption and zip bombs are refused. Exit code 0: all checks passed.
1: a check failed. 2: wrong usage. 3: a package is missing.
"""

from __future__ import annotations

import sys

if __name__ == "__main__" and not (sys.flags.isolated or getattr(sys.flags, "safe_path", False)):
    # The folder of this file may contain someone's own random.py. Python before 3.11 has no option against it.
    del sys.path[0]

import argparse
import hashlib
import io
import json
import os
import platform
import re
import stat
import struct
import subprocess
import tempfile
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# Read by ONNX Runtime at import; without it, it writes an id into the home folder, and a thread sends reports.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

try:
    import numpy as np
    import onnxruntime as ort
except ImportError as missing:
    print(
        f"verify: {missing}: this needs Python 3.9 or newer (this is {platform.python_version()}) and two packages:\n"
        f"    {sys.executable or 'python3'} -m pip install numpy onnxruntime",
        file=sys.stderr,
    )
    sys.exit(3)

SCHEMA_VERSION = 1
MANIFEST, SAMPLES, TIMER = "manifest.json", "samples.npz", "bench.py"
NAME = re.compile(r"\w[\w. -]{0,99}")
REQUIRED_KEYS = {"schema_version", "arch", "classes", "preprocess", "files", "samples", "digest"}
MAX_BYTES = 2**31
"""Largest size of a file, and of all files of a zip: no ONNX file is larger."""
MAX_MANIFEST_BYTES = 2**24
MAX_SAMPLES_BYTES = 2**27
MAX_ENTRIES = 100
MAX_RATIO = 100
"""Largest ratio of unpacked to packed size of a zip entry above `MIN_RATIO_BYTES`. Weights hardly compress."""
MIN_RATIO_BYTES = 2**20
ROUNDS = 40
INT8_MODEL = "model_int8.onnx"
SETTING = ("threads", "provider", "optimisation_level", "spinning")
DIGEST = re.compile(r"[0-9a-fA-F]{12,64}")
UNITS_MS = {"us": 1e-3, "µs": 1e-3, "ms": 1.0, "s": 1e3}
BUDGET = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)\s?(us|µs|ms|s)(?:@(p50|p95))?")


class CheckFailed(Exception):
    """A check of the bundle failed; the message is one line."""


class UsageError(Exception):
    """The arguments make no sense; the message is one line."""


# ---------------------------------------------------------------- folders and zips


class Folder:
    """A bundle as a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def names(self) -> list[str]:
        """Return the names of its files, except for hidden files and Python's cache."""
        names = (entry.name for entry in self.path.iterdir())
        return sorted(name for name in names if name != "__pycache__" and name[0] != ".")

    def read(self, name: str, most: int = MAX_BYTES) -> bytes:
        """Return the bytes of a file.

        Raises:
            CheckFailed: it is missing, not a plain file, or too large.
        """
        try:
            with open(self.path / name, "rb", opener=_without_waiting) as stream:
                status = os.fstat(stream.fileno())
                if not stat.S_ISREG(status.st_mode):
                    raise CheckFailed(f"{name} is not a plain file")
                data = stream.read(min(status.st_size, most) + 1)
        except OSError as error:
            raise CheckFailed(f"{name} cannot be read: {error.strerror}") from None
        if len(data) > most:
            raise CheckFailed(f"{name} is larger than {most:,} bytes")
        return data


def _without_waiting(path: Any, flags: int) -> int:
    """Open a file without blocking, which a named pipe without a writer would do."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


class Zip:
    """A bundle as a zip, with its files at the top or all in one folder. Nothing is unpacked to disk."""

    def __init__(self, path: Path, max_bytes: int = MAX_BYTES) -> None:
        try:
            self.archive = zipfile.ZipFile(path)
            self.entries = _entries(self.archive, max_bytes)
        except OSError as error:
            raise CheckFailed(f"{path} cannot be read: {error.strerror or error}") from None
        except (zipfile.BadZipFile, NotImplementedError, ValueError, EOFError, struct.error) as error:
            raise CheckFailed(f"{path} is not a readable zip: {error}") from None

    def names(self) -> list[str]:
        """Return the names of its files."""
        return sorted(self.entries)

    def read(self, name: str, most: int = MAX_BYTES) -> bytes:
        """Return the bytes of a file.

        Raises:
            CheckFailed: it is missing, broken, or too large.
        """
        if name not in self.entries:
            raise CheckFailed(f"{name} cannot be read: No such file in the zip")
        if self.entries[name].file_size > most:
            raise CheckFailed(f"{name} is larger than {most:,} bytes")
        try:
            # Never more than the stated size, which was checked before.
            with self.archive.open(self.entries[name]) as stream:
                return stream.read(most)
        except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, OSError, zlib.error) as error:
            raise CheckFailed(f"{name} is broken in the zip: {error}") from None


def _entries(archive: zipfile.ZipFile, max_bytes: int) -> dict[str, zipfile.ZipInfo]:
    """Return the entries by file name, after checking that all are harmless.

    Raises:
        CheckFailed: there are too many or too large entries, links, encrypted entries, or paths out of the zip.
    """
    entries = archive.infolist()
    if len(entries) > MAX_ENTRIES:
        raise CheckFailed(f"the zip has {len(entries)} entries, expected at most {MAX_ENTRIES}")
    total = sum(entry.file_size for entry in entries)
    if total > max_bytes:
        raise CheckFailed(f"the zip unpacks to {total:,} bytes, expected at most {max_bytes:,}")
    by_name: dict[str, zipfile.ZipInfo] = {}
    folders = set()
    for entry in entries:
        shown = repr(entry.orig_filename[:100])
        parts = entry.orig_filename.rstrip("/").split("/")
        if not all(NAME.fullmatch(part) for part in parts) or len(parts) > 2:
            raise CheckFailed(f"the zip has an entry {shown}: a bundle has plain file names in one folder")
        if stat.S_ISLNK(entry.external_attr >> 16):
            raise CheckFailed(f"the zip has a link, {shown}: a bundle has none")
        if entry.flag_bits & 0x1:
            raise CheckFailed(f"the zip has an encrypted entry, {shown}: a bundle has none")
        if entry.file_size > MIN_RATIO_BYTES and entry.file_size > MAX_RATIO * entry.compress_size:
            raise CheckFailed(
                f"the zip's {shown} unpacks to {entry.file_size / max(entry.compress_size, 1):.0f} times its size"
            )
        folders.add(parts[0] if len(parts) == 2 or entry.is_dir() else "")
        if entry.is_dir():
            continue
        if parts[-1].lower() in map(str.lower, by_name):
            raise CheckFailed(f"the zip has {shown} twice")
        by_name[parts[-1]] = entry
    if len(folders) > 1:
        raise CheckFailed(f"the zip has several folders ({', '.join(sorted(folders))}): a bundle is one")
    return by_name


def open_bundle(path: Path) -> Any:
    """Open a bundle as a folder or a zip.

    Raises:
        UsageError: there is no such folder or file.
        CheckFailed: the zip is not safe to read.
    """
    if path.is_dir():
        return Folder(path)
    if path.is_file():
        return Zip(path)
    raise UsageError(f"{path}: no such folder or zip")


# ---------------------------------------------------------------- the manifest and the files


def read_manifest(files: Any) -> dict[str, Any]:
    """Read the manifest and check its digest and the fields that this script needs.

    Raises:
        CheckFailed: it is missing, broken, edited, or of a newer schema.
    """
    try:
        manifest = json.loads(files.read(MANIFEST, MAX_MANIFEST_BYTES).decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise CheckFailed(f"{MANIFEST} is not valid JSON: {str(error)[:200]}") from None
    if not isinstance(manifest, dict):
        raise CheckFailed(f"{MANIFEST}: expected a JSON object")
    version = manifest.get("schema_version")
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise CheckFailed(f"{MANIFEST} has schema {version}, expected 1 to {SCHEMA_VERSION}: use its own verify.py")
    missing_keys = sorted(REQUIRED_KEYS - set(manifest))
    if missing_keys or not isinstance(version, int):
        raise CheckFailed(
            f"{MANIFEST} lacks {', '.join(missing_keys) or 'a schema_version'}: it is not a bundle's manifest"
        )
    if not isinstance(manifest["digest"], str) or digest_of(manifest) != manifest["digest"]:
        raise CheckFailed(f"{MANIFEST} was changed: its digest differs from the one it states")
    if not isinstance(manifest["files"], dict) or not all(map(NAME.fullmatch, manifest["files"])):
        raise CheckFailed(f"{MANIFEST} lists names that are not plain file names")
    return manifest


def check_digest(text: str) -> None:
    """Refuse a malformed digest, or one with too few digits.

    Raises:
        UsageError: it is not 12 to 64 hexadecimal digits.
    """
    if not DIGEST.fullmatch(text):
        raise UsageError(
            f"--digest: expected 12 to 64 hexadecimal digits, as the export printed them, got {text[:80]!r}"
        )


def check_pinned(manifest: dict[str, Any], digest: str) -> None:
    """Refuse a manifest whose digest does not begin with the given digits.

    Raises:
        CheckFailed: the digests differ.
    """
    if not manifest["digest"].startswith(digest.lower()):
        raise CheckFailed(f"the manifest's digest is {manifest['digest']}, expected {digest}")


def digest_of(manifest: dict[str, Any]) -> str:
    """Return the SHA-256 of a manifest without its digest."""
    rest = {key: value for key, value in manifest.items() if key != "digest"}
    try:
        text = json.dumps(rest, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except ValueError:
        raise CheckFailed(f"{MANIFEST} contains NaN or infinity") from None
    return hashlib.sha256(text.encode("utf-8", errors="surrogatepass")).hexdigest()


def check_file(files: Any, name: str, expected: str) -> str:
    """Check the SHA-256 of a file, and return the message for a good one.

    Raises:
        CheckFailed: it differs.
    """
    data = files.read(name)
    actual = hashlib.sha256(data).hexdigest()
    if actual != expected:
        raise CheckFailed(
            f"{name} is not the file that was bundled (SHA-256 {actual[:12]}…, expected {str(expected)[:12]}…)"
        )
    return f"{name} is the file that was bundled ({len(data):,} bytes)"


# ---------------------------------------------------------------- the models


def check_model(files: Any, name: str, manifest: dict[str, Any]) -> str:
    """Run a model on the sample inputs, and return the message for a good one.

    Raises:
        CheckFailed: it cannot be loaded, is another network, or gives other outputs.
    """
    session = load(files.read(name), name)
    arch = session.get_modelmeta().custom_metadata_map.get("edgenas.arch")
    if arch != manifest["arch"]:
        raise CheckFailed(f"{name} is network {arch}, the manifest is about {manifest['arch']}")
    check_shapes(session, name, manifest)
    check_preprocess(manifest["preprocess"])
    images, expected = samples(files, name)
    tolerance = float(manifest["samples"]["tolerance"][name])
    takes_bytes = session.get_inputs()[0].type == "tensor(uint8)"
    inputs = images if takes_bytes else normalised(images, manifest["preprocess"])
    # One at a time, as the model is measured and used.
    outputs = np.concatenate([run_one(session, inputs[row : row + 1], name) for row in range(len(inputs))])
    if outputs.shape != expected.shape:
        raise CheckFailed(f"{name}: expected outputs of shape {expected.shape}, got {outputs.shape}")
    worst = float(np.abs(outputs - expected).max())
    if not worst <= tolerance:
        changed = int((outputs.argmax(1) != expected.argmax(1)).sum())
        raise CheckFailed(
            f"{name} computes different outputs on this machine: one differs by {worst:.3g} (allowed {tolerance:.3g}), "
            f"{changed} of {len(outputs)} samples get another class, by onnxruntime {ort.__version__} on "
            f"{platform.machine()}"
        )
    return (
        f"{name} gives {len(outputs)} samples the expected outputs (greatest difference {worst:.2g} of {tolerance:.2g})"
    )


def load(model: bytes, name: str) -> Any:
    """Return a session of a model.

    Raises:
        CheckFailed: the file is broken, or the runtime lacks an operator or opset of it.
    """
    ort.set_default_logger_severity(4)
    try:
        return ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    # ONNX Runtime's exceptions have no public common base.
    except Exception as error:
        raise CheckFailed(
            f"{name} cannot be loaded by onnxruntime {ort.__version__}: {runtime_message(error)}"
        ) from None


def runtime_message(error: Exception) -> str:
    """Return the runtime's message, without the positions in its source code."""
    text = " ".join(str(error).split())
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : (Load model from .*? failed:)?", "", text)
    return re.sub(r"\S+\.(?:h|cc|cpp):\d+ .*?\) (?=[A-Z])", "", text).rstrip(".")[:300]


def check_shapes(session: Any, name: str, manifest: dict[str, Any]) -> None:
    """Refuse a model whose input or output shape differs from the manifest."""
    size, classes = manifest["preprocess"]["size"], len(manifest["classes"])
    source, target = session.get_inputs()[0], session.get_outputs()[0]
    shapes = ([size, size, 3] if source.type == "tensor(uint8)" else [3, size, size], [classes])
    if (list(source.shape[1:]), list(target.shape[1:])) != shapes:
        raise CheckFailed(
            f"{name} takes {source.shape} and gives {target.shape}, "
            f"the manifest states {size} pixels, {classes} classes"
        )


def check_preprocess(preprocess: dict[str, Any]) -> None:
    """Refuse invalid preprocessing, which the samples do not detect: they are pixels already."""
    crop, presize = preprocess.get("crop", 1.0), preprocess.get("presize")
    cropped = isinstance(crop, (int, float)) and 0 < crop <= 1
    if not cropped or not (presize is None or (isinstance(presize, int) and presize > 0)):
        raise CheckFailed(
            f"{MANIFEST} states crop {crop!r} and presize {presize!r}: expected a crop in (0, 1] and a positive presize"
        )
    order = (preprocess.get("colour_order"), preprocess.get("interpolation"))
    if order != ("RGB", "bilinear"):
        raise CheckFailed(
            f"{MANIFEST} states colour_order {order[0]!r}, interpolation {order[1]!r}: run.py supports RGB and bilinear"
        )


def samples(files: Any, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return sample inputs, uint8 (n, size, size, 3), and a model's outputs at the export, float32 (n, classes)."""
    data = files.read(SAMPLES)
    try:
        # An .npz file is a zip.
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            total = sum(entry.file_size for entry in archive.infolist())
        if total > MAX_SAMPLES_BYTES:
            raise CheckFailed(f"{SAMPLES} unpacks to {total:,} bytes, expected at most {MAX_SAMPLES_BYTES:,}")
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            return arrays["pixels"], arrays[Path(name).stem]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise CheckFailed(f"{SAMPLES} holds no samples for {name}: {error}") from None


def normalised(pixels: np.ndarray, preprocess: dict[str, Any]) -> np.ndarray:
    """Return pixels as float32 (n, 3, size, size): `(pixel / 255 - mean) / std` by channel, as in `run.py`."""
    mean, std = (np.asarray(preprocess[key], dtype=np.float32) for key in ("mean", "std"))
    scaled = (pixels.astype(np.float32) / np.float32(255) - mean) / std
    return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2))


def run_one(session: Any, inputs: np.ndarray, name: str) -> np.ndarray:
    """Return the outputs of a model for one input."""
    try:
        return np.asarray(session.run(None, {session.get_inputs()[0].name: inputs})[0])
    except Exception as error:
        raise CheckFailed(f"{name} cannot be run by onnxruntime {ort.__version__}: {runtime_message(error)}") from None


# ---------------------------------------------------------------- the latency


def parse_budget(text: str) -> tuple[float, str]:
    """Return a budget like `8ms`, `800us` or `8ms@p95` as milliseconds and percentile.

    Raises:
        UsageError: the text has another format.
    """
    match = BUDGET.fullmatch(text)
    if match is None or float(match[1]) <= 0:
        raise UsageError(f"--budget: expected a time like 8ms, 800us or 8ms@p95, got {text!r}")
    return float(match[1]) * UNITS_MS[match[2]], match[3] or "p50"


def deployed_model(manifest: dict[str, Any], device: str | None) -> tuple[str, dict[str, Any]]:
    """Return the model for a device, and the setting its latency was measured in.

    Raises:
        UsageError: the bundle was measured on no device, not on this one, or on several.
        CheckFailed: the manifest lacks the setting.
    """
    models = manifest.get("deployed")
    if not isinstance(models, dict) or not models:
        raise UsageError("--budget: the bundle was measured on no device, so there is no setting to time it in")
    if device is None and len(models) != 1:
        raise UsageError(f"--device: the bundle is for several devices, choose one of {', '.join(sorted(models))}")
    name = device or next(iter(models))
    if name not in models:
        raise UsageError(f"--device: {name!r} is unknown; valid: {', '.join(sorted(models))}")
    model = models[name]
    try:
        facts = manifest["int8"] if model == INT8_MODEL else manifest
        measured_with = facts["latency"][name]["measured_with"]
        setting = {key: measured_with[key] for key in SETTING}
    except (KeyError, TypeError) as error:
        raise CheckFailed(f"{MANIFEST} does not state how {model} was measured on {name}: it lacks {error}") from None
    for needed in (model, TIMER):
        if needed not in manifest["files"]:
            raise CheckFailed(f"{MANIFEST} lists no file {needed!r}: it is not timed")
    if setting["provider"] == "wasm":
        raise UsageError(f"--budget: {name} is a web browser, which this script cannot start: use `edgenas gate`")
    return model, setting


def time_model(files: Any, model: str, setting: dict[str, Any], rounds: int) -> dict[str, Any]:
    """Return the row that the bundle's timer writes for a model, in the setting it was measured in.

    Raises:
        CheckFailed: it could not be timed.
    """
    with tempfile.TemporaryDirectory() as folder:
        for name in (TIMER, model):
            (Path(folder) / name).write_bytes(files.read(name))
        words = [sys.executable, os.path.join(folder, TIMER), os.path.join(folder, model), "--rounds", str(rounds)]
        for key in ("threads", "provider", "optimisation_level"):
            # As one word, so that a value with a leading dash is not read as an option.
            words.append(f"--{key.replace('_', '-')}={setting[key]}")
        words += ["--spinning"] * bool(setting["spinning"])
        null = subprocess.DEVNULL
        done = subprocess.run(words, stdin=null, capture_output=True, text=True, errors="replace", check=False)
    try:
        row = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        raise CheckFailed(
            f"{model} was not timed: {' '.join(done.stderr.split())[-300:] or 'bench.py printed no message'}"
        ) from None
    if "error" in row:
        raise CheckFailed(f"{model} cannot be timed on this machine: {' '.join(str(row['error']).split())[:300]}")
    return dict(row)


def check_latency(row: dict[str, Any], model: str, limit_ms: float, percentile: str) -> str:
    """Compare a row with a budget, and return the message for a row within it.

    Raises:
        CheckFailed: the latency is over the budget.
    """
    value = row["latency_ms"][percentile]
    low, high = row["ci_p50_ms"]
    message = (
        f"{model} takes {value:.3f} ms {percentile} on this machine (p50 {low:.3f} to {high:.3f}), "
        f"the budget is {limit_ms:g} ms"
    )
    if value > limit_ms:
        raise CheckFailed(message)
    return message


# ---------------------------------------------------------------- all checks


class Report:
    """The results of all checks, in order."""

    def __init__(self) -> None:
        self.checks: list[dict[str, Any]] = []

    def check(self, name: str, function: Any, *arguments: Any) -> bool:
        """Run one check and store its result.

        Raises:
            UsageError: the arguments make no sense.
        """
        try:
            message, ok = function(*arguments), True
        except CheckFailed as failure:
            message, ok = str(failure), False
        except UsageError:
            raise
        # A bundle may be broken in unforeseen ways; a traceback would not help the user more than this message.
        except Exception as error:
            message, ok = f"{name} cannot be checked: {type(error).__name__}: {str(error)[:300]}", False
        self.checks.append({"check": name, "ok": ok, "message": message})
        return ok

    @property
    def ok(self) -> bool:
        """Whether all checks passed."""
        return all(check["ok"] for check in self.checks)


def verify(path: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Run all checks of a bundle.

    Raises:
        UsageError: the arguments make no sense.
    """
    report = Report()
    result: dict[str, Any] = {"bundle": str(path)}
    budget = parse_budget(args.budget) if args.budget else None
    if args.digest:
        check_digest(args.digest)
    opened: dict[str, Any] = {}

    def manifest_read() -> str:
        opened["files"] = open_bundle(path)
        opened["manifest"] = read_manifest(opened["files"])
        if args.digest:
            check_pinned(opened["manifest"], args.digest)
        return f"{MANIFEST} is intact, digest {opened['manifest']['digest']}"

    if report.check(MANIFEST, manifest_read):
        files, manifest = opened["files"], opened["manifest"]
        result["digest"] = manifest["digest"]
        check_contents(report, files, manifest)
        unlisted = sorted(set(files.names()) - set(manifest["files"]) - {MANIFEST})
        result["unlisted_files"] = unlisted
        if budget and report.ok:
            opened["row"] = None

            def timed() -> str:
                model, setting = deployed_model(manifest, args.device)
                opened["row"] = time_model(files, model, setting, args.rounds)
                return check_latency(opened["row"], model, *budget)

            report.check("budget", timed)
            result["measured"] = opened["row"] and {
                key: opened["row"][key] for key in ("latency_ms", "ci_p50_ms", "warnings")
            }
    return {**result, "ok": report.ok, "checks": report.checks}


def check_contents(report: Report, files: Any, manifest: dict[str, Any]) -> None:
    """Check every file, and run every model whose file and samples are intact."""
    intact = {
        name: report.check(name, check_file, files, name, digest) for name, digest in sorted(manifest["files"].items())
    }
    models = [name for name in intact if name.endswith(".onnx")]
    if not models:
        report.checks.append({"check": "model", "ok": False, "message": "the bundle contains no model"})
    for name in models:
        if intact[name] and intact.get(SAMPLES):
            report.check(f"{name}, run", check_model_safely, files, name, manifest)


def check_model_safely(files: Any, name: str, manifest: dict[str, Any]) -> str:
    """Call `check_model`; a manifest that lacks a value it needs fails the check."""
    try:
        return check_model(files, name, manifest)
    except KeyError as error:
        raise CheckFailed(f"{MANIFEST} lacks {error}, which the check of {name} needs") from None
    except (TypeError, AttributeError) as error:
        raise CheckFailed(f"{MANIFEST} has invalid values for the check of {name}: {error}") from None


def print_report(result: dict[str, Any]) -> None:
    """Print a line for each check, failed checks last."""
    for check in sorted(result["checks"], key=lambda check: not check["ok"]):
        print(f"{'ok  ' if check['ok'] else 'FAIL'}  {printable(check['message'])}")
    if result.get("unlisted_files"):
        print(f"      not listed in the manifest, and not checked: {', '.join(map(ascii, result['unlisted_files']))}")
    for warning in (result.get("measured") or {}).get("warnings", []):
        print(f"      warning: {printable(warning)}")
    failed, count = sum(not check["ok"] for check in result["checks"]), len(result["checks"])
    print(f"{failed} of {count} checks failed" if failed else f"all {count} checks passed")


def printable(text: str) -> str:
    """Return text on one line, without control characters: a bundle may come from anyone."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    command = argparse.ArgumentParser(
        description="Verify that a bundle is intact and computes the expected outputs on this machine."
    )
    beside = Path(__file__).resolve().parent
    command.add_argument(
        "bundle", nargs="?", type=Path, default=beside, help="folder or zip (default: the folder of this file)"
    )
    command.add_argument("--budget", help="time the deployed model on this machine: 8ms, 800us, 8ms@p95")
    command.add_argument(
        "--device", help="the device whose model and setting --budget uses; needed if there are several"
    )
    command.add_argument("--rounds", type=int, default=ROUNDS, help=f"rounds of the timer (default {ROUNDS})")
    command.add_argument("--digest", help="the manifest's digest, as the export printed it, or its first 12 digits")
    command.add_argument("--json", action="store_true", help="print one JSON object instead of lines")
    return command


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; 0: all checks passed, 1: a check failed, 2: wrong usage."""
    args = parser().parse_args(argv)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        if args.rounds < 1:
            raise UsageError(f"--rounds: expected a number from 1, got {args.rounds}")
        result = verify(args.bundle, args)
    except UsageError as error:
        print(f"verify: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("verify: stopped", file=sys.stderr)
        return 130
    # A bundle may be broken in unforeseen ways; a traceback would not help the user more than this message.
    except Exception as error:
        print(f"verify: the bundle cannot be checked: {type(error).__name__}: {str(error)[:300]}", file=sys.stderr)
        return 1
    if args.json:
        print(json.dumps(result, ensure_ascii=False))
    else:
        print_report(result)
    return 0 if result["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
