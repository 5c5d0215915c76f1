"""Summaries of runs and bundles, as commands print them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from edgenas.deploy.bundle.shipped_wording import VERDICT_WORDS, latency_sentences, shipped_sentences
from edgenas.display import print_line, print_table
from edgenas.quantities import milliseconds
from edgenas.records.export import ExportRecord, ShippedInt8
from edgenas.records.finetune import FinetuneSummary
from edgenas.records.folder import SummaryRecord
from edgenas.records.profile import ProfileRecord
from edgenas.records.record import Record
from edgenas.records.verify import MeasuredNetwork, NetworkLatency, VerifyRecord
from edgenas.report import findings, tuning_findings

if TYPE_CHECKING:
    # Importing it loads torch, which other displays do without.
    from edgenas.deploy.bundle.manifest import Manifest
    from edgenas.records.bundle import FileAccuracy, FileLatency


def print_stage_notes(record: Record) -> None:
    """Print what a stage's result has for people."""
    notes: tuple[str, ...] = ()
    match record:
        case ProfileRecord() | VerifyRecord():
            notes = record.notes
        case ExportRecord():
            sentences = latency_sentences(record.chosen.latency)
            notes = (*sentences, *(record.int8.notes if record.int8 else ()))
    for note in notes:
        print(note)


def print_summary(summary: SummaryRecord, folder: str) -> None:
    """Print a run's front, the chosen network, and the path of its file."""
    _print_front(summary)
    chosen = summary.chosen
    print()
    if chosen.onnx is not None:
        print_line("The choice is based on these accuracies and latencies. Those of the exported file are below.")
        print()
    print(f"budgets  {', '.join(budget.words for budget in summary.budgets)}")
    flagged = sum(any(latency.warnings for latency in network.latency.values()) for network in summary.front)
    if flagged:
        print(f"warnings the timer warns about {flagged} of {len(summary.front)} measurements; see the report")
    if summary.accuracy is not None:
        print_line(f"source   {findings.accuracy_source(summary.accuracy)}")
    if summary.init is not None:
        print_line(f"init     {summary.init.words}")
    print(f"chosen   {chosen.arch.id}")
    if summary.choice.by != "best":
        print(f"         {summary.choice.words}")
    if compared := findings.comparison(summary.comparison):
        print_line(f"verify   {compared}")
    if summary.finetune is not None:
        print(f"tuned    {_tuned(summary.finetune)}")
    if summary.halving is not None and len(summary.halving.candidates) > 1:
        print_line(f"halving  {tuning_findings.halving(summary.halving, chosen.arch)}")
        if compared := tuning_findings.comparison(summary.halving):
            print_line(f"         {compared}")
        if gain := tuning_findings.gain(summary.halving, chosen.arch):
            print_line(f"shelf    {gain}")
    if chosen.onnx is not None:
        *latencies, accuracy = shipped_sentences(chosen)
        for line in latencies:
            print_line(f"measured {line}")
        print_line(f"test     {accuracy}")
        print(f"model    {folder}/{chosen.onnx}")
    for note in summary.notes:
        print(f"note     {note}")
    if summary.int8 is not None:
        print_int8(summary.int8, folder, chosen.onnx)
    print(f"report   {folder}/report/report.html, and report.md beside it")


def _print_front(summary: SummaryRecord) -> None:
    several = len(summary.devices) > 1
    columns = ["val top-1", "predicted ms [interval]", "measured ms"]
    rows = [
        [
            ("* " if network.arch == summary.chosen.arch else "  ") + network.arch.id,
            *([device] if several else []),
            _top1(network),
            _predicted(latency),
            "-" if latency.p50_us is None else milliseconds(latency.p50_us),
            _within_budget(network, latency),
        ]
        for network in summary.front
        for device, latency in network.latency.items()
    ]
    print_table(["arch", *(["device"] if several else []), *columns, "within budget"], rows, right=columns)


def _within_budget(network: MeasuredNetwork, latency: NetworkLatency) -> str:
    verdict = VERDICT_WORDS.get(latency.verdict, "-")
    return f"{verdict} (dropped: {network.dropped_because})" if network.dropped else verdict


def _top1(network: MeasuredNetwork) -> str:
    """Return the top-1 of a network of the front, with the half-width of its interval if it has one."""
    top1, interval = network.deployed_top1, network.val_top1_interval
    if interval is None:
        return f"{top1:.2%}"
    half = (interval[1] - interval[0]) / 2
    return f"{top1:.2%} measured" if half == 0 else f"{top1:.2%} ± {half:.2%}"


def _predicted(latency: NetworkLatency) -> str:
    text = milliseconds(latency.predicted_us)
    if latency.interval_us is None:
        return text
    low, high = latency.interval_us
    return f"{text} [{milliseconds(low)}, {milliseconds(high)}]"


def _tuned(tuning: FinetuneSummary) -> str:
    before, after = tuning.val_top1_before, tuning.val_top1_after
    reached = f"{after:.2%} validation top-1 after"
    if before is None:
        return f"on {tuning.dataset}: {reached}"
    rejected = "" if tuning.ships else ", which is significantly less, so the inherited weights are exported"
    return f"on {tuning.dataset}: {before:.2%} before, {reached}{rejected}"


def print_int8(int8: ShippedInt8, folder: str, printed: str | None) -> None:
    """Print the int8 file of a chosen network and its gain; a path that was `printed` before is not repeated."""
    file = "that file" if int8.onnx == printed else f"{folder}/{int8.onnx}"
    print(f"int8     {file}, {int8.test_top1:.2%} top-1 on the test images")
    for note in int8.notes:
        print(f"         {note}")


def print_bundle(manifest: Manifest, folder: str) -> None:
    """Print the contents of a bundle, a line for each of its files."""
    print(f"{manifest.arch.id} in {folder}")
    print(f"batch {manifest.batch}, preprocessing inside: {'yes' if manifest.preprocessing_included else 'no'}")
    int8 = manifest.int8
    rows = [_file_row("model.onnx", manifest.accuracy, manifest.latency, manifest.size_bytes)]
    if int8 is not None:
        rows.append(_file_row("model_int8.onnx", int8.accuracy, int8.latency, int8.size_bytes))
    print_table(["file", "val top-1", "test top-1", "ms", "kB"], rows, right=["val top-1", "test top-1", "kB"])
    for line in (*latency_sentences(manifest.deployed_latency), *(int8.notes if int8 else ())):
        print(line)


def _file_row(name: str, accuracy: FileAccuracy, latency: Mapping[str, FileLatency], size_bytes: int) -> list[str]:
    return [
        name,
        f"{accuracy.validation_top1:.2%}",
        f"{accuracy.test_top1:.2%}",
        ", ".join(f"{milliseconds(measured.p50_us)} on {device}" for device, measured in latency.items()),
        f"{size_bytes / 1e3:,.1f}",
    ]
