"""Accuracies of subnets that the user names: one row of evaluate/accuracy.jsonl each, with every class's own."""

from __future__ import annotations

import hashlib
import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import safetensors.torch

from edgenas.accuracy.subnets import Subnets
from edgenas.errors import ConfigError, RunFolderError
from edgenas.progress import Progress
from edgenas.records.evaluate import AccuracyRow, SplitName
from edgenas.records.ledger import Ledger
from edgenas.records.search import SearchRecord
from edgenas.runs.images import RunImages
from edgenas.runs.lock import locked
from edgenas.runs.run import Run
from edgenas.space.arch import Arch
from edgenas.stages.export import which_arch
from edgenas.stages.weights.inherited_weights import inherited_note, shipping_subnet
from edgenas.stages.weights.run_accuracy import run_subnets
from edgenas.stages.weights.training_archs import warn_if_untrained
from edgenas.stages.weights.tuned_network import Tuned
from edgenas.supernet.subnet import Subnet
from edgenas.training.checkpoint import plain
from edgenas.training.materialise import Accuracy, accuracy

LOGGER = logging.getLogger(__name__)

FILE = "evaluate/accuracy.jsonl"


def evaluate(run: Run, which: Sequence[str], split: SplitName, progress: Progress) -> list[AccuracyRow]:
    """Return rows of networks, in the order asked for; new ones are appended to `FILE`. The run folder is locked.

    A network that was fine-tuned has the weights that it ships with; a note names those with inherited weights, and
    what that costs. The networks of `front` have the weights that the search scored them with.

    Args:
        run: trained; for the test split, verified, too.
        which: `chosen`, `best:K`, `front` or archs of the run's space or shelf.
        split: `val` is what every choice saw.
        progress: called with what is being done, subnets done and in all.

    Raises:
        RunFolderError: a stage is missing, or the weights of a fine-tuned network are missing or broken.
        ConfigError: the run has no weights, no arch is named, or there are not so many networks within the budgets.
        SpaceError: no arch of the space; gene and legal values are named.
    """
    run.require("train")
    if split == "test" and not run.done("verify"):
        raise RunFolderError(
            f"{run.folder}: test images judge the network that was chosen, and none is yet: run `edgenas verify "
            f"{run.folder}` first, or take --split val"
        )
    asked = list(dict.fromkeys(network for name in which for network in _named(run, name)))
    if not asked:
        raise ConfigError("--archs: expected at least one of chosen, best:K, front or an architecture's text")
    warn_if_untrained(run, [network.arch for network in asked])
    with locked(run.folder):
        rows = _evaluated(run, asked, split, progress)
    inherited = [network.arch for network, row in zip(asked, rows, strict=True) if network.ships and not row.fine_tuned]
    if note := inherited_note(run, inherited):
        LOGGER.warning("note: %s", note)
    return rows


class _Asked(NamedTuple):
    """A network, with the weights that it ships with, or with those that the search scored it with."""

    arch: Arch
    ships: bool


def _named(run: Run, name: str) -> list[_Asked]:
    if name == "front":
        return [_Asked(network.arch, ships=False) for network in run.result(SearchRecord).front]
    # Archs are of the space whether or not anything was chosen from it.
    return [_Asked(run.spaces.parse(name) if "_" in name else which_arch(run, name), ships=True)]


def _evaluated(run: Run, asked: Sequence[_Asked], split: SplitName, progress: Progress) -> list[AccuracyRow]:
    subnets = run_subnets(run)
    ledger = Ledger(run.folder / FILE, AccuracyRow, run.spaces)
    scored = ledger.last(lambda row: row.key)
    rows = []
    for number, network in enumerate(asked):
        progress("evaluating", number, len(asked))
        tuned = shipping_subnet(run, network.arch) if network.ships else None
        if tuned is None and network.arch.network:
            raise ConfigError(
                f"{run.folder}: {network.arch} is not fine-tuned, so its new classifier has random weights: "
                f"`edgenas export {run.folder} --arch {network.arch}` fine-tunes it"
            )
        weighted = _tuned(network.arch, tuned) if tuned else _inherited(network.arch, subnets, run.images)
        row = scored.get(weighted.key(split))
        if row is None:
            row = weighted.score(split)
            ledger.append(row)
        rows.append(row)
    progress("evaluating", len(asked), len(asked))
    return rows


@dataclass(frozen=True)
class _Weighted:
    """A network with its weights.

    Attributes:
        arch: the network.
        subnet: returns the network with its weights, calibrated.
        calibration_images: training images that recalibrate its batch norm.
        weights: digest of the supernet's weights; of the network's own, where it is fine-tuned.
        fine_tuned: whether it is fine-tuned.
        images: its images.
    """

    arch: Arch
    subnet: Callable[[], Subnet]
    calibration_images: int
    weights: str
    fine_tuned: bool
    images: RunImages

    def key(self, split: SplitName) -> tuple[object, ...]:
        """Return the key of the network's row, see `AccuracyRow.key`."""
        return self.arch, split, len(self.images.split(split)), self.calibration_images, self.weights

    def score(self, split: SplitName) -> AccuracyRow:
        """Return the row of the network's accuracy on a split."""
        started, images, dataset = time.monotonic(), self.images.split(split), self.images.dataset
        scores = accuracy(self.subnet(), images, dataset.num_classes)
        by_class = _by_class(scores, dataset.classes)
        worst = min(by_class, key=by_class.__getitem__)
        return AccuracyRow(
            arch=self.arch,
            split=split,
            images=len(images),
            calibration_images=self.calibration_images,
            weights=self.weights,
            fine_tuned=self.fine_tuned,
            dataset=dataset.name,
            top1=scores.top1,
            worst_class=worst,
            worst_class_top1=by_class[worst],
            class_top1=by_class,
            macro_top1=scores.macro,
            seconds=time.monotonic() - started,
        )


def _inherited(arch: Arch, subnets: Subnets, images: RunImages) -> _Weighted:
    return _Weighted(arch, partial(subnets, arch), subnets.images, subnets.weights, False, images)


def _tuned(arch: Arch, tuned: Tuned) -> _Weighted:
    digest = hashlib.sha256(safetensors.torch.save(plain(tuned.subnet.state_dict()))).hexdigest()
    return _Weighted(arch, lambda: tuned.subnet, tuned.record.calibration_images, digest, True, tuned.images)


def _by_class(scores: Accuracy, classes: Sequence[str]) -> dict[str, float]:
    """Return top-1 by class; a class without images has none."""
    by_class = zip(classes, scores.by_class.tolist(), strict=True)
    return {name: value for name, value in by_class if not math.isnan(value)}
