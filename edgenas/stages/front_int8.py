"""The front in int8: every network quantised once, its file kept beside the fp32 one, and held against that."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from edgenas.deploy.int8.quantiser_recipe import QuantiserRecipe, parse_recipe
from edgenas.deploy.int8.quantize import RecipeChoice
from edgenas.deploy.onnx.scoring import onnx_top1
from edgenas.errors import RunFolderError, explained
from edgenas.files import SCHEMA_VERSION, append_jsonl, read_jsonl, write_bytes
from edgenas.runs.folder import Run
from edgenas.runs.results import QuantisedRow
from edgenas.runs.run_data import deployed_preprocess, scoring_split
from edgenas.runs.run_devices import measured_devices
from edgenas.stages.int8_export import quantised, run_recipes
from edgenas.supernet.subnet import Subnet
from edgenas.training.data.dataset import Dataset

ROWS = "verify/int8.jsonl"


@dataclass(frozen=True)
class Int8File:
    """The int8 form of a network of the front. Scores are top-1 on validation images, worked out by the runtime.

    Attributes:
        path: within the run folder.
        recipe: the most accurate one.
        top1: by recipe.
        fp32_top1: of the fp32 file.
    """

    path: str
    recipe: QuantiserRecipe
    top1: Mapping[QuantiserRecipe, float]
    fp32_top1: float

    @property
    def val_top1(self) -> float:
        """Of the file."""
        return self.top1[self.recipe]

    def refusal(self, max_drop: float) -> str | None:
        """Why it must not be deployed, in words; None where it may."""
        drop = self.fp32_top1 - self.val_top1
        # A drop of exactly the limit is allowed, and fractions of whole images are not exact.
        if drop <= max_drop + 1e-9:
            return None
        return (
            f"int8 loses {100 * drop:.2f} points of validation top-1 "
            f"({self.fp32_top1:.2%} to {self.val_top1:.2%}, export.max_drop allows {100 * max_drop:.2f})"
        )

    def choice(self, folder: Path) -> RecipeChoice:
        """As quantising gave it, in a run folder."""
        return RecipeChoice(self.recipe, folder / self.path, self.top1)

    def to_json(self) -> dict[str, Any]:
        """As it stands beside the network in the result of `verify`."""
        return {
            "model": self.path,
            "quantiser_recipe": self.recipe.id,
            "recipes_tried": {recipe.id: top1 for recipe, top1 in self.top1.items()},
            "fp32_top1": self.fp32_top1,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Int8File:
        """What `to_json` gave.

        Raises:
            UserError: another version's recipe.
        """
        tried = {parse_recipe(recipe): float(top1) for recipe, top1 in value["recipes_tried"].items()}
        return cls(value["model"], parse_recipe(value["quantiser_recipe"]), tried, float(value["fp32_top1"]))


def precisions(run: Run) -> set[str]:
    """What the run's devices run in; fp32 where none of them is asked."""
    return {device.run.precision for device in measured_devices(run).values()} or {"fp32"}


def deployed_top1(fp32: float, int8: float | None, used: Iterable[str]) -> float:
    """A network's accuracy as it is deployed: of the precision that devices run it in, of both the lower.

    Args:
        fp32: top-1 in fp32.
        int8: top-1 in int8, where some device runs that.
        used: the precisions that devices run.
    """
    by_precision = {"fp32": fp32} | ({} if int8 is None else {"int8": int8})
    return min(by_precision[precision] for precision in used)


def front_in_int8(run: Run, dataset: Dataset, subnet: Subnet, model: str) -> Int8File:
    """Quantise one network of the front, and keep the file; what is kept of this very fp32 file is not done again.

    Args:
        run: searched.
        dataset: whose training images calibrate, and whose validation images choose the method.
        subnet: what `model` was exported from.
        model: its fp32 file, within the run folder.

    Raises:
        DataError: fewer training images than `export.calibration_images`.
        RunFolderError: a row of what was kept is none of ours.
    """
    out = model.removesuffix(".onnx") + "_int8.onnx"
    kept = _kept(run, model, out)
    if kept is not None:
        return kept
    found = _quantised(run, dataset, subnet, model, out)
    row = {"schema_version": SCHEMA_VERSION, **_digests(run, model, out), **found.to_json()}
    append_jsonl(run.folder / ROWS, row)
    return found


def _kept(run: Run, model: str, out: str) -> Int8File | None:
    """What was found out about these very files, by recipes that would be tried now."""
    wanted = {"model": out, **_digests(run, model, out)}
    recipes = {recipe.id for recipe in run_recipes(measured_devices(run).values())}
    for row in reversed(_rows(run)):
        if wanted.items() <= row.items() and recipes == row["recipes_tried"].keys():
            return Int8File.from_json(row)
    return None


def _quantised(run: Run, dataset: Dataset, subnet: Subnet, model: str, out: str) -> Int8File:
    assert subnet.arch is not None
    preprocess, devices = deployed_preprocess(subnet.arch, dataset), measured_devices(run).values()
    # In the run folder, where the next start clears away what a kill leaves.
    with tempfile.TemporaryDirectory(dir=run.folder, prefix=".int8.") as folder:
        choice = quantised(run, dataset, run.folder / model, preprocess, devices=devices, folder=Path(folder))
        write_bytes(run.folder / out, choice.path.read_bytes())
    split = scoring_split(run, dataset)
    fp32_top1 = onnx_top1(run.folder / model, split.tensor(), split.labels, preprocess)
    return Int8File(out, choice.recipe, choice.top1, fp32_top1)


def _rows(run: Run) -> list[dict[str, Any]]:
    rows = read_jsonl(run.folder / ROWS)
    for number, row in enumerate(rows, start=1):
        try:
            QuantisedRow.model_validate(row)
        except ValidationError as error:
            said = explained(error.errors())
            raise RunFolderError(
                f"{run.folder / ROWS}, row {number}: {said}: delete that line, it is worked out again"
            ) from None
    return rows


def _digests(run: Run, model: str, out: str) -> dict[str, str]:
    return {"source_sha256": _digest(run.folder / model), "sha256": _digest(run.folder / out)}


def _digest(path: Path) -> str:
    """Empty for a file that is not there."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else ""
