"""Records of fine-tuning, in the folder finetune/ of a run."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from edgenas.records.comparison import Answers, CandidateComparison
from edgenas.records.record import ArchText, Count, Fraction, Interval, Microseconds, NotNegative, Record


class SupernetSource(Record):
    """The supernet that a network inherited its weights from: its images, and the digest of its weights."""

    dataset: str
    weights: str


class FinetuneSummary(Record):
    """The fine-tuning of a network, as summaries and manifests state it.

    Attributes:
        dataset: name of the images.
        training_images: number of training images.
        epochs: passes over them.
        start: `inherited` or `fresh` weights.
        teacher: `none`, or `largest` for distillation from the largest subnet.
        learning_rate_share: share of the supernet's learning rate.
        average: decay of the average of the weights that the network has; None for none.
        patience: validations without a better one that ended the training, or would have; None for none.
        supernet: source of the inherited weights.
        val_top1_before: None where the classifier is new.
        val_top1_after: validation top-1 of the fine-tuned network.
        worse: whether it classifies significantly fewer validation images correctly than before.
        seconds: time that training took.
        network: name of the pretrained network of the shelf that it is; empty for a subnet of the supernet.
    """

    dataset: str
    training_images: Count
    epochs: NotNegative
    start: str
    teacher: str
    learning_rate_share: NotNegative
    average: NotNegative | None = None
    patience: Count | None = None
    supernet: SupernetSource
    val_top1_before: Fraction | None
    val_top1_after: Fraction
    worse: bool = False
    seconds: NotNegative
    network: str = ""

    @property
    def ships(self) -> bool:
        """Whether the fine-tuned network is exported. A few images fewer, as by sampling error, do not discard it."""
        return not self.worse


class FinetuneRecord(FinetuneSummary):
    """finetune/result.json, and the result of every network that was fine-tuned.

    Attributes:
        arch: the network.
        data_digest: digest of the images.
        calibration_images: training images that recalibrated batch norm.
        threads: threads of the training.
        val_score: top-1 that networks are ranked by: of fewer than 300 validation images, the mean over several views.
        val_right: answers on the validation images.
        val_right_before: answers with inherited weights; None where the classifier is new.
    """

    arch: ArchText
    data_digest: str
    calibration_images: Annotated[int, Field(gt=0)]
    threads: Count
    val_score: Fraction
    val_right: Answers
    val_right_before: Answers | None


class CandidatePlan(Record):
    """A network that is fine-tuned with others.

    Attributes:
        arch: the network.
        latency_us: latency by device, measured with random weights; predicted where a device is out of reach.
        step_seconds: measured time of one training step.
        steps: optimiser steps of each rung that the network may reach.
    """

    arch: ArchText
    latency_us: dict[str, Microseconds]
    step_seconds: Annotated[float, Field(gt=0)]
    steps: Annotated[tuple[Annotated[int, Field(gt=0)], ...], Field(min_length=1)]


class HalvingPlan(Record):
    """finetune/plan.json: what is fixed when several networks begin to be fine-tuned by successive halving.

    Attributes:
        setting: digest of everything else that their weights depend on.
        rung_networks: number of networks by rung.
        rung_seconds: training time of each network by rung.
        candidates: the networks, those of the smallest share of the budgets first.
    """

    setting: str
    rung_networks: tuple[Count, ...]
    rung_seconds: tuple[NotNegative, ...]
    candidates: Annotated[tuple[CandidatePlan, ...], Field(min_length=1)]


class RungScore(Record):
    """A network after a rung.

    Attributes:
        arch: the network.
        steps: optimiser steps of every rung until then.
        val_top1: validation top-1.
        val_score: the score that ranks it, see `FinetuneRecord`.
    """

    arch: ArchText
    steps: Annotated[tuple[Annotated[int, Field(gt=0)], ...], Field(min_length=1)]
    val_top1: Fraction
    val_score: Fraction


class HalvingRecord(HalvingPlan):
    """finetune/halving.json: the plan of several networks, and their scores.

    Attributes:
        rungs: scores after each rung, best first. The better half was trained further.
        order: every network with the score of its last rung: the best of the last rung first, then the others by score.
            The export tries them in this order.
        comparison: how far validation distinguishes the first of `order` from others that were trained as long: the
            networks of the last rung that had several.
    """

    rungs: Annotated[tuple[tuple[RungScore, ...], ...], Field(min_length=1)]
    order: Annotated[tuple[RungScore, ...], Field(min_length=1)]
    comparison: CandidateComparison

    @property
    def seconds(self) -> float:
        """Training time of all networks in all rungs, by their measured step times."""
        step_seconds = {candidate.arch: candidate.step_seconds for candidate in self.candidates}
        return sum(score.steps[-1] * step_seconds[score.arch] for scores in self.rungs for score in scores)


class ShelfGain(Record):
    """A network of the search compared with one of the shelf, both fine-tuned, in fp32, on the same test images.

    Validation images chose both networks, which makes their difference on these images too large or too small.

    Attributes:
        searched: the network that ships, or where that is of the shelf, the best network of the run's space.
        shelf: the best network of the shelf by validation, or the one that ships.
        searched_top1: test top-1 of the first.
        shelf_top1: test top-1 of the second.
        interval: ends of the paired interval of 95 % of their difference.
        images: number of test images.
    """

    searched: ArchText
    shelf: ArchText
    searched_top1: Fraction
    shelf_top1: Fraction
    interval: Interval
    images: Count

    @property
    def value(self) -> float:
        """The gain of the search in top-1."""
        return self.searched_top1 - self.shelf_top1


class TunedCandidate(Record):
    """A fine-tuned candidate.

    Attributes:
        arch: the network.
        latency_us: latency by device, measured with random weights; predicted where a device is out of reach.
        rungs: number of rungs that it was trained for.
        val_top1: validation top-1 after the best of them.
        val_score: the score that ranks it, see `FinetuneRecord`.
    """

    arch: ArchText
    latency_us: dict[str, Microseconds]
    rungs: Count
    val_top1: Fraction
    val_score: Fraction


class HalvingSummary(Record):
    """Successive halving, as summaries and manifests state it.

    Attributes:
        candidates: the networks, best first.
        rungs: number of rungs.
        seconds: training time of all of them.
        comparison: see `HalvingRecord`.
        gain: of the search over the shelf; None where none or all of the networks are of the shelf, and before the
            choice is made.
    """

    candidates: tuple[TunedCandidate, ...]
    rungs: Count
    seconds: NotNegative
    comparison: CandidateComparison
    gain: ShelfGain | None

    @property
    def shelf_networks(self) -> int:
        """How many of the networks are of the shelf."""
        return sum(bool(candidate.arch.network) for candidate in self.candidates)
