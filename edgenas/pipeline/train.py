"""Stage train: the supernet."""

from __future__ import annotations

from pathlib import Path

import torch

from edgenas.errors import RunFolderError
from edgenas.pipeline.budgets import run_limits
from edgenas.pipeline.data import run_dataset
from edgenas.pipeline.run import Progress, Run
from edgenas.supernet.supernet import SuperNet
from edgenas.training import checkpoint
from edgenas.training.data import Dataset
from edgenas.training.loop import compute_device, make_optimizer, train
from edgenas.training.settled import tell_other_minutes


def run_train(run: Run, progress: Progress, *, minutes: float | None = None) -> None:
    """Train the run's supernet, or go on with it; for `minutes` instead of the config's epochs, if that is said first.

    Where accuracies come from elsewhere nothing is trained: the weights that the config names are taken as they are.

    Raises:
        ConfigError: the run is profiled, and a budget cannot be met; or it has no supernet.
        RunFolderError: weights that are to be taken do not fit the space or the classes.
    """
    run.needs("train")
    folder = run.result_path("train").parent
    if run.config.accuracy is not None:
        if not run.done("train"):
            _take_weights(run, folder, progress)
        return
    tell_other_minutes(folder, minutes)
    if run.done("train"):
        return
    dataset = run_dataset(run)
    if run.done("profile"):
        # A budget that no subnet can meet is known now, before the costly part.
        run_limits(run, dataset.num_classes)
    torch.manual_seed(run.config.seed)
    net = SuperNet(run.space, dataset.num_classes)
    result = train(
        net, dataset, run.config.training, seed=run.config.seed, folder=folder, progress=progress, minutes=minutes
    )
    run.finish("train", {**result.to_json(), "weights": checkpoint.digest(folder)})


def _take_weights(run: Run, folder: Path, progress: Progress) -> None:
    """The supernet that `train.init` names becomes the run's, classifier and all."""
    progress("taking weights", 0, 1)
    init, dataset = run.config.training.init, run_dataset(run)
    assert init is not None
    net = SuperNet(run.space, dataset.num_classes)
    header = checkpoint.load_whole(init, net, dataset.classes)
    checkpoint.save(folder, net, make_optimizer(net, run.config.training), header)
    weights = checkpoint.digest(folder)
    params = sum(parameter.numel() for parameter in net.parameters())
    run.finish("train", {"params": params, "train_seconds": 0.0, "images_per_second": 0.0, "weights": weights})
    progress("taking weights", 1, 1)


def trained_supernet(run: Run, dataset: Dataset) -> SuperNet:
    """The run's supernet with its trained weights, in eval mode.

    Raises:
        RunFolderError: the run was not trained to the end yet, or its checkpoint is damaged.
    """
    folder = run.result_path("train").parent
    # Absent where an earlier version trained it.
    recorded = run.result("train").get("weights")
    net = SuperNet(run.space, dataset.num_classes)
    checkpoint.load(folder, net)
    if recorded not in (None, checkpoint.digest(folder)):
        raise RunFolderError(
            f"{folder / checkpoint.FILE_NAME} is not as training left it: put a copy back, or delete {folder} and run "
            f"`edgenas train {run.folder}`"
        )
    device = compute_device(run.config.training.device)
    return net.to(device=device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload,no-any-return]
