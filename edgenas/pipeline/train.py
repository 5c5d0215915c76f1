"""Stage train: the supernet."""

from __future__ import annotations

import torch

from edgenas.pipeline.budgets import run_limits
from edgenas.pipeline.data import run_dataset
from edgenas.pipeline.run import Progress, Run
from edgenas.supernet.supernet import SuperNet
from edgenas.training import checkpoint
from edgenas.training.data import Dataset
from edgenas.training.loop import compute_device, train


def run_train(run: Run, progress: Progress) -> None:
    """Train the run's supernet, or go on with it.

    Raises:
        ConfigError: the run is profiled, and a budget cannot be met.
    """
    if run.done("train"):
        return
    dataset = run_dataset(run)
    if run.done("profile"):
        # A budget that no subnet can meet is known now, before the costly part.
        run_limits(run, dataset.num_classes)
    torch.manual_seed(run.config.seed)
    net = SuperNet(run.space, dataset.num_classes)
    folder = run.result_path("train").parent
    result = train(net, dataset, run.config.train, seed=run.config.seed, folder=folder, progress=progress)
    run.finish("train", result.to_json())


def trained_supernet(run: Run, dataset: Dataset) -> SuperNet:
    """The run's supernet with its trained weights, in eval mode.

    Raises:
        RunFolderError: the run was not trained to the end yet.
    """
    run.result("train")
    net = SuperNet(run.space, dataset.num_classes)
    checkpoint.load(run.result_path("train").parent, net)
    device = compute_device(run.config.train.device)
    return net.to(device=device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload,no-any-return]
