"""The parts of the page: a finding, figures, and the numbers as tables."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import yaml

from edgenas.deploy.bundle.shipped_wording import VERDICT_WORDS
from edgenas.markup import html, html_block
from edgenas.report import (
    evidence,
    figures,
    hindsight,
    int8_judgement,
    judgement,
    latency_figures,
    predictor_judgement,
    searched,
)
from edgenas.report.classes import CLASS_HEADER, class_rows
from edgenas.report.cost import COST_HEADER, cost, cost_rows
from edgenas.report.figure import Figure
from edgenas.report.formats import MISSING, count, ms, ms_range, percent
from edgenas.report.network import block_header, block_rows, chosen_blocks
from edgenas.report.page_html import folded, sentences, table
from edgenas.report.score_rows import score_rows
from edgenas.report.values import Network, Run


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        name: its anchor.
        title: its heading.
        finding: a sentence of plain judgement, which stands first.
        figures: drawn side by side where there is room.
        body: HTML behind them.
    """

    name: str
    title: str
    finding: str
    figures: tuple[Figure, ...] = ()
    body: str = ""


def sections(run: Run) -> list[Section]:
    """The parts of the page, in order."""
    found = [_front(run), *_network(run), *_predictor(run), *_accuracy(run), *_training(run), *_trust(run)]
    return [*found, _search(run), *_genes(run), *_worth(run), _cost(run), _environment(run)]


def _front(run: Run) -> Section:
    told = ["The table's accuracies and latencies made the choice"] if judgement.shipped(run) else []
    told += [judgement.front_on(run, device) for device in run.devices]
    told += [warning for device in run.devices if (warning := judgement.front_warnings(run, device))]
    figures_shown = ["validation top-1", "predicted, interval (ms)", "p50 / p95 (ms)", "within budget"]
    header = ["", "device", *figures_shown, "network"]
    rows = [row for place, network in enumerate(run.networks, 1) for row in _network_rows(run, place, network)]
    budgets = [budget.words for budget in run.summary.budgets] or ["none"]
    return Section(
        "front",
        "The front",
        judgement.front(run),
        tuple(latency_figures.front(run, device) for device in run.devices),
        sentences([*told, "Latencies are of the network alone: decoding, resizing and normalising are not included"])
        + f"<p>Budgets: {html('; '.join(budgets))}.</p>"
        + table(header, rows, numbers=(2, 3, 4), marked=_chosen_rows(run)),
    )


def _network_rows(run: Run, place: int, network: Network) -> Iterable[list[str]]:
    for device, latency in ((d, network.latency[d]) for d in run.devices if d in network.latency):
        verdict = VERDICT_WORDS.get(latency.verdict, MISSING)
        yield [
            f"{place}, chosen" if run.summary.chosen and network.arch == run.summary.chosen.arch else str(place),
            device,
            percent(network.val_top1),
            f"{ms(latency.predicted_us)} ({ms_range(latency.interval_us)})",
            f"{ms(latency.p50_us)} / {ms(latency.p95_us)}",
            f"{verdict}, dropped" if network.dropped else verdict,
            network.arch,
        ]


def _chosen_rows(run: Run) -> frozenset[int]:
    networks = [n.arch for n in run.networks for device in run.devices if device in n.latency]
    chosen = run.summary.chosen
    return frozenset(place for place, arch in enumerate(networks) if chosen and arch == chosen.arch)


def _network(run: Run) -> list[Section]:
    network = chosen_blocks(run)
    if not network:
        return []
    shown = table(block_header(run.devices), block_rows(network, run.devices), numbers=(3, 4, 5, 6))
    drawn = tuple(figures.blocks(network, device) for device in run.devices)
    title, said = "The chosen network, block by block", judgement.chosen_blocks(run, network)
    memory = sentences(judgement.memory(run)) if judgement.memory(run) else ""
    return [Section("network", title, said, drawn, memory + folded("The blocks as a table", shown))]


def _predictor(run: Run) -> list[Section]:
    """Of devices whose predictor was scored: one that is known by a table of blocks has none."""
    parts = []
    for device, score in run.scores.items():
        said = [predictor_judgement.predictor(score), *predictor_judgement.predictor_warnings(score)]
        said += [formed] if (formed := predictor_judgement.graph_variant(run, device)) else []
        rows = [[name, value] for name, value in score_rows(score).items()]
        shown = table(["on networks not seen in fitting", "value"], rows, numbers=(1,))
        parts.append(f"<h3>{html(device)}</h3>{sentences(said)}{folded('All figures', shown)}")
    if not parts:
        return []
    finding = "; ".join(f"{device}: {predictor_judgement.predictor(score)}" for device, score in run.scores.items())
    panels = tuple(latency_figures.predictor(run, device) for device in run.scores)
    return [Section("predictor", "How far predictions can be trusted", finding, panels, "".join(parts))]


def _accuracy(run: Run) -> list[Section]:
    if run.summary.chosen is None or run.summary.chosen.test_top1 is None:
        return []
    found = [
        Section(
            "optimism",
            "Validation against test",
            " ".join(filter(None, [judgement.optimism(run), judgement.finetuned(run)])).rstrip("."),
            (figures.validation_and_test(run), *([hindsight.front_on_test(run)] if _has_front(run) else [])),
            sentences([hindsight.front_optimism(run)])
            + (
                sentences([int8_judgement.int8(run), *int8_judgement.int8_warnings(run), *run.summary.int8.notes])
                if run.summary.int8
                else ""
            ),
        )
    ]
    return [*found, _classes(run)]


def _classes(run: Run) -> Section:
    title, told = "Accuracy by class", sentences([hindsight.paid(run)])
    found, changed = run.hindsight, []
    if found is not None and found.classes:
        changed = [hindsight.class_changes(run)]
        rows = table(hindsight.CHANGE_COLUMNS, hindsight.change_rows(found), numbers=(1, 2, 3, 4))
        told += folded("Beside the largest subnet, as a table", rows)
    if run.bundle is None or not run.bundle.accuracy.test_top1_by_class:
        return Section("classes", title, judgement.by_class(run), tuple(changed), told)
    shown = folded("By class as a table", table(CLASS_HEADER, class_rows(run), numbers=(1, 2)))
    return Section("classes", title, judgement.by_class(run), (figures.by_class(run), *changed), told + shown)


def _has_front(run: Run) -> bool:
    return run.hindsight is not None and bool(run.hindsight.front)


def _trust(run: Run) -> list[Section]:
    found = run.trust
    if found is None:
        return []
    rows = table(evidence.TRUST_COLUMNS, evidence.trust_rows(found))
    subnets = folded("Every subnet", table(evidence.SUBNET_COLUMNS, evidence.subnet_rows(found), numbers=(3, 4, 5, 6)))
    title, drawn = "Can inherited accuracies be trusted?", (evidence.inherited_and_alone(found),)
    return [Section("trust", title, evidence.trusted(found), drawn, sentences(evidence.gaps(found)) + rows + subnets)]


def _worth(run: Run) -> list[Section]:
    found = run.worth
    if found is None:
        return []
    rows = table(evidence.WORTH_COLUMNS, evidence.worth_rows(found))
    by_budgets = evidence.cost_rows(found)
    costs = ""
    if by_budgets:
        costs = folded("Total time by budgets", table(evidence.COST_COLUMNS, by_budgets, numbers=(1, 2)))
    said = sentences(evidence.beside(found))
    title, drawn = "Was the search worth it?", (evidence.contenders(found), *evidence.total_costs(found))
    return [Section("worth", title, evidence.worthwhile(found), drawn, said + rows + costs)]


def _training(run: Run) -> list[Section]:
    supernet = run.summary.supernet
    if supernet is None or run.summary.accuracy is not None:
        return []
    drawn = [figures.training_loss(run)] if run.steps else []
    drawn += [figures.training_top1(run)] if run.validations else []
    splits = ", ".join(f"{n:,} {split}" for split, n in run.dataset.counts.items())
    said = (
        f"Supernet of space {run.summary.space}: {count(supernet.params)} parameters, "
        f"{judgement.trained(run)}. {run.dataset.name}: {run.dataset.num_classes} classes, {splits}"
    )
    return [Section("training", "Training", judgement.training(run), tuple(drawn), sentences([said]))]


def _search(run: Run) -> Section:
    facts = run.search
    point = ", ".join(f"{value:.4g}" for value in facts.reference_point)
    drawn = (figures.hypervolume(run),) if facts.hypervolume_by_batch else ()
    made = searched.offspring(facts.origins)
    name = searched.strategy_name(facts.strategy)
    said = [f"Strategy {name}; hypervolume {facts.hypervolume:.4g}, reference point ({point})"]
    said += [line.rstrip(".") for line in (*searched.models(run), searched.unscored(run), made) if line]
    return Section("search", "Search", judgement.search(run), drawn, sentences(said))


def _genes(run: Run) -> list[Section]:
    if run.understanding is None or not run.understanding.genes:
        return []
    moved = searched.moves(run)
    shown = folded("Every step of one gene", table(searched.move_header(run), searched.move_rows(run))) if moved else ""
    told = [line.rstrip(".") for line in (*searched.genes(run), moved) if line]
    title, short = "What genes buy and cost", searched.genes_in_short(run)
    return [Section("genes", title, short, (figures.genes(run),), sentences(told) + shown)]


def _cost(run: Run) -> Section:
    return Section("cost", "Cost", cost(run), body=table(COST_HEADER, cost_rows(run), numbers=(1, 2)))


def _environment(run: Run) -> Section:
    parts = []
    for device in run.devices:
        facts = {**run.identities.get(device, {}), **run.circumstances.get(device, {})}
        rows = [[key.replace("_", " "), _plain(value)] for key, value in facts.items()]
        parts.append(f"<h3>{html(device)}</h3>" + (table(["", ""], rows) if rows else "<p>Not recorded.</p>"))
    bundle = run.bundle
    if bundle:
        facts = {**bundle.versions, "seed": bundle.seed, "space": bundle.space, "exported on": bundle.created}
        facts["digest of the bundle's manifest"] = bundle.digest or None
        parts.append("<h3>Made with</h3>" + table(["", ""], [[key, _plain(value)] for key, value in facts.items()]))
    config = yaml.safe_dump(dict(run.config), sort_keys=False, allow_unicode=True)
    parts.append(folded("Resolved config", f"<pre>{html_block(config)}</pre>"))
    known = sum(device in run.circumstances for device in run.devices)
    finding = f"The circumstances of {known} of {len(run.devices)} devices are recorded"
    return Section("environment", "Environment and provenance", finding, body="".join(parts))


def _plain(value: object) -> str:
    if isinstance(value, dict):
        return "; ".join(f"{key} {_plain(each)}" for key, each in value.items())
    if isinstance(value, list):
        return ", ".join(map(_plain, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "unknown" if value is None else str(value)
