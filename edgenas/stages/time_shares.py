"""The shares of a run's time: measuring comes first, and training, search and fine-tuning divide what it leaves.

`minutes` of the config are those of all stages up to fine-tuning. Without them, epochs set the time of training, and
fine-tuning gets the share that it would have of such minutes.
"""

from __future__ import annotations

from collections.abc import Mapping

TRAINING_SHARE = 0.5
"""Part of the time that trains the supernet; fine-tuning takes what the search leaves of the rest."""
LEAST_SHARE = 0.2
"""Least part of the time for training, and for fine-tuning, where other stages take longer than planned."""
AFTERWARDS = ("export", "report")
"""Stages after the minutes."""


def training_minutes(minutes: float, spent: Mapping[str, float]) -> float:
    """Return the part of a run's minutes that trains the supernet.

    Args:
        minutes: those of the run.
        spent: seconds by stage; the profile comes before.
    """
    left = minutes - spent.get("profile", 0.0) / 60
    return max(TRAINING_SHARE * left, LEAST_SHARE * minutes)


def finetuning_seconds(minutes: float | None, spent: Mapping[str, float]) -> float:
    """Return the time for fine-tuning, with the choice of candidates.

    Args:
        minutes: those of the run; None where epochs set the time of training.
        spent: seconds by stage, with those of `train` and `search`; of `finetune`, those that are used already.
    """
    if minutes is None:
        whole = spent["train"] / TRAINING_SHARE
        return max(whole - spent["train"] - spent["search"], LEAST_SHARE * whole)
    used = sum(seconds for stage, seconds in spent.items() if stage not in AFTERWARDS)
    return max(60 * minutes - used, LEAST_SHARE * 60 * minutes)
