"""The sections of a run's report, in order: the one list that HTML and Markdown render."""

from __future__ import annotations

from collections.abc import Iterable

import yaml

from edgenas.deploy.bundle.shipped_wording import VERDICT_WORDS
from edgenas.quantities import milliseconds
from edgenas.records.export import ShippedNetwork
from edgenas.records.verify import MeasuredNetwork
from edgenas.report import (
    cost_findings,
    findings,
    hindsight_findings,
    int8_findings,
    latency_charts,
    predictor_findings,
    run_charts,
    search_findings,
    study_charts,
    study_findings,
)
from edgenas.report.contents import FileLink, Heading, Lines, Part, Report, ReportSection, Table, YamlListing
from edgenas.report.formats import MISSING, count, ms, ms_range, percent, size
from edgenas.report.network_blocks import block_header, block_rows, chosen_blocks
from edgenas.report.values import FinishedRun

LATENCY_NOTE = "Latencies are of the network alone: decoding, resizing and normalising images are not included"
CHOICE_NOTE = (
    "These accuracies and latencies made the choice. Those of the file that ships are stated above; it was timed again "
    "in processes that chose nothing"
)


def report_of(run: FinishedRun) -> Report:
    """Return the report of a run: every finding, figure and table, computed once."""
    sections = (_front, _network, _predictor, _accuracy, _int8, _classes, _training, _ranking, _search, _genes)
    classes = [*run.dataset.classes, *(run.bundle.classes if run.bundle else ())]
    classes += [row.name for row in run.hindsight.classes] if run.hindsight else []
    labels = map(run.device_label, run.devices)
    return Report(
        title=f"{run.config.get('name', run.folder.name)}: {run.dataset.name} on {', '.join(labels)}",
        facts=_facts(run),
        parts=_chosen(run),
        sections=tuple(part for make in (*sections, _baselines, _cost, _environment) if (part := make(run))),
        names={"class": list(dict.fromkeys(classes)), "device": run.devices, "data set": [run.dataset.name]},
    )


def _facts(run: FinishedRun) -> list[tuple[str, str]]:
    chosen = run.summary.chosen
    facts = _without_file(run, chosen) if chosen.test_top1 is None else _shipped(chosen, chosen.test_top1)
    if run.bundle and run.bundle.costs:
        facts.append((count(run.bundle.costs["macs"]), "multiply-accumulates"))
        facts.append((size(run.bundle.costs["weight_bytes"]), "of weights"))
    return facts


def _shipped(chosen: ShippedNetwork, test_top1: float) -> list[tuple[str, str]]:
    """Return figures of the file that ships."""
    facts = [(percent(test_top1, 2), "test top-1"), (percent(chosen.val_top1, 2), "validation top-1")]
    for device, latency in chosen.latency.items():
        words = "" if latency.verdict is None else f", within budget: {VERDICT_WORDS[latency.verdict]}"
        facts.append((f"{milliseconds(latency.p50_us)} ms", f"p50 on {device}{words}"))
    return facts


def _without_file(run: FinishedRun, chosen: ShippedNetwork) -> list[tuple[str, str]]:
    """Return figures of a chosen network that was not exported."""
    facts = [(percent(chosen.val_top1, 2), "top-1 of the chosen network, reported elsewhere")]
    for device, latency in findings.chosen_latency(run).items():
        if latency.p50_us is not None:
            facts.append((f"{ms(latency.p50_us)} ms", f"measured p50 on {device}"))
        else:
            facts.append((f"{ms(latency.predicted_us)} ms", f"predicted latency on {device}"))
    return facts


def _chosen(run: FinishedRun) -> tuple[Part, ...]:
    chosen, choice = run.summary.chosen, run.summary.choice
    notes = findings.shipped(run) or run.summary.notes
    lines = Lines(
        [f"Chosen network: `{chosen.arch.id}`", *notes, f"Chosen as {choice.words}, as measured", *findings.memory(run)]
    )
    links = (("model", chosen.onnx), ("bundle", chosen.bundle))
    return (lines, *(FileLink(name, path) for name, path in links if path is not None))


def _front(run: FinishedRun) -> ReportSection:
    header = [
        "",
        "device",
        "validation top-1",
        "predicted, interval (ms)",
        "p50 / p95 (ms)",
        "within budget",
        "network",
    ]
    rows = [row for number, network in enumerate(run.networks, 1) for row in _network_rows(run, number, network)]
    marked = frozenset(index for index, row in enumerate(rows) if row[0].endswith("chosen"))
    budgets = zip(run.summary.budgets, search_findings.feasible_shares(run), strict=True)
    limits = [f"Budget: {budget.words}{share}" for budget, share in budgets]
    notes = [
        findings.accuracy_source(run),
        CHOICE_NOTE if findings.shipped(run) else None,
        *(findings.front_on(run, device) for device in run.devices),
        *(findings.front_warnings(run, device) for device in run.devices),
        LATENCY_NOTE,
    ]
    return ReportSection(
        "front",
        "Pareto front",
        findings.front(run),
        tuple(latency_charts.front(run, device) for device in run.devices),
        (
            Lines(limits or ["There is no budget"]),
            Table(header, rows, numbers=(2, 3, 4), marked=marked, code=6),
            Lines(notes),
        ),
    )


def _network_rows(run: FinishedRun, number: int, network: MeasuredNetwork) -> Iterable[list[str]]:
    chosen = network.arch == run.summary.chosen.arch
    for device, latency in ((d, network.latency[d]) for d in run.devices if d in network.latency):
        verdict = VERDICT_WORDS.get(latency.verdict, MISSING)
        yield [
            f"{number}, chosen" if chosen else str(number),
            device,
            _top1(network),
            f"{ms(latency.predicted_us)} ({ms_range(latency.interval_us)})",
            f"{ms(latency.p50_us)} / {ms(latency.p95_us)}",
            f"{verdict}, dropped" if network.dropped else verdict,
            network.arch.id,
        ]


def _top1(network: MeasuredNetwork) -> str:
    """Return top-1, with its interval where it was reported elsewhere."""
    interval = network.val_top1_interval
    if interval is None:
        return percent(network.deployed_top1)
    low, high = (percent(end, 2) for end in interval)
    return f"{percent(network.deployed_top1, 2)} ({'measured' if low == high else f'{low} to {high}'})"


def _network(run: FinishedRun) -> ReportSection | None:
    network = chosen_blocks(run)
    if not network:
        return None
    sentences = findings.device_blocks(run, network)
    figures = tuple(latency_charts.blocks(network, device, sentences[device]) for device in run.devices)
    rows = block_rows(network, run.devices)
    numbers = range(3, 4 + len(run.devices))
    table = Table(block_header(run.devices), rows, numbers=numbers, fold="Every block")
    return ReportSection("network", "Blocks of the chosen network", "; ".join(sentences.values()), figures, (table,))


def _predictor(run: FinishedRun) -> ReportSection | None:
    """Return the section on predictors; a device with a table of blocks instead has none."""
    if not run.scores:
        return None
    parts: list[Part] = []
    for device, score in run.scores.items():
        lines = [*predictor_findings.reliability(score), predictor_findings.graph_variant(run, device)]
        rows = predictor_findings.score_rows(score)
        table = Table(predictor_findings.SCORE_COLUMNS, rows, numbers=(1,), fold="All figures")
        parts += [Heading(run.device_label(device)), Lines(lines), table]
    figures = tuple(latency_charts.predictor(run, device) for device in run.scores)
    return ReportSection(
        "predictor", "Latency predictor", "; ".join(one.finding for one in figures), figures, tuple(parts)
    )


def _accuracy(run: FinishedRun) -> ReportSection | None:
    if run.summary.chosen.test_top1 is None:
        return None
    figures = [run_charts.validation_and_test(run)]
    if run.hindsight is not None and run.hindsight.front:
        figures.append(run_charts.front_on_test(run, run.hindsight))
    lines = Lines([findings.finetuned(run), hindsight_findings.front_optimism(run)])
    title = "Validation compared with test accuracy"
    return ReportSection("accuracy", title, findings.optimism(run), tuple(figures), (lines,))


def _int8(run: FinishedRun) -> ReportSection | None:
    int8 = run.summary.int8
    if int8 is None:
        return None
    recipes = int8_findings.recipe_rows(int8)
    made = f"The int8 file was quantised by `{int8.quantiser_recipe}`"
    parts: list[Part] = [
        Lines([*int8_findings.details(run, int8), *int8.notes, made]),
        Table(int8_findings.COLUMNS, int8_findings.rows(int8), numbers=(1, 2, 3)),
        FileLink("int8 model", int8.onnx),
        *([Table(("recipe tried", "validation top-1"), recipes, numbers=(1,))] if recipes else []),
    ]
    finding = int8_findings.comparison(int8)
    return ReportSection("int8", "int8 compared with fp32", finding, parts=tuple(parts))


def _classes(run: FinishedRun) -> ReportSection | None:
    if run.summary.chosen.test_top1 is None:
        return None
    figures, hindsight = [], run.hindsight
    parts: list[Part] = [Lines([hindsight_findings.class_losses(run)])]
    if rows := findings.class_rows(run):
        figures.append(run_charts.by_class(run))
        parts.append(Table(findings.CLASS_COLUMNS, rows, numbers=(1, 2), fold="By class"))
    if hindsight is not None and hindsight.classes:
        figures.append(run_charts.class_changes(run, hindsight))
        changes = hindsight_findings.change_rows(hindsight)
        columns = hindsight_findings.CHANGE_COLUMNS
        parts.append(Table(columns, changes, numbers=(1, 2, 3, 4), fold="By class, compared with the largest subnet"))
    return ReportSection("classes", "Accuracy by class", findings.by_class(run), tuple(figures), tuple(parts))


def _training(run: FinishedRun) -> ReportSection | None:
    supernet = findings.supernet(run)
    if supernet is None:
        return None
    figures = [run_charts.training_loss(run)] if run.steps else []
    figures += [run_charts.training_top1(run)] if run.validations else []
    return ReportSection("training", "Training", findings.training(run), tuple(figures), (Lines([supernet]),))


def _ranking(run: FinishedRun) -> ReportSection | None:
    study = run.ranking
    if study is None:
        return None
    subnets = study_findings.subnet_rows(study)
    parts = (
        Lines(study_findings.ranking_details(study)),
        Table(study_findings.RANKING_COLUMNS, study_findings.ranking_rows(study)),
        Table(study_findings.SUBNET_COLUMNS, subnets, numbers=(1, 3, 4, 5, 6), code=0, fold="Every subnet"),
    )
    title, finding = "Ranking by inherited accuracy", study_findings.ranking(study)
    return ReportSection("ranking", title, finding, tuple(study_charts.ranking(study)), parts)


def _search(run: FinishedRun) -> ReportSection:
    figures = (run_charts.hypervolume(run),) if run.search.hypervolume_by_batch else ()
    lines = Lines(search_findings.details(run))
    return ReportSection("search", "Search", findings.search(run), figures, (lines,))


def _genes(run: FinishedRun) -> ReportSection | None:
    understanding = run.understanding
    if understanding is None or not understanding.genes:
        return None
    steps = search_findings.moves(understanding)
    parts: list[Part] = [Lines([*search_findings.genes(run, understanding), steps])]
    if steps:
        rows, header = search_findings.move_rows(run), search_findings.move_header(run)
        parts.append(Table(header, rows, numbers=range(2, len(header) - 1), fold="Every step of one gene"))
    title, finding = "Effect of genes on accuracy and latency", search_findings.genes_in_short(run)
    return ReportSection("genes", title, finding, tuple(run_charts.genes(run)), tuple(parts))


def _baselines(run: FinishedRun) -> ReportSection | None:
    study = run.baselines
    if study is None:
        return None
    parts: list[Part] = [
        Lines(study_findings.baseline_details(study)),
        Table(study_findings.BASELINE_COLUMNS, study_findings.baseline_rows(study)),
    ]
    if times := study_findings.time_rows(study):
        parts.append(Table(study_findings.TIME_COLUMNS, times, numbers=(0, 1, 2), fold="Total time by budgets"))
    title, finding = "The search compared with baselines", study_findings.baselines(study)
    return ReportSection("baselines", title, finding, tuple(study_charts.baselines(study)), tuple(parts))


def _cost(run: FinishedRun) -> ReportSection:
    table = Table(cost_findings.COLUMNS, cost_findings.rows(run), numbers=(1, 2))
    return ReportSection("cost", "Time and energy", cost_findings.total(run), parts=(table,))


def _environment(run: FinishedRun) -> ReportSection:
    parts: list[Part] = []
    for device in run.devices:
        facts = {**run.identities.get(device, {}), **run.circumstances.get(device, {})}
        rows = [[key.replace("_", " "), _plain(value)] for key, value in facts.items()]
        parts += [Heading(run.device_label(device)), Table(("", ""), rows) if rows else Lines(["Not recorded"])]
    bundle = run.bundle
    if bundle:
        facts = {**bundle.versions, "seed": bundle.seed, "space": bundle.space, "exported on": bundle.created}
        facts["digest of the bundle's manifest"] = bundle.digest or None
        parts += [Heading("Made with"), Table(("", ""), [[key, _plain(value)] for key, value in facts.items()])]
    parts.append(YamlListing("Resolved config", yaml.safe_dump(dict(run.config), sort_keys=False, allow_unicode=True)))
    recorded = sum(device in run.circumstances for device in run.devices)
    finding = f"The circumstances of {recorded} of {len(run.devices)} devices are recorded"
    return ReportSection("environment", "Environment and provenance", finding, parts=tuple(parts))


def _plain(value: object) -> str:
    if isinstance(value, dict):
        return "; ".join(f"{key} {_plain(each)}" for key, each in value.items())
    if isinstance(value, list):
        return ", ".join(map(_plain, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "unknown" if value is None else str(value)
