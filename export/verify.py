#!/usr/bin/env python3
"""Prove a bundle where it lies: one file, Python 3.9 or newer, NumPy and ONNX Runtime.

    python verify.py [BUNDLE] [--budget 8ms] [--digest HEX] [--json]

BUNDLE is a folder or a zip, by default the folder this file lies in. Checked are the manifest's own digest, every
file's SHA-256, that each model loads, is of the manifest's network and has its shapes, and that it gives the sample
inputs of `samples.npz` the outputs that it gave where it was made. With --budget the deployed model is timed here by
the bundle's `bench.py`, in the setting it was measured in. A file that is not the one that was bundled is not run.

Digests show what was damaged, mixed up or edited. Who wants to be sure against somebody who edits the manifest, too,
compares its digest with the one that the export printed: --digest, all 64 hexadecimal digits or the first 12 or more.

A zip is read in memory: names that lead out of it, links, encryption and bombs are refused. Exit code 0 when all is
well, 1 when something is off, 2 when what was asked for makes no sense, 3 when a package is missing.
"""

from __future__ import annotations

import sys

if __name__ == "__main__" and not (sys.flags.isolated or getattr(sys.flags, "safe_path", False)):
    # Beside this file may lie somebody's own random.py. Python before 3.11 has no option against it.
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

# ONNX Runtime reads it at its import; else it writes an id into the home folder, and a thread of its own sends reports.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

try:
    import numpy as np
    import onnxruntime as ort
except ImportError as missing:
    print(
        f"verify: {missing}: this needs Python 3.9 or newer (here: {platform.python_version()}) and two packages:\n"
        f"    {sys.executable or 'python3'} -m pip install numpy onnxruntime",
        file=sys.stderr,
    )
    sys.exit(3)

SCHEMA_VERSION = 1
MANIFEST, SAMPLES, TIMER = "manifest.json", "samples.npz", "bench.py"
NAME = re.compile(r"\w[\w. -]{0,99}")
WANTED = {"schema_version", "arch", "classes", "preprocess", "files", "samples", "digest"}
MOST_BYTES = 2**31
"""Of a file, and of all files of a zip: more is no ONNX file."""
MOST_MANIFEST_BYTES = 2**24
MOST_SAMPLES_BYTES = 2**27
MOST_ENTRIES = 100
MOST_RATIO = 100
"""How many times as large as it is packed an entry of a zip may be, above `FREE_BYTES`. Weights hardly pack at all."""
FREE_BYTES = 2**20
ROUNDS = 40
INT8_MODEL = "model_int8.onnx"
SETTING = ("threads", "provider", "optimisation_level", "spinning")
DIGEST = re.compile(r"[0-9a-fA-F]{12,64}")
UNITS_MS = {"us": 1e-3, "µs": 1e-3, "ms": 1.0, "s": 1e3}
BUDGET = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)\s?(us|µs|ms|s)(?:@(p50|p95))?")


class Off(Exception):
    """Something about the bundle is off; the message is one line."""


class UsageError(Exception):
    """What was asked for makes no sense; the message is one line."""


# ---------------------------------------------------------------- where the files are


class Folder:
    """A bundle as a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def names(self) -> list[str]:
        """Files in it; what Python and systems leave there is passed over."""
        return sorted(one.name for one in self.path.iterdir() if one.name != "__pycache__" and one.name[0] != ".")

    def read(self, name: str, most: int = MOST_BYTES) -> bytes:
        """A file's bytes.

        Raises:
            Off: it is missing, no plain file, or too large.
        """
        try:
            with open(self.path / name, "rb", opener=_at_once) as stream:
                status = os.fstat(stream.fileno())
                if not stat.S_ISREG(status.st_mode):
                    raise Off(f"{name} is no plain file")
                data = stream.read(min(status.st_size, most) + 1)
        except OSError as error:
            raise Off(f"{name} cannot be read: {error.strerror}") from None
        if len(data) > most:
            raise Off(f"{name} is larger than {most:,} bytes")
        return data


def _at_once(path: Any, flags: int) -> int:
    """Open a file without waiting for somebody to write, as a named pipe would have it."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


class Zip:
    """A bundle as a zip: its files lie at the top, or all in one folder. Nothing of it is written by this class."""

    def __init__(self, path: Path) -> None:
        try:
            self.archive = zipfile.ZipFile(path)
            self.entries = _entries(self.archive)
        except OSError as error:
            raise Off(f"{path} cannot be read: {error.strerror or error}") from None
        except (zipfile.BadZipFile, NotImplementedError, ValueError, EOFError, struct.error) as error:
            raise Off(f"{path} is no zip that can be read: {error}") from None

    def names(self) -> list[str]:
        """Files in it."""
        return sorted(self.entries)

    def read(self, name: str, most: int = MOST_BYTES) -> bytes:
        """A file's bytes.

        Raises:
            Off: it is missing, broken, or too large.
        """
        if name not in self.entries:
            raise Off(f"{name} cannot be read: No such file in the zip")
        if self.entries[name].file_size > most:
            raise Off(f"{name} is larger than {most:,} bytes")
        try:
            # Never more than the size that the zip states, which was looked at before.
            with self.archive.open(self.entries[name]) as stream:
                return stream.read(most)
        except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, OSError, zlib.error) as error:
            raise Off(f"{name} is broken in the zip: {error}") from None


def _entries(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """Entries by file name, all of them harmless.

    Raises:
        Off: there are too many or too large ones, links, encrypted ones, or names that lead elsewhere.
    """
    entries = archive.infolist()
    if len(entries) > MOST_ENTRIES:
        raise Off(f"the zip has {len(entries)} entries, wanted at most {MOST_ENTRIES}")
    total = sum(entry.file_size for entry in entries)
    if total > MOST_BYTES:
        raise Off(f"the zip unpacks to {total:,} bytes, wanted at most {MOST_BYTES:,}")
    found: dict[str, zipfile.ZipInfo] = {}
    tops = set()
    for entry in entries:
        shown = repr(entry.orig_filename[:100])
        parts = entry.orig_filename.rstrip("/").split("/")
        if not all(NAME.fullmatch(part) for part in parts) or len(parts) > 2:
            raise Off(f"the zip has an entry {shown}: a bundle has plain file names in one folder")
        if stat.S_ISLNK(entry.external_attr >> 16):
            raise Off(f"the zip has a link, {shown}: a bundle has none")
        if entry.flag_bits & 0x1:
            raise Off(f"the zip has an encrypted entry, {shown}: a bundle has none")
        if entry.file_size > FREE_BYTES and entry.file_size > MOST_RATIO * entry.compress_size:
            raise Off(
                f"the zip's {shown} unpacks to {entry.file_size / max(entry.compress_size, 1):.0f} times its size"
            )
        tops.add(parts[0] if len(parts) == 2 or entry.is_dir() else "")
        if entry.is_dir():
            continue
        if parts[-1].lower() in map(str.lower, found):
            raise Off(f"the zip has {shown} twice")
        found[parts[-1]] = entry
    if len(tops) > 1:
        raise Off(f"the zip has several folders ({', '.join(sorted(tops))}): a bundle is one")
    return found


def open_bundle(path: Path) -> Any:
    """The bundle's files.

    Raises:
        UsageError: there is nothing.
        Off: it is a zip that is not safe to read.
    """
    if path.is_dir():
        return Folder(path)
    if path.is_file():
        return Zip(path)
    raise UsageError(f"{path}: no such folder or zip")


# ---------------------------------------------------------------- the manifest and the files


def read_manifest(files: Any) -> dict[str, Any]:
    """The manifest, as far as it is needed here.

    Raises:
        Off: it is missing, broken, edited, or of a newer kind.
    """
    try:
        manifest = json.loads(files.read(MANIFEST, MOST_MANIFEST_BYTES).decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise Off(f"{MANIFEST} is not valid JSON: {str(error)[:200]}") from None
    if not isinstance(manifest, dict):
        raise Off(f"{MANIFEST} holds no JSON object")
    version = manifest.get("schema_version")
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise Off(f"{MANIFEST} has schema {version}, known here are 1 to {SCHEMA_VERSION}: use its own verify.py")
    lacking = sorted(WANTED - set(manifest))
    if lacking or not isinstance(version, int):
        raise Off(f"{MANIFEST} lacks {', '.join(lacking) or 'a schema_version'}: it is no manifest of a bundle")
    if not isinstance(manifest["digest"], str) or digest_of(manifest) != manifest["digest"]:
        raise Off(f"{MANIFEST} was changed: its digest is not the one that it states")
    if not isinstance(manifest["files"], dict) or not all(map(NAME.fullmatch, manifest["files"])):
        raise Off(f"{MANIFEST} names files that are no plain file names")
    return manifest


def check_digest(text: str) -> None:
    """Refuse what is no digest, or too few digits of one to be sure.

    Raises:
        UsageError: it is something else.
    """
    if not DIGEST.fullmatch(text):
        raise UsageError(f"--digest: wanted 12 to 64 hexadecimal digits, as the export printed them, got {text[:80]!r}")


def check_pinned(manifest: dict[str, Any], digest: str) -> None:
    """Refuse a manifest whose digest does not begin with the digits that were asked for.

    Raises:
        Off: it is another.
    """
    if not manifest["digest"].startswith(digest.lower()):
        raise Off(f"the manifest's digest is {manifest['digest']}, wanted {digest}")


def digest_of(manifest: dict[str, Any]) -> str:
    """SHA-256 of all that a manifest says but this."""
    rest = {key: value for key, value in manifest.items() if key != "digest"}
    try:
        text = json.dumps(rest, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except ValueError:
        raise Off(f"{MANIFEST} holds numbers that are none") from None
    return hashlib.sha256(text.encode("utf-8", errors="surrogatepass")).hexdigest()


def check_file(files: Any, name: str, expected: str) -> str:
    """Say that a file is the one that was bundled.

    Raises:
        Off: it is not.
    """
    data = files.read(name)
    found = hashlib.sha256(data).hexdigest()
    if found != expected:
        raise Off(f"{name} is not the file that was bundled (SHA-256 {found[:12]}…, wanted {str(expected)[:12]}…)")
    return f"{name} is the file that was bundled ({len(data):,} bytes)"


# ---------------------------------------------------------------- the models


def check_model(files: Any, name: str, manifest: dict[str, Any]) -> str:
    """Run a model on the sample inputs.

    Raises:
        Off: it cannot be loaded, is another network, or gives other outputs.
    """
    session = load(files.read(name), name)
    arch = session.get_modelmeta().custom_metadata_map.get("edgenas.arch")
    if arch != manifest["arch"]:
        raise Off(f"{name} is network {arch}, the manifest is about {manifest['arch']}")
    check_shapes(session, name, manifest)
    check_reading(manifest["preprocess"])
    images, expected = samples(files, name)
    tolerance = float(manifest["samples"]["tolerance"][name])
    takes_bytes = session.get_inputs()[0].type == "tensor(uint8)"
    inputs = images if takes_bytes else normalised(images, manifest["preprocess"])
    # One at a time, as it is measured and used.
    got = np.concatenate([run_one(session, inputs[place : place + 1], name) for place in range(len(inputs))])
    if got.shape != expected.shape:
        raise Off(f"{name} gives outputs {got.shape}, wanted {expected.shape}")
    worst = float(np.abs(got - expected).max())
    if not worst <= tolerance:
        turned = int((got.argmax(1) != expected.argmax(1)).sum())
        raise Off(
            f"{name} computes something else here: an output differs by {worst:.3g} (allowed {tolerance:.3g}), "
            f"{turned} of {len(got)} samples get another class, by onnxruntime {ort.__version__} on "
            f"{platform.machine()}"
        )
    return f"{name} gives {len(got)} samples the expected outputs (greatest difference {worst:.2g} of {tolerance:.2g})"


def load(model: bytes, name: str) -> Any:
    """A session of a model.

    Raises:
        Off: the runtime lacks an operator or an opset of it, or it is broken.
    """
    ort.set_default_logger_severity(4)
    try:
        return ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    # ONNX Runtime's exceptions have no public common base.
    except Exception as error:
        raise Off(f"{name} cannot be loaded by onnxruntime {ort.__version__}: {said(error)}") from None


def said(error: Exception) -> str:
    """What the runtime says, without the places in its own source that it begins with."""
    text = " ".join(str(error).split())
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : (Load model from .*? failed:)?", "", text)
    return re.sub(r"\S+\.(?:h|cc|cpp):\d+ .*?\) (?=[A-Z])", "", text).rstrip(".")[:300]


def check_shapes(session: Any, name: str, manifest: dict[str, Any]) -> None:
    """Refuse a model that takes or gives something else than the manifest says."""
    size, classes = manifest["preprocess"]["size"], len(manifest["classes"])
    source, target = session.get_inputs()[0], session.get_outputs()[0]
    shapes = ([size, size, 3] if source.type == "tensor(uint8)" else [3, size, size], [classes])
    if (list(source.shape[1:]), list(target.shape[1:])) != shapes:
        raise Off(
            f"{name} takes {source.shape} and gives {target.shape}, the manifest says {size} pixels, {classes} classes"
        )


def check_reading(preprocess: dict[str, Any]) -> None:
    """Refuse a way of reading images that is none: samples are pixels already, and would not show it."""
    crop, presize = preprocess.get("crop", 1.0), preprocess.get("presize")
    cropped = isinstance(crop, (int, float)) and 0 < crop <= 1
    if not cropped or not (presize is None or (isinstance(presize, int) and presize > 0)):
        raise Off(f"{MANIFEST} says crop {crop!r} and presize {presize!r}: no image can be read so")
    known = (preprocess.get("colour_order"), preprocess.get("interpolation"))
    if known != ("RGB", "bilinear"):
        raise Off(
            f"{MANIFEST} says colour_order {known[0]!r}, interpolation {known[1]!r}: run.py knows RGB and bilinear"
        )


def samples(files: Any, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Sample inputs, uint8 (n, size, size, 3), and the outputs that a model gave, float32 (n, classes)."""
    data = files.read(SAMPLES)
    try:
        # It is a zip itself.
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            total = sum(entry.file_size for entry in archive.infolist())
        if total > MOST_SAMPLES_BYTES:
            raise Off(f"{SAMPLES} unpacks to {total:,} bytes, wanted at most {MOST_SAMPLES_BYTES:,}")
        with np.load(io.BytesIO(data), allow_pickle=False) as held:
            return held["pixels"], held[Path(name).stem]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise Off(f"{SAMPLES} holds no samples for {name}: {error}") from None


def normalised(pixels: np.ndarray, preprocess: dict[str, Any]) -> np.ndarray:
    """Pixels to float32 (n, 3, size, size): `(pixel / 255 - mean) / std` by channel, as `run.py` does it."""
    mean, std = (np.asarray(preprocess[key], dtype=np.float32) for key in ("mean", "std"))
    scaled = (pixels.astype(np.float32) / np.float32(255) - mean) / std
    return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2))


def run_one(session: Any, inputs: np.ndarray, name: str) -> np.ndarray:
    """Outputs of a model for one input."""
    try:
        return np.asarray(session.run(None, {session.get_inputs()[0].name: inputs})[0])
    except Exception as error:
        raise Off(f"{name} cannot be run by onnxruntime {ort.__version__}: {said(error)}") from None


# ---------------------------------------------------------------- the latency


def parse_budget(text: str) -> tuple[float, str]:
    """`8ms`, `800us` or `8ms@p95` as milliseconds and percentile.

    Raises:
        UsageError: it is something else.
    """
    match = BUDGET.fullmatch(text)
    if match is None or float(match[1]) <= 0:
        raise UsageError(f"--budget: wanted a time like 8ms, 800us or 8ms@p95, got {text!r}")
    return float(match[1]) * UNITS_MS[match[2]], match[3] or "p50"


def deployed(manifest: dict[str, Any], device: str | None) -> tuple[str, dict[str, Any]]:
    """Which model is meant for a device, and what its latency was measured with.

    Raises:
        UsageError: the bundle was measured on no device, not on this one, or on several.
        Off: the manifest says too little of it.
    """
    known = manifest.get("deployed")
    if not isinstance(known, dict) or not known:
        raise UsageError("--budget: the bundle was measured on no device, so there is no setting to time it in")
    if device is None and len(known) != 1:
        raise UsageError(f"--device: the bundle is for several, say which: {', '.join(sorted(known))}")
    name = device or next(iter(known))
    if name not in known:
        raise UsageError(f"--device: {name!r} is unknown; valid: {', '.join(sorted(known))}")
    model = known[name]
    try:
        told = manifest["int8"] if model == INT8_MODEL else manifest
        setting = told["latency"][name]["measured_with"]
        said = {key: setting[key] for key in SETTING}
    except (KeyError, TypeError) as error:
        raise Off(f"{MANIFEST} does not say how {model} was measured on {name}: it lacks {error}") from None
    for needed in (model, TIMER):
        if needed not in manifest["files"]:
            raise Off(f"{MANIFEST} names no file {needed!r}: it is not timed")
    if said["provider"] == "wasm":
        raise UsageError(f"--budget: {name} is a web browser, which this cannot start: use `edgenas gate`")
    return model, said


def time_model(files: Any, model: str, setting: dict[str, Any], rounds: int) -> dict[str, Any]:
    """The row that the bundle's timer writes of a model, in the setting it was measured in.

    Raises:
        Off: it could not be timed.
    """
    with tempfile.TemporaryDirectory() as folder:
        for name in (TIMER, model):
            (Path(folder) / name).write_bytes(files.read(name))
        words = [sys.executable, os.path.join(folder, TIMER), os.path.join(folder, model), "--rounds", str(rounds)]
        for key in ("threads", "provider", "optimisation_level"):
            # As one word: what begins with a dash is no option of its own.
            words.append(f"--{key.replace('_', '-')}={setting[key]}")
        words += ["--spinning"] * bool(setting["spinning"])
        null = subprocess.DEVNULL
        done = subprocess.run(words, stdin=null, capture_output=True, text=True, errors="replace", check=False)
    try:
        row = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        raise Off(f"{model} was not timed: {' '.join(done.stderr.split())[-300:] or 'bench.py said nothing'}") from None
    if "error" in row:
        raise Off(f"{model} cannot be timed here: {' '.join(str(row['error']).split())[:300]}")
    return dict(row)


def check_latency(row: dict[str, Any], model: str, limit_ms: float, percentile: str) -> str:
    """Say that a budget is met.

    Raises:
        Off: it is not.
    """
    value = row["latency_ms"][percentile]
    low, high = row["ci_p50_ms"]
    told = (
        f"{model} takes {value:.3f} ms {percentile} here (p50 {low:.3f} to {high:.3f}), the budget is {limit_ms:g} ms"
    )
    if value > limit_ms:
        raise Off(told)
    return told


# ---------------------------------------------------------------- all of it


class Report:
    """What was checked, in order."""

    def __init__(self) -> None:
        self.checks: list[dict[str, Any]] = []

    def check(self, name: str, function: Any, *arguments: Any) -> bool:
        """Make one check and keep what it says.

        Raises:
            UsageError: what was asked for makes no sense.
        """
        try:
            text, good = function(*arguments), True
        except Off as off:
            text, good = str(off), False
        except UsageError:
            raise
        # A bundle may be broken in ways nobody thought of; a traceback would say no more than this.
        except Exception as error:
            text, good = f"{name} cannot be checked: {type(error).__name__}: {str(error)[:300]}", False
        self.checks.append({"check": name, "ok": good, "said": text})
        return good

    @property
    def ok(self) -> bool:
        """Whether all is well."""
        return all(check["ok"] for check in self.checks)


def verify(path: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Make all checks of a bundle.

    Raises:
        UsageError: what was asked for makes no sense.
    """
    report = Report()
    found: dict[str, Any] = {"bundle": str(path)}
    budget = parse_budget(args.budget) if args.budget else None
    if args.digest:
        check_digest(args.digest)
    held: dict[str, Any] = {}

    def manifest_read() -> str:
        held["files"] = open_bundle(path)
        held["manifest"] = read_manifest(held["files"])
        if args.digest:
            check_pinned(held["manifest"], args.digest)
        return f"{MANIFEST} is whole, digest {held['manifest']['digest']}"

    if report.check(MANIFEST, manifest_read):
        files, manifest = held["files"], held["manifest"]
        found["digest"] = manifest["digest"]
        check_contents(report, files, manifest)
        strangers = sorted(set(files.names()) - set(manifest["files"]) - {MANIFEST})
        found["not_of_the_bundle"] = strangers
        if budget and report.ok:
            held["row"] = None

            def timed() -> str:
                model, setting = deployed(manifest, args.device)
                held["row"] = time_model(files, model, setting, args.rounds)
                return check_latency(held["row"], model, *budget)

            report.check("budget", timed)
            found["measured"] = held["row"] and {
                key: held["row"][key] for key in ("latency_ms", "ci_p50_ms", "warnings")
            }
    return {**found, "ok": report.ok, "checks": report.checks}


def check_contents(report: Report, files: Any, manifest: dict[str, Any]) -> None:
    """Every file, and every model whose file, samples and manifest are the bundled ones."""
    whole = {
        name: report.check(name, check_file, files, name, digest) for name, digest in sorted(manifest["files"].items())
    }
    models = [name for name in whole if name.endswith(".onnx")]
    if not models:
        report.checks.append({"check": "model", "ok": False, "said": "the bundle holds no model"})
    for name in models:
        if whole[name] and whole.get(SAMPLES):
            report.check(f"{name}, run", checked_model, files, name, manifest)


def checked_model(files: Any, name: str, manifest: dict[str, Any]) -> str:
    """`check_model`, where the manifest has what that needs."""
    try:
        return check_model(files, name, manifest)
    except KeyError as error:
        raise Off(f"{MANIFEST} lacks {error}, which {name} is checked by") from None
    except (TypeError, AttributeError) as error:
        raise Off(f"{MANIFEST} makes no sense where {name} is checked: {error}") from None


def print_found(found: dict[str, Any]) -> None:
    """A line for each check, what is off last."""
    for check in sorted(found["checks"], key=lambda check: not check["ok"]):
        print(f"{'ok ' if check['ok'] else 'OFF'}  {printable(check['said'])}")
    if found.get("not_of_the_bundle"):
        print(f"     not of the bundle, and not looked at: {', '.join(map(ascii, found['not_of_the_bundle']))}")
    for warning in (found.get("measured") or {}).get("warnings", []):
        print(f"     warning: {printable(warning)}")
    off = sum(not check["ok"] for check in found["checks"])
    print(f"{off} of {len(found['checks'])} checks are off" if off else f"all {len(found['checks'])} checks are well")


def printable(text: str) -> str:
    """Text on one line, with nothing in it that moves a terminal's cursor: a bundle may be anyone's."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    command = argparse.ArgumentParser(description="Prove that a bundle is whole, and computes here what it should.")
    beside = Path(__file__).resolve().parent
    command.add_argument("bundle", nargs="?", type=Path, default=beside, help="folder or zip (default: where this is)")
    command.add_argument("--budget", help="time the deployed model here: 8ms, 800us, 8ms@p95")
    command.add_argument("--device", help="whose model and setting --budget times; needed where there are several")
    command.add_argument("--rounds", type=int, default=ROUNDS, help=f"of the timer (default {ROUNDS})")
    command.add_argument("--digest", help="the manifest's digest, as the export printed it, or its first 12 digits")
    command.add_argument("--json", action="store_true", help="print one JSON object instead of lines")
    return command


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; 0 when all is well, 1 when something is off, 2 when the question makes no sense."""
    args = parser().parse_args(argv)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        if args.rounds < 1:
            raise UsageError(f"--rounds: wanted a number from 1, got {args.rounds}")
        found = verify(args.bundle, args)
    except UsageError as error:
        print(f"verify: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("verify: stopped", file=sys.stderr)
        return 130
    # A bundle may be broken in ways nobody thought of; a traceback would say no more than this.
    except Exception as error:
        print(f"verify: the bundle cannot be checked: {type(error).__name__}: {str(error)[:300]}", file=sys.stderr)
        return 1
    if args.json:
        print(json.dumps(found, ensure_ascii=False))
    else:
        print_found(found)
    return 0 if found["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
