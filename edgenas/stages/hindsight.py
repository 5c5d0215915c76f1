"""What test images say once the choice is written down: of the whole front, and of who paid for the speed.

Nothing is chosen by it. How much validation flatters a front is told by all of it, not by the one network that was
chosen from it; and a mean hides that a fast network may be worse at some classes only.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from edgenas.files import write_json
from edgenas.quantities import MACS
from edgenas.runs.folder import Progress, Run
from edgenas.runs.run_data import deployed_preprocess, run_dataset
from edgenas.space.arch import Arch
from edgenas.stages.bundle_network import IMAGES_AT_ONCE, right_answers
from edgenas.stages.computed_costs import CostTable
from edgenas.stages.run_subnets import run_subnets
from edgenas.stages.training_archs import known_pool
from edgenas.stages.verify import model_path
from edgenas.supernet.subnet import Subnet
from edgenas.training.data.dataset import Dataset
from edgenas.training.materialise import predict

FILE = "export/hindsight.json"


def write_hindsight(run: Run, chosen: str, chosen_model: Path | None, progress: Progress) -> None:
    """Write `export/hindsight.json`: the front's networks on test images, and classes beside the largest subnet's.

    Of a supernet that was trained only what is within budgets it is the largest of these: others were trained nothing.

    Args:
        run: verified, so its choice is written down.
        chosen: the network that ships.
        chosen_model: the chosen network's file with the weights that it inherits, as the largest subnet is scored
            with: fine-tuning alone would make up for the speed. None where there is no such file, since nothing was
            measured: then the subnet itself is scored.
        progress: called with what is being done, steps done and in all.
    """
    verified, dataset = run.result("verify"), run_dataset(run)
    front, answers = [], dict[Path | None, Tensor]()
    for number, entry in enumerate(verified["front"]):
        progress("looking back", number, len(verified["front"]) + 1)
        path = run.folder / model_path(number)
        # Where nothing is measured there is no file, and nothing is flattered by timing either.
        if path.exists() and run.config.accuracy is None:
            answers[path] = right = _of_file(run, dataset, path, entry["arch"])
            test_top1 = int(right.sum()) / len(right)
            front.append({"arch": entry["arch"], "val_top1": entry["val_top1"], "test_top1": test_top1})
    progress("looking back", len(verified["front"]), len(verified["front"]) + 1)
    subnets = run_subnets(run, dataset)
    if chosen_model in answers:
        right = answers[chosen_model]
    elif chosen_model is not None:
        right = _of_file(run, dataset, chosen_model, chosen)
    else:
        right = _of_subnet(subnets(run.space.parse(chosen)), dataset)
    pool = known_pool(run)
    largest = run.space.largest if pool is None else _largest_of(run, pool, dataset.num_classes)
    compared = {"largest": largest.id, "within_budgets": pool is not None}
    classes = {"classes": _by_class(dataset, right, _of_subnet(subnets(largest), dataset))}
    write_json(run.folder / FILE, {"front": front, "chosen": chosen} | compared | classes)
    progress("looking back", len(verified["front"]) + 1, len(verified["front"]) + 1)


def _largest_of(run: Run, pool: Sequence[Arch], num_classes: int) -> Arch:
    """The arch of most multiply-accumulates."""
    macs = CostTable(run.space, num_classes)(MACS, run.space.encode(pool))
    return pool[int(macs.argmax())]


def _of_file(run: Run, dataset: Dataset, model: Path, arch: str) -> Tensor:
    """Whether the file of an arch gives each test image its label, (n,)."""
    return right_answers(model, dataset.test, deployed_preprocess(run.space.parse(arch), dataset))


def _of_subnet(subnet: Subnet, dataset: Dataset) -> Tensor:
    """Whether a subnet, with the weights it inherits, gives each test image its label, (n,)."""
    parts = dataset.test.batches(IMAGES_AT_ONCE)
    return torch.cat([predict(subnet, part.tensor()).argmax(1) == part.labels for part in parts])


def _by_class(dataset: Dataset, chosen: Tensor, largest: Tensor) -> list[dict[str, Any]]:
    """Counts of right answers; images that one network alone gets right tell chance from loss."""

    def counts(right: Tensor) -> list[int]:
        found: list[int] = torch.bincount(dataset.test.labels[right], minlength=dataset.num_classes).tolist()
        return found

    columns = (
        dataset.test.counts(dataset.num_classes),
        *map(counts, (chosen, largest, chosen & ~largest, largest & ~chosen)),
    )
    keys = ("images", "chosen", "largest", "only_chosen", "only_largest")
    return [
        {"name": name, **dict(zip(keys, own, strict=True))}
        for name, own in zip(dataset.classes, zip(*columns, strict=True), strict=True)
    ]
