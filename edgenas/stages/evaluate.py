"""Accuracies of subnets that the user names: one row of evaluate/accuracy.jsonl each, with every class's own."""

from __future__ import annotations

import hashlib
import logging
import math
import time
from collections.abc import Sequence
from typing import NamedTuple

import safetensors.torch

from edgenas.errors import ConfigError, RunFolderError
from edgenas.progress import Progress
from edgenas.records.evaluate import AccuracyRow, SplitName
from edgenas.records.ledger import Ledger
from edgenas.records.search import SearchRecord
from edgenas.records.train import TrainRecord
from edgenas.runs.lock import locked
from edgenas.runs.run import Run
from edgenas.space.arch import Arch
from edgenas.stages.export import which_arch
from edgenas.stages.inherited_weights import inherited_note, shipping_subnet
from edgenas.stages.scoring import run_subnets
from edgenas.stages.training_archs import warn_if_untrained
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
        which: `chosen`, `best:K`, `front` or archs of the run's space.
        split: `val` is what every choice saw.
        progress: called with what is being done, subnets done and in all.

    Raises:
        RunFolderError: a stage is missing, or the weights of a fine-tuned network are missing or broken.
        ConfigError: the run has no weights, no arch is named, or there are not so many networks within the budgets.
        SpaceError: no arch of the space; gene and legal values are named.
    """
    run.needs("train")
    if split == "test" and not run.done("verify"):
        raise RunFolderError(
            f"{run.folder}: test images judge the network that was chosen, and none is yet: run `edgenas verify "
            f"{run.folder}` first, or take --split val"
        )
    asked = list(dict.fromkeys(one for name in which for one in _named(run, name)))
    if not asked:
        raise ConfigError("--archs: expected at least one of chosen, best:K, front or an architecture's text")
    warn_if_untrained(run, [one.arch for one in asked])
    with locked(run.folder):
        return _evaluate(run, asked, split, progress)


class _Asked(NamedTuple):
    """A network, with the weights that it ships with, or with those that the search scored it with."""

    arch: Arch
    ships: bool


def _named(run: Run, name: str) -> list[_Asked]:
    if name == "front":
        return [_Asked(network.arch, ships=False) for network in run.result(SearchRecord).front]
    # Archs are of the space whether or not anything was chosen from it.
    return [_Asked(run.space.parse(name) if "_" in name else which_arch(run, name), ships=True)]


def _evaluate(run: Run, asked: Sequence[_Asked], split: SplitName, progress: Progress) -> list[AccuracyRow]:
    subnets, supernet_weights = run_subnets(run), run.result(TrainRecord).weights
    ledger = Ledger(run.folder / FILE, AccuracyRow, run.space)
    scored = ledger.last(lambda row: row.key)
    rows = []
    for number, one in enumerate(asked):
        progress("evaluating", number, len(asked))
        tuned = shipping_subnet(run, one.arch) if one.ships else None
        of = tuned.images if tuned else run.images
        images, dataset = of.split(split), of.dataset
        calibration = tuned.subnet.calibration_images if tuned else subnets.images
        weights = _digest(tuned.subnet) if tuned else supernet_weights
        row = scored.get((one.arch, split, len(images), calibration, weights))
        if row is None:
            started = time.monotonic()
            found = accuracy(tuned.subnet if tuned else subnets(one.arch), images, dataset.num_classes)
            classes = _by_class(found, dataset.classes)
            worst = min(classes, key=classes.__getitem__)
            row = AccuracyRow(
                arch=one.arch,
                split=split,
                images=len(images),
                calibration_images=calibration,
                weights=weights,
                fine_tuned=tuned is not None,
                dataset=dataset.name,
                top1=found.top1,
                worst_class=worst,
                worst_class_top1=classes[worst],
                class_top1=classes,
                seconds=time.monotonic() - started,
            )
            ledger.append(row)
        rows.append(row)
    progress("evaluating", len(asked), len(asked))
    inherited = [one.arch for one, row in zip(asked, rows, strict=True) if one.ships and not row.fine_tuned]
    if note := inherited_note(run, inherited):
        LOGGER.warning("note: %s", note)
    return rows


def _digest(subnet: Subnet) -> str:
    """Return the SHA-256 of a network's weights and statistics."""
    return hashlib.sha256(safetensors.torch.save(plain(subnet.state_dict()))).hexdigest()


def _by_class(found: Accuracy, classes: Sequence[str]) -> dict[str, float]:
    """Return top-1 by class; a class without images has none."""
    by_class = zip(classes, found.by_class.tolist(), strict=True)
    return {name: value for name, value in by_class if not math.isnan(value)}
