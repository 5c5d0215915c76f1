"""Accuracies of subnets that the user names: one row each in an open file, with every class's own."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Literal

from edgenas.errors import ConfigError, RunFolderError
from edgenas.files import SCHEMA_VERSION, append_jsonl, read_jsonl
from edgenas.pipeline.data import run_dataset, scoring_split
from edgenas.pipeline.export import which_arch
from edgenas.pipeline.lock import locked
from edgenas.pipeline.pool import tell_untaught
from edgenas.pipeline.run import Progress, Run
from edgenas.pipeline.subnets import run_subnets
from edgenas.space.arch import Arch
from edgenas.training.evaluate import Accuracy, accuracy

FILE = "evaluate/accuracy.jsonl"
KEY = ("arch", "split", "images", "calibration_images", "weights")
"""What a row is of: a second one of the same would say the same."""
SplitName = Literal["val", "test"]


def evaluate(run: Run, which: Sequence[str], split: SplitName, progress: Progress) -> list[dict[str, Any]]:
    """Rows of subnets, in the order asked for; those that are new are appended to `FILE`. The run folder is locked.

    Args:
        run: trained; for the test split, verified, too.
        which: `chosen`, `best:K`, `front` or archs of the run's space.
        split: `val` is what every choice saw.
        progress: called with what is being done, subnets done and in all.

    Raises:
        RunFolderError: a stage is missing.
        ConfigError: the run has no weights, no arch is named, or there are not so many networks within the budgets.
        SpaceError: no arch of the space; gene and legal values are named.
    """
    run.needs("train")
    if split == "test" and not run.done("verify"):
        raise RunFolderError(
            f"{run.folder}: test pictures judge the network that was chosen, and none is yet: run `edgenas verify "
            f"{run.folder}` first, or take --split val"
        )
    archs = list(dict.fromkeys(arch for name in which for arch in _named(run, name)))
    if not archs:
        raise ConfigError("--archs: wanted at least one of chosen, best:K, front or an arch's text")
    tell_untaught(run, archs)
    with locked(run.folder):
        return _evaluate(run, archs, split, progress)


def _named(run: Run, name: str) -> list[Arch]:
    if name == "front":
        return [run.space.parse(entry["arch"]) for entry in run.result("search")["front"]]
    # Archs are of the space whether or not anything was chosen from it.
    return [run.space.parse(name)] if "_" in name else [which_arch(run, name)]


def _evaluate(run: Run, archs: Sequence[Arch], split: SplitName, progress: Progress) -> list[dict[str, Any]]:
    dataset = run_dataset(run)
    subnets = run_subnets(run, dataset)
    pictures = scoring_split(run, dataset) if split == "val" else dataset.test
    path = run.folder / FILE
    known = {tuple(row.get(key) for key in KEY): row for row in read_jsonl(path)}
    of = (split, len(pictures), subnets.images, run.result("train").get("weights"))
    rows = []
    for number, arch in enumerate(archs):
        progress("evaluating", number, len(archs))
        row = known.get((arch.id, *of))
        if row is None:
            started = time.monotonic()
            found = accuracy(subnets(arch), pictures, dataset.num_classes)
            row = dict(zip(KEY, (arch.id, *of), strict=True)) | _told(found, dataset.classes)
            row = {"schema_version": SCHEMA_VERSION, **row, "seconds": time.monotonic() - started}
            append_jsonl(path, row)
        rows.append(row)
    progress("evaluating", len(archs), len(archs))
    return rows


def _told(found: Accuracy, classes: Sequence[str]) -> dict[str, Any]:
    by_class = dict(zip(classes, found.by_class.tolist(), strict=True))
    # A class without pictures has no accuracy.
    by_class = {name: value for name, value in by_class.items() if value == value}
    worst = min(by_class, key=by_class.__getitem__)
    return {
        "top1": found.top1,
        "worst_class": worst,
        "worst_class_top1": by_class[worst],
        "class_top1": by_class,
    }
