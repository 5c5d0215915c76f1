"""The sections of a run's report, in order: the one list that HTML and Markdown render."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pydantic import JsonValue

from edgenas.config.reading import dump_config
from edgenas.deploy.bundle.shipped_wording import VERDICT_WORDS
from edgenas.records.baselines import BaselinesRecord
from edgenas.records.export import ShippedInt8
from edgenas.records.folder import StageCostRow, SummaryRecord
from edgenas.records.ranking import RankingRecord
from edgenas.records.search import RoundRow, SearchRecord
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
    shelf_findings,
    study_charts,
    study_findings,
    tuning_findings,
)
from edgenas.report.contents import FileLink, Heading, Lines, Part, Report, ReportSection, Table, YamlListing
from edgenas.report.formats import MISSING, ms, ms_range, percent
from edgenas.report.key_facts import chosen_network, key_facts
from edgenas.report.network_blocks import block_rows, read_blocks
from edgenas.report.values import BundleFacts, FinishedRun, ImageFacts

PREDICTED, MEASURED = "predicted, interval (ms)", "p50 / p95 (ms)"
FRONT_COLUMNS = ("", "device", "validation top-1", PREDICTED, MEASURED, "within budget", "network")
LATENCY_NOTE = "Latencies are of the network alone: decoding, resizing and normalising images are not included"
CHOICE_NOTE = (
    "These accuracies and latencies made the choice. Those of the file that ships are stated above; it was timed again "
    "in processes that chose nothing"
)


def report_of(run: FinishedRun) -> Report:
    """Return the report of a run: every finding, figure and table, computed once."""
    sections = (
        _front(run),
        _tuning(run),
        _network(run),
        _predictor(run),
        _accuracy(run),
        _int8(run.summary.int8, run.images),
        _classes(run),
        _training(run),
        _ranking(run.ranking),
        _search(run.search, run.fits),
        _genes(run),
        _baselines(run.baselines),
        _cost(run.summary, run.costs),
        _environment(run),
    )
    classes = [*run.images.classes, *(run.bundle.classes if run.bundle else ())]
    classes += [row.name for row in run.hindsight.classes] if run.hindsight else []
    labels = map(run.device_label, run.devices)
    return Report(
        title=f"{run.config.name}: {run.images.name} on {', '.join(labels)}",
        facts=key_facts(run.summary, run.bundle),
        parts=chosen_network(run.summary),
        sections=tuple(section for section in sections if section),
        names={"class": list(dict.fromkeys(classes)), "device": run.devices, "data set": [run.images.name]},
    )


def _front(run: FinishedRun) -> ReportSection:
    summary = run.summary
    rows = [
        row
        for number, network in enumerate(findings.ordered_front(summary), 1)
        for row in _network_rows(summary, number, network)
    ]
    marked = frozenset(index for index, row in enumerate(rows) if row[0].endswith("chosen"))
    shares = search_findings.feasible_shares(summary.budgets, run.search.feasibility.budgets)
    limits = [f"Budget: {budget.words}{share}" for budget, share in zip(summary.budgets, shares, strict=True)]
    notes = [
        findings.accuracy_source(summary.accuracy) if summary.accuracy else None,
        findings.comparison(summary.comparison),
        CHOICE_NOTE if summary.chosen.test_top1 is not None else None,
        *(findings.front_on(summary, device) for device in run.devices),
        *(findings.front_warnings(summary, device) for device in run.devices),
        LATENCY_NOTE,
    ]
    return ReportSection(
        "front",
        "Pareto front",
        findings.front(summary),
        tuple(latency_charts.front(summary, run.evaluations, device, run.shelf) for device in run.devices),
        (
            Lines(limits or ["There is no budget"]),
            Table(FRONT_COLUMNS, rows, numbers=(2, 3, 4), marked=marked, code=6),
            Lines(notes),
            *_shelf(run),
        ),
    )


def _shelf(run: FinishedRun) -> list[Part]:
    """Return what is shown of the shelf; nothing where the run has none."""
    if run.shelf is None:
        return []
    rows = list(shelf_findings.rows(run.shelf, run.devices))
    table = Table(shelf_findings.COLUMNS, rows, numbers=(1, 3, 4), fold="Networks of the shelf")
    return [Lines(shelf_findings.sentences(run.shelf)), *([table] if rows else [])]


def _network_rows(summary: SummaryRecord, number: int, network: MeasuredNetwork) -> Iterable[list[str]]:
    chosen = network.arch == summary.chosen.arch
    for device, latency in ((d, network.latency[d]) for d in summary.devices if d in network.latency):
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


def _tuning(run: FinishedRun) -> ReportSection | None:
    """Return the section on candidates that were fine-tuned together; None where one was fine-tuned, or none."""
    tuned, shipped = run.summary.halving, run.summary.chosen.arch
    if tuned is None or len(tuned.candidates) == 1:
        return None
    header, rows = tuning_findings.columns(tuned, run.devices), tuning_findings.rows(tuned, shipped, run.devices)
    marked = frozenset(index for index, row in enumerate(rows) if row[0].endswith("ships"))
    table = Table(header, rows, numbers=range(1, len(header) - 1), marked=marked, code=len(header) - 1)
    lines = Lines([tuning_findings.gain(tuned, shipped), tuning_findings.comparison(tuned)])
    return ReportSection("tuning", "Fine-tuned candidates", tuning_findings.halving(tuned, shipped), (), (lines, table))


def _network(run: FinishedRun) -> ReportSection | None:
    """Return the section on the blocks of the chosen network; None where its classes or blocks are unknown."""
    classes = run.images.num_classes
    network = read_blocks(run.folder, run.summary.chosen.arch, classes, run.devices) if classes else ()
    if not network:
        return None
    sentences = findings.device_blocks(run.summary, network)
    figures = tuple(latency_charts.blocks(network, device, sentences[device]) for device in run.devices)
    header, *rows = block_rows(network, run.devices)
    table = Table(header, rows, numbers=range(3, len(header)), fold="Every block")
    return ReportSection("network", "Blocks of the chosen network", "; ".join(sentences.values()), figures, (table,))


def _predictor(run: FinishedRun) -> ReportSection | None:
    """Return the section on predictors; a device with a table of blocks instead has none."""
    if not run.scores:
        return None
    parts: list[Part] = []
    for device, score in run.scores.items():
        variant = predictor_findings.graph_variant(run.graph_variants, device) if run.graph_variants else None
        rows = predictor_findings.score_rows(score)
        table = Table(predictor_findings.SCORE_COLUMNS, rows, numbers=(1,), fold="All figures")
        parts += [Heading(run.device_label(device)), Lines([*predictor_findings.reliability(score), variant]), table]
    figures = tuple(latency_charts.predictor(score, device) for device, score in run.scores.items())
    finding = "; ".join(figure.finding for figure in figures)
    return ReportSection("predictor", "Latency predictor", finding, figures, tuple(parts))


def _accuracy(run: FinishedRun) -> ReportSection | None:
    summary, hindsight, images = run.summary, run.hindsight, run.images
    if summary.chosen.test_top1 is None:
        return None
    figures = [run_charts.validation_and_test(summary, images)]
    if hindsight is not None and hindsight.front:
        figures.append(run_charts.front_on_test(hindsight, summary, images))
    tuning = findings.finetuned(summary.finetune) if summary.finetune else None
    lines = Lines([tuning, hindsight_findings.front_optimism(hindsight, images)])
    title = "Validation compared with test accuracy"
    return ReportSection("accuracy", title, findings.optimism(summary, images), tuple(figures), (lines,))


def _int8(int8: ShippedInt8 | None, images: ImageFacts) -> ReportSection | None:
    if int8 is None:
        return None
    recipes = int8_findings.recipe_rows(int8)
    made = f"The int8 file was quantised by `{int8.quantiser_recipe}`"
    parts: list[Part] = [
        Lines([*int8_findings.details(int8, images), *int8.notes, made]),
        Table(int8_findings.COLUMNS, int8_findings.rows(int8), numbers=(1, 2, 3)),
        FileLink("int8 model", int8.onnx),
        *([Table(("recipe tried", "validation top-1"), recipes, numbers=(1,))] if recipes else []),
    ]
    finding = int8_findings.comparison(int8)
    return ReportSection("int8", "int8 compared with fp32", finding, parts=tuple(parts))


def _classes(run: FinishedRun) -> ReportSection | None:
    if run.summary.chosen.test_top1 is None:
        return None
    figures, bundle, hindsight = [], run.bundle, run.hindsight
    parts: list[Part] = [Lines([hindsight_findings.class_losses(hindsight)])]
    if bundle is not None and (rows := findings.class_rows(bundle)):
        figures.append(run_charts.by_class(bundle))
        parts.append(Table(findings.CLASS_COLUMNS, rows, numbers=(1, 2), fold="By class"))
    if hindsight is not None and hindsight.classes:
        figures.append(run_charts.class_changes(hindsight))
        changes = hindsight_findings.change_rows(hindsight)
        columns = hindsight_findings.CHANGE_COLUMNS
        parts.append(Table(columns, changes, numbers=(1, 2, 3, 4), fold="By class, compared with the largest subnet"))
    return ReportSection("classes", "Accuracy by class", findings.by_class(bundle), tuple(figures), tuple(parts))


def _training(run: FinishedRun) -> ReportSection | None:
    facts, steps, validations = run.summary.supernet, run.steps, run.validations
    if facts is None or run.summary.accuracy is not None:
        return None
    finding = findings.training(steps, validations, run.config.training)
    figures = [run_charts.training_loss(steps, finding)] if steps else []
    figures += [run_charts.training_top1(validations, finding)] if validations else []
    init = run.summary.init
    started = f"Training started from {init.words}" if init else None
    lines = Lines([findings.supernet(facts, run.summary.space, run.images), started])
    return ReportSection("training", "Training", finding, tuple(figures), (lines,))


def _ranking(study: RankingRecord | None) -> ReportSection | None:
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


def _search(facts: SearchRecord, fits: Sequence[RoundRow]) -> ReportSection:
    figures = (run_charts.hypervolume(facts),) if facts.hypervolume_by_batch else ()
    lines = Lines(search_findings.details(facts, fits))
    return ReportSection("search", "Search", findings.search(facts), figures, (lines,))


def _genes(run: FinishedRun) -> ReportSection | None:
    understanding, devices = run.understanding, run.devices
    if understanding is None or not understanding.genes:
        return None
    steps = search_findings.moves(understanding)
    parts: list[Part] = [Lines([*search_findings.genes(understanding, devices[0]), steps])]
    if steps:
        traded = search_findings.traded_quantities(understanding.moves, run.search.objectives, run.summary.budgets)
        header, *rows = search_findings.move_rows(understanding.moves, devices, traded)
        parts.append(Table(header, rows, numbers=range(2, len(header) - 1), fold="Every step of one gene"))
    title, finding = (
        "Effect of genes on accuracy and latency",
        search_findings.genes_in_short(understanding, devices[0]),
    )
    return ReportSection("genes", title, finding, tuple(run_charts.genes(understanding, devices)), tuple(parts))


def _baselines(study: BaselinesRecord | None) -> ReportSection | None:
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


def _cost(summary: SummaryRecord, costs: Sequence[StageCostRow]) -> ReportSection:
    table = Table(cost_findings.COLUMNS, cost_findings.rows(summary, costs), numbers=(1, 2))
    return ReportSection("cost", "Time and energy", cost_findings.total(summary, costs), parts=(table,))


def _environment(run: FinishedRun) -> ReportSection:
    parts: list[Part] = []
    for device in run.devices:
        table = run.tables[device]
        facts = {**table.identity, **table.circumstances}
        rows = [[key.replace("_", " "), _plain(value)] for key, value in facts.items()]
        parts += [Heading(run.device_label(device)), Table(("", ""), rows) if rows else Lines(["Not recorded"])]
    if run.bundle:
        parts += [Heading("Versions and origin"), Table(("", ""), _origin(run.bundle))]
    parts.append(YamlListing("Resolved config", dump_config(run.config)))
    recorded = sum(bool(table.circumstances) for table in run.tables.values())
    finding = f"The circumstances of {recorded} of {len(run.devices)} devices are recorded"
    return ReportSection("environment", "Environment and provenance", finding, parts=tuple(parts))


def _origin(bundle: BundleFacts) -> list[list[str]]:
    facts = {**bundle.versions, "seed": bundle.seed, "space": bundle.space, "exported on": bundle.created}
    facts["digest of the bundle's manifest"] = bundle.digest or None
    return [[key, _plain(value)] for key, value in facts.items()]


def _plain(value: JsonValue) -> str:
    if isinstance(value, dict):
        return "; ".join(f"{key} {_plain(each)}" for key, each in value.items())
    if isinstance(value, list):
        return ", ".join(map(_plain, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "unknown" if value is None else str(value)
