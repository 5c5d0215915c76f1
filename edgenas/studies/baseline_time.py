"""The time that a run took, which baselines get too, and the threads and the clock that it is counted with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from edgenas.errors import ConfigError
from edgenas.records.baselines import StandaloneTraining
from edgenas.records.finetune import FinetuneRecord, HalvingRecord
from edgenas.records.search import SearchRecord
from edgenas.records.train import TrainRecord
from edgenas.stages.weights.standalone_networks import StandaloneTrainer
from edgenas.training.fixed_settings import load_fixed_settings


def training_threads(supernet: Path, minutes: float | None) -> int | None:
    """Return the number of training threads on a CPU, which must be that of the run.

    Args:
        supernet: folder of the supernet.
        minutes: training time of each baseline and seed; None for the time of the run, which takes as many threads.

    Raises:
        ConfigError: the number of threads differs from the run's.
    """
    schedule, now = load_fixed_settings(supernet), torch.get_num_threads()
    if schedule is None or schedule.circumstances.get("device") != "cpu":
        return None
    before = schedule.circumstances.get("threads")
    if minutes is None and before not in (None, now):
        raise ConfigError(
            f"{supernet.parent}: the run had {before} thread(s), baselines would have {now}: set "
            f"OMP_NUM_THREADS={before}, or give their --baseline-minutes"
        )
    return now


def spent_seconds(
    trained: TrainRecord,
    search: SearchRecord,
    tuned: FinetuneRecord | HalvingRecord | None,
    wall_seconds: Mapping[str, float],
) -> dict[str, float]:
    """Return the seconds of training, search and fine-tuning, which baselines get too.

    Where several networks were fine-tuned, all of them count, not only the one that was exported.

    Profiling and measuring the front serve baselines as well. A stage counts with its wall time, or with the sum of its
    steps and scores if that is larger.
    """
    counted = {
        "train": trained.train_seconds,
        "search": search.seconds,
        "finetune": tuned.seconds if tuned else 0.0,
    }
    # A killed stage has no wall time, and a rejected fine-tuning is not part of the network.
    return {
        name: max(counted[stage], wall_seconds.get(stage, 0.0)) if counted[stage] else 0.0
        for stage, name in (("train", "supernet"), ("search", "search"), ("finetune", "fine_tuning"))
    }


def tuning_step_seconds(tuned: FinetuneRecord | None, trainer: StandaloneTrainer) -> float | None:
    """Return the mean time of a fine-tuning step; None if it had a teacher or other threads."""
    if tuned is None or tuned.teacher != "none" or tuned.threads != torch.get_num_threads():
        return None
    return tuned.seconds / trainer.steps(tuned.epochs)


def standalone_training(tuned: FinetuneRecord | None) -> StandaloneTraining:
    """Return how the chosen network was fine-tuned; zero epochs if it was not, or if that was rejected."""
    if tuned is None or not tuned.ships:
        return StandaloneTraining(epochs=0.0)
    return StandaloneTraining(epochs=tuned.epochs, start=tuned.start, learning_rate_share=tuned.learning_rate_share)
