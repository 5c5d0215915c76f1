"""Records of the stage verify, in the folder verify/ of a run."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from edgenas.records.comparison import CandidateComparison
from edgenas.records.record import (
    ArchText,
    Count,
    Fraction,
    InsideRun,
    Interval,
    Microseconds,
    NotNegative,
    Record,
    Verdict,
)
from edgenas.records.search import SurrogateQuality
from edgenas.space.blocks.genes import GeneValue


class PredictedLatency(Record):
    """The latency that a predictor expects of a network on one device.

    Attributes:
        predicted_us: median, microseconds.
        interval_us: lower and upper end, microseconds; None where the predictor is not calibrated.
        coverage: nominal coverage of the interval.
    """

    predicted_us: Microseconds
    interval_us: Interval | None
    coverage: Fraction | None

    @property
    def prediction(self) -> PredictedLatency:
        """Only what is predicted, without what subclasses add."""
        return PredictedLatency(predicted_us=self.predicted_us, interval_us=self.interval_us, coverage=self.coverage)


class MeasuredLatency(Record):
    """The measured latency of a file on one device.

    Attributes:
        p50_us: median over the timer's processes.
        p95_us: 95th percentile, likewise.
        ci_low_us: lower end of the confidence interval of the median.
        ci_high_us: its upper end.
        count: timed calls.
        repeat_noise: relative spread over the processes.
        warnings: circumstances that make the measurement doubtful.
        model_rss_bytes: growth of the timer's process by the model; None where the system does not state it.
        process_rss_bytes: size of that whole process; None likewise.
    """

    p50_us: Microseconds
    p95_us: Microseconds
    ci_low_us: Microseconds
    ci_high_us: Microseconds
    count: Count
    repeat_noise: NotNegative
    warnings: tuple[str, ...]
    model_rss_bytes: int | None
    process_rss_bytes: int | None


class FirstPrediction(PredictedLatency):
    """A prediction that was made before the network was measured, and its first measured median."""

    arch: ArchText
    p50_us: Microseconds


class NetworkLatency(PredictedLatency):
    """The predicted and measured latency of a network on one device.

    Values of `MeasuredLatency` are None where the network was not timed.

    Attributes:
        verdict: whether the budgets of this device are met; None where there are none.
    """

    p50_us: Microseconds | None = None
    p95_us: Microseconds | None = None
    ci_low_us: Microseconds | None = None
    ci_high_us: Microseconds | None = None
    count: Count | None = None
    verdict: Verdict | None = None
    repeat_noise: NotNegative | None = None
    warnings: tuple[str, ...] = ()
    model_rss_bytes: int | None = None
    process_rss_bytes: int | None = None


class Int8File(Record):
    """The int8 file of a network of the front. Scores are top-1 on validation images, by the runtime.

    Attributes:
        model: path within the run folder.
        quantiser_recipe: the most accurate of those tried.
        recipes_tried: top-1 by recipe.
        fp32_top1: top-1 of the fp32 file.
    """

    model: InsideRun
    quantiser_recipe: str
    recipes_tried: dict[str, Fraction]
    fp32_top1: Fraction

    @model_validator(mode="after")
    def _chosen_was_tried(self) -> Self:
        if self.quantiser_recipe not in self.recipes_tried:
            raise ValueError(f"quantiser_recipe is {self.quantiser_recipe}, which is not among recipes_tried")
        return self

    @property
    def val_top1(self) -> float:
        """Top-1 of the file."""
        return self.recipes_tried[self.quantiser_recipe]

    def refusal(self, max_drop: float) -> str | None:
        """Return why the file must not be deployed, in words; None where it may."""
        drop = self.fp32_top1 - self.val_top1
        # A drop of exactly the limit is allowed, and fractions of whole images are not exact.
        if drop <= max_drop + 1e-9:
            return None
        return (
            f"int8 loses {100 * drop:.2f} points of validation top-1 "
            f"({self.fp32_top1:.2%} to {self.val_top1:.2%}, export.max_drop allows {100 * max_drop:.2f})"
        )


class Int8Row(Int8File):
    """A row of verify/int8.jsonl: an int8 file, with the digests of it and of the fp32 file it was made from."""

    source_sha256: str
    sha256: str


class MeasuredNetwork(Record):
    """A network of the front, as it was measured.

    Attributes:
        arch: the network.
        val_top1: validation top-1 of the fp32 network.
        val_top1_interval: where accuracies come from elsewhere; None where their source gives none.
        val_top1_coverage: nominal coverage of that interval.
        val_top1_int8: validation top-1 of the int8 file; None where no device runs int8.
        deployed_top1: in the precision that devices run, of several the lowest; `val_top1` of a refused network.
        int8: the int8 file; None where no device runs int8.
        refused: whether it is not scored as in the search, so that it has no files and was not timed.
        dropped: whether the network is refused, over a budget, worse in int8 than allowed, or dominated as measured.
        dropped_because: the reason, in words.
        eligible: whether it is within every budget and not dropped.
        latency: latency by device.
    """

    arch: ArchText
    val_top1: Fraction
    val_top1_interval: Interval | None = None
    val_top1_coverage: Fraction | None = None
    val_top1_int8: Fraction | None = None
    deployed_top1: Fraction
    int8: Int8File | None = None
    refused: bool = False
    dropped: bool
    dropped_because: str | None
    eligible: bool
    latency: Annotated[dict[str, NetworkLatency], Field(min_length=1)]


class VerifyRecord(Record):
    """verify/result.json.

    Attributes:
        front: the measured networks of the search's front.
        candidates: networks that may ship, in the order in which they are tried.
        chosen: the first candidate.
        verdict: on the chosen network, the worst over all devices; None where no latency is limited.
        val_top1: validation top-1 of the chosen network in the precision that is deployed.
        model: the chosen network's fp32 file; None where no device is measured.
        chosen_by: option that orders the candidates.
        chosen_as: description of that option.
        refits: number of times that predictors were refitted on measured networks.
        first_predictions: predictions of all measured networks, by device.
        notes: descriptions of devices that were not measured.
        comparison: how far validation distinguishes the candidates, in fp32; None where accuracies come from elsewhere.
    """

    front: Annotated[tuple[MeasuredNetwork, ...], Field(min_length=1)]
    candidates: Annotated[tuple[ArchText, ...], Field(min_length=1)]
    chosen: ArchText
    verdict: Verdict | None
    val_top1: Fraction
    model: InsideRun | None
    chosen_by: Literal["best", "knee", "weighted"]
    chosen_as: str
    refits: Count
    first_predictions: dict[str, tuple[FirstPrediction, ...]]
    notes: tuple[str, ...]
    comparison: CandidateComparison | None = None

    @model_validator(mode="after")
    def _candidates_were_measured(self) -> Self:
        measured = {network.arch for network in self.front}
        for arch in (self.chosen, *self.candidates):
            if arch not in measured:
                raise ValueError(f"{arch} is chosen or a candidate, but is not in the front")
        return self


class Effect(Record):
    """The effect of a group of genes: `change` from smallest to largest choices, `share` of the variance."""

    change: float
    share: float


class GeneEffects(Record):
    """The effect of a group of genes on top-1 and on latency by device."""

    name: str
    val_top1: Effect
    latency_us: dict[str, Effect]


class GeneMove(Record):
    """One gene of the chosen network a step up or down, with the changes that follow.

    Attributes:
        gene: its name.
        before: its choice in the chosen network.
        after: the neighbouring choice.
        arch: the network that results.
        latency_us: change of predicted latency by device.
        costs: change of MACs and bytes, by name.
        within_budgets: whether the resulting network is within every budget.
        val_top1: change of top-1.
        deviation: standard deviation of that change; None where both networks were scored.
        source: `scored` where both networks were, else `model`.
    """

    gene: str
    before: GeneValue
    after: GeneValue
    arch: ArchText
    latency_us: dict[str, float]
    costs: dict[str, float]
    within_budgets: bool
    val_top1: float
    deviation: float | None
    source: Literal["scored", "model"]


class AccuracyModel(SurrogateQuality):
    """The surrogate that estimates subnets that were not scored."""

    kind: str


class UnderstandingRecord(Record):
    """verify/understanding.json: the effects of genes on accuracy and latency."""

    evaluations: Count
    model: AccuracyModel
    genes: tuple[GeneEffects, ...]
    moves: tuple[GeneMove, ...]
