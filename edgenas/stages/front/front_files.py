"""The files of a front: every network exported once, in the precisions that devices run."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from edgenas.accuracy.scores import AccuracySource
from edgenas.accuracy.subnets import Subnets
from edgenas.deploy.onnx.exporter import export_for_timing, export_onnx
from edgenas.errors import ParityError
from edgenas.progress import Progress
from edgenas.records.comparison import Bools
from edgenas.records.search import FrontNetwork
from edgenas.space.arch import Arch
from edgenas.space.graph_variant import GraphVariant
from edgenas.space.space import ClassifierSpace
from edgenas.stages.front.candidate import Files
from edgenas.stages.front.front_int8 import FrontQuantiser
from edgenas.training.materialise import top1_tolerance

LOGGER = logging.getLogger(__name__)


def model_path(number: int) -> str:
    """Return the file of a network, by its position in the front, within the run folder."""
    return f"verify/models/{number:03d}.onnx"


def no_files(front: Sequence[FrontNetwork]) -> dict[Arch, Files]:
    """Return the networks of a front that is not measured."""
    return {network.arch: Files(None, network.val_top1, objectives=network.objectives) for network in front}


def untrained_files(
    front: Sequence[FrontNetwork], space: ClassifierSpace, folder: Path, variant: GraphVariant, progress: Progress
) -> dict[Arch, Files]:
    """Write the front's ONNX files with random weights, since latency does not depend on them.

    Args:
        front: the networks.
        space: their space, with the number of classes.
        folder: the run folder.
        variant: graph variant of the files.
        progress: called with the current step, steps done and in all.
    """
    models = (folder / model_path(0)).parent
    models.mkdir(parents=True, exist_ok=True)
    networks = {network.arch.id: space.unroll(network.arch) for network in front}
    with tempfile.TemporaryDirectory(dir=models, prefix=".untrained.") as temporary:
        step = partial(progress, "exporting the front")
        written = export_for_timing(networks, Path(temporary), step, variant=variant)
        for number, path in enumerate(written.values()):
            os.replace(path, folder / model_path(number))
    return {
        network.arch: Files(model_path(number), network.val_top1, objectives=network.objectives)
        for number, network in enumerate(front)
    }


@dataclass(frozen=True)
class FrontExporter:
    """Writes the ONNX files of the subnets that were scored.

    Attributes:
        subnets: the calibrated subnets.
        source: the source of their scores.
        folder: the run folder.
        variant: graph variant of fp32 files.
        quantiser: makes int8 files; None where no device runs int8.
        progress: called with the current step, steps done and in all.
    """

    subnets: Subnets
    source: AccuracySource
    folder: Path
    variant: GraphVariant
    quantiser: FrontQuantiser | None
    progress: Progress

    def files(self, front: Sequence[FrontNetwork]) -> dict[Arch, Files]:
        """Return the files of a front's networks; a network that is not scored as in the search gets none.

        Raises:
            ParityError: no network is scored as in the search.
            DataError: fewer training images than int8 is to be calibrated on.
        """
        files = {}
        for number, network in enumerate(front):
            self.progress("exporting the front", number, len(front))
            files[network.arch] = self._files(network, model_path(number))
        self.progress("exporting the front", len(front), len(front))
        refused = [one.refused for one in files.values() if one.refused is not None]
        if len(refused) == len(files):
            raise ParityError(refused[0])
        return files

    def _files(self, network: FrontNetwork, path: str) -> Files:
        subnet = self.subnets(network.arch)
        right = self.source.right(subnet)
        refused = None if right is None else refusal(network, right)
        if refused is not None:
            LOGGER.warning("note: a network of the front is dropped: %s", refused)
            return Files(None, network.val_top1, objectives=network.objectives, refused=refused)
        export_onnx(subnet, self.folder / path, variant=self.variant)
        int8 = self.quantiser.int8_file(subnet, path) if self.quantiser else None
        return Files(path, network.val_top1, int8, network.objectives, right=right)


def refusal(network: FrontNetwork, right: Bools) -> str | None:
    """Return why a subnet of these answers is not the one that the search scored; None where it is."""
    score = float(right.mean())
    if abs(score - network.val_top1) <= top1_tolerance(len(right)):
        return None
    return (
        f"{network.arch} scored {network.val_top1:.4f} in the search and {score:.4f} now: "
        "the weights or images changed; start a new run"
    )
