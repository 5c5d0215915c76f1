"""The weights that a network is fine-tuned from: those of the supernet, or of the pretrained network that it is."""

from __future__ import annotations

from collections.abc import Callable

import torch

from edgenas.runs.run import Run
from edgenas.space.arch import Arch
from edgenas.supernet.subnet import Subnet
from edgenas.supernet.supernet import SuperNet
from edgenas.training.finetuning import with_classes
from edgenas.training.materialise import recalibrate
from edgenas.training.setup import compute_device


def starting_network(run: Run, subnets: Callable[[Arch], Subnet], arch: Arch) -> Subnet:
    """Return an architecture with the weights that fine-tuning starts from, calibrated, on the run's device.

    A network of the run's space inherits the supernet's weights. One of the shelf keeps its pretrained weights, except
    for a new classifier of random weights, so that its accuracy is that of chance before it is trained.

    Args:
        run: trained.
        subnets: returns subnets of its supernet.
        arch: architecture of its space or of its shelf.

    Raises:
        RunFolderError: the pretrained weights changed since the run began.
        SpaceError: the architecture is neither of the run's space nor of its shelf.
        WeightsError: the pretrained weights cannot be had.
    """
    if not arch.network:
        return subnets(arch)
    subnet = shelf_network(run, arch, run.config.seed)
    return recalibrate(subnet.to(compute_device(run.config.training.device)), run.images.calibration)


def shelf_network(run: Run, arch: Arch, seed: int) -> Subnet:
    """Return a network of the shelf on the CPU, with a new classifier of seeded random weights, not calibrated.

    Raises:
        RunFolderError, SpaceError, WeightsError: see `starting_network`.
    """
    body = SuperNet.from_network(run.spaces.of(arch), run.shelf_network(arch.network).module).extract(arch)
    return with_new_classifier(body, run.num_classes, seed)


def with_new_classifier(body: Subnet, num_classes: int, seed: int) -> Subnet:
    """Return a copy of a network with a classifier of seeded random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return with_classes(body, num_classes)
