"""Records of the search, in the folder search/ of a run."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from edgenas.budget import BudgetText
from edgenas.records.record import ArchText, Count, Fraction, Microseconds, NotNegative, Record


class EvaluationRow(Record):
    """A row of search/evaluations.jsonl: the validation errors of one subnet.

    Attributes:
        arch: the subnet.
        error: 1 - top-1.
        worst_class_error: 1 - top-1 of the class with the lowest; None where only top-1 is given.
        balanced_error: 1 - mean top-1 of the classes; None likewise.
        latency_us: predicted median latency by device.
        weights: digest of what the error depends on: the supernet's weights, or the source of accuracies.
        calibration_images: training images that recalibrated batch norm; None where there is no supernet.
        validation_images: images that the error was counted over; None where there is no supernet.
        seconds: spent on it, by the clock.
    """

    arch: ArchText
    error: Fraction
    worst_class_error: Fraction | None = None
    balanced_error: Fraction | None = None
    latency_us: Annotated[dict[str, Microseconds], Field(min_length=1)]
    weights: str
    calibration_images: Count | None = None
    validation_images: Count | None = None
    seconds: NotNegative


class SurrogateQuality(Record):
    """The accuracy of a surrogate on values that it was not fitted on; `rmse` is in the objective's unit."""

    rows: Count
    rmse: NotNegative
    kendall_tau: float
    coverage_90: Fraction


class SurrogateFit(Record):
    """A surrogate of one objective: scored leaving one out, and on the batch that was evaluated next."""

    # The name of the class of surrogate, e.g. "ordinal".
    kind: str
    left_out: SurrogateQuality
    next_batch: SurrogateQuality | None


class RoundRow(Record):
    """A row of search/rounds.jsonl: the surrogates that a strategy fitted after so many evaluations."""

    evaluations: Count
    hypervolume: NotNegative
    models: dict[str, SurrogateFit]


class ObjectiveRow(Record):
    """An objective of a search, which is minimised."""

    name: str
    unit: str


class FailedNetwork(Record):
    """A subnet that could not be evaluated."""

    arch: ArchText
    cause: str


class BudgetRange(Record):
    """The values that a space has for a budget, in the budget's unit; `share` of the space is within the budget."""

    smallest: float
    median: float
    largest: float
    share: Fraction


class FeasibleShares(Record):
    """The share of a space within all budgets, and the range of each budget, in their order."""

    share: Fraction
    budgets: tuple[BudgetRange, ...]


class FrontNetwork(Record):
    """A subnet of the front, with the value of every objective by name."""

    arch: ArchText
    val_top1: Fraction
    objectives: dict[str, NotNegative]


class SearchRecord(Record):
    """search/result.json.

    Attributes:
        strategy: its name.
        refits: number of times that predictors had been refitted on measured networks.
        asked: evaluations that the config asked for.
        evaluations: subnets that were evaluated, without failures.
        origins: evaluations by the way that the candidate was proposed, where the strategy has several.
        exhausted: whether the space ran out of new feasible subnets.
        failures: subnets that could not be evaluated.
        seconds: spent on scoring, by the clock.
        objectives: in order; scored ones first.
        hypervolume: hypervolume of the final front.
        reference_point: reference point of the hypervolume, one value per objective.
        hypervolume_by_batch: hypervolume of the front after each batch.
        evaluations_by_batch: evaluations after each batch.
        budgets: resolved to devices; the default budget where none was asked for.
        feasibility: shares of the space within the budgets.
        front: the least of the first computed objective first.
    """

    strategy: str
    refits: Count
    asked: Count
    evaluations: Count
    origins: dict[str, Count]
    exhausted: bool
    failures: tuple[FailedNetwork, ...]
    seconds: NotNegative
    objectives: tuple[ObjectiveRow, ...]
    hypervolume: NotNegative
    reference_point: tuple[float, ...]
    hypervolume_by_batch: tuple[NotNegative, ...]
    evaluations_by_batch: tuple[Count, ...]
    budgets: Annotated[tuple[BudgetText, ...], Field(min_length=1)]
    feasibility: FeasibleShares
    front: Annotated[tuple[FrontNetwork, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _batches_agree(self) -> Self:
        if len(self.hypervolume_by_batch) != len(self.evaluations_by_batch):
            raise ValueError("hypervolume_by_batch and evaluations_by_batch differ in length")
        return self


class InitialRecord(Record):
    """search/initial.json: the front of another run, which a search begins with."""

    run: str
    archs: tuple[ArchText, ...]
