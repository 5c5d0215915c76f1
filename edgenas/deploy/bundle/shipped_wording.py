"""Sentences on the deployed file, with the same wording and precision of figures in every output."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgenas.quantities import milliseconds
from edgenas.records.export import ShippedNetwork

VERDICT_WORDS: Mapping[str | None, str] = {"within": "yes", "not significant": "not significant", "over": "no"}
"""Texts of a table's cell for whether a file is within its budget."""


def p50_text(latency: Mapping[str, Any]) -> str:
    """Return the p50 with its interval over processes, like `0.067 ms [0.066, 0.068]`."""
    low, high = (milliseconds(latency[end]) for end in ("ci_low_us", "ci_high_us"))
    return f"{milliseconds(latency['p50_us'])} ms [{low}, {high}]"


def verdict_text(latency: Mapping[str, Any]) -> str:
    """Return the verdict in words, like `within the budget of 0.231 ms p50`."""
    if latency["verdict"] is None:
        return "no latency budget"
    words = "not significantly within" if latency["verdict"] == "not significant" else latency["verdict"]
    tail = f"p95 {milliseconds(latency['value_us'])} ms is " if latency["limited"] == "p95" else ""
    text = f"{tail}{words} the budget of {milliseconds(latency['limit_us'])} ms {latency['limited']}"
    if latency["verdict"] == "not significant" and latency["upper_us"] is not None:
        text += f", whose upper confidence limit is {milliseconds(latency['upper_us'])} ms"
    return f"{text}; a first, disturbed measurement was discarded" if latency["repeated"] else text


def latency_sentences(latency: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return a sentence for each device on the p50 of its file, the interval, and whether it is within the budget.

    Args:
        latency: output of `deployed_latency`.
    """
    return [f"p50 {p50_text(values)} on {device}: {verdict_text(values)}" for device, values in latency.items()]


def accuracy_sentence(test_top1: float, val_top1: float) -> str:
    """Return a sentence on the accuracies of the deployed file, given as fractions and stated in percent."""
    return f"{test_top1:.2%} test top-1, {val_top1:.2%} validation top-1, computed by ONNX Runtime on the exported file"


def shipped_sentences(chosen: ShippedNetwork) -> list[str]:
    """Return sentences on the deployed file's latency by device and on its accuracy; empty without a file."""
    if chosen.test_top1 is None:
        return []
    latency = {device: measured.model_dump() for device, measured in chosen.latency.items()}
    return [*latency_sentences(latency), accuracy_sentence(chosen.test_top1, chosen.val_top1)]
