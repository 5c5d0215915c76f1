"""Figures of latency: the front, and how far predictions can be trusted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgenas.budget import Budget
from edgenas.deploy.bundle.shipped_wording import milliseconds
from edgenas.report import judgement, predictor_judgement
from edgenas.report.figure import Figure, layout_of, short
from edgenas.report.formats import ms, percent
from edgenas.report.network import stages_of
from edgenas.report.values import Latency, Network, Run

MOST_EVALUATIONS = 2000
"""Drawn behind the front; of more, one in every so many."""


def front(run: Run, device: str) -> Figure:
    """Validation top-1 against latency: what was evaluated, predicted with its interval, and measured."""
    shown = [(i, n, n.latency[device]) for i, n in enumerate(run.networks, 1) if device in n.latency]
    data = [_evaluated(run, device), *_predicted(shown), *_measured(shown), *_chosen(run, device, shown)]
    budgets = judgement.latency_budgets(run, device)
    lines = [
        {
            "type": "line",
            "x0": line.limit / 1e3,
            "x1": line.limit / 1e3,
            "yref": "paper",
            "y0": 0,
            "y1": 1,
            "line": {"color": "@red", "dash": "dash", "width": 2},
        }
        for line in budgets
    ]
    layout = layout_of(f"latency on {device} (ms)", "validation top-1 (%)") | {"shapes": lines, "hovermode": "closest"}
    _frame(layout, shown, [line.limit / 1e3 for line in budgets], judgement.stars(run, device, shown))
    layout["annotations"] = [_named(line, place, layout) for place, line in enumerate(budgets)]
    return {"data": [trace for trace in data if trace], "layout": layout, "label": judgement.front(run)}


def _named(line: Budget, place: int, layout: Figure) -> Figure:
    """What a budget's line is, written on the side of it where there is room; of several, one below the other."""
    at = line.limit / 1e3
    low, high = layout["xaxis"].get("range", (0.0, 2 * at))
    return {
        "text": line.name,
        "x": short(at),
        "xanchor": "right" if at > (low + high) / 2 else "left",
        "y": 0.02 + 0.07 * place,
        "yref": "paper",
        "yanchor": "bottom",
        "showarrow": False,
        "font": {"color": "@red"},
    }


Shown = Sequence[tuple[int, Network, Latency]]


def _evaluated(run: Run, device: str) -> Figure:
    known = [one for one in run.evaluations if device in one.latency_us]
    step = -(-len(known) // MOST_EVALUATIONS) or 1
    kept = known[::step]
    return {
        "type": "scatter",
        "mode": "markers",
        "name": "evaluated, predicted latency" + (f" (every {step}th)" if step > 1 else ""),
        "x": [short(one.latency_us[device] / 1e3) for one in kept],
        "y": [short(100 - 100 * one.error) for one in kept],
        "text": [one.arch for one in kept],
        "hovertemplate": "%{text}<br>predicted %{x} ms, %{y} %<extra>evaluated</extra>",
        "marker": {"color": "@faint", "size": 5, "symbol": "circle"},
    }


def _predicted(shown: Shown) -> list[Figure]:
    known = [(i, n, s) for i, n, s in shown if s.predicted_us is not None]
    if not known:
        return []
    ends = [s.interval_us or (s.predicted_us, s.predicted_us) for _, _, s in known]
    x = [s.predicted_us / 1e3 for _, _, s in known if s.predicted_us is not None]
    bars = {
        "type": "data",
        "symmetric": False,
        "array": [short(max(high / 1e3 - at, 0)) for (_, high), at in zip(ends, x, strict=True)],  # type: ignore[operator]
        "arrayminus": [short(max(at - low / 1e3, 0)) for (low, _), at in zip(ends, x, strict=True)],  # type: ignore[operator]
        "color": "@blue",
    }
    coverage = next((s.coverage for _, _, s in known if s.coverage), None)
    name = f"predicted, {percent(coverage, 0)} interval" if coverage else "predicted, interval"
    marker = {"symbol": "circle-open", "size": 12, "color": "@blue", "line": {"width": 2}}
    return [_networks(known, x, name, marker) | {"error_x": bars}]


def _measured(shown: Shown) -> list[Figure]:
    def trace(name: str, keep: Any, marker: Figure, quantile: str = "p50_us") -> list[Figure]:
        known = [(i, n, s) for i, n, s in shown if getattr(s, quantile) is not None and keep(n)]
        x = [getattr(s, quantile) / 1e3 for _, _, s in known]
        return [_networks(known, x, name, marker)] if known else []

    square = {"symbol": "square", "size": 8, "color": "@ink"}
    cross = {"symbol": "x", "size": 10, "color": "@red"}
    bar = {"symbol": "line-ns-open", "size": 10, "color": "@ink", "line": {"width": 2}}
    return [
        *trace("measured p95", lambda _: True, bar, "p95_us"),
        *trace("measured p50", lambda network: not network.dropped, square),
        *trace("measured p50, dropped", lambda network: network.dropped, cross),
    ]


def _chosen(run: Run, device: str, shown: Shown) -> list[Figure]:
    blocks = stages_of(run.summary.chosen.arch) if run.summary.chosen else []
    marker = {"symbol": "star", "size": 18, "color": "@orange", "line": {"width": 1, "color": "@ink"}}
    return [
        {
            "type": "scatter",
            "mode": "markers",
            "name": name,
            "x": [short(latency_us / 1e3)],
            "y": [short(100 * val_top1)],
            "text": ["<br>".join([f"{percent(val_top1, 2)} validation top-1, {milliseconds(latency_us)} ms", *blocks])],
            "hovertemplate": "%{text}<extra>" + name + "</extra>",
            "marker": marker,
        }
        for name, latency_us, val_top1 in judgement.stars(run, device, shown)
    ]


def _networks(shown: Shown, x: Sequence[float], name: str, marker: Figure) -> Figure:
    """Points of networks; over one of them its arch and blocks are shown."""
    return {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "x": [short(value) for value in x],
        "y": [short(100 * network.val_top1) for _, network, _ in shown],
        "text": [_told(i, network, latency) for i, network, latency in shown],
        "hovertemplate": "%{text}<extra>" + name + "</extra>",
        "marker": marker,
    }


def _told(number: int, network: Network, latency: Latency) -> str:
    interval = latency.interval_us
    said = [
        f"<b>{number}</b>: {percent(network.val_top1)} validation top-1",
        f"predicted {ms(latency.predicted_us)} ms" + (f" ({ms(interval[0])} to {ms(interval[1])})" if interval else ""),
        f"measured p50 {ms(latency.p50_us)}, p95 {ms(latency.p95_us)} ms",
        *stages_of(network.arch),
    ]
    return "<br>".join(said)


def _frame(layout: Figure, shown: Shown, limits: Sequence[float], stars: Sequence[tuple[str, float, float]]) -> None:
    """Show the front, its budgets and the file that ships; the cloud of evaluations may run out of the image."""
    times = [*limits, *(latency_us / 1e3 for _, latency_us, _ in stars)]
    for _, _, latency in shown:
        known = (latency.p50_us, latency.p95_us, latency.predicted_us, *(latency.interval_us or ()))
        times += [value / 1e3 for value in known if value is not None]
    if not times:
        return
    heights = [100 * val_top1 for val_top1 in [*(n.val_top1 for _, n, _ in shown), *(star[2] for star in stars)]]
    pad, rise = 0.08 * (max(times) - min(times)) or 0.1, 0.2 * (max(heights) - min(heights)) or 1.0
    layout["xaxis"]["range"] = [short(max(0.0, min(times) - pad)), short(max(times) + pad)]
    layout["yaxis"]["range"] = [short(min(heights) - rise), short(max(heights) + rise)]


def predictor(run: Run, device: str) -> Figure:
    """Predicted against measured latency of unseen networks, with bands of ±5 and ±10 % and the repeat noise."""
    score = run.scores[device]
    values = [v / 1e3 for h in score.held_out for v in (h.measured_us, h.predicted_us)]
    label = predictor_judgement.predictor(score)
    layout = layout_of(f"measured p50 on {device} (ms)", "predicted (ms)") | {"hovermode": "closest"}
    if not values:
        return {"data": [], "layout": layout, "label": label}
    ends = [0.93 * min(values), 1.07 * max(values)]
    bands = {"±10 %": (0.10, "dot", "@band10"), "±5 %": (0.05, "dash", "@band5")}
    if score.repeat_noise is not None:
        bands[f"repeat noise ±{percent(score.repeat_noise)}"] = (score.repeat_noise, "dashdot", "@noise")
    data = [trace for name, look in bands.items() for trace in _band(ends, name, *look)]
    data.append(_line(ends, ends, "predicted = measured", "@ink", "solid"))
    data.append(
        {
            "type": "scatter",
            "mode": "markers",
            "name": "unseen network",
            "x": [short(h.measured_us / 1e3) for h in score.held_out],
            "y": [short(h.predicted_us / 1e3) for h in score.held_out],
            "text": [
                f"off by {100 * (h.predicted_us / h.measured_us - 1):+.1f} %<br>" + "<br>".join(stages_of(h.arch))
                for h in score.held_out
            ],
            "hovertemplate": "measured %{x} ms, predicted %{y} ms<br>%{text}<extra></extra>",
            "marker": {"color": "@orange", "size": 9, "line": {"color": "@ink", "width": 1}},
        }
    )
    for axis in ("xaxis", "yaxis"):
        layout[axis]["range"] = [short(end) for end in ends]
    return {"data": data, "layout": layout, "label": label}


def _band(ends: Sequence[float], name: str, share: float, dash: str, colour: str) -> list[Figure]:
    low = _line(ends, [(1 - share) * end for end in ends], name, "@blue", dash) | {"showlegend": False}
    high = _line(ends, [(1 + share) * end for end in ends], name, "@blue", dash)
    return [low, high | {"fill": "tonexty", "fillcolor": colour}]


def _line(x: Sequence[float], y: Sequence[float], name: str, colour: str, dash: str) -> Figure:
    return {
        "type": "scatter",
        "mode": "lines",
        "name": name,
        "x": [short(value) for value in x],
        "y": [short(value) for value in y],
        "line": {"color": colour, "dash": dash, "width": 1.5},
        "hoverinfo": "skip",
    }
