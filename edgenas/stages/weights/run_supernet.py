"""The supernet of a run: with fresh weights, and as training left it."""

from __future__ import annotations

import torch

from edgenas.config.train_config import TrainConfig
from edgenas.errors import RunFolderError
from edgenas.records.train import TrainRecord
from edgenas.runs.run import Run
from edgenas.space.space import ClassifierSpace
from edgenas.supernet.pixels import Pixels
from edgenas.supernet.supernet import SuperNet
from edgenas.training import checkpoint
from edgenas.training.initial_weights import load_network
from edgenas.training.materialise import preprocess_for
from edgenas.training.setup import compute_device

SORTING_IMAGES = 128
"""Training images on which the importance of channels is measured."""


def new_supernet(networks: ClassifierSpace, config: TrainConfig, pixels: Pixels) -> SuperNet:
    """Return a supernet with fresh weights."""
    return SuperNet(networks, kernel_transforms=config.kernel_transforms, pixels=pixels)


def starting_supernet(run: Run) -> SuperNet:
    """Return the supernet that training starts from: with the weights of the run's pretrained network, or fresh ones.

    Checkpoints that `train.init` or an interrupted training names are loaded by training itself.

    Raises:
        WeightsError, RunFolderError: see `Run.pretrained`.
    """
    dataset = run.images.dataset
    net = new_supernet(run.networks, run.config.training, dataset.pixels)
    if run.pretrained is not None:
        images = preprocess_for(run.space.largest, dataset.pixels)(dataset.train.images[:SORTING_IMAGES])
        load_network(run.pretrained.module, net, dataset.classes, images)
    return net


def trained_supernet(run: Run) -> SuperNet:
    """Return the run's supernet with its trained weights, in eval mode.

    Raises:
        RunFolderError: the run was not trained to the end yet, or its checkpoint is damaged.
    """
    folder = run.result_path("train").parent
    recorded = run.result(TrainRecord).weights
    net = new_supernet(run.networks, run.config.training, run.images.dataset.pixels)
    checkpoint.load(folder, net)
    if recorded != checkpoint.digest(folder):
        raise RunFolderError(
            f"{folder / checkpoint.FILE_NAME} is not as training left it: put a copy back, or delete {folder} and run "
            f"`edgenas train {run.folder}`"
        )
    device = compute_device(run.config.training.device)
    return net.to(device=device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload,no-any-return]
