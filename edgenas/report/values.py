"""What a report shows, as frozen values. Times in microseconds, rates as fractions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import AliasChoices, BeforeValidator, Field

from edgenas.budget import BudgetText
from edgenas.profiling.verdict import Verdict
from edgenas.report.evidence_values import Hindsight, Trust, Worth
from edgenas.report.search_values import Evaluation, Fit, SearchFacts, Understanding, Value


class Latency(Value):
    """What was predicted and measured of one network on one device; None where it was not."""

    predicted_us: float | None
    interval_us: tuple[float, float] | None
    coverage: float | None
    p50_us: float | None
    p95_us: float | None
    verdict: Verdict | None
    warnings: tuple[str, ...] = ()
    model_rss_bytes: int | None = None
    process_rss_bytes: int | None = None


class FirstPrediction(Value):
    """What was predicted of a network on one device before it was measured there, and what it then took."""

    arch: str
    predicted_us: float
    interval_us: tuple[float, float] | None
    coverage: float | None
    p50_us: float


class Network(Value):
    """A network of the front."""

    arch: str
    # As it is deployed, which may be in int8; runs that do not say are of fp32 alone.
    val_top1: float = Field(validation_alias=AliasChoices("deployed_top1", "val_top1"))
    # Where it is told from elsewhere; of no width where it was measured there.
    val_top1_interval: tuple[float, float] | None = None
    dropped: Annotated[bool, BeforeValidator(bool)]
    latency: dict[str, Latency]


class ShippedLatency(Value):
    """The shipped file on one device, timed in processes that chose nothing; None where no latency is limited."""

    p50_us: float
    p95_us: float
    ci_low_us: float
    ci_high_us: float
    verdict: Verdict | None
    limited: str | None
    limit_us: float | None
    value_us: float | None
    upper_us: float | None
    sessions: int
    repeated: bool
    warnings: tuple[str, ...] = ()
    model_rss_bytes: int | None = None
    process_rss_bytes: int | None = None


class Chosen(Value):
    """The network that ships; `onnx` and `bundle` are relative to the run folder.

    Its accuracies, latency and verdict are those of the shipped file. A run without weights ships none.
    """

    arch: str
    latency: dict[str, ShippedLatency]
    verdict: Verdict | None
    val_top1: float
    test_top1: float | None
    onnx: str | None
    bundle: str | None


class Int8Latency(Value):
    """int8 and fp32 of the chosen network, timed side by side on one device; intervals are the p50's."""

    p50_us: float
    ci_low_us: float
    ci_high_us: float
    repeat_noise: float
    warnings: tuple[str, ...] = ()
    fp32_p50_us: float
    fp32_ci_low_us: float | None = None
    fp32_ci_high_us: float | None = None
    fp32_repeat_noise: float | None = None
    speedup: float
    worth_it: bool


class Int8(Value):
    """The chosen network in int8.

    Attributes:
        onnx: relative to the run folder.
        fp32_val_top1: of model.onnx; `fp32_test_top1` likewise. None in runs of older versions, whose chosen network's
            they are.
        quantiser_recipe: by which it was made, the most accurate on validation images.
        recipes_tried: validation top-1 of each.
        max_drop: how much validation top-1 it may cost, a fraction.
        size_bytes: of the file; `fp32_size_bytes` of the fp32 one, None in runs of older versions.
        latency: by device.
        notes: whether it is worth it, a sentence for each device.
    """

    onnx: str
    val_top1: float
    test_top1: float
    fp32_val_top1: float | None = None
    fp32_test_top1: float | None = None
    quantiser_recipe: str
    recipes_tried: dict[str, float] = Field(default_factory=dict)
    max_drop: float | None = None
    size_bytes: int
    fp32_size_bytes: int | None = None
    latency: dict[str, Int8Latency]
    notes: tuple[str, ...]


class SupernetFacts(Value):
    """What training the supernet took."""

    params: int
    train_seconds: float
    images_per_second: float


class Choice(Value):
    """How the chosen network was chosen; `words` are None in runs of older versions."""

    by: str
    words: str | None


class Accuracy(Value):
    """What told accuracies instead of a supernet: a file of measured archs and a surrogate of them, or a predictor."""

    file: str | None = None
    predictor: str | None = None
    rows: int | None = None
    rmse_points: float | None = None
    kendall_tau: float | None = None
    coverage_90: float | None = None


class Finetuned(Value):
    """What fine-tuning the chosen network brought; without a `before` it was trained on other images than the run's.

    Runs of older versions do not say how many images and epochs.
    """

    dataset: str
    training_images: int | None = None
    epochs: float | None = None
    start: str | None = None
    val_top1_before: float | None
    val_top1_after: float
    seconds: float


class Summary(Value):
    """summary.json."""

    space: str
    dataset: str
    num_classes: int | None = None
    """Said where the run has no images that say it."""
    budgets: tuple[BudgetText, ...]
    supernet: SupernetFacts | None = None
    accuracy: Accuracy | None = None
    notes: tuple[str, ...] = ()
    predictors: dict[str, dict[str, Any]]
    search: dict[str, Any]
    front: tuple[Network, ...]
    first_predictions: dict[str, tuple[FirstPrediction, ...]]
    chosen: Chosen | None
    choice: Choice | None = None
    int8: Int8 | None = None
    finetune: Finetuned | None = None


class HeldOut(Value):
    """A whole network that the predictor had not seen."""

    arch: str
    predicted_us: float
    measured_us: float


class Score(Value):
    """latency/<device>/score.json: how far the predictor can be trusted."""

    mape: float
    within_5: float
    within_10: float
    kendall_tau: float | None
    rmspe: float | None
    bias: float | None
    n_fit: int
    n_test: int
    repeat_noise: float | None
    coverage_90: float | None
    median_half_width_90: float | None
    mape_macs_linear: float | None
    mape_plain_sum: float | None
    held_out: tuple[HeldOut, ...]


class Spent(Value):
    """A row of costs.jsonl: what one call spent on a stage; None where energy was not readable."""

    stage: str
    seconds: float
    energy_joules: float | None


class GraphVariants(Value):
    """latency/graph_variant.json: the variant of exported graphs, and the latency ratio of each to the plain one."""

    graph_variant: str
    latency_ratio: dict[str, dict[str, tuple[float, ...]]]


class Step(Value):
    """A training step."""

    step: int
    epoch: float
    loss: float
    learning_rate: float


class Validation(Value):
    """Validation top-1 of some named subnets during training."""

    step: int
    epoch: float
    top1: dict[str, float]


class Dataset(Value):
    """data.json."""

    name: str
    num_classes: int
    classes: tuple[str, ...]
    counts: dict[str, int]


class ClassScores(Value):
    """Accuracy of a bundle's file on the test images; by class where the bundle says that."""

    test_top1: float
    test_images: int
    test_images_by_class: tuple[int, ...] = ()
    test_top1_by_class: tuple[float | None, ...] = ()


class Int8Scores(Value):
    """A manifest's `int8`, as far as it is shown."""

    accuracy: ClassScores | None = None


class BundleFacts(Value):
    """export/bundle/manifest.json, as far as it is shown."""

    classes: tuple[str, ...]
    accuracy: ClassScores
    int8: Int8Scores = Int8Scores()
    versions: dict[str, str] = Field(default_factory=dict)
    seed: int | None = None
    space: str | None = None
    digest: str | None = None
    files: dict[str, str] = Field(default_factory=dict)
    created: str | None = None
    costs: dict[str, int] = Field(default_factory=dict)


@dataclass(frozen=True)
class Run:
    """All that a report shows."""

    folder: Path
    config: Mapping[str, Any]
    dataset: Dataset
    steps: tuple[Step, ...]
    validations: tuple[Validation, ...]
    scores: Mapping[str, Score]
    circumstances: Mapping[str, Mapping[str, Any]]
    """By device, as `latency/<device>/meta.json` has them; devices without are absent."""
    evaluations: tuple[Evaluation, ...]
    search: SearchFacts
    summary: Summary
    graph_variants: GraphVariants | None = None
    """None where the config names the graph variant."""
    fits: tuple[Fit, ...] = ()
    """Of the search's models; none where its strategy fits none."""
    understanding: Understanding | None = None
    """None where too little was scored, and in runs of older versions."""
    bundle: BundleFacts | None = None
    """None where there is no bundle."""
    identities: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """By device, what its latencies were measured with."""
    hindsight: Hindsight | None = None
    """None in runs of older versions, and where there are no weights."""
    trust: Trust | None = None
    """None where `edgenas study ranking` was not run."""
    worth: Worth | None = None
    """None where `edgenas study baselines` was not run."""
    costs: tuple[Spent, ...] = ()
    """Empty in runs of older versions."""

    @property
    def devices(self) -> tuple[str, ...]:
        """The devices of the run, in the config's order where it names them."""
        wanted = self.config.get("devices", ())
        known = self.summary.predictors
        named = [device for device in wanted if isinstance(device, str) and device in known]
        return tuple(named) + tuple(sorted(set(known) - set(named)))

    def scored_images(self, split: str) -> int:
        """How many of the run's images accuracies of a split are of; 0 where that is not known."""
        images = self.dataset.counts.get(split, 0)
        wanted = (self.config.get("search") or {}).get("validation_images") if split == "validation" else None
        return min(images, wanted) if wanted else images

    @property
    def networks(self) -> tuple[Network, ...]:
        """The front, fastest first on the first device (as measured, else as predicted)."""
        device = self.devices[0]

        def key(network: Network) -> tuple[float, str]:
            latency = network.latency.get(device)
            known = None if latency is None else latency.p50_us or latency.predicted_us
            return (float("inf") if known is None else known, network.arch)

        return tuple(sorted(self.summary.front, key=key))
