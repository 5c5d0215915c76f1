"""The page: report.md and its plots in `report/` of a run folder."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import yaml

from edgenas.files import write_bytes, write_text
from edgenas.report import evidence, hindsight, judgement, searched
from edgenas.report.evidence_plots import plot_evidence
from edgenas.report.formats import MISSING, count, ms, ms_range, percent, size
from edgenas.report.load import load_run
from edgenas.report.plots import plot_all
from edgenas.report.score_rows import score_rows
from edgenas.report.values import Chosen, Int8, Network, Run


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
    for name, data in plots.items():
        write_bytes(target / name, data)
    page = target / "report.md"
    write_text(page, render(run, tuple(plots)))
    return page


def render(run: Run, plots: Sequence[str]) -> str:
    """The page as Markdown; `plots` are the file names beside it that it may show."""
    sections = [
        [f"# {run.config.get('name', run.folder.name)}: {_what(run)}"],
        _result(run, plots),
        _chosen(run),
        _hindsight(run, plots),
        _int8(run),
        *[_predictor(run, device) for device in run.devices if device in run.scores],
        _image("predictor.png", "Predicted against measured latency of networks the predictor had not seen", plots),
        _search(run, plots),
        _understanding(run, plots),
        _training(run, plots),
        _trust(run, plots),
        _worth(run, plots),
        _circumstances(run),
    ]
    return "\n\n".join("\n".join(lines) for lines in sections if lines) + "\n"


def _what(run: Run) -> str:
    return f"{run.dataset.name} on {', '.join(run.devices)}"


def _result(run: Run, plots: Sequence[str]) -> list[str]:
    reached = searched.reach(run)
    budgets = [
        f"- {judgement.budget(line, run)}{said}" for line, said in zip(run.summary.budgets, reached, strict=True)
    ] or ["- none"]
    rows = [row for number_, network in enumerate(run.networks, 1) for row in _network_rows(run, number_, network)]
    header = ["", "device", "validation top-1", "predicted, interval (ms)", "p50 / p95 (ms)", "budget met", "arch"]
    held = [f"- {judgement.front_on(run, device)}." for device in run.devices]
    told = judgement.accuracy(run)
    held += [f"- {doubt}." for device in run.devices if (doubt := judgement.front_doubts(run, device))]
    return [
        f"**{judgement.front(run)}.**",
        "",
        "Budgets:",
        "",
        *budgets,
        "",
        *_table(header, rows),
        "",
        *([f"{told}.", ""] if told else []),
        "Latencies here are of the network alone: decoding, resizing and normalising pictures are not included.",
        "",
        "Predictions against measurements on the front:",
        "",
        *held,
        *_image("front.png", "Validation top-1 against latency, predicted and measured", plots, before=[""]),
    ]


def _network_rows(run: Run, place: int, network: Network) -> Iterable[list[str]]:
    is_chosen = run.summary.chosen is not None and run.summary.chosen.arch == network.arch
    for device in run.devices:
        latency = network.latency.get(device)
        if latency is None:
            continue
        yield [
            f"**{place}, chosen**" if is_chosen else str(place),
            device,
            _top1(network),
            f"{ms(latency.predicted_us)} ({ms_range(latency.interval_us)})",
            f"{ms(latency.p50_us)} / {ms(latency.p95_us)}",
            _verdict(latency.meets_budget, network.dropped),
            f"`{network.arch}`",
        ]


def _top1(network: Network) -> str:
    """Top-1; with its interval where it is told from elsewhere."""
    interval = network.val_top1_interval
    if interval is None:
        return percent(network.val_top1)
    low, high = (percent(end, 2) for end in interval)
    return f"{percent(network.val_top1, 2)} ({'measured' if low == high else f'{low} to {high}'})"


def _verdict(meets: bool | None, dropped: bool) -> str:
    said = {True: "yes", False: "**no**", None: MISSING}[meets]
    return f"{said}, dropped" if dropped else said


def _chosen(run: Run) -> list[str]:
    chosen = run.summary.chosen
    if chosen is None:
        return ["## Chosen network", "", "None: no network was measured to meet every budget."]
    lines = [
        "## Chosen network",
        "",
        f"`{chosen.arch}`",
        "",
        f"- test top-1: **{percent(chosen.test_top1)}**, validation top-1: {percent(chosen.val_top1)}",
    ]
    if run.summary.choice is not None and run.summary.choice.words is not None:
        lines.append(f"- chosen as {run.summary.choice.words}, as measured")
    if chosen.onnx is None:
        notes = [f"- {note}." for note in run.summary.notes]
        told = [line for line in lines if not line.startswith("- test top-1")]
        return [*told, f"- top-1, as told from elsewhere: {percent(chosen.val_top1, 2)}", *notes]
    for name, path in (("model", chosen.onnx), ("bundle", chosen.bundle)):
        if path is not None:
            lines.append(f"- {name}: [{path}]({os.path.relpath(run.folder / path, run.folder / 'report')})")
    return [*lines, "", *filter(None, [judgement.optimism(run), judgement.finetuned(run)])]


def _hindsight(run: Run, plots: Sequence[str]) -> list[str]:
    if run.hindsight is None:
        return []
    alt = "Validation and test top-1 along the front, and classes beside the largest subnet's"
    return [
        "## In hindsight: optimism, and who paid for the speed",
        "",
        f"{hindsight.front_optimism(run)}.",
        "",
        f"{hindsight.paid(run)}.",
        *_image("hindsight.png", alt, plots, before=[""]),
    ]


def _trust(run: Run, plots: Sequence[str]) -> list[str]:
    found = run.trust
    if found is None:
        return []
    return [
        "## Can inherited accuracies be trusted?",
        "",
        f"**{evidence.trusted(found)}.** {'. '.join(evidence.gaps(found))}.",
        "",
        *_table(evidence.TRUST_COLUMNS, evidence.trust_rows(found)),
        *_image("trust.png", "Inherited against standalone validation top-1", plots, before=[""]),
    ]


def _worth(run: Run, plots: Sequence[str]) -> list[str]:
    found = run.worth
    if found is None:
        return []
    return [
        "## Was the search worth it?",
        "",
        f"**{evidence.worthwhile(found)}.** {evidence.crossing(found)}.",
        "",
        *_table(evidence.WORTH_COLUMNS, evidence.worth_rows(found)),
        "",
        *_table(evidence.COST_COLUMNS, evidence.cost_rows(found)),
        *_image("worth.png", "The search's network and its rivals; total time by budgets", plots, before=[""]),
    ]


def _int8(run: Run) -> list[str]:
    found = run.summary.int8
    if run.summary.chosen is None or found is None:
        return []
    tried = [
        [f"`{name}`" + (", chosen" if name == found.quantiser_recipe else ""), percent(top1)]
        for name, top1 in found.recipes_tried.items()
    ]
    return [
        "## int8 beside fp32",
        "",
        f"{judgement.int8(run)}. {' '.join(judgement.int8_doubts(run))}".rstrip(),
        "",
        *[f"- {note}." for note in found.notes],
        "",
        *_table(["chosen network", "fp32", "int8", "difference"], _int8_rows(run.summary.chosen, found)),
        "",
        f"The int8 file: [{found.onnx}]({os.path.relpath(run.folder / found.onnx, run.folder / 'report')}), quantised "
        f"by `{found.quantiser_recipe}`.",
        *(["", *_table(["recipe tried", "validation top-1"], tried)] if tried else []),
    ]


def _int8_rows(chosen: Chosen, found: Int8) -> list[list[str]]:
    val_top1, test_top1 = judgement.fp32_top1(chosen, found)
    rows = [
        ["validation top-1", percent(val_top1), percent(found.val_top1), _lost(val_top1, found.val_top1)],
        ["test top-1", percent(test_top1), percent(found.test_top1), _lost(test_top1, found.test_top1)],
    ]
    for device, one in found.latency.items():
        fp32 = _timed(one.fp32_p50_us, one.fp32_ci_low_us, one.fp32_ci_high_us, one.fp32_repeat_noise)
        own = _timed(one.p50_us, one.ci_low_us, one.ci_high_us, one.repeat_noise)
        rows.append([f"p50 on {device} (95 % interval; repeat noise), ms", fp32, own, f"{one.speedup:.2f} × as fast"])
    bytes_ = found.fp32_size_bytes
    ratio = MISSING if not bytes_ else f"{found.size_bytes / bytes_:.2f} ×"
    return [*rows, ["file", MISSING if bytes_ is None else size(bytes_), size(found.size_bytes), ratio]]


def _lost(fp32: float | None, int8: float) -> str:
    return MISSING if fp32 is None else f"{100 * (int8 - fp32):+.1f} points"


def _timed(p50_us: float, low_us: float | None, high_us: float | None, noise: float | None) -> str:
    interval = None if low_us is None or high_us is None else (low_us, high_us)
    return f"{ms(p50_us)} ({ms_range(interval)}; {percent(noise)})"


def _predictor(run: Run, device: str) -> list[str]:
    score = run.scores[device]
    doubts = judgement.predictor_doubts(score)
    return [
        f"## Latency predictor: {device}",
        "",
        f"{judgement.predictor(score)}. {' '.join(doubts)}",
        "",
        *([formed, ""] if (formed := judgement.form(run, device)) else []),
        *_table(["on networks not seen in fitting", "value"], [[*row] for row in score_rows(score).items()]),
    ]


def _search(run: Run, plots: Sequence[str]) -> list[str]:
    facts = run.search
    point = ", ".join(f"{value:.4g}" for value in facts.reference_point)
    names = ", ".join(f"{each.name} ({each.unit})" for each in facts.objectives) or "error, latency in µs"
    told = [sentence for sentence in (searched.unscored(run), *searched.models(run)) if sentence]
    return [
        "## Search",
        "",
        f"{judgement.search(run)}.",
        "",
        *([" ".join(told), ""] if told else []),
        f"Strategy `{facts.strategy}`; final hypervolume {facts.hypervolume:.4g}, reference point ({point}) in "
        f"({names}).",
        *_image("search.png", "Hypervolume against evaluations", plots, before=[""]),
    ]


def _understanding(run: Run, plots: Sequence[str]) -> list[str]:
    if run.understanding is None:
        return []
    header = [
        "gene of the chosen network",
        "validation top-1",
        *(f"ms on {device}" for device in run.devices),
        "within",
    ]
    moved = searched.moves(run)
    return [
        "## What genes buy and cost",
        "",
        " ".join(searched.genes(run)),
        *_image("genes.png", "Change of accuracy and latency with each gene", plots, before=[""]),
        *(["", moved, "", "<details><summary>Every step</summary>", ""] if moved else []),
        *([*_table(header, searched.move_rows(run)), "", "</details>"] if moved else []),
    ]


def _training(run: Run, plots: Sequence[str]) -> list[str]:
    supernet, counts = run.summary.supernet, run.dataset.counts
    if supernet is None or run.summary.accuracy is not None:
        return []
    splits = ", ".join(f"{n:,} {split}" for split, n in counts.items())
    return [
        "## Training",
        "",
        f"{judgement.training(run)}.",
        "",
        f"Supernet of space `{run.summary.space}`: {count(supernet.params)} parameters, {judgement.taught(run)}. "
        f"Images of {run.dataset.name}, {run.dataset.num_classes} classes: {splits}.",
        *_image("training.png", "Training loss and validation top-1", plots, before=[""]),
    ]


def _circumstances(run: Run) -> list[str]:
    lines = ["## Circumstances"]
    for device in run.devices:
        known = run.circumstances.get(device)
        rows = [[key.replace("_", " "), _plain(value)] for key, value in (known or {}).items()]
        lines += ["", f"### {device}", "", *(_table(["", ""], rows) if rows else ["Not recorded."])]
    text = yaml.safe_dump(dict(run.config), sort_keys=False, allow_unicode=True).rstrip()
    return [*lines, "", "<details><summary>Resolved config</summary>", "", "```yaml", text, "```", "", "</details>"]


def _plain(value: object) -> str:
    if isinstance(value, dict):
        return "; ".join(f"{key} {_plain(each)}" for key, each in value.items())
    if isinstance(value, list):
        return ", ".join(map(_plain, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "unknown" if value is None else str(value)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [header, ["---"] * len(header), *rows]
    return ["| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in line) + " |" for line in lines]


def _image(name: str, alt: str, plots: Sequence[str], before: Sequence[str] = ()) -> list[str]:
    return [*before, f"![{alt}]({name})"] if name in plots else []
