"""The kit: what has to be timed elsewhere, as one zip of the timer, its jobs, and models that share their weights."""

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
from edgenas.profiling.device_time import VISIT_SECONDS
from edgenas.profiling.timer_rows import SETTING, believed, validate_row
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
What edgenas wants timed on the device {device}: {models} models in {jobs} sessions, about {minutes:.0f} minutes.
Needed there: Python 3.9 or newer, and `python3 -m pip install numpy onnxruntime`. Stop other programs first.
Run `sh run.sh` (or `python3 bench.py`) in this folder. Stopped, the same command goes on where it was.
It writes results.zip beside it: take that back to where edgenas runs, and give it to the command that made this kit,
with --unpack results.zip instead of --pack. What was measured so far can be taken back, too.
"""
SCRIPT = '#!/bin/sh\ncd "$(dirname "$0")" && exec python3 bench.py --jobs jobs.json\n'


class Wanted:
    """The rows that jobs want. A model is known by a digest of its file, a process of the timer by its seed."""

    def __init__(self, jobs: Sequence[Job], run: DeviceRun) -> None:
        self.jobs, self.run = jobs, run
        self.names = {path: kit_name(path) for job in jobs for path in job.models}
        self.open: dict[tuple[str, int, int], list[tuple[int, int]]] = {}
        for number, job in enumerate(jobs):
            for place, path in enumerate(job.models):
                self.open.setdefault((self.names[path], job.seed, job.rounds), []).append((number, place))
        self.failed: set[str] = set()

    def believe(self, row: Mapping[str, Any]) -> list[Timed]:
        """The row for each place that wants it, validated; none where it was not asked for, or is there already.

        Raises:
            MeasurementError: it is of another setting, or has numbers that no measurement gives.
        """
        info = row.get("benchmark_info")
        name = info.get("model") if isinstance(info, dict) else None
        key = (name, info.get("seed"), info.get("rounds")) if isinstance(info, dict) else None
        if not isinstance(name, str) or not all(isinstance(number, int) for number in (key or ())[1:]):
            raise MeasurementError(f"bench.py gave a row that names no model (benchmark_info is {shown(info)})")
        places = self.open.pop(key, [])  # type: ignore[arg-type]
        if not places:
            return []
        row = dict(row)
        validate_row(row, name, self.run)
        if "error" in row:
            self.failed.add(name)
        return [Timed(number, place, believed(row)) for number, place in places]

    def missing(self) -> list[Path]:
        """Models without a row, in some job; those that the device cannot run are not waited for."""
        names = {name for name, _, _ in self.open if name not in self.failed}
        return [path for path, name in self.names.items() if name in names]

    def rows(self) -> int:
        """How many rows are wanted."""
        return len(self.open)


def kit_name(model: Path) -> str:
    """What a model is called in a kit."""
    return f"{hashlib.sha256(model.read_bytes()).hexdigest()[:32]}.onnx"


def write_kit(stream: IO[bytes], wanted: Wanted, device: Device, *, readme: bool) -> None:
    """Write a zip with bench.py, jobs.json, models and weights; for people also a README and a script."""
    packed = [
        {"models": [f"models/{wanted.names[path]}" for path in job.models], "rounds": job.rounds, "seed": job.seed}
        for job in wanted.jobs
    ]
    setting = {field: getattr(device.run, field) for field in SETTING}
    texts = {"jobs.json": json.dumps({"schema_version": SCHEMA_VERSION, "setting": setting, "jobs": packed})}
    if readme:
        about = README.format(
            device=device.name, models=len(wanted.names), jobs=len(packed), minutes=minutes(wanted.jobs)
        )
        texts |= {"README.txt": about, "run.sh": SCRIPT}
    # Files dated before 1980, as reproducible packages have them, count as of 1980.
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=1, strict_timestamps=False) as archive:
        for name, text in texts.items():
            archive.writestr(zip_entry(name), text)
        archive.write(shipped("export") / "bench.py", "bench.py")
        with tempfile.TemporaryDirectory() as folder:
            share_weights({name: path for path, name in wanted.names.items()}, Path(folder))
            for path in sorted(Path(folder).iterdir()):
                archive.write(path, f"models/{path.name}")


def minutes(jobs: Iterable[Job]) -> float:
    """How long the timer will take, about."""
    return sum(len(job.models) * (job.rounds + 5) for job in jobs) * VISIT_SECONDS / 60


def share_weights(models: Mapping[str, Path], folder: Path) -> None:
    """Write models into a folder, their weights beside them in one file that holds equal bytes once.

    They stay initialisers, so that the runtime optimises and computes what it does with the original files.

    Args:
        models: ONNX files by what they shall be called.
        folder: that exists.
    """
    places: dict[bytes, int] = {}
    with open(folder / WEIGHTS, "wb") as weights:
        for name, path in models.items():
            model = onnx.load(path)
            for tensor in model.graph.initializer:
                _share(tensor, weights, places)
            (folder / name).write_bytes(model.SerializeToString(deterministic=True))


def _share(tensor: Any, weights: IO[bytes], places: dict[bytes, int]) -> None:
    if tensor.data_type not in SHARED_TYPES:
        return
    data = tensor.raw_data or numpy_helper.to_array(tensor).tobytes()
    if len(data) < LEAST_SHARED_BYTES:
        return
    digest = hashlib.sha256(data).digest()
    if digest not in places:
        weights.write(bytes(-weights.tell() % ALIGNMENT))
        places[digest] = weights.tell()
        weights.write(data)
    shared = TensorProto(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims, doc_string=tensor.doc_string)
    shared.data_location = TensorProto.EXTERNAL
    for key, value in {"location": WEIGHTS, "offset": places[digest], "length": len(data)}.items():
        shared.external_data.add(key=key, value=str(value))
    tensor.CopyFrom(shared)
