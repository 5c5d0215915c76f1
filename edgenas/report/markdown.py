"""The page: report.md and its plots in `report/` of a run folder."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import yaml

from edgenas.deploy.bundle.shipped_wording import VERDICT_WORDS
from edgenas.files import write_bytes, write_text
from edgenas.markup import Ready, markdown, markdown_fence, markdown_sentence
from edgenas.report import judgement, predictor_judgement, searched
from edgenas.report.classes import CLASS_HEADER, class_rows
from edgenas.report.cost import COST_HEADER, cost, cost_rows
from edgenas.report.evidence_plots import plot_evidence
from edgenas.report.formats import MISSING, count, ms, ms_range, percent
from edgenas.report.lettering import ADVICE, lettering_of
from edgenas.report.load import load_run
from edgenas.report.markdown_evidence import hindsight_section, trust_section, worth_section
from edgenas.report.markdown_int8 import int8_section
from edgenas.report.markdown_pieces import folded, image, sentences, table
from edgenas.report.network import block_header, block_rows, chosen_blocks
from edgenas.report.plots import names_of, plot_all
from edgenas.report.score_rows import score_rows
from edgenas.report.values import Network, Run

MADE_THE_CHOICE = (
    "These accuracies and latencies made the choice. Those of the file that ships, which was timed again in processes "
    "that chose nothing, are stated under the chosen network."
)


def write_report(run_folder: Path) -> Path:
    """Write `report/report.md` and its PNG plots into a run folder, from its saved files only.

    Returns:
        The path of report.md.

    Raises:
        RunFolderError: a stage's file is missing or broken; the command that makes it is named.
    """
    run = load_run(run_folder)
    target = run_folder / "report"
    plots = plot_all(run) | plot_evidence(run)
    letters = lettering_of(names_of(run))
    for name, data in plots.items():
        write_bytes(target / name, data)
    page = target / "report.md"
    write_text(page, render(run, tuple(plots), letters.numbers))
    return page


def render(run: Run, plots: Sequence[str], numbers: Mapping[str, str] = MappingProxyType({})) -> str:
    """Return the page as Markdown.

    Args:
        run: the run.
        plots: file names beside the page that it may show.
        numbers: by name, the number that stands for it in plots.
    """
    sections = [
        [f"# {markdown(str(run.config.get('name', run.folder.name)))}: {markdown(_what(run))}"],
        _result(run, plots),
        _numbered(numbers),
        _chosen(run),
        _network(run),
        _classes(run),
        hindsight_section(run, plots),
        int8_section(run),
        *[_predictor(run, device) for device in run.devices if device in run.scores],
        image("predictor.png", "Predicted against measured latency of networks the predictor had not seen", plots),
        _search(run, plots),
        _understanding(run, plots),
        _training(run, plots),
        trust_section(run, plots),
        worth_section(run, plots),
        _cost(run),
        _circumstances(run),
    ]
    return "\n\n".join("\n".join(lines) for lines in sections if lines) + "\n"


def _numbered(numbers: Mapping[str, str]) -> list[str]:
    """Names that no font of this machine shows."""
    rows = table(["in plots", "name"], [[number, name] for name, number in numbers.items()])
    return [f"{ADVICE}.", "", *folded("Names by their numbers", rows)] if numbers else []


def _what(run: Run) -> str:
    return f"{run.dataset.name} on {', '.join(run.devices)}"


def _result(run: Run, plots: Sequence[str]) -> list[str]:
    reached = searched.reach(run)
    budgets = [
        f"- {markdown_sentence(budget.words + said)}" for budget, said in zip(run.summary.budgets, reached, strict=True)
    ] or ["- none"]
    rows = [row for number_, network in enumerate(run.networks, 1) for row in _network_rows(run, number_, network)]
    header = ["", "device", "validation top-1", "predicted, interval (ms)", "p50 / p95 (ms)", "within budget", "arch"]
    held = sentences([judgement.front_on(run, device) for device in run.devices])
    told = judgement.accuracy(run)
    held += sentences([judgement.front_warnings(run, device) or "" for device in run.devices])
    return [
        f"**{markdown_sentence(judgement.front(run))}.**",
        "",
        "Budgets:",
        "",
        *budgets,
        "",
        *table(header, rows),
        "",
        *([f"{markdown_sentence(told)}.", ""] if told else []),
        *([MADE_THE_CHOICE, ""] if judgement.shipped(run) else []),
        "Latencies here are of the network alone: decoding, resizing and normalising images are not included.",
        "",
        "Predictions against measurements on the front:",
        "",
        *held,
        *image("front.png", "Validation top-1 against latency, predicted and measured", plots, before=[""]),
    ]


def _network_rows(run: Run, place: int, network: Network) -> Iterable[list[str]]:
    is_chosen = run.summary.chosen is not None and run.summary.chosen.arch == network.arch
    for device in run.devices:
        latency = network.latency.get(device)
        if latency is None:
            continue
        yield [
            Ready(f"**{place}, chosen**") if is_chosen else str(place),
            device,
            _top1(network),
            f"{ms(latency.predicted_us)} ({ms_range(latency.interval_us)})",
            f"{ms(latency.p50_us)} / {ms(latency.p95_us)}",
            _verdict(latency.verdict, network.dropped),
            Ready(f"`{network.arch}`"),
        ]


def _top1(network: Network) -> str:
    """Top-1; with its interval where it is told from elsewhere."""
    interval = network.val_top1_interval
    if interval is None:
        return percent(network.val_top1)
    low, high = (percent(end, 2) for end in interval)
    return f"{percent(network.val_top1, 2)} ({'measured' if low == high else f'{low} to {high}'})"


def _verdict(verdict: str | None, dropped: bool) -> str:
    words = VERDICT_WORDS.get(verdict, MISSING)
    words = f"**{words}**" if verdict == "over" else words
    return Ready(f"{words}, dropped" if dropped else words)


def _chosen(run: Run) -> list[str]:
    chosen = run.summary.chosen
    if chosen is None:
        return ["## Chosen network", "", "None: no network was measured to meet every budget."]
    lines = [
        "## Chosen network",
        "",
        f"`{chosen.arch}`",
        "",
        *sentences(judgement.shipped(run)),
    ]
    if run.summary.choice is not None and run.summary.choice.words is not None:
        lines.append(f"- chosen as {markdown_sentence(run.summary.choice.words)}, as measured")
    if chosen.onnx is None:
        notes = sentences(run.summary.notes)
        return [*lines, f"- top-1, as told from elsewhere: {percent(chosen.val_top1, 2)}", *notes]
    for name, path in (("model", chosen.onnx), ("bundle", chosen.bundle)):
        if path is not None:
            lines.append(f"- {name}: [{path}]({os.path.relpath(run.folder / path, run.folder / 'report')})")
    lines += [f"- {markdown_sentence(said)}" for said in judgement.memory(run)]
    return [*lines, "", *map(markdown_sentence, filter(None, [judgement.optimism(run), judgement.finetuned(run)]))]


def _network(run: Run) -> list[str]:
    network = chosen_blocks(run)
    if not network:
        return []
    rows = table(block_header(run.devices), block_rows(network, run.devices))
    said = judgement.chosen_blocks(run, network)
    return [
        "## The chosen network, block by block",
        "",
        f"{markdown_sentence(said)}.",
        "",
        *folded("Every block", rows),
    ]


def _classes(run: Run) -> list[str]:
    if run.summary.chosen is None or run.summary.chosen.test_top1 is None:
        return []
    rows = class_rows(run)
    shown = ["", *folded("By class", table(CLASS_HEADER, rows))] if rows else []
    return ["## Accuracy by class", "", f"{markdown_sentence(judgement.by_class(run))}.", *shown]


def _cost(run: Run) -> list[str]:
    return ["## Cost", "", f"{markdown_sentence(cost(run))}.", "", *table(COST_HEADER, cost_rows(run))]


def _predictor(run: Run, device: str) -> list[str]:
    score = run.scores[device]
    warnings = predictor_judgement.predictor_warnings(score)
    return [
        f"## Latency predictor: {markdown(device)}",
        "",
        markdown_sentence(f"{predictor_judgement.predictor(score)}. {' '.join(warnings)}"),
        "",
        *([markdown_sentence(formed), ""] if (formed := predictor_judgement.graph_variant(run, device)) else []),
        *table(["on networks not seen in fitting", "value"], [[*row] for row in score_rows(score).items()]),
    ]


def _search(run: Run, plots: Sequence[str]) -> list[str]:
    facts = run.search
    point = ", ".join(f"{value:.4g}" for value in facts.reference_point)
    names = ", ".join(f"{each.name} ({each.unit})" for each in facts.objectives) or "error, latency in µs"
    made = searched.offspring(facts.origins)
    told = [sentence for sentence in (searched.unscored(run), *searched.models(run), made and f"{made}.") if sentence]
    return [
        "## Search",
        "",
        f"{markdown_sentence(judgement.search(run))}.",
        "",
        *([markdown_sentence(" ".join(told)), ""] if told else []),
        f"Strategy {markdown_sentence(searched.strategy_name(facts.strategy))}; final hypervolume "
        f"{facts.hypervolume:.4g}, reference point ({point}) in ({names}).",
        *image("search.png", "Hypervolume against evaluations", plots, before=[""]),
    ]


def _understanding(run: Run, plots: Sequence[str]) -> list[str]:
    if run.understanding is None:
        return []
    moved = searched.moves(run)
    steps = folded("Every step", table(searched.move_header(run), searched.move_rows(run)))
    return [
        "## What genes buy and cost",
        "",
        markdown_sentence(" ".join(searched.genes(run))),
        *image("genes.png", "Change of accuracy and latency with each gene", plots, before=[""]),
        *(["", markdown_sentence(moved), "", *steps] if moved else []),
    ]


def _training(run: Run, plots: Sequence[str]) -> list[str]:
    supernet, counts = run.summary.supernet, run.dataset.counts
    if supernet is None or run.summary.accuracy is not None:
        return []
    splits = ", ".join(f"{n:,} {split}" for split, n in counts.items())
    return [
        "## Training",
        "",
        f"{markdown_sentence(judgement.training(run))}.",
        "",
        f"Supernet of space `{run.summary.space}`: {count(supernet.params)} parameters, {judgement.trained(run)}. "
        f"Images of {markdown(run.dataset.name)}, {run.dataset.num_classes} classes: {splits}.",
        *image("training.png", "Training loss and validation top-1", plots, before=[""]),
    ]


def _circumstances(run: Run) -> list[str]:
    lines = ["## Circumstances"]
    for device in run.devices:
        known = run.circumstances.get(device)
        rows = [[key.replace("_", " "), _plain(value)] for key, value in (known or {}).items()]
        lines += ["", f"### {markdown(device)}", "", *(table(["", ""], rows) if rows else ["Not recorded."])]
    text = yaml.safe_dump(dict(run.config), sort_keys=False, allow_unicode=True).rstrip()
    return [
        *lines,
        "",
        "<details><summary>Resolved config</summary>",
        "",
        *markdown_fence(text, "yaml"),
        "",
        "</details>",
    ]


def _plain(value: object) -> str:
    if isinstance(value, dict):
        return "; ".join(f"{key} {_plain(each)}" for key, each in value.items())
    if isinstance(value, list):
        return ", ".join(map(_plain, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "unknown" if value is None else str(value)
