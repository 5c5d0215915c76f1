"""The network that a bundle is made of: a network of a run, the export options, and its results from `verify`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from edgenas.config.run_config import RunConfig
from edgenas.deploy.int8.quantize import RecipeChoice
from edgenas.deploy.onnx.scoring import onnx_classes
from edgenas.errors import RunFolderError
from edgenas.records.bundle import FileAccuracy
from edgenas.records.finetune import FinetuneSummary, HalvingSummary
from edgenas.records.init import InitRecord
from edgenas.records.paths import RESULTS
from edgenas.records.verify import MeasuredNetwork, VerifyRecord
from edgenas.runs.devices import RunDevices
from edgenas.runs.images import RunImages
from edgenas.space.arch import Arch
from edgenas.space.graph_variant import GraphVariant
from edgenas.space.space import ClassifierSpace
from edgenas.stages.front.front_files import model_path
from edgenas.stages.front.front_int8 import int8_choice
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
class VerifiedNetwork:
    """What `verify` measured of a network: its record, its fp32 file, and its int8 file where some device runs that."""

    record: MeasuredNetwork
    model: Path
    int8: RecipeChoice | None


@dataclass(frozen=True)
class Network:
    """A network to bundle.

    Attributes:
        config: the run's config.
        space: the space of the network, with the classes of the images.
        devices: the run's devices.
        variant: graph variant of fp32 files.
        images: images that prove and score the files.
        subnet: the network with the weights that ship, calibrated, on the CPU.
        preprocess: preprocessing of its images.
        options: options of the files.
        folder: files are written there.
        verified: what was measured of these weights; None where nothing was.
        fine_tuning: None where the network keeps the weights that it inherited.
        init: the pretrained network that its training started from; None where that was none by name.
        halving: successive halving that it was fine-tuned in; None where it was fine-tuned alone, or not at all.
    """

    config: RunConfig
    space: ClassifierSpace
    devices: RunDevices
    variant: GraphVariant
    images: RunImages
    subnet: Subnet
    preprocess: Preprocess
    options: BundleOptions
    folder: Path
    verified: VerifiedNetwork | None
    fine_tuning: FinetuneSummary | None
    init: InitRecord | None
    halving: HalvingSummary | None

    @property
    def arch(self) -> Arch:
        """The network's architecture."""
        assert self.subnet.arch is not None
        return self.subnet.arch

    def deployed_precision(self, device: str) -> str:
        """Return the precision of the file that is meant for a device."""
        return self.devices.measured[device].run.precision if self.options.precision == "int8" else "fp32"


def verified_network(verified: VerifyRecord, arch: Arch, folder: Path) -> VerifiedNetwork | None:
    """Return the measurements of an architecture by `verify`; None where it was not measured.

    Args:
        verified: record of the stage.
        arch: architecture of the run's space or of its shelf; none of the shelf was exported.
        folder: the run folder.

    Raises:
        RunFolderError: a file that was measured is missing.
    """
    for number, network in enumerate(verified.front):
        # Without a file nothing was measured.
        if network.arch == arch and verified.model is not None and not network.refused:
            model = model_path(number)
            for path in (model, *([network.int8.model] if network.int8 else [])):
                if not (folder / path).exists():
                    raise RunFolderError(
                        f"{folder / path} is missing: delete {folder / RESULTS['verify']} and run "
                        f"`edgenas verify {folder}`"
                    )
            int8 = int8_choice(network.int8, folder) if network.int8 else None
            return VerifiedNetwork(network, folder / model, int8)
    return None


def validation_top1(network: Network, model: Path) -> float:
    """Return a file's top-1 on the validation images that every subnet of the run was scored on."""
    split = network.images.scoring
    return int(right_answers(model, split, network.preprocess).sum()) / len(split)


def file_accuracy(network: Network, model: Path, validation_top1: float) -> FileAccuracy:
    """Return a file's accuracy; this scores the test images."""
    dataset = network.images.dataset
    split, counts = dataset.test, dataset.test.counts(dataset.num_classes)
    answers = right_answers(model, split, network.preprocess)
    right = torch.bincount(split.labels[answers], minlength=dataset.num_classes).tolist()
    return FileAccuracy(
        validation_top1=validation_top1,
        test_top1=sum(right) / len(split),
        test_images=len(split),
        test_images_by_class=tuple(counts),
        test_top1_by_class=tuple(n / count if count else None for n, count in zip(right, counts, strict=True)),
    )


def right_answers(model: Path, split: Split, preprocess: Preprocess) -> Tensor:
    """Return whether a file gives each image its label, (n,); in parts, since images may exceed the memory."""
    parts = split.batches(IMAGES_AT_ONCE)
    return torch.cat([onnx_classes(model, part.tensor(), preprocess) == part.labels for part in parts])
