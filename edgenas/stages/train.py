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
from edgenas.stages.weights.run_supernet import new_supernet, starting_supernet
from edgenas.stages.weights.training_archs import TrainingPool
from edgenas.supernet.layers import num_parameters
from edgenas.training import checkpoint
from edgenas.training.data.dataset import Dataset
from edgenas.training.distributed import SINGLE_PROCESS, Processes
from edgenas.training.initial_weights import load_whole
from edgenas.training.optimizer import make_optimizer
from edgenas.training.training_loop import TrainResult, train


def train_supernet(
    run: Run, progress: Progress, *, minutes: float | None = None, processes: Processes = SINGLE_PROCESS
) -> TrainRecord:
    """Train the run's supernet or resume its training, for the config's epochs or for `minutes`.

    Where accuracies come from elsewhere nothing is trained: the weights that the config names are taken as they are.
    Of several processes, the first one calls this, and the others call `follow_training`.

    Args:
        run: with the config of the training.
        progress: called with what is being done, steps done and in all.
        minutes: see `edgenas.training.training_loop.train`; fixed when training begins.
        processes: the group of processes that train together; this is the first one, which writes.

    Raises:
        ConfigError: a budget of the profiled run cannot be met, or its recipe needs a profile and there is none.
        RunFolderError: the weights that the config names do not fit the space or the classes.
    """
    folder = run.result_path("train").parent
    pool = TrainingPool(run.folder, run.config.training, run.space)
    if run.config.accuracy is not None:
        return _take_weights(pool, run.networks, run.images.dataset, folder, progress)
    result = _train(run, pool, progress, minutes, processes)
    return TrainRecord(**asdict(result), weights=checkpoint.digest(folder))


def follow_training(run: Run, processes: Processes) -> None:
    """Train in a process that is not the first of its group: it computes its share and writes nothing.

    Raises:
        ConfigError, RunFolderError: see `train_supernet`.
    """
    if run.config.accuracy is None:
        pool = TrainingPool(run.folder, run.config.training, run.space)
        _train(run, pool, lambda label, done, total: None, None, processes)


def _train(
    run: Run, pool: TrainingPool, progress: Progress, minutes: float | None, processes: Processes
) -> TrainResult:
    config, dataset = run.config.training, run.images.dataset
    # A budget that no subnet can meet is refused now, before the costly part.
    limits = run_limits(run) if run.done("profile") else None
    if config.epochs == 0 and processes.first:
        pool.take()
    torch.manual_seed(run.config.seed)
    return train(
        starting_supernet(run),
        dataset,
        config,
        seed=run.config.seed,
        folder=run.result_path("train").parent,
        progress=progress,
        minutes=minutes,
        processes=processes,
        pool=pool.drawn(limits, run.config.seed, processes),
    )


def _take_weights(
    pool: TrainingPool, networks: ClassifierSpace, dataset: Dataset, folder: Path, progress: Progress
) -> TrainRecord:
    """Write the supernet that `train.init` names, including its classifier, as the run's checkpoint."""
    progress("taking weights", 0, 1)
    init = pool.config.init_path
    assert init is not None
    pool.take()
    net = new_supernet(networks, pool.config, dataset.pixels)
    header = load_whole(init, net, dataset.classes)
    checkpoint.save(folder, net, make_optimizer(net, pool.config), header)
    progress("taking weights", 1, 1)
    weights = checkpoint.digest(folder)
    return TrainRecord(params=num_parameters(net), train_seconds=0.0, images_per_second=0.0, weights=weights)
