"""Records of the stage export, in the folder export/ of a run."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from edgenas.quantities import Statistic
from edgenas.records.finetune import ShelfGain
from edgenas.records.record import (
    ArchText,
    Count,
    Fraction,
    InsideRun,
    Microseconds,
    NotNegative,
    Record,
    Verdict,
)


class JudgedLatency(Record):
    """The verdict on the deployed file on one device: that of the budget with the worst one.

    Attributes:
        verdict: None where no budget limits latency on this device.
        limited: p50 or p95.
        limit_us: limit of that budget.
        value_us: measured latency.
        upper_us: the upper confidence limit that is compared with the limit; None where there are too few processes.
        sessions: number of measuring sessions that the upper limit takes into account.
        repeated: whether a first session was disturbed and discarded.
    """

    verdict: Verdict | None
    limited: Statistic | None
    limit_us: Microseconds | None
    value_us: Microseconds | None
    upper_us: Microseconds | None
    sessions: Annotated[int, Field(ge=1)]
    repeated: bool

    @model_validator(mode="after")
    def _verdict_has_a_limit(self) -> Self:
        if self.verdict is not None and None in (self.limited, self.limit_us, self.value_us):
            raise ValueError("verdict is stated without limited, limit_us and value_us")
        return self

    @property
    def budget_share(self) -> float | None:
        """Return the ratio of what is compared with the limit to the limit; None where no budget limits latency."""
        if self.limit_us is None or self.value_us is None:
            return None
        return max(self.value_us, self.upper_us or 0.0) / self.limit_us


class Attempt(Record):
    """A candidate that was exported, and timed where its file was not refused.

    Attributes:
        arch: the network.
        verdict: the worst over its devices; None where no latency is limited, or the file was refused.
        latency: judged latency by device.
        refused: why its file must not ship, so that it was not timed; None where it was proven.
    """

    arch: ArchText
    verdict: Verdict | None
    latency: dict[str, JudgedLatency]
    refused: str | None = None


class TimedLatency(JudgedLatency):
    """The latency of a file on one device, and whether it is within the budget."""

    p50_us: Microseconds
    p95_us: Microseconds
    ci_low_us: Microseconds
    ci_high_us: Microseconds
    count: Count
    warnings: tuple[str, ...]
    model_rss_bytes: int | None
    process_rss_bytes: int | None


class ShippedNetwork(Record):
    """The network that ships. Accuracies, latency and verdict are those of the deployed file.

    Attributes:
        arch: the network.
        latency: latency by measured device.
        verdict: the worst over all devices; None where no latency is limited.
        val_top1: on validation images.
        test_top1: on test images; None in a run without weights.
        test_macro_top1: mean of the classes' top-1 on test images (balanced accuracy); None likewise.
        test_class_top1: top-1 (recall) by class on test images; classes without images are absent.
        onnx: the deployed file, within the run folder; None in a run without weights.
        bundle: the bundle's folder, within the run folder; None in a run without weights.
    """

    arch: ArchText
    latency: dict[str, TimedLatency]
    verdict: Verdict | None
    val_top1: Fraction
    test_top1: Fraction | None
    test_macro_top1: Fraction | None = None
    test_class_top1: dict[str, Fraction] = Field(default_factory=dict)
    onnx: InsideRun | None
    bundle: InsideRun | None

    @model_validator(mode="after")
    def _files_come_with_their_accuracy(self) -> Self:
        if len({value is None for value in (self.test_top1, self.onnx, self.bundle)}) > 1:
            raise ValueError("expected test_top1, onnx and bundle together, or none of them")
        return self


class Int8Latency(Record):
    """Latency of the int8 file on one device, and of the fp32 file timed beside it. Intervals are of the median.

    Attributes:
        worth_it: whether int8 is faster by more than the measurements' repeat noise.
    """

    p50_us: Microseconds
    ci_low_us: Microseconds
    ci_high_us: Microseconds
    repeat_noise: NotNegative
    warnings: tuple[str, ...]
    fp32_p50_us: Microseconds
    fp32_ci_low_us: Microseconds
    fp32_ci_high_us: Microseconds
    fp32_repeat_noise: NotNegative
    speedup: NotNegative
    worth_it: bool


class QatRecord(Record):
    """Quantisation-aware fine-tuning. Drops are of validation top-1, from the fp32 file's.

    Attributes:
        steps: steps of the optimiser.
        epochs: passes over the training images.
        seconds: time that the steps took.
        drop_before: drop of the best int8 file before fine-tuning.
        drop_after: drop of the best int8 file after fine-tuning.
        kept: whether the int8 file is of the fine-tuned network.
    """

    steps: Count
    epochs: NotNegative
    seconds: NotNegative
    drop_before: float
    drop_after: float
    kept: bool


class ShippedInt8(Record):
    """The int8 file of the network that ships.

    Attributes:
        onnx: within the run folder.
        val_top1: on validation images.
        test_top1: on test images.
        fp32_val_top1: validation top-1 of the fp32 file.
        fp32_test_top1: test top-1 of the fp32 file.
        max_drop: greatest drop of validation top-1 that is allowed.
        quantiser_recipe: the most accurate of those tried.
        recipes_tried: validation top-1 by recipe.
        size_bytes: size of the file.
        fp32_size_bytes: size of the fp32 file.
        latency: latency by device.
        fine_tuning: None where there was none.
        notes: whether int8 is worth it, a sentence for each device.
    """

    onnx: InsideRun
    val_top1: Fraction
    test_top1: Fraction
    fp32_val_top1: Fraction
    fp32_test_top1: Fraction
    max_drop: Fraction
    quantiser_recipe: str
    recipes_tried: dict[str, Fraction]
    size_bytes: Count
    fp32_size_bytes: Count
    latency: dict[str, Int8Latency]
    fine_tuning: QatRecord | None
    notes: tuple[str, ...]


class ExportRecord(Record):
    """export/result.json.

    Attributes:
        chosen: the network that ships.
        attempts: candidates that were exported, in order; those whose file was proven were timed.
        notes: the results of candidates that did not ship.
        costs: MACs, parameters and bytes of model.onnx, by name.
        int8: None where there is no int8 file.
        gain: of the search over the shelf on test images; None where networks of both kinds were not fine-tuned.
    """

    chosen: ShippedNetwork
    attempts: tuple[Attempt, ...]
    notes: tuple[str, ...]
    costs: dict[str, Count]
    int8: ShippedInt8 | None
    gain: ShelfGain | None = None


class TestedNetwork(Record):
    """A network of the front on validation and test images, in fp32 and not fine-tuned."""

    arch: ArchText
    val_top1: Fraction
    test_top1: Fraction


class ClassChange(Record):
    """Test images of one class: how many the chosen network and the largest subnet get right.

    Attributes:
        name: the class.
        images: number of its images.
        chosen: right answers of the chosen network.
        largest: right answers of the largest subnet.
        only_chosen: images that only the chosen network gets right.
        only_largest: images that only the largest subnet gets right.
    """

    name: str
    images: Count
    chosen: Count
    largest: Count
    only_chosen: Count
    only_largest: Count


class HindsightRecord(Record):
    """export/hindsight.json: test images after the choice, of the front and by class.

    Attributes:
        front: networks that were measured.
        chosen: the network that ships.
        largest: the largest subnet that it is compared with.
        within_budgets: whether that is the largest within the budgets, since no larger one was trained.
        classes: in the order of the labels; none where a network of the shelf ships.
    """

    front: tuple[TestedNetwork, ...]
    chosen: ArchText
    largest: ArchText
    within_budgets: bool
    classes: tuple[ClassChange, ...]
