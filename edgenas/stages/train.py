"""Stage train: train the supernet."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import torch

from edgenas.progress import Progress
from edgenas.records.train import TrainRecord
from edgenas.runs.run import Run
from edgenas.space.space import ClassifierSpace
from edgenas.stages.budgets.limits import run_limits
from edgenas.stages.weights.run_supernet import new_supernet
from edgenas.stages.weights.training_archs import TrainingPool
from edgenas.supernet.layers import num_parameters
from edgenas.training import checkpoint
from edgenas.training.data.dataset import Dataset
from edgenas.training.distributed import SINGLE_PROCESS, Processes
from edgenas.training.fixed_settings import warn_if_minutes_differ
from edgenas.training.initial_weights import load_whole
from edgenas.training.optimizer import make_optimizer
from edgenas.training.training_loop import train


def run_train(
    run: Run, progress: Progress, *, minutes: float | None = None, processes: Processes = SINGLE_PROCESS
) -> None:
    """Train the run's supernet or resume its training, for the config's epochs or for `minutes`.

    Where accuracies come from elsewhere nothing is trained: the weights that the config names are taken as they are.

    Args:
        run: with the config of the training.
        progress: called with what is being done, steps done and in all.
        minutes: see `edgenas.training.training_loop.train`; fixed when training begins.
        processes: that train together; the first one writes.

    Raises:
        ConfigError: a budget of the profiled run cannot be met; its recipe needs a profile and there is none; or the
            run has no supernet.
        RunFolderError: the weights that the config names do not fit the space or the classes.
    """
    run.needs("train")
    config, folder = run.config.training, run.result_path("train").parent
    pool = TrainingPool(run.folder, config, run.space)
    if run.config.accuracy is not None:
        if processes.first and not run.done("train"):
            run.finish(_take_weights(pool, run.networks, run.images.dataset, folder, progress))
        return
    warn_if_minutes_differ(folder, minutes)
    if run.done("train"):
        return
    # A budget that no subnet can meet is refused now, before the costly part.
    limits = run_limits(run) if run.done("profile") else None
    dataset = run.images.dataset
    if config.epochs == 0 and processes.first:
        pool.take()
    torch.manual_seed(run.config.seed)
    result = train(
        new_supernet(run.networks, config, dataset.pixels),
        dataset,
        config,
        seed=run.config.seed,
        folder=folder,
        progress=progress,
        minutes=minutes,
        processes=processes,
        pool=pool.drawn(limits, run.config.seed, processes),
    )
    if processes.first:
        run.finish(TrainRecord(**asdict(result), weights=checkpoint.digest(folder)))


def _take_weights(
    pool: TrainingPool, networks: ClassifierSpace, dataset: Dataset, folder: Path, progress: Progress
) -> TrainRecord:
    """Write the supernet that `train.init` names, including its classifier, as the run's checkpoint."""
    progress("taking weights", 0, 1)
    init = pool.config.init
    assert init is not None
    pool.take()
    net = new_supernet(networks, pool.config, dataset.pixels)
    header = load_whole(init, net, dataset.classes)
    checkpoint.save(folder, net, make_optimizer(net, pool.config), header)
    progress("taking weights", 1, 1)
    weights = checkpoint.digest(folder)
    return TrainRecord(params=num_parameters(net), train_seconds=0.0, images_per_second=0.0, weights=weights)
