"""What a search found out about itself and the space, in plain sentences."""

from __future__ import annotations

from collections.abc import Mapping

from edgenas.quantities import QUANTITIES, Quantity, Unit
from edgenas.report.formats import ms, percent
from edgenas.report.predictor_judgement import POOR_TAU
from edgenas.report.search_values import Foreseen, GeneEffects, GeneMove, Reach, Understanding
from edgenas.report.values import Run

COMPUTED = [quantity for quantity in QUANTITIES.values() if quantity.source == "computed"]
"""The quantities besides accuracy and latency that moves change."""


def unscored(run: Run) -> str | None:
    """Which subnets could not be scored; None where all could."""
    failed = run.search.failures
    if not failed:
        return None
    return f"Warning: {len(failed)} subnets could not be scored, the first `{failed[0].arch}`: {failed[0].cause}."


def strategy_name(strategy: str) -> str:
    """Return what a strategy is called in full."""
    return "nsga2 (NSGA-II with an archive)" if strategy == "nsga2" else strategy


def offspring(origins: Mapping[str, int]) -> str | None:
    """Return what share of its offspring the archive of nsga2 made; None where no offspring was evaluated."""
    made = origins.get("archive", 0) + origins.get("population", 0)
    if not made:
        return None
    return (
        f"nsga2 is NSGA-II with an archive: {percent(origins['archive'] / made, 0)} of {made:,} evaluated offspring "
        "came from the archive, the others from NSGA-II's own mating"
    )


def models(run: Run) -> list[str]:
    """What the search's models foresaw, a sentence for each objective that is modelled."""
    if not run.fits:
        return []
    last = run.fits[-1]
    return [_model(run, name, model.left_out, last.evaluations) for name, model in last.models.items()]


def _model(run: Run, name: str, left_out: Foreseen, evaluations: int) -> str:
    said = (
        f"The model of {name}, fitted {len(run.fits)} times: leaving one of its last {evaluations} subnets out it "
        f"misses by {100 * left_out.rmse:.2f} points (root mean square), ranks them with a Kendall tau of "
        f"{left_out.kendall_tau:.2f}, and its 90 % intervals hold for {percent(left_out.coverage_90, 0)}"
    )
    batches = [fit.models[name].next_batch for fit in run.fits]
    known = [batch for batch in batches if batch is not None]
    rows = sum(batch.rows for batch in known)
    if not rows:
        return f"{said}."
    rmse = (sum(batch.rows * batch.rmse**2 for batch in known) / rows) ** 0.5
    held = sum(batch.rows * batch.coverage_90 for batch in known) / rows
    missed = f"it missed by {100 * rmse:.2f} points, intervals held for {percent(held, 0)}"
    return f"{said}; the {rows} that it picked itself {missed}."


def genes(run: Run) -> list[str]:
    """Which genes buy accuracy and which cost time, and how far that can be trusted; a sentence each."""
    known = run.understanding
    if known is None or not known.genes:
        return []
    device = run.devices[0]
    buys, costs = _extremes(known, device)
    said = [f"{_called(buys)} buys most accuracy: {_gain(buys, device)}."]
    if costs is not buys:
        said.append(f"{_called(costs)} costs most time: {_gain(costs, device)}.")
    tau, model = known.model.kendall_tau, f"a model of {known.evaluations} scored subnets"
    if tau < POOR_TAU:
        return [
            *said,
            f"Warning: accuracies are of {model} that ranks subnets it was not shown with a tau of {tau:.2f} only.",
        ]
    return [*said, f"Accuracies are of {model} (tau {tau:.2f} on subnets it was not shown)."]


def genes_in_short(run: Run) -> str:
    """Which genes buy most accuracy and cost most time, of a run that knows."""
    assert run.understanding is not None
    buys, costs = _extremes(run.understanding, run.devices[0])
    if costs is buys:
        return f"{_called(buys)} buys most accuracy and costs most time"
    return f"{_called(buys)} buys most accuracy, {_called(costs).lower()} costs most time"


def _extremes(known: Understanding, device: str) -> tuple[GeneEffects, GeneEffects]:
    """Of all genes, those that buy most accuracy and cost most time."""
    buys = max(known.genes, key=lambda each: each.val_top1.change)
    return buys, max(known.genes, key=lambda each: each.latency_us[device].change)


def _called(effects: GeneEffects) -> str:
    stage, _, gene = effects.name.rpartition(".")
    return f"The {gene} of {stage.replace('stage', 'stage ')}" if stage else f"The {gene}"


def _gain(effects: GeneEffects, device: str) -> str:
    return (
        f"{100 * effects.val_top1.change:+.2f} points from its smallest to its largest choices "
        f"({percent(effects.val_top1.share, 0)} of the variance) for {_ms(effects.latency_us[device].change)} ms on "
        f"{device}"
    )


def moves(run: Run) -> str | None:
    """What one gene of the chosen network can change; None where that is not known."""
    if run.understanding is None or not run.understanding.moves:
        return None
    known = run.understanding.moves
    scored = sum(move.source == "scored" for move in known)
    lead = f"{len(known)} networks are one step of one gene away from the chosen one, {scored} of them were scored"
    better = [move for move in known if move.within_budgets and move.val_top1 > 0]
    if not better:
        return f"{lead}; none within the budgets is more accurate, as scored or foreseen."
    best = max(better, key=lambda move: move.val_top1)
    return (
        f"{lead}; {len(better)} within the budgets may be more accurate, most of all {_step(best)}: {_foretold(best)}."
    )


def move_header(run: Run) -> list[str]:
    """Of a table of moves."""
    latencies = [f"ms on {device}" for device in run.devices]
    costs = [quantity.label for quantity in _traded(run)]
    return ["gene of the chosen network", "validation top-1", *latencies, *costs, "within"]


def move_rows(run: Run) -> list[list[str]]:
    """A row for each move: what, change of top-1, of latency on each device, of traded costs, within the budgets."""
    known = () if run.understanding is None else run.understanding.moves
    return [
        [
            _step(move),
            _foretold(move),
            *(_ms(move.latency_us[device]) for device in run.devices),
            *(_cost(quantity, move.costs[quantity.name]) for quantity in _traded(run)),
            "yes" if move.within_budgets else "no",
        ]
        for move in known
    ]


def _traded(run: Run) -> list[Quantity]:
    """Return the computed quantities that are objectives or have a budget, and that the moves state."""
    names = {objective.name for objective in run.search.objectives}
    names |= {budget.quantity.name for budget in run.summary.budgets}
    moves = () if run.understanding is None else run.understanding.moves
    return [each for each in COMPUTED if each.name in names and all(each.name in move.costs for move in moves)]


def _cost(quantity: Quantity, change: float) -> str:
    return f"{'+' if change >= 0 else '-'}{quantity.unit.format(abs(change))}"


def _step(move: GeneMove) -> str:
    return f"{move.gene} {move.before:g} → {move.after:g}"


def _foretold(move: GeneMove) -> str:
    said = f"{100 * move.val_top1:+.2f} points"
    return f"{said}, {move.source}" if move.deviation is None else f"{said} ± {100 * move.deviation:.2f}, {move.source}"


def _ms(change_us: float) -> str:
    return f"{'+' if change_us >= 0 else '-'}{ms(abs(change_us))}"


def reach(run: Run) -> list[str]:
    """How much of the space is within each budget, to be put behind it; empty texts where that is not known."""
    found = run.search.feasibility
    if found is None or len(found.budgets) != len(run.summary.budgets):
        return [""] * len(run.summary.budgets)
    return [_reach(budget.quantity.unit, each) for budget, each in zip(run.summary.budgets, found.budgets, strict=True)]


def _reach(unit: Unit, reach: Reach) -> str:
    ends = f"{unit.format(reach.smallest)} to {unit.format(reach.largest)}"
    return f" ({_share(reach.share)} of the space; it reaches from {ends}, median {unit.format(reach.median)})"


def _share(share: float) -> str:
    return percent(share) if share >= 0.001 else "less than 0.1 %"
