"""The network that a bundle is made of: a network of a run, the export options, and its results from `verify`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from edgenas.deploy.onnx.scoring import onnx_classes
from edgenas.errors import RunFolderError
from edgenas.records.verify import MeasuredNetwork, VerifyRecord
from edgenas.runs.images import RunImages
from edgenas.runs.run import Run
from edgenas.space.arch import Arch
from edgenas.space.space import ClassifierSpace
from edgenas.stages.front_files import model_path
from edgenas.supernet.subnet import Subnet
from edgenas.training.data.preprocess import Preprocess
from edgenas.training.data.split import Split

IMAGES_AT_ONCE = 10_000


@dataclass(frozen=True)
class BundleOptions:
    """Export options of a bundle's files.

    Attributes:
        precision: with int8, the bundle holds the fp32 file, too.
        dynamic_batch: how many images are taken at once is left open.
        embed_preprocessing: pixels are normalised inside.
    """

    precision: Literal["fp32", "int8"] = "fp32"
    dynamic_batch: bool = False
    embed_preprocessing: bool = False

    @property
    def as_measured(self) -> bool:
        """Whether files are the very ones that `verify` measures."""
        return not (self.dynamic_batch or self.embed_preprocessing)

    def __str__(self) -> str:
        words = {"dynamic": self.dynamic_batch, "embedded": self.embed_preprocessing}
        return "-".join([self.precision, *(word for word, applies in words.items() if applies)])


@dataclass(frozen=True)
class Network:
    """A network to bundle, and the images that prove and score its files; `fine_tuning` as in the manifest."""

    run: Run
    images: RunImages
    subnet: Subnet
    preprocess: Preprocess
    options: BundleOptions
    folder: Path
    verified: tuple[MeasuredNetwork, Path] | None
    fine_tuning: Mapping[str, Any] = field(default_factory=dict)

    @property
    def space(self) -> ClassifierSpace:
        """The run's space, with the classes of these images."""
        return self.run.space.with_classes(self.images.dataset.num_classes)

    @property
    def arch(self) -> Arch:
        """The network's architecture."""
        assert self.subnet.arch is not None
        return self.subnet.arch


def verified_network(run: Run, arch: Arch) -> tuple[MeasuredNetwork, Path] | None:
    """Return what `verify` measured of an architecture, and the file; None where it measured nothing of it.

    Raises:
        RunFolderError: a file that was measured is missing.
    """
    verified = run.result(VerifyRecord)
    for number, network in enumerate(verified.front):
        # Without a file nothing was measured.
        if network.arch == arch and verified.model is not None:
            model = model_path(number)
            for path in (model, *([network.int8.model] if network.int8 else [])):
                if not (run.folder / path).exists():
                    raise RunFolderError(
                        f"{run.folder / path} is missing: delete {run.result_path('verify')} and run "
                        f"`edgenas verify {run.folder}`"
                    )
            return network, run.folder / model
    return None


def validation_top1(network: Network, model: Path) -> float:
    """Return a file's top-1 on the validation images that every subnet of the run was scored on."""
    split = network.images.scoring
    return int(right_answers(model, split, network.preprocess).sum()) / len(split)


def test_scores(network: Network, model: Path) -> dict[str, Any]:
    """Return a file's top-1 on the run's test images, of all and by class."""
    dataset = network.images.dataset
    return scores_by_class(model, dataset.test, network.preprocess, dataset.num_classes)


def scores_by_class(model: Path, split: Split, preprocess: Preprocess, classes: int) -> dict[str, Any]:
    """Return a file's top-1 on test images, of all and by class."""
    answers = right_answers(model, split, preprocess)
    right = torch.bincount(split.labels[answers], minlength=classes).tolist()
    counts = split.counts(classes)
    return {
        "test_top1": sum(right) / len(split),
        "test_images": len(split),
        "test_images_by_class": counts,
        "test_top1_by_class": [own / count if count else None for own, count in zip(right, counts, strict=True)],
    }


def right_answers(model: Path, split: Split, preprocess: Preprocess) -> Tensor:
    """Return whether a file gives each image its label, (n,); in parts, since images may exceed the memory."""
    parts = split.batches(IMAGES_AT_ONCE)
    return torch.cat([onnx_classes(model, part.tensor(), preprocess) == part.labels for part in parts])
