"""Figures of training, search, accuracy and the chosen network."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgenas.report import int8_judgement, judgement, searched
from edgenas.report.figure import LOOKS, Figure, labels_of, layout_of, short
from edgenas.report.network import Block
from edgenas.report.plots import smooth
from edgenas.report.values import Run
from edgenas.statistics.significance import standard_error

HATCHES = {"fgcolor": "@paper", "fillmode": "overlay"}
"""Over the bar's colour, which they would otherwise stand in place of."""


def training_loss(run: Run) -> Figure:
    """Loss of each recorded step and its running mean."""
    x = [short(step.epoch) for step in run.steps]
    losses = [step.loss for step in run.steps]
    each = {"type": "scatter", "mode": "lines", "name": "each recorded step", "x": x, "y": [short(v) for v in losses]}
    mean = each | {"name": "running mean", "y": [short(v) for v in smooth(np.array(losses)).tolist()]}
    data = [each | {"line": {"color": "@faint", "width": 1}}, mean | {"line": {"color": "@blue", "width": 2.5}}]
    return {"data": data, "layout": layout_of("epoch", "training loss"), "label": judgement.training(run)}


def training_top1(run: Run) -> Figure:
    """Validation top-1 of named subnets while training."""
    data = []
    for place, name in enumerate(run.validations[-1].top1 if run.validations else ()):
        colour, symbol, dash = LOOKS[place % len(LOOKS)]
        known = [(v.epoch, 100 * v.top1[name]) for v in run.validations if name in v.top1]
        data.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "name": f"{name} subnet",
                "x": [short(epoch) for epoch, _ in known],
                "y": [short(value) for _, value in known],
                "line": {"color": colour, "dash": dash},
                "marker": {"color": colour, "symbol": symbol, "size": 8},
            }
        )
    return {"data": data, "layout": layout_of("epoch", "validation top-1 (%)"), "label": judgement.training(run)}


def genes(run: Run) -> Figure:
    """What each gene buys in accuracy and costs in latency, from its smallest to its largest choice."""
    assert run.understanding is not None
    effects = sorted(run.understanding.genes, key=lambda each: each.val_top1.change)
    names = [each.name for each in effects]
    panels = [("validation top-1 (points)", [100 * each.val_top1.change for each in effects])]
    panels += [
        (f"ms on {device}", [each.latency_us[device].change / 1e3 for each in effects]) for device in run.devices
    ]
    data: list[Figure] = []
    layout = layout_of("", "") | {"height": 140 + 24 * len(names), "grid": {"rows": 1, "columns": len(panels)}}
    for place, (title, values) in enumerate(panels):
        own = "" if place == 0 else str(place + 1)
        colour, _, _ = LOOKS[min(place, 1)]
        bars = {"type": "bar", "orientation": "h", "name": title, "y": names, "x": [short(value) for value in values]}
        data.append(bars | {"xaxis": f"x{own}", "yaxis": f"y{own}", "marker": {"color": colour}})
        layout[f"xaxis{own}"] = {"title": {"text": title}, "automargin": True}
        layout[f"yaxis{own}"] = {"automargin": True, "showticklabels": place == 0}
    return {"data": data, "layout": layout, "label": searched.genes_in_short(run)}


def hypervolume(run: Run) -> Figure:
    """Hypervolume against evaluations."""
    facts = run.search
    trace = {
        "type": "scatter",
        "mode": "lines+markers",
        "name": "hypervolume",
        "x": list(facts.evaluations_by_batch),
        "y": [short(value) for value in facts.hypervolume_by_batch],
        "line": {"color": "@blue", "shape": "hv"},
        "marker": {"color": "@blue", "size": 7},
    }
    return {"data": [trace], "layout": layout_of("evaluations", "hypervolume"), "label": judgement.search(run)}


def blocks(network: Sequence[Block], device: str) -> Figure:
    """The network from its stem (top) to its head, each block as long as it takes; regressed ones are hatched."""
    data = []
    for name, timed, colour, shape in (("timed", True, "@blue", ""), ("regressed", False, "@orange", "/")):
        own = [b for b in network if (device in b.measured) is timed and b.latency_us.get(device) is not None]
        if own:
            data.append(
                {
                    "type": "bar",
                    "orientation": "h",
                    "name": name,
                    "x": [short((b.latency_us[device] or 0.0) / 1e3) for b in own],
                    "y": [b.name for b in own],
                    "text": [b.shape for b in own],
                    "customdata": [f"{b.what}<br>{b.macs:,} MACs" for b in own],
                    "hovertemplate": "%{y}: %{x} ms<br>%{customdata}<br>output %{text}<extra>" + name + "</extra>",
                    "textposition": "auto",
                    "marker": {"color": colour, "pattern": {**HATCHES, "shape": shape}},
                }
            )
    layout = layout_of(f"latency on {device} (ms)", "") | {"barmode": "overlay", "height": 90 + 30 * len(network)}
    layout["yaxis"] |= {"autorange": "reversed", "categoryorder": "array", "categoryarray": [b.name for b in network]}
    return {"data": data, "layout": layout, "label": f"blocks of the chosen network on {device}"}


def validation_and_test(run: Run) -> Figure:
    """Validation beside test top-1 of what was exported, with two standard errors of sampling."""
    chosen, found = run.summary.chosen, run.summary.int8
    assert chosen is not None
    val, test = (chosen.val_top1, chosen.test_top1) if found is None else int8_judgement.fp32_top1(chosen, found)
    files = {"fp32": (val, test)} | ({"int8": (found.val_top1, found.test_top1)} if found else {})
    data = []
    for place, split in enumerate(("validation", "test")):
        known = {name: rates[place] for name, rates in files.items() if rates[place] is not None}
        n = run.scored_images(split)
        errors = [short(200 * standard_error(rate, n)) for rate in known.values() if rate is not None]
        colour, symbol, _ = LOOKS[place]
        data.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": f"{split} top-1, ± two standard errors",
                "x": [short(100 * rate) for rate in known.values() if rate is not None],
                "y": list(known),
                "error_x": {"type": "data", "array": errors, "color": colour},
                "marker": {"color": colour, "symbol": symbol, "size": 12},
            }
        )
    layout = layout_of("top-1 (%)", "") | {"height": 200 + 40 * len(files), "scattermode": "group"}
    return {"data": data, "layout": layout, "label": judgement.optimism(run)}


def by_class(run: Run) -> Figure:
    """Test top-1 of each class, hardest at the top."""
    assert run.bundle is not None
    order = sorted(
        (rate, place) for place, rate in enumerate(run.bundle.accuracy.test_top1_by_class) if rate is not None
    )
    names = labels_of([run.bundle.classes[place] for _, place in order])
    files = {"fp32": run.bundle.accuracy} | ({"int8": run.bundle.int8.accuracy} if run.bundle.int8.accuracy else {})
    data = []
    for (name, scores), (colour, symbol, _) in zip(files.items(), reversed(LOOKS), strict=False):
        if scores and scores.test_top1_by_class:
            rates = [scores.test_top1_by_class[place] for _, place in order]
            counts = [scores.test_images_by_class[place] for _, place in order]
            data.append(
                {
                    "type": "scatter",
                    "mode": "markers",
                    "name": name,
                    "x": [None if rate is None else short(100 * rate) for rate in rates],
                    "y": names,
                    "customdata": counts,
                    "hovertemplate": "%{y}: %{x} % of %{customdata} test images<extra>" + name + "</extra>",
                    "marker": {"color": colour, "symbol": symbol, "size": 10},
                }
            )
    layout = layout_of("test top-1 (%)", "") | {"height": 120 + 24 * len(names)}
    layout["yaxis"] |= {
        "type": "category",
        "autorange": "reversed",
        "categoryorder": "array",
        "categoryarray": names,
    }
    return {"data": data, "layout": layout, "label": judgement.by_class(run)}
