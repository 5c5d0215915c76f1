"""Sentences on the deployed file, with the same wording and precision of figures in every output."""

from __future__ import annotations

from collections.abc import Mapping

from edgenas.quantities import milliseconds
from edgenas.records.export import JudgedLatency, ShippedNetwork, TimedLatency
from edgenas.records.finetune import ShelfGain
from edgenas.space.arch import Arch

VERDICT_WORDS: Mapping[str | None, str] = {"within": "yes", "not significant": "not significant", "over": "no"}
"""Texts of a table's cell for whether a file is within its budget."""


def p50_text(p50_us: float, ci_low_us: float, ci_high_us: float) -> str:
    """Return the p50 with its interval over processes, like `0.067 ms [0.066, 0.068]`."""
    return f"{milliseconds(p50_us)} ms [{milliseconds(ci_low_us)}, {milliseconds(ci_high_us)}]"


def verdict_text(latency: JudgedLatency) -> str:
    """Return the verdict in words, like `within the budget of 0.231 ms p50`."""
    if latency.verdict is None or latency.limit_us is None or latency.value_us is None:
        return "no latency budget"
    words = "not significantly within" if latency.verdict == "not significant" else latency.verdict
    tail = f"p95 {milliseconds(latency.value_us)} ms is " if latency.limited == "p95" else ""
    text = f"{tail}{words} the budget of {milliseconds(latency.limit_us)} ms {latency.limited}"
    if latency.verdict == "not significant" and latency.upper_us is not None:
        text += f", whose upper confidence limit is {milliseconds(latency.upper_us)} ms"
    return f"{text}; a first, disturbed measurement was discarded" if latency.repeated else text


def latency_sentences(latency: Mapping[str, TimedLatency]) -> list[str]:
    """Return a sentence for each device on the p50 of its file, the interval, and whether it is within the budget."""
    return [
        f"p50 {p50_text(file.p50_us, file.ci_low_us, file.ci_high_us)} on {device}: {verdict_text(file)}"
        for device, file in latency.items()
    ]


def accuracy_sentence(test_top1: float, val_top1: float) -> str:
    """Return a sentence on the accuracies of the deployed file, given as fractions and stated in percent."""
    return f"{test_top1:.2%} test top-1, {val_top1:.2%} validation top-1, computed by ONNX Runtime on the exported file"


def shipped_sentences(chosen: ShippedNetwork) -> list[str]:
    """Return sentences on the deployed file's latency by device and on its accuracy; empty without a file."""
    if chosen.test_top1 is None:
        return []
    return [*latency_sentences(chosen.latency), accuracy_sentence(chosen.test_top1, chosen.val_top1)]


def network_words(arch: Arch) -> str:
    """Return a network of the shelf as its name and resolution, any other as its text."""
    return f"{arch.network} at {arch.resolution} pixels" if arch.network else arch.id


def gain_words(gain: ShelfGain, shipped: Arch) -> str:
    """Return what the search gained over the shelf, in a sentence without its full stop.

    Args:
        gain: the network of the search compared with that of the shelf.
        shipped: the one of them that ships.
    """
    shelf = f"{network_words(gain.shelf)} with {gain.shelf_top1:.1%} test top-1"
    if shipped != gain.shelf:
        points = _points(gain, gain.value, *gain.interval)
        return f"The search gained {points} over the best network of the shelf within the budgets, {shelf}"
    lead = f"A network of the shelf ships, {shelf}. The best network of the search is"
    low, high = gain.interval
    if gain.value > 0:
        return f"{lead} ahead of it on these images by {_points(gain, gain.value, low, high)}"
    return f"{lead} behind it by {_points(gain, -gain.value, -high, -low)}"


def _points(gain: ShelfGain, value: float, low: float, high: float) -> str:
    """Return a difference of top-1 in points, with its interval; given as fractions."""
    return (
        f"{100 * value:.1f} points (95 % interval {100 * low:+.1f} to {100 * high:+.1f}, paired over the "
        f"{gain.images:,} test images, both networks in fp32)"
    )
