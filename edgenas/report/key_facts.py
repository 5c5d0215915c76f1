"""The head of a report: the most important figures of a run, and the network that it ends with."""

from __future__ import annotations

from edgenas.deploy.bundle.shipped_wording import VERDICT_WORDS, shipped_sentences
from edgenas.quantities import format_bytes, format_count, milliseconds
from edgenas.records.export import ShippedNetwork
from edgenas.records.folder import SummaryRecord
from edgenas.report import findings
from edgenas.report.contents import FileLink, Lines, Part
from edgenas.report.formats import ms, percent
from edgenas.report.values import BundleFacts


def key_facts(summary: SummaryRecord, bundle: BundleFacts | None) -> list[tuple[str, str]]:
    """Return the figures of the network that a run ends with, each a value and what it is."""
    facts = _shipped(summary.chosen) if summary.chosen.test_top1 is not None else _without_file(summary)
    if bundle and bundle.costs:
        facts.append((format_count(bundle.costs["macs"]), "multiply-accumulates"))
        facts.append((format_bytes(bundle.costs["weight_bytes"]), "of weights"))
    return facts


def _shipped(chosen: ShippedNetwork) -> list[tuple[str, str]]:
    """Return figures of the file that ships."""
    facts = [(percent(chosen.test_top1, 2), "test top-1"), (percent(chosen.val_top1, 2), "validation top-1")]
    for device, latency in chosen.latency.items():
        words = "" if latency.verdict is None else f", within budget: {VERDICT_WORDS[latency.verdict]}"
        facts.append((f"{milliseconds(latency.p50_us)} ms", f"p50 on {device}{words}"))
    return facts


def _without_file(summary: SummaryRecord) -> list[tuple[str, str]]:
    """Return figures of a chosen network that was not exported."""
    facts = [(percent(summary.chosen.val_top1, 2), "top-1 of the chosen network, reported elsewhere")]
    for device, latency in findings.chosen_latency(summary).items():
        if latency.p50_us is not None:
            facts.append((f"{ms(latency.p50_us)} ms", f"measured p50 on {device}"))
        else:
            facts.append((f"{ms(latency.predicted_us)} ms", f"predicted latency on {device}"))
    return facts


def chosen_network(summary: SummaryRecord) -> tuple[Part, ...]:
    """Return the chosen network with the notes of the run, and its files."""
    chosen, choice = summary.chosen, f"Chosen as {summary.choice.words}, as measured"
    random_weights = summary.init.note if summary.init else None
    notes = [*shipped_sentences(chosen), random_weights, *summary.notes, choice, *findings.memory(summary)]
    lines = Lines([f"Chosen network: `{chosen.arch.id}`", *notes])
    links = (("model", chosen.onnx), ("bundle", chosen.bundle))
    return (lines, *(FileLink(name, path) for name, path in links if path is not None))
