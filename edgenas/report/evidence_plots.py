"""The same figures as PNG, for Markdown and for run folders."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure

from edgenas.report import evidence, hindsight
from edgenas.report.evidence_values import ClassChange, Trust, Worth
from edgenas.report.lettering import label, lettering, png
from edgenas.report.plots import BLUE, GREEN, GREY, INK, ORANGE, STYLE, VERMILION, headline, names_of
from edgenas.report.values import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COSTS_WIDTH = 60
"""Characters a line, where the costs of budgets are not known."""
MARKS = ((BLUE, "o"), (VERMILION, "v"), (GREEN, "^"))


def plot_evidence(run: Run) -> dict[str, bytes]:
    """Every plot that a run has evidence for, PNG bytes by file name."""
    drawn = {}
    if run.hindsight is not None and run.hindsight.front:
        with lettering(STYLE, names_of(run)) as letters:
            drawn["hindsight.png"] = png(draw_hindsight(run), letters)
    if run.trust is not None:
        drawn["trust.png"] = plot_trust(run.trust)
    if run.worth is not None:
        drawn["worth.png"] = plot_worth(run.worth)
    return drawn


def plot_trust(found: Trust) -> bytes:
    """Inherited against standalone top-1, and both by MACs; PNG."""
    with lettering(STYLE, {}) as letters:
        figure = Figure(figsize=(9.6, 4.6), layout="constrained")
        left, right = figure.subplots(1, 2)
        alone = [100 * one.alone for one in found.subnets]
        ends = [min(alone), max(alone)]
        left.plot(ends, ends, color=GREY, lw=1, label="equal")
        for name, grouped, (color, mark) in (("of near-equal MACs", True, MARKS[1]), ("others", False, MARKS[0])):
            own = [one for one in found.subnets if one.grouped is grouped]
            x, y = [100 * one.alone for one in own], [100 * one.inherited for one in own]
            left.plot(x, y, mark, color=color, ms=7, label=name)
            macs = [one.macs / 1e6 for one in own]
            right.plot(macs, y, mark, color=color, ms=7, label=f"inherited, {name}")
            right.plot(macs, x, mark, mfc="white", mec=color, ms=7, label=f"alone, {name}")
        left.set(xlabel="validation top-1, trained from scratch (%)", ylabel="inherited (%)")
        right.set(xlabel="million MACs", ylabel="validation top-1 (%)")
        left.legend(loc="upper left")
        # Within the axes it would lie on points.
        figure.legend(*right.get_legend_handles_labels(), loc="outside lower center", ncols=4)
        headline(figure, evidence.trusted(found))
        return png(figure, letters)


def plot_worth(found: Worth) -> bytes:
    """Test top-1 of the search's network and of each rival's seeds against measured latency, and costs; PNG."""
    with lettering(STYLE, {"device": [found.device]}) as letters:
        figure = Figure(figsize=(9.6, 4.3), layout="constrained")
        left, right = figure.subplots(1, 2)
        shown = {"edgenas": (found.edgenas,), **{name: rival.seeds for name, rival in found.rivals.items()}}
        for (name, own), (color, mark) in zip(shown.items(), MARKS, strict=False):
            x, y = [one.p50_us / 1e3 for one in own], [100 * one.test_top1 for one in own]
            left.plot(x, y, mark, color=color, ms=8, label=f"{name}, {len(own)} run{'s' * (len(own) > 1)}")
        slowest_ms = max(one.p50_us for own in shown.values() for one in own) / 1e3
        left.set(xlabel=f"measured p50 on {found.device} (ms)", ylabel="test top-1 (%)", xlim=(0, 1.1 * slowest_ms))
        left.legend(loc="lower left")
        _costs(right, found)
        headline(figure, evidence.worthwhile(found))
        return png(figure, letters)


def _costs(axes: Axes, found: Worth) -> None:
    if not found.crossover.table:
        axes.set_axis_off()
        axes.text(0, 0.5, textwrap.fill(evidence.crossing(found), COSTS_WIDTH), transform=axes.transAxes, va="center")
        return
    budgets = [row.budgets for row in found.crossover.table]
    shared = [row.shared_seconds / 60 for row in found.crossover.table]
    alone = [row.alone_seconds / 60 for row in found.crossover.table]
    axes.plot(budgets, shared, "-o", color=BLUE, label="one supernet")
    axes.plot(budgets, alone, "--v", color=VERMILION, label="each alone")
    for end in dict.fromkeys(found.crossover.budgets or ()):
        axes.axvline(end, color=INK, ls=":", lw=1)
    axes.set(xlabel="budgets", ylabel="minutes in all", xlim=(0, None), ylim=(0, None))
    axes.legend(loc="upper left")


def draw_hindsight(run: Run) -> Figure:
    """Validation and test along the front, and classes of the chosen network and the largest subnet, if known."""
    found = run.hindsight
    assert found is not None
    rows, classes = [found.front[place] for place in hindsight.ordered(run, found)], hindsight.by_change(found)
    figure = Figure(figsize=(9.6, max(4.0, 1.6 + 0.24 * len(classes))), layout="constrained")
    left, *others = figure.subplots(1, 1 + bool(classes), squeeze=False)[0]
    places = range(1, len(rows) + 1)
    _line(left, places, [100 * row.val_top1 for row in rows], VERMILION, "v--", "validation")
    _line(left, places, [100 * row.test_top1 for row in rows], GREEN, "^-", "test")
    chosen = [place for place, row in zip(places, rows, strict=True) if row.arch == found.chosen]
    if chosen:
        left.axvline(chosen[0], color=ORANGE, lw=6, alpha=0.35, zorder=0, label="chosen")
    left.set(xlabel="network of the front, fastest first", ylabel="top-1 (%)", xticks=list(places))
    left.legend(loc="lower right")
    for axes in others:
        _classes(axes, classes)
    headline(figure, hindsight.paid(run) if classes else hindsight.front_optimism(run))
    return figure


def _classes(axes: Axes, classes: Sequence[ClassChange]) -> None:
    """Test top-1 of each class, of the chosen network and of the largest subnet."""
    heights = range(len(classes))
    for name, color, mark in (("chosen", VERMILION, "v"), ("largest", GREEN, "^")):
        rates = [100 * getattr(one, name) / one.images for one in classes]
        axes.plot(rates, heights, mark, color=color, label=f"{name} network")
    axes.set_yticks(list(heights), [label(one.name) for one in classes])
    axes.set(xlabel="test top-1 (%)", ylim=(len(classes) - 0.5, -0.5))
    axes.legend(loc="best")


def _line(axes: Axes, x: Sequence[int], y: Sequence[float], color: str, look: str, name: str) -> None:
    style: dict[str, Any] = {"color": color, "ms": 6, "label": name}
    axes.plot(x, y, look, **style)
