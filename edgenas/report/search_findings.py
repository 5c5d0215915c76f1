"""What a search found about itself and the space, in plain sentences and tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edgenas.budget import Budget
from edgenas.quantities import QUANTITIES, Quantity, Unit
from edgenas.records.search import BudgetRange, FailedNetwork, ObjectiveRow, RoundRow, SearchRecord
from edgenas.records.verify import GeneEffects, GeneMove, UnderstandingRecord
from edgenas.report.formats import ms, percent
from edgenas.report.predictor_findings import POOR_TAU
from edgenas.space.blocks.genes import written

COMPUTED = [quantity for quantity in QUANTITIES.values() if quantity.source == "computed"]
"""The quantities besides accuracy and latency that moves change."""


def details(facts: SearchRecord, fits: Sequence[RoundRow]) -> list[str]:
    """Return the strategy, its hypervolume, its models and its failures, one sentence each."""
    point = ", ".join(f"{value:.4g}" for value in facts.reference_point)
    names = ", ".join(f"{objective.name} ({objective.unit})" for objective in facts.objectives)
    strategy = "nsga2 (NSGA-II with an archive)" if facts.strategy == "nsga2" else facts.strategy
    lead = f"Strategy {strategy}; final hypervolume {facts.hypervolume:.4g}, reference point ({point}) in ({names})"
    return [lead, *models(fits), *filter(None, [unscored(facts.failures), offspring(facts.origins)])]


def unscored(failures: Sequence[FailedNetwork]) -> str | None:
    """State which subnets could not be scored; None where all could."""
    if not failures:
        return None
    return (
        f"Warning: {len(failures)} subnets could not be scored, the first `{failures[0].arch.id}`: {failures[0].cause}"
    )


def offspring(origins: Mapping[str, int]) -> str | None:
    """State what share of nsga2's offspring the archive made; None where no offspring was evaluated."""
    made = origins.get("archive", 0) + origins.get("population", 0)
    if not made:
        return None
    return (
        f"nsga2 is NSGA-II with an archive: {percent(origins['archive'] / made, 0)} of {made:,} evaluated offspring "
        "came from the archive, the others from NSGA-II's own mating"
    )


def models(fits: Sequence[RoundRow]) -> list[str]:
    """Return how accurate the search's models were, a sentence for each modelled objective."""
    return [_model(name, fits) for name in fits[-1].models] if fits else []


def _model(name: str, fits: Sequence[RoundRow]) -> str:
    left_out, evaluations = fits[-1].models[name].left_out, fits[-1].evaluations
    lead = (
        f"The model of {name} was fitted {len(fits)} times: leaving out one of its last {evaluations} subnets, it "
        f"is off by {100 * left_out.rmse:.2f} points (root mean square), ranks them with a Kendall's tau of "
        f"{left_out.kendall_tau:.2f}, and its 90 % intervals hold for {percent(left_out.coverage_90, 0)}"
    )
    batches = [batch for fit in fits if (batch := fit.models[name].next_batch) is not None]
    rows = sum(batch.rows for batch in batches)
    if not rows:
        return lead
    rmse = (sum(batch.rows * batch.rmse**2 for batch in batches) / rows) ** 0.5
    held = sum(batch.rows * batch.coverage_90 for batch in batches) / rows
    error = f"it was off by {100 * rmse:.2f} points, and intervals held for {percent(held, 0)}"
    return f"{lead}; on the {rows} subnets that it selected {error}"


def genes(understanding: UnderstandingRecord, device: str) -> list[str]:
    """Return which genes add most accuracy and most latency, and the model's accuracy; a sentence each."""
    accurate, slow = _extremes(understanding, device)
    sentences = [f"{_gene(accurate)} adds most accuracy: {_gain(accurate, device)}"]
    if slow is not accurate:
        sentences.append(f"{_gene(slow)} adds most latency: {_gain(slow, device)}")
    tau, model = understanding.model.kendall_tau, f"a model of {understanding.evaluations} scored subnets"
    if tau < POOR_TAU:
        warning = f"Warning: accuracies are from {model} that ranks unseen subnets with a tau of only {tau:.2f}"
        return [*sentences, warning]
    return [*sentences, f"Accuracies are from {model} (tau {tau:.2f} on unseen subnets)"]


def genes_in_short(understanding: UnderstandingRecord, device: str) -> str:
    """State which genes add most accuracy and most latency, in one phrase."""
    accurate, slow = _extremes(understanding, device)
    if slow is accurate:
        return f"{_gene(accurate)} adds most accuracy and most latency"
    return f"{_gene(accurate)} adds most accuracy, {_gene(slow).lower()} adds most latency"


def _extremes(understanding: UnderstandingRecord, device: str) -> tuple[GeneEffects, GeneEffects]:
    """Return the genes that add most accuracy and those that add most latency."""
    accurate = max(understanding.genes, key=lambda effects: effects.val_top1.change)
    return accurate, max(understanding.genes, key=lambda effects: effects.latency_us[device].change)


def _gene(effects: GeneEffects) -> str:
    stage, _, gene = effects.name.rpartition(".")
    return f"The {gene} of {stage.replace('stage', 'stage ')}" if stage else f"The {gene}"


def _gain(effects: GeneEffects, device: str) -> str:
    return (
        f"{100 * effects.val_top1.change:+.2f} points from its smallest to its largest choices "
        f"({percent(effects.val_top1.share, 0)} of the variance) for {_ms(effects.latency_us[device].change)} ms on "
        f"{device}"
    )


def moves(understanding: UnderstandingRecord) -> str | None:
    """State what changing one gene of the chosen network by one step can gain; None where that is unknown."""
    steps = understanding.moves
    if not steps:
        return None
    scored = sum(move.source == "scored" for move in steps)
    lead = f"{len(steps)} networks differ from the chosen one in one step of one gene, and {scored} of them were scored"
    better = [move for move in steps if move.within_budgets and move.val_top1 > 0]
    if not better:
        return f"{lead}; none within the budgets is more accurate, as scored or predicted"
    best = max(better, key=lambda move: move.val_top1)
    number = f"{len(better)} within the budgets may be more accurate"
    return f"{lead}; {number}, most of all {_step(best)}: {_change(best)}"


def move_rows(steps: Sequence[GeneMove], devices: Sequence[str], traded: Sequence[Quantity]) -> list[list[str]]:
    """Return a header, and for each move its changes of top-1, latency and traded costs, and whether it is feasible."""
    latencies, costs = [f"ms on {device}" for device in devices], [quantity.label for quantity in traded]
    return [
        ["gene of the chosen network", "validation top-1", *latencies, *costs, "within budgets"],
        *(_move_row(move, devices, traded) for move in steps),
    ]


def _move_row(move: GeneMove, devices: Sequence[str], traded: Sequence[Quantity]) -> list[str]:
    latencies = [_ms(move.latency_us[device]) for device in devices]
    costs = [_cost(quantity, move.costs[quantity.name]) for quantity in traded]
    return [_step(move), _change(move), *latencies, *costs, "yes" if move.within_budgets else "no"]


def traded_quantities(
    steps: Sequence[GeneMove], objectives: Sequence[ObjectiveRow], budgets: Sequence[Budget]
) -> list[Quantity]:
    """Return the computed quantities that are objectives or have a budget, and that the moves state."""
    names = {objective.name for objective in objectives} | {budget.quantity.name for budget in budgets}
    return [cost for cost in COMPUTED if cost.name in names and all(cost.name in move.costs for move in steps)]


def _cost(quantity: Quantity, change: float) -> str:
    return f"{'+' if change >= 0 else '-'}{quantity.unit.format(abs(change))}"


def _step(move: GeneMove) -> str:
    return f"{move.gene} {written(move.before)} → {written(move.after)}"


def _change(move: GeneMove) -> str:
    points, source = f"{100 * move.val_top1:+.2f} points", "predicted" if move.source == "model" else move.source
    return f"{points}, {source}" if move.deviation is None else f"{points} ± {100 * move.deviation:.2f}, {source}"


def _ms(change_us: float) -> str:
    return f"{'+' if change_us >= 0 else '-'}{ms(abs(change_us))}"


def feasible_shares(budgets: Sequence[Budget], ranges: Sequence[BudgetRange]) -> list[str]:
    """Return how much of the space is within each budget, to follow it; empty texts where the search had others."""
    if len(ranges) != len(budgets):
        return [""] * len(budgets)
    rows = zip(budgets, ranges, strict=True)
    return [_feasible_share(budget.quantity.unit, row) for budget, row in rows]


def _feasible_share(unit: Unit, reach: BudgetRange) -> str:
    ends = f"{unit.format(reach.smallest)} to {unit.format(reach.largest)}"
    return f" ({_share(reach.share)} of the space; its networks range from {ends}, median {unit.format(reach.median)})"


def _share(share: float) -> str:
    return percent(share) if share >= 0.001 else "less than 0.1 %"
