"""The front in int8: every network is quantised once, and its int8 file is kept beside the fp32 file."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgenas.config.sections import ExportConfig
from edgenas.deploy.int8.quantiser_recipe import parse_recipe
from edgenas.deploy.int8.quantize import RecipeChoice
from edgenas.deploy.onnx.scoring import onnx_top1
from edgenas.files import write_bytes
from edgenas.latency.device import Device
from edgenas.records.ledger import Ledger
from edgenas.records.verify import Int8File, Int8Row
from edgenas.runs.images import RunImages
from edgenas.stages.devices.int8_export import quantised, run_recipes
from edgenas.supernet.subnet import Subnet

ROWS = "verify/int8.jsonl"


def deployed_top1(fp32: float, int8: float | None, used: Iterable[str]) -> float:
    """Return a network's accuracy as it is deployed: in the precision that devices use, the lower one of several.

    Args:
        fp32: top-1 in fp32.
        int8: top-1 in int8, where some device runs that.
        used: the precisions that devices run.
    """
    by_precision = {"fp32": fp32} | ({} if int8 is None else {"int8": int8})
    return min(by_precision[precision] for precision in used)


@dataclass(frozen=True)
class FrontQuantiser:
    """Quantises the networks of a front.

    Attributes:
        config: section `export` of the config.
        images: the run's images: training images calibrate, validation images choose the method.
        devices: measured devices of the run.
        folder: the run folder.
    """

    config: ExportConfig
    images: RunImages
    devices: Collection[Device]
    folder: Path

    def int8_file(self, subnet: Subnet, model: str) -> Int8File:
        """Return the int8 file of a network. An fp32 file that was quantised before is not quantised again.

        Args:
            subnet: the network.
            model: its fp32 file, within the run folder.

        Raises:
            DataError: fewer training images than `export.calibration_images`.
            RunFolderError: a row of verify/int8.jsonl is damaged.
        """
        out = model.removesuffix(".onnx") + "_int8.onnx"
        ledger = Ledger(self.folder / ROWS, Int8Row, remedy="delete that line; the file is quantised again")
        row = self._stored(ledger.rows(), model, out)
        if row is None:
            row = self._quantised(subnet, model, out)
            ledger.append(row)
        return row

    def _stored(self, rows: Sequence[Int8Row], model: str, out: str) -> Int8Row | None:
        """Return the last row of these very files, made by the recipes that would be tried now."""
        expected = (out, _digest(self.folder / model), _digest(self.folder / out))
        recipes = {recipe.id for recipe in run_recipes(self.devices)}
        for row in reversed(rows):
            if (row.model, row.source_sha256, row.sha256) == expected and recipes == row.recipes_tried.keys():
                return row
        return None

    def _quantised(self, subnet: Subnet, model: str, out: str) -> Int8Row:
        assert subnet.arch is not None
        source, preprocess = self.folder / model, self.images.preprocess(subnet.arch)
        # In the run folder, where the next start clears away what a kill leaves.
        with tempfile.TemporaryDirectory(dir=self.folder, prefix=".int8.") as folder:
            choice = quantised(self.config, self.images, source, preprocess, devices=self.devices, folder=Path(folder))
            write_bytes(self.folder / out, choice.path.read_bytes())
        split = self.images.scoring
        return Int8Row(
            model=out,
            quantiser_recipe=choice.recipe.id,
            recipes_tried={recipe.id: top1 for recipe, top1 in choice.top1.items()},
            fp32_top1=onnx_top1(source, split.tensor(), split.labels, preprocess),
            source_sha256=_digest(source),
            sha256=_digest(self.folder / out),
        )


def int8_choice(file: Int8File, folder: Path) -> RecipeChoice:
    """Return the choice of recipe that made a network's int8 file, in a run folder.

    Raises:
        UserError: a recipe is unknown.
    """
    tried = {parse_recipe(recipe): top1 for recipe, top1 in file.recipes_tried.items()}
    return RecipeChoice(parse_recipe(file.quantiser_recipe), folder / file.model, tried)


def _digest(path: Path) -> str:
    """Return the SHA-256 of a file; an empty text where there is none."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else ""
