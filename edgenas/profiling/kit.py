"""The measuring kit for another machine: one zip of the timer, its jobs, and models that share their weights."""

from __future__ import annotations

import hashlib
import json
import tempfile
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import onnx
from onnx import TensorProto, numpy_helper

from edgenas.archives import zip_entry
from edgenas.errors import MeasurementError, shown
from edgenas.files import SCHEMA_VERSION, shipped
from edgenas.latency.device import Device, DeviceRun
from edgenas.profiling.device_time import REPETITION_SECONDS
from edgenas.profiling.timer_rows import SETTING, trusted, validate_row
from edgenas.profiling.transport import Job, Timed

WEIGHTS = "weights.bin"
LEAST_SHARED_BYTES = 256
"""Smaller tensors stay in their model: shapes and scalars, which the runtime looks at while it optimises."""
ALIGNMENT = 64
SHARED_TYPES = (
    TensorProto.FLOAT,
    TensorProto.FLOAT16,
    TensorProto.INT32,
    TensorProto.INT8,
    TensorProto.UINT8,
)
README = """\
edgenas needs timings on the device {device}: {models} models in {jobs} sessions, about {minutes:.0f} minutes.
Needed there: Python 3.9 or newer, and `python3 -m pip install numpy onnxruntime`. Stop other programs first.
Run `sh run.sh` (or `python3 bench.py`) in this folder. After a stop, the same command resumes.
It writes results.zip beside it: take that back to where edgenas runs, and give it to the command that made this kit,
with --unpack results.zip instead of --pack. Results of a stopped run can be taken back, too.
"""
SCRIPT = '#!/bin/sh\ncd "$(dirname "$0")" && exec python3 bench.py --jobs jobs.json\n'


class ExpectedRows:
    """The rows that jobs expect. A digest of its file identifies a model, its seed a process of the timer.

    Attributes:
        jobs: the jobs.
        run: how models are run.
        names: names of the models in a kit, by path.
        open: positions (job, model) of the rows that have not come yet, by name, seed and rounds.
        failed: names of the models that the device cannot run.
    """

    def __init__(self, jobs: Sequence[Job], run: DeviceRun) -> None:
        self.jobs, self.run = jobs, run
        self.names = {path: kit_name(path) for job in jobs for path in job.models}
        self.open: dict[tuple[str, int, int], list[tuple[int, int]]] = {}
        for number, job in enumerate(jobs):
            for index, path in enumerate(job.models):
                self.open.setdefault((self.names[path], job.seed, job.rounds), []).append((number, index))
        self.failed: set[str] = set()

    def accept(self, row: Mapping[str, Any]) -> list[Timed]:
        """Return the validated row for each position that expects it; none for unexpected and repeated rows.

        Raises:
            MeasurementError: it is of another setting, or has impossible numbers.
        """
        info = row.get("benchmark_info")
        name = info.get("model") if isinstance(info, dict) else None
        key = (name, info.get("seed"), info.get("rounds")) if isinstance(info, dict) else None
        if not isinstance(name, str) or not all(isinstance(number, int) for number in (key or ())[1:]):
            raise MeasurementError(f"bench.py gave a row that names no model (benchmark_info is {shown(info)})")
        positions = self.open.pop(key, [])  # type: ignore[arg-type]
        if not positions:
            return []
        row = dict(row)
        validate_row(row, name, self.run)
        if "error" in row:
            self.failed.add(name)
        return [Timed(number, index, trusted(row)) for number, index in positions]

    def missing(self) -> list[Path]:
        """Return the models that lack a row in some job, without those that the device cannot run."""
        names = {name for name, _, _ in self.open if name not in self.failed}
        return [path for path, name in self.names.items() if name in names]

    def rows(self) -> int:
        """Return how many rows have not come yet."""
        return len(self.open)


def kit_name(model: Path) -> str:
    """Return the name of a model in a kit."""
    return f"{hashlib.sha256(model.read_bytes()).hexdigest()[:32]}.onnx"


def write_kit(stream: IO[bytes], expected: ExpectedRows, device: Device, *, readme: bool) -> None:
    """Write a zip with bench.py, jobs.json, models and weights; for people also a README and a script."""
    packed = [
        {"models": [f"models/{expected.names[path]}" for path in job.models], "rounds": job.rounds, "seed": job.seed}
        for job in expected.jobs
    ]
    setting = {field: getattr(device.run, field) for field in SETTING}
    texts = {"jobs.json": json.dumps({"schema_version": SCHEMA_VERSION, "setting": setting, "jobs": packed})}
    if readme:
        about = README.format(
            device=device.name, models=len(expected.names), jobs=len(packed), minutes=minutes(expected.jobs)
        )
        texts |= {"README.txt": about, "run.sh": SCRIPT}
    # Files dated before 1980, as reproducible packages have them, count as of 1980.
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=1, strict_timestamps=False) as archive:
        for name, text in texts.items():
            archive.writestr(zip_entry(name), text)
        archive.write(shipped("export") / "bench.py", "bench.py")
        with tempfile.TemporaryDirectory() as folder:
            share_weights({name: path for path, name in expected.names.items()}, Path(folder))
            for path in sorted(Path(folder).iterdir()):
                archive.write(path, f"models/{path.name}")


def minutes(jobs: Iterable[Job]) -> float:
    """Return the minutes that the timer takes, roughly."""
    return sum(len(job.models) * (job.rounds + 5) for job in jobs) * REPETITION_SECONDS / 60


def share_weights(models: Mapping[str, Path], folder: Path) -> None:
    """Write models into a folder, their weights beside them in one file that holds equal bytes once.

    Weights stay initialisers, so that the runtime optimises and computes exactly as with the original files.

    Args:
        models: ONNX files by their new names.
        folder: an existing folder.
    """
    offsets: dict[bytes, int] = {}
    with open(folder / WEIGHTS, "wb") as weights:
        for name, path in models.items():
            model = onnx.load(path)
            for tensor in model.graph.initializer:
                _share(tensor, weights, offsets)
            (folder / name).write_bytes(model.SerializeToString(deterministic=True))


def _share(tensor: Any, weights: IO[bytes], offsets: dict[bytes, int]) -> None:
    if tensor.data_type not in SHARED_TYPES:
        return
    data = tensor.raw_data or numpy_helper.to_array(tensor).tobytes()
    if len(data) < LEAST_SHARED_BYTES:
        return
    digest = hashlib.sha256(data).digest()
    if digest not in offsets:
        weights.write(bytes(-weights.tell() % ALIGNMENT))
        offsets[digest] = weights.tell()
        weights.write(data)
    shared = TensorProto(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims, doc_string=tensor.doc_string)
    shared.data_location = TensorProto.EXTERNAL
    for key, value in {"location": WEIGHTS, "offset": offsets[digest], "length": len(data)}.items():
        shared.external_data.add(key=key, value=str(value))
    tensor.CopyFrom(shared)
