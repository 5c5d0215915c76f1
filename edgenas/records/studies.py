"""Records of the studies of a run: ranking.json, baselines.json and strategies.json in study/, and their parts."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from edgenas.records.record import ArchText, Count, Fraction, Microseconds, NotNegative, Record

CrossoverVerdict = Literal["pays", "never", "unknown"]


class Estimate(Record):
    """A figure and its 95 % interval; None where there are too few networks."""

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
    """Inherited minus standalone accuracy of some subnets, and taus; no figures where there are no subnets."""

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


class RankingRecord(Record):
    """study/ranking/ranking.json: whether inherited accuracies rank subnets as training from scratch does."""

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
    average: float | None
    seconds: NotNegative
    all: Agreement
    group: Agreement
    subnets: tuple[ComparedSubnet, ...]


class Contender(Record):
    """A network that was trained in a comparison with baselines. Rates are fractions, of what is deployed.

    Attributes:
        network: its architecture, or its width and resolution.
        seed: seed of its weights and images.
        val_top1: validation top-1, which chooses the network where there is a choice.
        test_top1: test top-1, which judges the network.
        p50_us: measured, in the same session as all others.
        seconds: time that finding and training it took.
        tried: networks that it was chosen from.
    """

    network: str
    seed: int
    val_top1: Fraction
    test_top1: Fraction
    p50_us: Microseconds
    seconds: NotNegative
    tried: Count


class Spread(Record):
    """Mean, least and greatest value over seeds."""

    mean: float
    least: float
    greatest: float


class BaselineResult(Record):
    """A baseline over its seeds; of `seeds_behind` the test accuracy is lower than that of the run's network."""

    test_top1: Spread
    val_top1: Spread
    p50_us: Spread
    seconds: Spread
    seeds_behind: Count
    seeds: tuple[Contender, ...]


class BudgetsCost(Record):
    """Seconds for a number of budgets: with a shared supernet, and with one network trained from scratch for each."""

    budgets: Count
    shared_seconds: NotNegative
    standalone_seconds: NotNegative


class CrossoverRecord(Record):
    """The number of budgets from which a supernet costs no more than training a network for each.

    Attributes:
        once_seconds: whatever the number of budgets; None where costs are not all known, as below.
        per_budget_seconds: with a supernet.
        standalone_seconds: seconds for one network trained from scratch.
        standalone_range_seconds: range of these by the fastest and slowest timing of a training step.
        charged_seconds: seconds of profiling, verification and export, by stage.
        verdict: `pays`, `never`, or `unknown`.
        budgets: least and greatest number of budgets from which it pays; None where it does not.
        reason: why the verdict is unknown.
        table: for some numbers of budgets.
    """

    once_seconds: float | None
    per_budget_seconds: float | None
    standalone_seconds: float | None
    standalone_range_seconds: tuple[float, float] | None
    charged_seconds: dict[str, NotNegative]
    verdict: CrossoverVerdict
    budgets: tuple[int, int] | None
    reason: str | None
    table: tuple[BudgetsCost, ...]


class StandaloneTraining(Record):
    """The fine-tuning of the run's network; no settings where it ships with inherited weights."""

    epochs: NotNegative
    start: str | None = None
    learning_rate_share: NotNegative | None = None


class BaselinesRecord(Record):
    """study/baselines/baselines.json: the run's network beside baselines of equal latency and equal time.

    Attributes:
        model_sha256: digest of the file that was judged.
        seconds: seconds by stage, `total`, and `each_baseline`.
        steps: training steps by baseline and seed.
        left_out: seeds of a baseline for which there was no network of equal latency.
        edgenas: the run's network.
        baselines: results by the baseline's name.
        best_baseline: the name of the best.
        lead: test accuracy over the mean of the best baseline.
        lead_error: standard error of the lead.
        ahead: whether the lead is above zero.
    """

    dataset: str
    model_sha256: str
    supernet_from: str | None
    recipe: str
    finetune: StandaloneTraining
    threads: Count
    space: str
    device: str
    training_images: Count
    test_images: Count
    seconds: dict[str, NotNegative]
    steps: dict[str, dict[str, Count]]
    left_out: dict[str, tuple[int, ...]]
    edgenas: Contender
    baselines: dict[str, BaselineResult]
    best_baseline: str
    lead: float
    lead_error: NotNegative
    ahead: bool
    crossover: CrossoverRecord


class MedianSpread(Record):
    """Median, least and greatest value over seeds."""

    median: float
    least: float
    greatest: float


class HypervolumeCurve(Record):
    """Shares of the hypervolume over seeds, at `positions` of an axis: numbers of evaluations, or seconds."""

    positions: tuple[NotNegative, ...]
    median: tuple[float, ...]
    least: tuple[float, ...]
    greatest: tuple[float, ...]


class StrategyResult(Record):
    """A search strategy over its seeds.

    Attributes:
        seeds: seeds of its searches.
        at: share of the hypervolume by number of evaluations.
        origins: evaluations by the way that the candidate was proposed, where the strategy has several.
        seconds: time of a search, its evaluations included.
        by_evaluations: share of the hypervolume over evaluations.
        by_seconds: share of the hypervolume over time.
    """

    seeds: tuple[int, ...]
    at: dict[int, MedianSpread]
    origins: dict[str, Count]
    seconds: MedianSpread
    by_evaluations: HypervolumeCurve
    by_seconds: HypervolumeCurve


class StrategiesRecord(Record):
    """study/strategies/strategies.json: search strategies on the objectives of a run.

    Attributes:
        objectives: keys of the objectives, in order.
        asked: evaluations that each search was asked for.
        evaluations: most evaluations of a search.
        reference_point: reference point of the hypervolume, one value per objective.
        hypervolume: hypervolume of the merged fronts of all searches.
        strategies: results by the strategy's name.
    """

    objectives: tuple[str, ...]
    asked: Count
    evaluations: Count
    reference_point: tuple[float, ...]
    hypervolume: NotNegative
    strategies: Annotated[dict[str, StrategyResult], Field(min_length=1)]
