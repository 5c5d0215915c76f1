"""Records of training, in the folder supernet/ of a run."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from edgenas.budget import BudgetText
from edgenas.records.record import ArchText, Count, Fraction, NotNegative, Record


class TrainRecord(Record):
    """supernet/result.json.

    Attributes:
        params: parameters of the supernet.
        train_seconds: spent in steps, over all interruptions.
        images_per_second: images a second; each goes through all subnets of a step.
        weights: digest of the weights.
        augmentation: level of the augmentation; None where nothing was trained.
        class_weights: weights of the classes in the loss; None where they weigh alike.
    """

    params: Count
    train_seconds: NotNegative
    images_per_second: NotNegative
    weights: str
    augmentation: str | None = None
    class_weights: tuple[NotNegative, ...] | None = None


class FixedSettings(Record):
    """supernet/fixed_settings.json: settings that are fixed when training begins and hold to its end.

    Attributes:
        steps: optimiser steps in all.
        minutes: value of `--train-minutes`; None where the epochs of the config set the length.
        init_sha256: digest of the file of initial weights; None where they were random.
        circumstances: versions, threads and device. On a CPU, equal ones give equal bits.
    """

    steps: Count
    minutes: Annotated[float, Field(gt=0)] | None
    init_sha256: str | None
    circumstances: dict[str, str | int]


class StepRow(Record):
    """A row of supernet/training.jsonl: one training step; `seconds` are those of all steps so far."""

    kind: Literal["step"] = "step"
    step: Count
    epoch: NotNegative
    loss: float
    learning_rate: NotNegative
    images_per_second: NotNegative
    seconds: NotNegative


class ValidationRow(Record):
    """A row of supernet/training.jsonl: validation top-1 of named subnets after a step."""

    kind: Literal["validation"] = "validation"
    step: Count
    epoch: NotNegative
    top1: dict[str, Fraction]


class ResumeRow(Record):
    """A row of supernet/training.jsonl: a resumed training, and whether it can equal an undisturbed one bit for bit."""

    kind: Literal["resume"] = "resume"
    step: Count
    bit_identical: bool


class InitialWeightsRow(Record):
    """A row of supernet/training.jsonl: weights taken from a file as they are, and its digest."""

    kind: Literal["initial weights"] = "initial weights"
    init_sha256: str | None


class PoolRecord(Record):
    """supernet/pool.json: the subnets that are trained, where not the whole space is; they are within the budgets."""

    budgets: tuple[BudgetText, ...]
    archs: Annotated[tuple[ArchText, ...], Field(min_length=1)]
