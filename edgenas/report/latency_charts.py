"""Figures of latency: the front, the blocks of a network, and predicted against measured latency."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from edgenas.quantities import milliseconds
from edgenas.records.folder import SummaryRecord
from edgenas.records.profile import PredictorScore
from edgenas.records.search import EvaluationRow
from edgenas.records.shelf import TimedNetwork
from edgenas.records.verify import MeasuredNetwork, NetworkLatency
from edgenas.report import findings, predictor_findings, tuning_findings
from edgenas.report.figure import Axis, Figure, Interval, Look, ReferenceLine, Series
from edgenas.report.formats import ms, percent
from edgenas.report.network_blocks import NetworkBlock, stages_of
from edgenas.report.shelf_findings import ShelfFacts
from edgenas.space.arch import Arch

MOST_EVALUATIONS = 2000
"""Evaluations drawn behind the front; of more, every n-th one."""


class FrontPoint(NamedTuple):
    """A network of the front with its number and its latency on the figure's device."""

    number: int
    network: MeasuredNetwork
    latency: NetworkLatency


def front(
    summary: SummaryRecord, evaluations: Sequence[EvaluationRow], device: str, shelf: ShelfFacts | None = None
) -> Figure:
    """Draw validation top-1 against latency: evaluated, predicted with intervals, measured, and the shelf as tuned."""
    front = findings.ordered_front(summary)
    networks = [FrontPoint(i, n, n.latency[device]) for i, n in enumerate(front, 1) if device in n.latency]
    stars, budgets = findings.stars(summary, device), findings.latency_budgets(summary, device)
    tuned, searched = shelf.tuned_on(device) if shelf else [], tuning_findings.searched_on(summary.halving, device)
    lines = tuple(ReferenceLine(budget.limit / 1e3, budget.name) for budget in budgets)
    series = (
        _evaluated(evaluations, device),
        _predicted(networks),
        *_measured(networks),
        _searched(searched),
        _shelf(tuned, device),
        *(_star(star, summary.chosen.arch) for star in stars),
    )
    drawn = [*stars, *(findings.Star("", network.latency[device].p50_us, top1) for network, top1 in tuned)]
    drawn += [star for star, _ in searched]
    times, heights = _extent(networks, [line.x for line in lines], drawn)
    return Figure(
        findings.front_on(summary, device),
        Axis(f"latency on {device} (ms)", times),
        Axis("validation top-1 (%)", heights),
        tuple(points for points in series if points.x),
        lines,
    )


def _evaluated(evaluations: Sequence[EvaluationRow], device: str) -> Series:
    rows = [row for row in evaluations if device in row.latency_us]
    step = math.ceil(len(rows) / MOST_EVALUATIONS) or 1
    shown = rows[::step]
    return Series(
        "evaluated, predicted latency" + (f" (every {step}th)" if step > 1 else ""),
        [row.latency_us[device] / 1e3 for row in shown],
        [100 - 100 * row.error for row in shown],
        Look("faint", "circle", size=5),
        notes=[[row.arch.id] for row in shown],
    )


def _predicted(networks: Sequence[FrontPoint]) -> Series:
    coverage = next((latency.coverage for _, _, latency in networks if latency.coverage), None)
    name = f"predicted, {percent(coverage, 0)} interval" if coverage else "predicted"
    times = [latency.interval_us or (latency.predicted_us, latency.predicted_us) for _, _, latency in networks]
    heights = [n.val_top1_interval or (n.deployed_top1, n.deployed_top1) for _, n, _ in networks]
    uncertain = any(low < high for low, high in heights)
    # Measured points carry the number; a network without one is numbered at its prediction.
    labels = [str(number) if latency.p50_us is None else "" for number, _, latency in networks]
    return Series(
        name,
        [latency.predicted_us / 1e3 for _, _, latency in networks],
        [100 * network.deployed_top1 for _, network, _ in networks],
        Look("blue", "ring", size=12),
        x_interval=[(low / 1e3, high / 1e3) for low, high in times],
        y_interval=[(100 * low, 100 * high) for low, high in heights] if uncertain else (),
        notes=[_notes(*row) for row in networks],
        labels=labels if any(labels) else (),
    )


def _measured(points: Sequence[FrontPoint]) -> list[Series]:
    shipping = [point for point in points if not point.network.dropped]
    dropped = [point for point in points if point.network.dropped]
    return [
        _timed("measured p95", [(point, point.latency.p95_us) for point in points], Look("ink", "tick", size=10)),
        _p50s("measured p50", shipping, Look("ink", "square", size=8)),
        _p50s("measured p50, dropped", dropped, Look("red", "cross", size=10)),
    ]


def _p50s(name: str, points: Sequence[FrontPoint], look: Look) -> Series:
    times = [(point, point.latency.p50_us) for point in points]
    return replace(_timed(name, times, look), labels=[str(point.number) for point, p50_us in times if p50_us])


def _timed(name: str, values: Sequence[tuple[FrontPoint, float | None]], look: Look) -> Series:
    rows = [(point, time_us / 1e3) for point, time_us in values if time_us is not None]
    heights = [100 * point.network.deployed_top1 for point, _ in rows]
    return Series(name, [time for _, time in rows], heights, look, notes=[_notes(*point) for point, _ in rows])


def _searched(tuned: Sequence[tuple[findings.Star, Arch]]) -> Series:
    """Draw fine-tuned candidates of the search."""
    return Series(
        "fine-tuned candidate",
        [star.latency_us / 1e3 for star, _ in tuned],
        [100 * star.val_top1 for star, _ in tuned],
        Look("green", "up", size=9),
        notes=[[f"{percent(star.val_top1)} validation top-1, fine-tuned", *stages_of(arch)] for star, arch in tuned],
    )


def _shelf(tuned: Sequence[tuple[TimedNetwork, float]], device: str) -> Series:
    timed = [network.latency[device] for network, _ in tuned]
    return Series(
        "network of the shelf, fine-tuned, measured p50",
        [latency.p50_us / 1e3 for latency in timed],
        [100 * top1 for _, top1 in tuned],
        Look("green", "diamond", size=11),
        x_interval=[(latency.ci_low_us / 1e3, latency.ci_high_us / 1e3) for latency in timed],
        notes=[
            [f"{percent(top1)} validation top-1", f"measured p50 {ms(latency.p50_us)} ms", *stages_of(network.arch)]
            for (network, top1), latency in zip(tuned, timed, strict=True)
        ],
    )


def _star(star: findings.Star, arch: Arch) -> Series:
    figures = f"{percent(star.val_top1, 2)} validation top-1, {milliseconds(star.latency_us)} ms"
    look = Look("orange", "star", size=18)
    notes = [[figures, *stages_of(arch)]]
    return Series(star.name, [star.latency_us / 1e3], [100 * star.val_top1], look, notes=notes)


def _notes(number: int, network: MeasuredNetwork, latency: NetworkLatency) -> list[str]:
    interval = latency.interval_us
    return [
        f"{number}: {percent(network.deployed_top1)} validation top-1",
        f"predicted {ms(latency.predicted_us)} ms" + (f" ({ms(interval[0])} to {ms(interval[1])})" if interval else ""),
        f"measured p50 {ms(latency.p50_us)}, p95 {ms(latency.p95_us)} ms",
        *stages_of(network.arch),
    ]


def _extent(
    networks: Sequence[FrontPoint], limits: Sequence[float], stars: Sequence[findings.Star]
) -> tuple[Interval | None, Interval | None]:
    """Return ranges that show the front, its budgets and the shipped file; other evaluations may lie outside."""
    times = [*limits, *(star.latency_us / 1e3 for star in stars)]
    for _, _, latency in networks:
        values = (latency.p50_us, latency.p95_us, latency.predicted_us, *(latency.interval_us or ()))
        times += [value / 1e3 for value in values if value is not None]
    if not times:
        return None, None
    rates = [*(network.deployed_top1 for _, network, _ in networks), *(star.val_top1 for star in stars)]
    heights = [100 * rate for rate in rates]
    pad, rise = 0.08 * (max(times) - min(times)) or 0.1, 0.2 * (max(heights) - min(heights)) or 1.0
    return (max(0.0, min(times) - pad), max(times) + pad), (min(heights) - rise, max(heights) + rise)


def predictor(score: PredictorScore, device: str) -> Figure:
    """Draw predicted against measured latency of unseen networks, with bands of ±5 and ±10 % and the repeat noise."""
    finding = f"{device}: {predictor_findings.error(score)}"
    measured = [network.measured_us / 1e3 for network in score.held_out]
    predicted = [network.predicted_us / 1e3 for network in score.held_out]
    x, y = f"measured p50 on {device} (ms)", "predicted (ms)"
    if not measured:
        return Figure(finding, Axis(x), Axis(y), ())
    ends = (0.93 * min(*measured, *predicted), 1.07 * max(*measured, *predicted))
    bands = [("±10 %", 0.10, Look("blue", line="dot")), ("±5 %", 0.05, Look("blue", line="dash"))]
    if score.repeat_noise is not None:
        name = f"repeat noise ±{percent(score.repeat_noise)}"
        bands.append((name, score.repeat_noise, Look("ink", line="dashdot", width=1)))
    points = Series(
        "unseen network",
        measured,
        predicted,
        Look("orange", "circle"),
        notes=[
            [f"off by {100 * (network.predicted_us / network.measured_us - 1):+.1f} %", *stages_of(network.arch)]
            for network in score.held_out
        ],
    )
    series = (
        *[_band(ends, name, share, look) for name, share, look in bands],
        Series("predicted = measured", ends, ends, Look("ink", line="solid", width=1), reference=True),
        points,
    )
    return Figure(finding, Axis(x, ends), Axis(y, ends), series)


def _band(ends: Interval, name: str, share: float, look: Look) -> Series:
    lower, upper = ([(1 + side * share) * end for end in ends] for side in (-1, 1))
    return Series(name, ends, lower, look, "band", upper=upper, reference=True)


def blocks(network: Sequence[NetworkBlock], device: str, finding: str) -> Figure:
    """Draw the latency of each block from the stem (top) to the head; regressed ones are hatched."""
    series = []
    for name, timed, look in (("timed", True, Look("blue")), ("regressed", False, Look("orange", hatched=True))):
        rows = [b for b in network if (device in b.measured) is timed and b.latency_us.get(device) is not None]
        series.append(
            Series(
                name,
                [(b.latency_us[device] or 0.0) / 1e3 for b in rows],
                [b.name for b in rows],
                look,
                "bars",
                labels=[b.shape for b in rows],
                notes=[[b.what, f"{b.macs:,} MACs", f"output {b.shape}"] for b in rows],
            )
        )
    return Figure(
        finding,
        Axis(f"latency on {device} (ms)", from_zero=True),
        Axis("", categories=[b.name for b in network]),
        tuple(points for points in series if points.x),
    )
