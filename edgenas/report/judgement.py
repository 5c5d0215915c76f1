"""A sentence of plain judgement for each figure, warnings included."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edgenas.budget import Budget
from edgenas.deploy.bundle.shipped_wording import accuracy_sentence, latency_sentences
from edgenas.markup import name_in_sentence
from edgenas.quantities import MICROSECONDS
from edgenas.report.formats import duration, ms, number, percent, size
from edgenas.report.network import Block
from edgenas.report.values import BundleFacts, Latency, Network, Run, ShippedLatency
from edgenas.statistics.significance import standard_error

RISING = 0.01
"""Share of the final hypervolume gained in about the last quarter above which a search is called unfinished."""


def latency_budgets(run: Run, device: str) -> tuple[Budget, ...]:
    """Return the latency budgets on a device."""
    return tuple(b for b in run.summary.budgets if b.quantity.unit == MICROSECONDS and b.device == device)


def meets(network: Network) -> bool | None:
    """Return whether a network was measured to be within every latency budget; None where none was measured."""
    verdicts = {latency.verdict for latency in network.latency.values()} - {None}
    return verdicts == {"within"} if verdicts else None


def front(run: Run) -> str:
    """How many networks of the front meet the budgets, and what was chosen."""
    networks = run.summary.front
    kept = sum(meets(network) is True for network in networks)
    chosen = run.summary.chosen
    if chosen is None:
        return f"None of {len(networks)} networks was measured to meet every budget"
    lead = f"{kept} of {len(networks)} networks were measured to meet every budget"
    if not any(latency.p50_us for network in networks for latency in network.latency.values()):
        lead = f"{len(networks)} networks are predicted to meet every budget, and none was measured"
    elif all(meets(network) is None for network in networks):
        lead = f"{len(networks)} networks form the front"
    name = "the chosen one" if chosen.onnx is None else "the file that ships"
    return f"{lead}; {name} reaches {percent(chosen.val_top1, 2)} validation top-1"


def shipped(run: Run) -> list[str]:
    """Return what the file that ships was measured to reach, on each device and of accuracy, and the run's notes."""
    chosen = run.summary.chosen
    if chosen is None or chosen.test_top1 is None:
        return []
    latency = {device: one.model_dump() for device, one in chosen.latency.items()}
    return [*latency_sentences(latency), accuracy_sentence(chosen.test_top1, chosen.val_top1), *run.summary.notes]


def accuracy(run: Run) -> str | None:
    """Where accuracies come from that no supernet of the run told, and how good they are."""
    found = run.summary.accuracy
    if found is None:
        return None
    if found.rows is None:
        return f"Accuracies are what `{found.predictor}` predicts; how far that is off is not known"
    return (
        f"Accuracies of {found.rows:,} archs were measured elsewhere (`{found.file}`), those of all others are learnt "
        f"from them: leaving one out, the root mean square error is {number(found.rmse_points)} points, Kendall tau "
        f"{number(found.kendall_tau)}, and {percent(found.coverage_90, 0)} lie within their 90 % interval"
    )


def front_warnings(run: Run, device: str) -> str | None:
    """What the timer warnings about the front's measurements; None where it warnings none."""
    known = [n.latency[device].warnings for n in run.summary.front if device in n.latency]
    flagged = [warnings for warnings in known if warnings]
    if not flagged:
        return None
    return f"{device}: the timer warnings {len(flagged)} of {len(known)} measurements: {flagged[0][0]}"


def front_on(run: Run, device: str) -> str:
    """Return how well predictions held that were made before the network was measured, in all fronts that were."""
    if all(device not in one.latency or one.latency[device].p50_us is None for one in run.summary.front):
        return f"{device}: no network of the front was measured"
    known = run.summary.first_predictions.get(device, ())
    pairs = [(one.interval_us, one.p50_us) for one in known if one.interval_us is not None]
    if not pairs:
        return f"{device}: no network was predicted with an interval before it was measured"
    held = sum(low <= p50_us <= high for (low, high), p50_us in pairs)
    coverage = next(one.coverage for one in known if one.interval_us is not None)
    interval = f"the {percent(coverage, 0)} interval" if coverage else "the interval"
    return f"{device}: {interval} held for {held} of {len(pairs)} networks, each predicted before it was measured"


def optimism(run: Run) -> str:
    """Validation against test top-1 of the chosen network."""
    chosen = run.summary.chosen
    if chosen is None or chosen.test_top1 is None:
        return "The chosen network was not scored on the test images."
    gap = 100 * (chosen.val_top1 - chosen.test_top1)
    # The counts are of the run's own images.
    n = None if _trained_others(run) else run.dataset.counts.get("test")
    of = f" of {n:,} images" if n else ""
    noise = f" (its own sampling error is about ±{100 * standard_error(chosen.test_top1, n):.1f} points)" if n else ""
    side = "below" if gap > 0 else "above"
    return f"Its test top-1{of} is {abs(gap):.1f} points {side} the validation top-1{noise}."


def _trained_others(run: Run) -> bool:
    return run.summary.finetune is not None and run.summary.finetune.val_top1_before is None


def finetuned(run: Run) -> str:
    """What fine-tuning the chosen network brought; empty where there was none."""
    found = run.summary.finetune
    if found is None:
        return ""
    images = f"{found.training_images:,} images of " if found.training_images else ""
    epochs = f" ({round(found.epochs, 2):g} epochs)" if found.epochs else ""
    fresh = found.start == "fresh"
    dataset = images + name_in_sentence(found.dataset)
    lead = f"{'Trained anew' if fresh else 'Fine-tuned'} for {duration(found.seconds)}{epochs} on {dataset}"
    weights = "from fresh weights" if fresh else "from the weights it inherited"
    if found.val_top1_before is None:
        said = f"{lead}, whose classes it tells, {weights} and with a new classifier"
        return f"{said}: validation top-1 {percent(found.val_top1_after)}."
    after = f"{lead}, {weights}"
    before = "with those it inherited" if fresh else "before"
    change = f"validation top-1 {percent(found.val_top1_before)} {before}, {percent(found.val_top1_after)} after"
    kept = "" if found.val_top1_after > found.val_top1_before else "; what is exported is the network as it was"
    return f"{after}: {change}{kept}."


def training(run: Run) -> str:
    """Where training ended, and what the smallest and the largest subnet reach."""
    if not run.steps:
        taken = run.config["train"].get("epochs") == 0
        return f"Weights are those of `{run.config['train']['init']}`" if taken else "No training step was recorded"
    lead = f"Loss fell from {run.steps[0].loss:.2f} to {_last_loss(run):.2f} in {run.steps[-1].epoch:.3g} epochs"
    if run.steps[0].loss <= _last_loss(run):
        lead = f"Warning: the loss did not fall ({run.steps[0].loss:.2f} to {_last_loss(run):.2f})"
    if not run.validations:
        return lead
    ends = ", ".join(f"{name} {percent(value)}" for name, value in run.validations[-1].top1.items())
    return f"{lead}; validation top-1 at the end: {ends}"


def trained(run: Run) -> str:
    """What was done to the supernet's weights."""
    supernet = run.summary.supernet
    if supernet is None or not supernet.images_per_second:
        return "taken over as they are"
    return f"trained for {duration(supernet.train_seconds)} at {supernet.images_per_second:,.0f} images/s"


def _last_loss(run: Run) -> float:
    """Mean loss over the last twentieth of the steps, for one step's loss is noisy."""
    last = run.steps[-max(1, len(run.steps) // 20) :]
    return sum(step.loss for step in last) / len(last)


def search(run: Run) -> str:
    """Whether the search had settled."""
    facts = run.search
    history, counts = facts.hypervolume_by_batch, facts.evaluations_by_batch
    lead = f"{facts.evaluations} evaluations in {duration(facts.seconds)}"
    if facts.exhausted:
        return f"{lead}: all there are within the budgets"
    if len(history) < 4 or history[-1] <= 0:
        return f"{lead}; too short to tell whether it had settled"
    n, before = max(pair for pair in zip(counts, history, strict=True) if pair[0] <= max(0.75 * counts[-1], counts[0]))
    gain = (history[-1] - before) / history[-1]
    said = f"the last {counts[-1] - n} added {percent(gain)} of the hypervolume"
    return f"{lead}; {said}: more would likely find better" if gain > RISING else f"{lead}; {said}: it had settled"


def blocks(device: str, network: Sequence[Block], whole_us: float | None) -> str:
    """Which block takes most, and how far the blocks' sum is from the whole network."""
    known = [(block, value) for block in network if (value := block.latency_us.get(device)) is not None]
    if not known:
        return f"{device}: no block's latency is known by itself"
    total = sum(value for _, value in known)
    slowest, most = max(known, key=lambda pair: pair[1])
    said = f"{device}: {slowest.name} takes most, {percent(most / total, 0)} of the blocks' sum of {ms(total)} ms"
    if len(known) < len(network):
        return f"{said}; {len(network) - len(known)} blocks are not known by themselves"
    if whole_us:
        said += f"; the whole network was measured at {ms(whole_us)} ms"
    regressed = sum(device not in block.measured for block in network)
    return said + (f"; {regressed} of {len(network)} blocks were not timed but regressed" if regressed else "")


def memory(run: Run) -> list[str]:
    """What memory the chosen network was measured to take, a sentence for each device that tells."""
    return [
        f"{device}: loading and running it made the timer's process grow by {size(one.model_rss_bytes)}, to "
        f"{size(one.process_rss_bytes)} at most with the runtime and what was timed beside it"
        for device, one in chosen_latency(run).items()
        if one.model_rss_bytes is not None and one.process_rss_bytes is not None
    ]


def chosen_latency(run: Run) -> Mapping[str, Latency | ShippedLatency]:
    """Return the latency of the file that ships, by device; without a file, that of the chosen network."""
    chosen = run.summary.chosen
    if chosen is None or chosen.latency:
        return {} if chosen is None else chosen.latency
    return {network.arch: network.latency for network in run.summary.front}.get(chosen.arch, {})


def stars(run: Run, device: str, shown: Sequence[tuple[int, Network, Latency]]) -> list[tuple[str, float, float]]:
    """Return name, latency in microseconds and validation top-1 of the file that ships, or of the chosen network."""
    chosen = run.summary.chosen
    if chosen is None:
        return []
    if device in chosen.latency:
        return [("file that ships", chosen.latency[device].p50_us, chosen.val_top1)]
    own = [(network, latency) for _, network, latency in shown if network.arch == chosen.arch]
    times = [(network.val_top1, latency.p50_us or latency.predicted_us) for network, latency in own]
    return [("chosen", latency_us, val_top1) for val_top1, latency_us in times if latency_us is not None]


def chosen_blocks(run: Run, network: Sequence[Block]) -> str:
    """`blocks` of the chosen network, device by device."""
    measured = chosen_latency(run)
    wholes = {device: measured[device].p50_us if device in measured else None for device in run.devices}
    return "; ".join(blocks(device, network, whole) for device, whole in wholes.items())


def by_class(run: Run) -> str:
    """Which class is hardest, and how rough that is."""
    bundle = run.bundle
    known = [] if bundle is None else _class_rates(bundle)
    if not known:
        return "Accuracy by class was not recorded: `edgenas export` of this version records it"
    (worst, low, images), (_, high, _) = known[0], known[-1]
    lead = f"{name_in_sentence(worst)} is hardest, {percent(low)} of {images:,} test images"
    said = f"{lead}; the easiest class reaches {percent(high)}"
    error = 100 * standard_error(low, images)
    return f"{said} (sampling error of the former about ±{error:.1f} points)" if error else said


def _class_rates(bundle: BundleFacts) -> list[tuple[str, float, int]]:
    """Class, test top-1 and images of those that have some, hardest first."""
    scores = bundle.accuracy
    rows = zip(bundle.classes, scores.test_top1_by_class, scores.test_images_by_class, strict=False)
    return sorted(((name, rate, images) for name, rate, images in rows if rate is not None), key=lambda row: row[1])
