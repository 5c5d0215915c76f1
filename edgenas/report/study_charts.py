"""Figures of studies: inherited accuracies, baselines, strategies; and of a model's blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from edgenas.deploy.inspection.block_totals import BlockTotals, Bound
from edgenas.quantities import format_count
from edgenas.records.baselines import BaselinesRecord
from edgenas.records.ranking import ComparedSubnet, RankingRecord, standalone_training
from edgenas.records.strategies import HypervolumeCurve, StrategiesRecord
from edgenas.report import study_findings
from edgenas.report.figure import LOOKS, Axis, Figure, Look, ReferenceLine, Series, categories_of
from edgenas.report.formats import ms
from edgenas.report.image import Image, draw
from edgenas.report.lettering import lettering_of


def ranking(study: RankingRecord) -> list[Figure]:
    """Draw inherited against standalone top-1, and both by MACs."""
    groups = [
        (name, look, [subnet for subnet in study.subnets if subnet.grouped is grouped])
        for name, grouped, look in (("of near-equal MACs", True, LOOKS[0]), ("others", False, LOOKS[2]))
    ]
    ends = [100 * end(subnet.standalone for subnet in study.subnets) for end in (min, max)]
    equal = Series("equal", ends, ends, Look("faint", line="solid"), reference=True)
    finding = study_findings.ranking(study)
    alone, inherited = f"validation top-1, {standalone_training(study.standalone_from)} (%)", "inherited (%)"
    against = tuple(
        Series(name, _standalone(rows), _inherited(rows), replace(look, line=None), notes=_notes(rows))
        for name, look, rows in groups
    )
    by_macs = []
    for name, look, rows in groups:
        macs, notes = [row.macs / 1e6 for row in rows], _notes(rows)
        by_macs.append(Series(f"inherited, {name}", macs, _inherited(rows), replace(look, line=None), notes=notes))
        hollow = Look(look.colour, "ring" if look.marker == "circle" else "up")
        by_macs.append(Series(f"standalone, {name}", macs, _standalone(rows), hollow, notes=notes))
    return [
        Figure(finding, Axis(alone), Axis(inherited), (equal, *against)),
        Figure(finding, Axis("million MACs"), Axis("validation top-1 (%)"), tuple(by_macs)),
    ]


def _standalone(rows: Sequence[ComparedSubnet]) -> list[float]:
    return [100 * row.standalone for row in rows]


def _inherited(rows: Sequence[ComparedSubnet]) -> list[float]:
    return [100 * row.inherited for row in rows]


def _notes(rows: Sequence[ComparedSubnet]) -> list[list[str]]:
    return [[row.arch.id, f"{format_count(row.macs)} MACs"] for row in rows]


def ranking_image(study: RankingRecord) -> Image:
    """Draw the image that `edgenas study ranking` writes."""
    return draw(ranking(study), study_findings.ranking(study), lettering_of({}))


def baselines(study: BaselinesRecord) -> list[Figure]:
    """Draw test top-1 of every seed against measured latency; and, where it is known, total time by budgets."""
    contenders = {"edgenas": (study.edgenas,), **{name: baseline.seeds for name, baseline in study.baselines.items()}}
    series = tuple(
        Series(
            f"{name}, {len(rows)} run{'s' if len(rows) > 1 else ''}",
            [row.p50_us / 1e3 for row in rows],
            [100 * row.test_top1 for row in rows],
            replace(LOOKS[(number + 2) % len(LOOKS)], line=None),
            notes=[[f"seed {row.seed}, {row.network}"] for row in rows],
        )
        for number, (name, rows) in enumerate(contenders.items())
    )
    x = Axis(f"measured p50 on {study.device} (ms)", from_zero=True)
    accuracy = Figure(study_findings.baselines(study), x, Axis("test top-1 (%)"), series)
    table = study.crossover.table
    if not table:
        return [accuracy]
    numbers = [row.budgets for row in table]
    minutes = [
        Series("one supernet", numbers, [row.shared_seconds / 60 for row in table], LOOKS[1]),
        Series("each from scratch", numbers, [row.standalone_seconds / 60 for row in table], LOOKS[0]),
    ]
    lines = tuple(ReferenceLine(number, colour="ink") for number in dict.fromkeys(study.crossover.budgets or ()))
    x, y = Axis("budgets", from_zero=True), Axis("total time (minutes)", from_zero=True)
    return [accuracy, Figure(study_findings.crossing(study), x, y, tuple(minutes), lines)]


def baselines_image(study: BaselinesRecord) -> Image:
    """Draw the image that `edgenas study baselines` writes."""
    return draw(baselines(study), study_findings.baselines(study), lettering_of({"device": [study.device]}))


def strategies_image(study: StrategiesRecord) -> Image:
    """Draw medians over the seeds, in bands from the least to the greatest, by evaluations and by seconds."""
    finding, results = study_findings.strategies(study), study.strategies
    by_evaluations = {name: result.by_evaluations for name, result in results.items()}
    by_seconds = {name: result.by_seconds for name, result in results.items()}
    figures = [_strategies_by(study, by_evaluations, "evaluations"), _strategies_by(study, by_seconds, "seconds")]
    return draw(figures, finding, lettering_of({"strategy": results}))


def _strategies_by(study: StrategiesRecord, curves: Mapping[str, HypervolumeCurve], axis: str) -> Figure:
    bands, medians, low = [], [], 1.0
    for number, (name, curve) in enumerate(curves.items()):
        # A look for each of twelve strategies: the second six have no markers.
        look = LOOKS[number % len(LOOKS)]
        look = replace(look, size=5, marker=look.marker if number < len(LOOKS) else None)
        band = Look(look.colour)
        bands.append(
            Series("", curve.positions, curve.least, band, "band", curve.greatest, stepped=True, reference=True)
        )
        seeds = len(study.strategies[name].seeds)
        medians.append(Series(f"{name}, {seeds} seeds", curve.positions, curve.median, look, stepped=True))
        # The steep start, which all strategies share, would hide how they differ.
        reached = [share for share in curve.median if share > 0]
        low = min([low, *reached[len(reached) // 10 :][:1]])
    y = Axis("share of the hypervolume reached", (max(0.0, low - 0.05), 1.01))
    return Figure(study_findings.strategies(study), Axis(axis, from_zero=True), y, (*bands, *medians))


def draw_blocks(model: str, p50_us: float, blocks: Sequence[BlockTotals], bounds: Sequence[Bound]) -> Image:
    """Draw the latency of a model's blocks as bars.

    Args:
        model: its name.
        p50_us: p50 of the whole model, in microseconds.
        blocks: in the order of execution.
        bounds: what binds each of them.
    """
    names = [block.name for block in blocks]
    labels = categories_of(names)
    series = []
    for bound, look in (("memory", Look("blue", hatched=True)), ("arithmetic", Look("orange"))):
        drawn = zip(labels, blocks, bounds, strict=True)
        rows = [(label, block.time_us) for label, block, bound_by in drawn if bound_by == bound]
        shares = [f"{100 * time_us / p50_us:.1f} %" for _, time_us in rows]
        times, places = [time_us / 1e3 for _, time_us in rows], [label for label, _ in rows]
        series.append(Series(f"bound by {bound}", times, places, look, "bars", labels=shares))
    longest = max(blocks, key=lambda block: block.time_us)
    share = f"{100 * longest.time_us / p50_us:.0f} %"
    finding = f"{model}: {ms(p50_us)} ms an image; {longest.name} takes most, {share}"
    x, y = Axis("latency (ms)", from_zero=True), Axis("", categories=labels)
    figure = Figure(finding, x, y, tuple(points for points in series if points.x))
    return draw([figure], finding, lettering_of({"block": names, "model": [model]}))
