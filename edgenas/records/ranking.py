"""Records of the study ranking, in the folder study/ranking/ of a run."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from edgenas.records.record import ArchText, Count, Fraction, NotNegative, Record


class Estimate(Record):
    """A figure and its 95 % percentile bootstrap interval over networks; None where there are too few networks.

    For 25 networks with normal scores, such intervals covered the true tau in 95 % of 400 draws.
    """

    value: float | None
    low: float | None
    high: float | None
    count: Count


class Taus(Record):
    """Kendall's tau with the accuracy of networks trained from scratch.

    Attributes:
        inherited: tau of the accuracy with inherited weights.
        uncalibrated: tau of that with the supernet's own batch-norm statistics; None where weights are averaged.
        macs: tau of MACs.
        lead_over_macs: `inherited` minus `macs`.
        repeated: tau of one training with the mean of others with other seeds; None for a single training.
    """

    inherited: Estimate
    uncalibrated: Estimate | None
    macs: Estimate
    lead_over_macs: Estimate
    repeated: float | None


class WorstGap(Record):
    """The subnet whose inherited accuracy is lowest compared with training from scratch."""

    arch: ArchText
    gap: float


class Agreement(Record):
    """Inherited minus standalone accuracy of some subnets, taus, and their range of MACs; None without subnets."""

    subnets: Count
    gap: Estimate | None = None
    gap_uncalibrated: Estimate | None = None
    worst_gap: WorstGap | None = None
    tau: Taus | None = None
    macs_least: Count | None = None
    macs_greatest: Count | None = None


class ComparedSubnet(Record):
    """A subnet with inherited weights, and trained from scratch; top-1 on the same images.

    Attributes:
        arch: the subnet.
        macs: multiply-accumulates.
        grouped: whether it is one of the group of near-equal MACs.
        inherited: with batch norm recalibrated.
        uncalibrated: with the supernet's own statistics; None where weights are averaged.
        standalone: trained from scratch, batch norm recalibrated; the mean of several trainings.
        standalone_uncalibrated: with the statistics of its own training; None likewise.
        standalone_by_seed: top-1 of each training.
        seconds: time of all its trainings.
    """

    arch: ArchText
    macs: Count
    grouped: bool
    inherited: Fraction
    uncalibrated: Fraction | None
    standalone: Fraction
    standalone_uncalibrated: Fraction | None
    standalone_by_seed: tuple[Fraction, ...]
    seconds: NotNegative

    @property
    def gap(self) -> float:
        """Inherited minus standalone top-1; below zero, weight sharing costs accuracy."""
        return self.inherited - self.standalone


def standalone_training(pretrained: str | None) -> str:
    """Return how standalone networks are trained, in words: from scratch, or from a pretrained network."""
    return "trained from scratch" if pretrained is None else f"fine-tuned from {pretrained}"


class InheritedRow(Record):
    """A row of study/ranking/rows.jsonl: a subnet with inherited weights.

    Attributes:
        arch: the subnet.
        weights: digest of the supernet's weights.
        calibration_images: training images that recalibrated batch norm.
        validation_images: images that it was scored on.
        top1: with batch norm recalibrated.
        top1_uncalibrated: with the supernet's own statistics; None where weights are averaged.
    """

    kind: Literal["inherited"] = "inherited"
    arch: ArchText
    weights: str
    calibration_images: Count
    validation_images: Count
    top1: Fraction
    top1_uncalibrated: Fraction | None

    @property
    def key(self) -> tuple[object, ...]:
        """The values that the accuracies depend on."""
        return self.arch, self.weights, self.calibration_images, self.validation_images


class StandaloneRow(Record):
    """A row of study/ranking/rows.jsonl: a subnet trained from scratch.

    Attributes:
        arch: the subnet.
        steps: training steps.
        seed: seed of its weights and images.
        validation_images: images that it was scored on.
        setting: digest of all other settings of the training.
        top1: with batch norm recalibrated.
        top1_uncalibrated: with the statistics of its training; None where weights are averaged.
        seconds: time that the steps took.
        seconds_since_start: time since the last start of the training, scoring included.
    """

    kind: Literal["standalone"] = "standalone"
    arch: ArchText
    steps: Count
    seed: int
    validation_images: Count
    setting: str
    top1: Fraction
    top1_uncalibrated: Fraction | None
    seconds: NotNegative
    seconds_since_start: NotNegative

    @property
    def key(self) -> tuple[object, ...]:
        """The values that the accuracies depend on."""
        return self.arch, self.steps, self.seed, self.validation_images, self.setting


class RankingRecord(Record):
    """study/ranking/ranking.json: whether inherited accuracies rank subnets as standalone training does.

    Attributes:
        supernet_from: weights that the supernet started from; None for random ones.
        standalone_from: the pretrained network that standalone subnets started from; None for random weights.
        average: decay of the average of the weights; None for none.
    """

    space: str
    dataset: str
    weights: str
    recipe: str
    epochs: NotNegative
    steps: Count
    training_images: Count
    validation_images: Count
    seed: int
    repeats: Annotated[int, Field(ge=1)]
    supernet_from: str | None
    standalone_from: str | None
    average: float | None
    seconds: NotNegative
    all: Agreement
    group: Agreement
    subnets: tuple[ComparedSubnet, ...]
