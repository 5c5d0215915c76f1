"""Summaries of runs and bundles, as commands print them."""

from __future__ import annotations

from typing import Any

from edgenas.budget import parse_budget
from edgenas.deploy.bundle.manifest import deployed_latency
from edgenas.deploy.bundle.shipped_wording import VERDICT_WORDS, accuracy_sentence, latency_sentences
from edgenas.display import print_line, print_table
from edgenas.quantities import milliseconds


def print_summary(summary: dict[str, Any], folder: str) -> None:
    """Print a run's front, the chosen network, and the path of its file."""
    several = len(summary["predictors"]) > 1
    rows = []
    for entry in summary["front"]:
        for name, latency in entry["latency"].items():
            verdict = VERDICT_WORDS.get(latency["verdict"], "-")
            rows.append(
                [
                    ("* " if entry["arch"] == summary["chosen"]["arch"] else "  ") + entry["arch"],
                    *([name] if several else []),
                    _top1(entry),
                    _predicted(latency),
                    milliseconds(latency["p50_us"]) if latency["p50_us"] is not None else "-",
                    verdict if not entry["dropped"] else f"{verdict} (dropped: {entry['dropped_because']})",
                ]
            )
    columns = [
        "arch",
        *(["device"] if several else []),
        "val top-1",
        "predicted ms [interval]",
        "measured ms",
        "within budget",
    ]
    print_table(columns, rows, right=["val top-1", "predicted ms [interval]", "measured ms"])
    chosen = summary["chosen"]
    print()
    if chosen["onnx"] is not None:
        print_line("The choice is based on these accuracies and latencies. Those of the exported file are below.")
        print()
    print(f"budgets  {', '.join(parse_budget(text).words for text in summary['budgets'])}")
    flagged = [
        entry for entry in summary["front"] if any(latency.get("warnings") for latency in entry["latency"].values())
    ]
    if flagged:
        print(f"warnings the timer warns about {len(flagged)} of {len(summary['front'])} measurements; see the report")
    if summary.get("accuracy"):
        print(f"accuracy {accuracy_text(summary['accuracy'])}")
    print(f"chosen   {chosen['arch']}")
    if summary.get("choice", {}).get("by", "best") != "best":
        print(f"         {summary['choice']['words']}")
    if tuned := summary.get("finetune"):
        before = "" if tuned["val_top1_before"] is None else f"{tuned['val_top1_before']:.2%} before, "
        worse = before and tuned["val_top1_after"] <= tuned["val_top1_before"]
        rejected = ", so the inherited weights are exported" if worse else ""
        print(f"tuned    on {tuned['dataset']}: {before}{tuned['val_top1_after']:.2%} validation top-1 after{rejected}")
    if chosen["onnx"] is not None:
        for line in latency_sentences(chosen["latency"]):
            print_line(f"measured {line}")
        print_line(f"test     {accuracy_sentence(chosen['test_top1'], chosen['val_top1'])}")
        print(f"model    {folder}/{chosen['onnx']}")
    for note in summary.get("notes", []):
        print(f"note     {note}")
    if summary.get("int8"):
        print_int8(summary["int8"], folder, chosen["onnx"])
    print(f"report   {folder}/report/report.html, and report.md beside it")


def _top1(entry: dict[str, Any]) -> str:
    """Return the top-1 of a network of the front, with the half-width of its interval if it has one."""
    top1, interval = entry.get("deployed_top1", entry["val_top1"]), entry.get("val_top1_interval")
    if interval is None:
        return f"{top1:.2%}"
    half = (interval[1] - interval[0]) / 2
    return f"{top1:.2%} measured" if half == 0 else f"{top1:.2%} ± {half:.2%}"


def _predicted(latency: dict[str, Any]) -> str:
    text = milliseconds(latency["predicted_us"])
    if latency["interval_us"] is None:
        return text
    low, high = latency["interval_us"]
    return f"{text} [{milliseconds(low)}, {milliseconds(high)}]"


def accuracy_text(source: dict[str, Any]) -> str:
    """Return a description of a run's accuracy source, if that is not its supernet, and of its error."""
    if source.get("predictor"):
        return f"predicted by {source['predictor']}; its error is unknown"
    return (
        f"a model of {source['rows']} architectures measured by others ({source['file']}); leave-one-out RMSE "
        f"{source['rmse_points']:.2f} points, Kendall tau {source['kendall_tau']:.2f}, "
        f"{source['coverage_90']:.0%} within their 90 % interval"
    )


def print_int8(int8: dict[str, Any], folder: str, printed: str) -> None:
    """Print the int8 file of a chosen network and its gain; a path that was `printed` before is not repeated."""
    file = "that file" if int8["onnx"] == printed else f"{folder}/{int8['onnx']}"
    print(f"int8     {file}, {int8['test_top1']:.2%} top-1 on the test images")
    for note in int8["notes"]:
        print(f"         {note}")


def print_bundle(manifest: dict[str, Any], folder: str) -> None:
    """Print the contents of a bundle, a line for each of its files."""
    print(f"{manifest['arch']} in {folder}")
    print(f"batch {manifest['batch']}, preprocessing inside: {'yes' if manifest['preprocessing_included'] else 'no'}")
    files = {"model.onnx": manifest} | ({"model_int8.onnx": manifest["int8"]} if manifest["int8"] else {})
    rows = [
        [
            name,
            f"{entry['accuracy']['validation_top1']:.2%}",
            f"{entry['accuracy']['test_top1']:.2%}",
            ", ".join(f"{milliseconds(latency['p50_us'])} on {device}" for device, latency in entry["latency"].items()),
            f"{entry['size_bytes'] / 1e3:,.1f}",
        ]
        for name, entry in files.items()
    ]
    print_table(["file", "val top-1", "test top-1", "ms", "kB"], rows, right=["val top-1", "test top-1", "kB"])
    for line in latency_sentences(deployed_latency(manifest)):
        print(line)
    for note in manifest["int8"].get("notes", []):
        print(note)
