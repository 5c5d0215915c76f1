"""Records of the study baselines, in the folder study/baselines/ of a run."""

from __future__ import annotations

from typing import Literal

from edgenas.records.record import ArchText, Count, Fraction, Microseconds, NotNegative, Record

CrossoverVerdict = Literal["pays", "never", "unknown"]


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


class SizesRecord(Record):
    """study/baselines/sizes.json: the sizes and training steps of the baselines.

    Attributes:
        setting: digest of all settings that the sizes depend on.
        seconds: training time of each baseline and seed.
        shelf: training steps of each network of the shelf that has the chosen network's latency, by its text; empty if
            the shelf is, or if none has.
        scale: scale of MobileNetV3-Small, by name; None if it has the chosen network's latency at no scale.
        mobilenet_steps: its training steps.
        archs: networks of the random search by seed; empty if none has the chosen network's latency.
        random_steps: training steps of each of them, by seed.
        epoch_steps: steps of a standalone training for as many epochs as the chosen network had in all.
        step_seconds: time of a step of the chosen network, while nothing else was trained.
        step_times: every timing of that step, at intervals of minutes, and its time during the run.
        latency_shares: p50 over that of the chosen network, measured with random weights, by network.
    """

    setting: str
    seconds: NotNegative
    shelf: dict[str, Count]
    scale: str | None
    mobilenet_steps: Count
    archs: dict[int, tuple[ArchText, ...]]
    random_steps: dict[int, Count]
    epoch_steps: Count
    step_seconds: NotNegative
    step_times: tuple[NotNegative, ...]
    latency_shares: dict[str, NotNegative]


class BaselineRow(Record):
    """A row of study/baselines/rows.jsonl: a baseline's network that was trained.

    Attributes:
        setting: digest of all settings that it depends on.
        baseline: name of the baseline.
        seed: seed of the baseline.
        number: number of the network among those of the seed.
        network: its architecture, or its width and resolution.
        steps: training steps.
        val_top1: validation top-1.
        seconds: time that the steps took.
    """

    setting: str
    baseline: str
    seed: int
    number: Count
    network: str
    steps: Count
    val_top1: Fraction
    seconds: NotNegative

    @property
    def key(self) -> tuple[str, int, int]:
        """Baseline, seed and number."""
        return self.baseline, self.seed, self.number


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

    once_seconds: float | None = None
    per_budget_seconds: float | None = None
    standalone_seconds: float | None = None
    standalone_range_seconds: tuple[float, float] | None = None
    charged_seconds: dict[str, NotNegative]
    verdict: CrossoverVerdict
    budgets: tuple[int, int] | None = None
    reason: str | None = None
    table: tuple[BudgetsCost, ...] = ()


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
        shelf: networks that training may start from as they are: the shelf of the run, by name.
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
    standalone_from: str | None
    recipe: str
    finetune: StandaloneTraining
    threads: Count
    space: str
    device: str
    training_images: Count
    test_images: Count
    seconds: dict[str, NotNegative]
    steps: dict[str, dict[str, Count]]
    shelf: tuple[str, ...]
    left_out: dict[str, tuple[int, ...]]
    edgenas: Contender
    baselines: dict[str, BaselineResult]
    best_baseline: str
    lead: float
    lead_error: NotNegative
    ahead: bool
    crossover: CrossoverRecord
