"""Test accuracies of the whole front and of single classes, computed after the choice is written down.

They do not affect the choice. The whole front shows how far validation accuracy is too high, which the chosen network
alone does not; and a mean hides that a fast network may be worse at some classes only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from edgenas.progress import Progress
from edgenas.quantities import MACS
from edgenas.records.export import ClassChange, HindsightRecord, TestedNetwork
from edgenas.records.paths import HINDSIGHT
from edgenas.records.verify import VerifyRecord
from edgenas.runs.images import RunImages
from edgenas.runs.run import Run
from edgenas.space.arch import Arch
from edgenas.space.space import ClassifierSpace
from edgenas.stages.budgets.computed_costs import CostTable
from edgenas.stages.front.front_files import model_path
from edgenas.stages.shipping.bundle_network import IMAGES_AT_ONCE, right_answers
from edgenas.stages.weights.run_accuracy import run_subnets
from edgenas.stages.weights.training_archs import TrainingPool
from edgenas.supernet.subnet import Subnet
from edgenas.training.data.dataset import Dataset
from edgenas.training.materialise import predict


def write_hindsight(run: Run, chosen: Arch, chosen_model: Path | None, progress: Progress) -> None:
    """Write `export/hindsight.json`: the front's networks on test images, and classes beside the largest subnet's.

    Refused networks are left out. A supernet may have been trained on architectures within the budgets only. The
    largest subnet is then the largest of these. A network of the shelf has no inherited weights to compare.

    Args:
        run: verified, so its choice is written down.
        chosen: the network that ships.
        chosen_model: the chosen network's file with inherited weights, which the largest subnet is scored with, too. A
            fine-tuned file would compare fine-tuning instead of speed. None where nothing was measured, so that there
            is no file: then the subnet itself is scored.
        progress: called with what is being done, steps done and in all.
    """
    networks, images = run.result(VerifyRecord).front, run.images
    front, answers, steps = [], dict[Path | None, Tensor](), len(networks) + 1
    for number, network in enumerate(networks):
        progress("looking back", number, steps)
        path = run.folder / model_path(number)
        # A file of a refused network is that of an earlier front.
        if network.refused:
            continue
        # Where nothing is measured there is no file, and no choice by timing that could be flattered.
        if path.exists() and run.config.accuracy is None:
            answers[path] = right = _of_file(images, path, network.arch)
            test_top1 = int(right.sum()) / len(right)
            front.append(TestedNetwork(arch=network.arch, val_top1=network.val_top1, test_top1=test_top1))
    progress("looking back", len(networks), steps)
    pool = TrainingPool(run.folder, run.config.training, run.space).archs()
    largest = run.space.largest if pool is None else _largest_of(run.networks, pool)
    HindsightRecord(
        front=tuple(front),
        chosen=chosen,
        largest=largest,
        within_budgets=pool is not None,
        classes=() if chosen.network else _classes(run, chosen, chosen_model, largest, answers),
    ).write(run.folder / HINDSIGHT)
    progress("looking back", steps, steps)


def _classes(
    run: Run, chosen: Arch, chosen_model: Path | None, largest: Arch, answers: Mapping[Path | None, Tensor]
) -> tuple[ClassChange, ...]:
    """Return test images by class of the chosen network and of the largest subnet, see `write_hindsight`.

    Args:
        run: the run.
        chosen: the network that ships.
        chosen_model: its file.
        largest: the largest subnet.
        answers: whether each file of the front gives each test image its label.
    """
    subnets, dataset = run_subnets(run), run.images.dataset
    if chosen_model in answers:
        right = answers[chosen_model]
    elif chosen_model is not None:
        right = _of_file(run.images, chosen_model, chosen)
    else:
        right = _of_subnet(subnets(chosen), dataset)
    return _by_class(dataset, right, _of_subnet(subnets(largest), dataset))


def _largest_of(space: ClassifierSpace, pool: Sequence[Arch]) -> Arch:
    """Return the architecture of most multiply-accumulates."""
    macs = CostTable(space)(MACS, space.encode(pool))
    return pool[int(macs.argmax())]


def _of_file(images: RunImages, model: Path, arch: Arch) -> Tensor:
    """Return whether the file of an architecture gives each test image its label, (n,)."""
    return right_answers(model, images.dataset.test, images.preprocess(arch))


def _of_subnet(subnet: Subnet, dataset: Dataset) -> Tensor:
    """Return whether a subnet, with inherited weights, gives each test image its label, (n,)."""
    parts = dataset.test.batches(IMAGES_AT_ONCE)
    return torch.cat([predict(subnet, part.tensor()).argmax(1) == part.labels for part in parts])


def _by_class(dataset: Dataset, chosen: Tensor, largest: Tensor) -> tuple[ClassChange, ...]:
    """Count right answers by class. Images that only one network gets right separate chance from loss."""

    def counts(right: Tensor) -> list[int]:
        by_class: list[int] = torch.bincount(dataset.test.labels[right], minlength=dataset.num_classes).tolist()
        return by_class

    columns = map(counts, (chosen, largest, chosen & ~largest, largest & ~chosen))
    rows = zip(dataset.classes, dataset.test.counts(dataset.num_classes), *columns, strict=True)
    return tuple(
        ClassChange(
            name=name,
            images=images,
            chosen=right,
            largest=right_of_largest,
            only_chosen=only_chosen,
            only_largest=only_largest,
        )
        for name, images, right, right_of_largest, only_chosen, only_largest in rows
    )
