"""What a finished run shows, as plain sentences: budgets, the front, the shipped file, training, search."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from edgenas.budget import Budget
from edgenas.config.train_config import TrainConfig
from edgenas.markup import name_in_sentence
from edgenas.quantities import MICROSECONDS, format_bytes, format_count
from edgenas.records.comparison import CandidateComparison
from edgenas.records.export import TimedLatency
from edgenas.records.finetune import FinetuneSummary
from edgenas.records.folder import AccuracySummary, SummaryRecord, SupernetSummary
from edgenas.records.search import SearchRecord
from edgenas.records.train import StepRow, ValidationRow
from edgenas.records.verify import MeasuredNetwork, NetworkLatency
from edgenas.report.formats import duration, ms, number, percent
from edgenas.report.network_blocks import NetworkBlock
from edgenas.report.values import BundleFacts, ImageFacts
from edgenas.statistics.significance import standard_error

RISING = 0.01
"""Share of the final hypervolume, gained in about the last quarter, above which a search is called unfinished."""
CLASS_COLUMNS = ("class", "test images", "top-1 (recall)")


def latency_budgets(summary: SummaryRecord, device: str) -> tuple[Budget, ...]:
    """Return the latency budgets on a device."""
    return tuple(b for b in summary.budgets if b.quantity.unit == MICROSECONDS and b.device == device)


def meets(network: MeasuredNetwork) -> bool | None:
    """Return whether a network was measured within every latency budget; None where none was measured."""
    verdicts = {latency.verdict for latency in network.latency.values()} - {None}
    return verdicts == {"within"} if verdicts else None


def ordered_front(summary: SummaryRecord) -> tuple[MeasuredNetwork, ...]:
    """Return the front, fastest first on the first device (as measured, else as predicted)."""
    device = summary.devices[0]

    def key(network: MeasuredNetwork) -> tuple[float, str]:
        latency = network.latency.get(device)
        latency_us = math.inf if latency is None else latency.p50_us or latency.predicted_us
        return latency_us, network.arch.id

    return tuple(sorted(summary.front, key=key))


def front(summary: SummaryRecord) -> str:
    """State how many networks of the front are within the budgets, and what was chosen."""
    networks, chosen = summary.front, summary.chosen
    within = sum(meets(network) is True for network in networks)
    lead = f"{within} of {len(networks)} networks were measured within every budget"
    if not any(latency.p50_us for network in networks for latency in network.latency.values()):
        lead = f"{len(networks)} networks are predicted to be within every budget, and none was measured"
    elif all(meets(network) is None for network in networks):
        lead = f"{len(networks)} networks form the front"
    name = "the chosen one" if chosen.onnx is None else "the file that ships"
    return f"{lead}; {name} reaches {percent(chosen.val_top1, 2)} validation top-1"


def accuracy_source(source: AccuracySummary) -> str:
    """State where accuracies come from that the run's own supernet did not compute, and their error."""
    if source.rows is None:
        return f"Accuracies are predictions of `{source.predictor}`; their error is unknown"
    return (
        f"Accuracies of {source.rows:,} architectures were measured elsewhere (`{source.file}`), and those of all "
        f"others are predicted from them: leaving one out, the root mean square error is {number(source.rmse_points)} "
        f"points, Kendall's tau {number(source.kendall_tau)}, and {percent(source.coverage_90, 0)} are within their "
        "90 % interval"
    )


def comparison(facts: CandidateComparison | None) -> str | None:
    """State how many candidates validation distinguishes from the first choice; None where nothing was compared."""
    if facts is None or facts.candidates < 2:
        return None
    others = facts.candidates - 1
    return (
        f"The {facts.images:,} validation images distinguish the first choice among {facts.candidates} candidates "
        f"significantly from {facts.worse} of the other {others}; it is the most accurate in "
        f"{percent(facts.best_share, 0)} of repeated stratified resamples of these images"
    )


def front_warnings(summary: SummaryRecord, device: str) -> str | None:
    """State the timer's warnings about measurements of the front; None without any."""
    measurements = [n.latency[device].warnings for n in summary.front if device in n.latency]
    flagged = [warnings for warnings in measurements if warnings]
    if not flagged:
        return None
    return f"{device}: {len(flagged)} of {len(measurements)} measurements have warnings: {flagged[0][0]}"


def front_on(summary: SummaryRecord, device: str) -> str:
    """State how many intervals, each predicted before its network was measured, contain the measured latency."""
    if not any(device in network.latency and network.latency[device].p50_us for network in summary.front):
        return f"{device}: no network of the front was measured"
    predictions = [row for row in summary.first_predictions.get(device, ()) if row.interval_us is not None]
    if not predictions:
        return f"{device}: no network was predicted with an interval before it was measured"
    held = sum(row.interval_us[0] <= row.p50_us <= row.interval_us[1] for row in predictions if row.interval_us)
    coverage = predictions[0].coverage
    interval = f"the {percent(coverage, 0)} interval" if coverage else "the interval"
    return f"{device}: {interval} held for {held} of {len(predictions)} networks, each predicted before it was measured"


def optimism(summary: SummaryRecord, images: ImageFacts) -> str:
    """Compare validation and test top-1 of the chosen network."""
    chosen, tuning = summary.chosen, summary.finetune
    if chosen.test_top1 is None:
        return "The chosen network was not scored on the test images"
    gap = 100 * (chosen.val_top1 - chosen.test_top1)
    # The counts are of the run's own images, not of those that a new classifier was trained on.
    n = None if tuning is not None and tuning.val_top1_before is None else images.counts.get("test")
    of = f" of {n:,} images" if n else ""
    noise = f" (its own sampling error is about ±{100 * standard_error(chosen.test_top1, n):.1f} points)" if n else ""
    side = "below" if gap > 0 else "above"
    return f"Its test top-1{of} is {abs(gap):.1f} points {side} the validation top-1{noise}"


def finetuned(tuning: FinetuneSummary) -> str:
    """State what fine-tuning changed."""
    fresh = tuning.start == "fresh"
    epochs = f"{duration(tuning.seconds)} ({round(tuning.epochs, 2):g} epochs)"
    images = f"{tuning.training_images:,} images of {name_in_sentence(tuning.dataset)}"
    weights = "from fresh weights" if fresh else f"from the {'pretrained' if tuning.network else 'inherited'} weights"
    lead = f"{'Trained from scratch' if fresh else 'Fine-tuned'} for {epochs} on {images}, {weights}"
    if tuning.average is not None:
        lead += f", averaged with a decay of {tuning.average:g}"
    if tuning.patience is not None:
        lead += f", with a patience of {tuning.patience} validations"
    if tuning.val_top1_before is None:
        return f"{lead} and with a new classifier for its classes: validation top-1 {percent(tuning.val_top1_after)}"
    before = "with the inherited ones" if fresh else "before"
    change = f"validation top-1 {percent(tuning.val_top1_before)} {before}, {percent(tuning.val_top1_after)} after"
    if not tuning.ships:
        return f"{lead}: {change}, which is significantly less; the network is exported as it was before"
    if tuning.val_top1_after <= tuning.val_top1_before:
        return f"{lead}: {change}, which is not significantly less; the fine-tuned network is exported"
    return f"{lead}: {change}"


def training(steps: Sequence[StepRow], validations: Sequence[ValidationRow], config: TrainConfig) -> str:
    """State how the loss developed, and what the smallest and the largest subnet reach."""
    if not steps:
        return f"Weights are those of `{config.init}`" if config.epochs == 0 else "No training step was recorded"
    first, last = steps[0].loss, _last_loss(steps)
    lead = f"Loss fell from {first:.2f} to {last:.2f} in {steps[-1].epoch:.3g} epochs"
    if first <= last:
        lead = f"Warning: the loss did not fall ({first:.2f} to {last:.2f})"
    if not validations:
        return lead
    ends = ", ".join(f"{name} {percent(value)}" for name, value in validations[-1].top1.items())
    return f"{lead}; validation top-1 at the end: {ends}"


def _last_loss(steps: Sequence[StepRow]) -> float:
    """Return the mean loss of the last twentieth of the steps, since that of one step is noisy."""
    last = steps[-max(1, len(steps) // 20) :]
    return sum(step.loss for step in last) / len(last)


def supernet(facts: SupernetSummary, space: str, images: ImageFacts) -> str:
    """State the supernet's size, how it was trained, and its images."""
    level, weights, extras = facts.augmentation, facts.class_weights, ""
    if level not in (None, "none"):
        extras = f", with augmentation of level {level}"
    if weights is not None:
        extras += f", with classes weighted {min(weights):.2g} to {max(weights):.2g} in the loss"
    trained = "weights used without training"
    if facts.images_per_second:
        trained = f"trained for {duration(facts.train_seconds)} at {facts.images_per_second:,.0f} images/s{extras}"
    splits = ", ".join(f"{n:,} {split}" for split, n in images.counts.items())
    return (
        f"Supernet of space `{space}`: {format_count(facts.params)} parameters, {trained}. "
        f"Images of {name_in_sentence(images.name)}, {images.num_classes} classes: {splits}"
    )


def search(facts: SearchRecord) -> str:
    """State whether the search had converged."""
    history, counts = facts.hypervolume_by_batch, facts.evaluations_by_batch
    lead = f"{facts.evaluations} evaluations in {duration(facts.seconds)}"
    if facts.exhausted:
        return f"{lead}: every network within the budgets was evaluated"
    if len(history) < 4 or history[-1] <= 0:
        return f"{lead}; too few to judge whether the search had converged"
    n, before = max(pair for pair in zip(counts, history, strict=True) if pair[0] <= max(0.75 * counts[-1], counts[0]))
    gain = (history[-1] - before) / history[-1]
    lead = f"{lead}; the last {counts[-1] - n} added {percent(gain)} of the hypervolume"
    return f"{lead}: more would likely find better" if gain > RISING else f"{lead}: the search had converged"


def blocks(device: str, network: Sequence[NetworkBlock], whole_us: float | None) -> str:
    """State which block takes most time, and how the blocks' sum compares with the whole network."""
    rows = [(block, value) for block in network if (value := block.latency_us.get(device)) is not None]
    if not rows:
        return f"{device}: the latency of single blocks is unknown"
    total = sum(value for _, value in rows)
    slowest, most = max(rows, key=lambda row: row[1])
    lead = f"{device}: {slowest.name} takes most, {percent(most / total, 0)} of the blocks' sum of {ms(total)} ms"
    if len(rows) < len(network):
        return f"{lead}; the latency of {len(network) - len(rows)} blocks is unknown"
    if whole_us:
        lead += f"; the whole network was measured at {ms(whole_us)} ms"
    regressed = sum(device not in block.measured for block in network)
    return lead + (f"; {regressed} of {len(network)} blocks were not timed but regressed" if regressed else "")


def device_blocks(summary: SummaryRecord, network: Sequence[NetworkBlock]) -> dict[str, str]:
    """Return `blocks` of the chosen network, by device."""
    measured = chosen_latency(summary)
    return {
        device: blocks(device, network, measured[device].p50_us if device in measured else None)
        for device in summary.devices
    }


def memory(summary: SummaryRecord) -> list[str]:
    """Return the memory that the chosen network was measured to take, a sentence for each device that reports it."""
    return [
        f"{device}: loading and running it made the timer's process grow by {format_bytes(latency.model_rss_bytes)}, "
        f"to {format_bytes(latency.process_rss_bytes)} at most with the runtime and what was timed beside it"
        for device, latency in chosen_latency(summary).items()
        if latency.model_rss_bytes is not None and latency.process_rss_bytes is not None
    ]


def chosen_latency(summary: SummaryRecord) -> Mapping[str, NetworkLatency | TimedLatency]:
    """Return the latency of the shipped file by device; without a file, that of the chosen network."""
    chosen = summary.chosen
    if chosen.latency:
        return chosen.latency
    return {network.arch: network.latency for network in summary.front}.get(chosen.arch, {})


@dataclass(frozen=True)
class Star:
    """The point of a figure that stands for the shipped file, or for the chosen network."""

    name: str
    latency_us: float
    val_top1: float


def stars(summary: SummaryRecord, device: str) -> list[Star]:
    """Return the point of the shipped file on a device, or without one that of the chosen network."""
    chosen = summary.chosen
    if device in chosen.latency:
        return [Star("file that ships", chosen.latency[device].p50_us, chosen.val_top1)]
    return [
        Star("chosen", network.latency[device].p50_us or network.latency[device].predicted_us, network.deployed_top1)
        for network in summary.front
        if network.arch == chosen.arch and device in network.latency
    ]


def by_class(bundle: BundleFacts | None) -> str:
    """State which class is hardest, and its sampling error."""
    rows = [] if bundle is None else _class_rates(bundle)
    if not rows:
        return "Accuracy by class was not recorded"
    (hardest, low, images), (_, high, _) = rows[0], rows[-1]
    lead = f"{name_in_sentence(hardest)} is hardest, {percent(low)} of {images:,} test images"
    error = 100 * standard_error(low, images)
    tail = f" (sampling error of the former about ±{error:.1f} points)" if error else ""
    macro = percent(fmean(rate for _, rate, _ in rows))
    return (
        f"{lead}; the easiest class reaches {percent(high)}{tail}; the mean of the classes (macro accuracy) is {macro}"
    )


def _class_rates(bundle: BundleFacts) -> list[tuple[str, float, int]]:
    """Return class, test top-1 and images of each class that has images, hardest first."""
    scores = bundle.accuracy
    rows = zip(bundle.classes, scores.test_top1_by_class, scores.test_images_by_class, strict=False)
    return sorted(((name, rate, images) for name, rate, images in rows if rate is not None), key=lambda row: row[1])


def class_rows(bundle: BundleFacts) -> list[list[str]]:
    """Return each class under `CLASS_COLUMNS`; none where accuracy by class is unknown."""
    scores = bundle.accuracy
    rows = zip(bundle.classes, scores.test_images_by_class, scores.test_top1_by_class, strict=False)
    return [[name, f"{images:,}", percent(rate)] for name, images, rate in rows]
