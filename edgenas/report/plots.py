"""The plots, one function each: facts in, PNG bytes out. Nothing is told by colour alone."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from edgenas.report import judgement, predictor_judgement, searched
from edgenas.report.formats import ms
from edgenas.report.lettering import label, lettering, png
from edgenas.report.values import Latency, Network, Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's palette, made to be told apart by the colour-blind.
BLUE, ORANGE, GREEN, VERMILION, GREY, INK = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#9a9a9a", "#222222"
STYLE: dict[Any, Any] = {
    "font.size": 10,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "axes.titlepad": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#666666",
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "axes.axisbelow": True,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "figure.facecolor": "white",
    "savefig.dpi": 150,
}


def plot_all(run: Run) -> dict[str, bytes]:
    """Every plot that the run has data for, PNG bytes by file name."""
    drawn: dict[str, Callable[[Run], Figure]] = {"front.png": _front}
    if run.scores:
        drawn["predictor.png"] = _predictor
    if run.steps:
        drawn["training.png"] = _training
    if run.search.hypervolume_by_batch:
        drawn["search.png"] = _search
    if run.understanding is not None and run.understanding.genes:
        drawn["genes.png"] = _genes
    with lettering(STYLE, names_of(run)) as letters:
        return {name: png(draw(run), letters) for name, draw in drawn.items()}


def names_of(run: Run) -> dict[str, list[str]]:
    """Return the names that plots of a run may show, by kind."""
    classes = [*run.dataset.classes, *(run.bundle.classes if run.bundle else ())]
    classes += [one.name for one in run.hindsight.classes] if run.hindsight else []
    return {"class": list(dict.fromkeys(classes)), "device": [*run.devices], "data set": [run.dataset.name]}


def headline(figure: Figure, finding: str) -> None:
    """What the figure shows, above it."""
    text = _wrapped(finding, 88)
    figure.suptitle(text, x=0.01, ha="left", fontweight="bold", fontsize=11)


def _wrapped(text: str, width: int) -> str:
    """Lines of at most `width` characters; a number keeps its percent sign."""
    return textwrap.fill(text.replace(" %", "\u00a0%"), width)


def _panels(n: int, height: float, width: float = 8.0) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(width, height * n), layout="constrained")
    return figure, list(figure.subplots(n, 1, squeeze=False)[:, 0])


def _front(run: Run) -> Figure:
    figure, panels = _panels(len(run.devices), 4.4)
    for device, axes in zip(run.devices, panels, strict=True):
        _front_panel(axes, run, device)
    headline(figure, judgement.front(run))
    return figure


def _front_panel(axes: Axes, run: Run, device: str) -> None:
    shown = [(i, n, n.latency[device]) for i, n in enumerate(run.networks, 1) if device in n.latency]
    axes.set(title=judgement.front_on(run, device), xlabel=f"latency on {device} (ms)", ylabel="validation top-1 (%)")
    background = [(e.latency_us[device] / 1e3, 100 - 100 * e.error) for e in run.evaluations if device in e.latency_us]
    axes.plot(*_columns(background), ".", color="#c4c4c4", ms=4, zorder=1, label="evaluated, predicted latency")
    _predicted(axes, shown)
    _measured(axes, shown)
    _mark_chosen(axes, run, device, shown)
    budgets = judgement.latency_budgets(run, device)
    for line in budgets:
        axes.axvline(line.limit / 1e3, color=VERMILION, ls="--", lw=1.4, zorder=2)
        foot = (line.limit / 1e3, 0.03)
        look: dict[str, Any] = {"color": VERMILION, "fontsize": 9, "rotation": 90, "ha": "right"}
        axes.annotate(line.name, foot, (-3, 0), xycoords=("data", "axes fraction"), textcoords="offset points", **look)
    _frame(axes, shown, [line.limit for line in budgets], judgement.stars(run, device, shown))
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))


Shown = Sequence[tuple[int, Network, Latency]]


def _predicted(axes: Axes, shown: Shown) -> None:
    known = [(s.predicted_us / 1e3, 100 * n.val_top1, s) for _, n, s in shown if s.predicted_us is not None]
    if not known:
        return
    x, y = np.array([k[0] for k in known]), np.array([k[1] for k in known])
    ends = np.array([np.array(k[2].interval_us or (k[2].predicted_us,) * 2) / 1e3 for k in known])
    errors = np.maximum(np.stack([x - ends[:, 0], ends[:, 1] - x]), 0)
    coverage = next((k[2].coverage for k in known if k[2].coverage), None)
    heights = np.array([n.val_top1_interval or (n.val_top1,) * 2 for _, n, s in shown if s.predicted_us is not None])
    sure = np.maximum(np.stack([y - 100 * heights[:, 0], 100 * heights[:, 1] - y]), 0)
    said = f"predicted, {100 * coverage:.0f} % interval" if coverage else "predicted"
    style: dict[str, Any] = {"mfc": "white", "ms": 10, "capsize": 4, "elinewidth": 1.3, "mew": 1.4}
    axes.errorbar(
        x, y, xerr=errors, yerr=sure if sure.any() else None, fmt="o", color=BLUE, zorder=3, label=said, **style
    )


def _measured(axes: Axes, shown: Shown) -> None:
    kept = [(s.p50_us / 1e3, 100 * n.val_top1) for _, n, s in shown if s.p50_us is not None and not n.dropped]
    gone = [(s.p50_us / 1e3, 100 * n.val_top1) for _, n, s in shown if s.p50_us is not None and n.dropped]
    slow = [(s.p95_us / 1e3, 100 * n.val_top1) for _, n, s in shown if s.p95_us is not None]
    if kept:
        axes.plot(*_columns(kept), "s", color=INK, ms=5, zorder=5, label="measured p50")
    if gone:
        axes.plot(*_columns(gone), "X", color=VERMILION, mec="white", ms=9, zorder=5, label="measured p50, dropped")
    if slow:
        axes.plot(*_columns(slow), "|", color=INK, ms=9, mew=1.6, zorder=4, label="measured p95")
    for number, network, latency in shown:
        at = latency.p50_us if latency.p50_us is not None else latency.predicted_us
        if at is not None:
            place = (at / 1e3, 100 * network.val_top1)
            axes.annotate(str(number), place, (0, 10), textcoords="offset points", ha="center", fontsize=8.5)


def _mark_chosen(axes: Axes, run: Run, device: str, shown: Shown) -> None:
    style: dict[str, Any] = {"mfc": ORANGE, "mec": INK, "ms": 15, "mew": 1.0}
    for name, latency_us, val_top1 in judgement.stars(run, device, shown):
        axes.plot(latency_us / 1e3, 100 * val_top1, "*", zorder=4.5, label=name, ls="", **style)


def _frame(axes: Axes, shown: Shown, limits: Sequence[float], stars: Sequence[tuple[str, float, float]]) -> None:
    """Show the front, its budgets and the file that ships; the cloud of evaluations may run out of the image."""
    times = [*limits, *(latency_us for _, latency_us, _ in stars)]
    for _, _, latency in shown:
        known = (latency.p50_us, latency.p95_us, latency.predicted_us, *(latency.interval_us or ()))
        times += [value for value in known if value is not None]
    if not times:
        return
    heights = [100 * val_top1 for val_top1 in [*(n.val_top1 for _, n, _ in shown), *(star[2] for star in stars)]]
    low, high = min(times) / 1e3, max(times) / 1e3
    pad, rise = 0.08 * (high - low) or 0.1 * high, 0.15 * (max(heights) - min(heights)) or 1.0
    axes.set_xlim(max(0.0, low - pad), high + 1.5 * pad)
    axes.set_ylim(min(heights) - 1.5 * rise, max(heights) + rise)


def _predictor(run: Run) -> Figure:
    devices = [device for device in run.devices if device in run.scores]
    figure, panels = _panels(len(devices), 4.8, width=7.0)
    for device, axes in zip(devices, panels, strict=True):
        _predictor_panel(axes, run, device)
    return figure


def _predictor_panel(axes: Axes, run: Run, device: str) -> None:
    score = run.scores[device]
    measured = np.array([h.measured_us / 1e3 for h in score.held_out])
    predicted = np.array([h.predicted_us / 1e3 for h in score.held_out])
    axes.set(
        title=_wrapped(f"{device}: {predictor_judgement.predictor(score)}", 62),
        xlabel=f"measured p50 on {device} (ms)",
        ylabel="predicted (ms)",
    )
    if not len(measured):
        return
    both = np.concatenate([measured, predicted])
    ends = np.array([0.93 * both.min(), 1.07 * both.max()])
    for share, shade, line in ((0.10, "#dbe9f4", ":"), (0.05, "#b3d2e8", "--")):
        low, high = (1 - share) * ends, (1 + share) * ends
        axes.fill_between(ends, low, high, color=shade, lw=0, zorder=1)
        axes.plot(ends, low, color=BLUE, ls=line, lw=0.9, zorder=1.5, label=f"±{100 * share:.0f} %")
        axes.plot(ends, high, color=BLUE, ls=line, lw=0.9, zorder=1.5)
    axes.plot(ends, ends, color=INK, lw=1, zorder=2, label="predicted = measured")
    axes.plot(measured, predicted, "o", mfc=ORANGE, mec=INK, mew=0.8, ms=6.5, zorder=3, label="unseen network")
    axes.set(xlim=ends, ylim=ends, aspect="equal")
    axes.legend(loc="upper left")


def _training(run: Run) -> Figure:
    figure, panels = _panels(2 if run.validations else 1, 2.7)
    headline(figure, judgement.training(run))
    epochs, losses = np.array([s.epoch for s in run.steps]), np.array([s.loss for s in run.steps])
    panels[0].plot(epochs, losses, color="#b3d2e8", lw=1, label="each recorded step")
    panels[0].plot(epochs, smooth(losses), color=BLUE, lw=2, label="running mean")
    panels[0].set(ylabel="training loss", ylim=(0, None))
    panels[0].legend(loc="upper right")
    if run.validations:
        _validation_panel(panels[1], run)
        panels[1].sharex(panels[0])
    panels[-1].set_xlabel("epoch")
    return figure


def _validation_panel(axes: Axes, run: Run) -> None:
    looks = [(VERMILION, "v", "--"), (GREEN, "^", "-"), (BLUE, "o", ":"), (INK, "s", "-.")]
    for place, name in enumerate(run.validations[-1].top1):
        color, marker, line = looks[place % len(looks)]
        known = [(v.epoch, 100 * v.top1[name]) for v in run.validations if name in v.top1]
        axes.plot(*_columns(known), marker=marker, ls=line, color=color, label=f"{name} subnet")
    axes.set(ylabel="validation top-1 (%)")
    axes.legend(loc="lower right")


def _search(run: Run) -> Figure:
    facts = run.search
    figure, (axes,) = _panels(1, 3.4)
    axes.step(facts.evaluations_by_batch, facts.hypervolume_by_batch, where="post", color=BLUE, lw=1.8)
    axes.plot(facts.evaluations_by_batch, facts.hypervolume_by_batch, "o", color=BLUE, ms=4)
    headline(figure, judgement.search(run))
    axes.set(xlabel="evaluations", ylabel="hypervolume", xlim=(0, None))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def _genes(run: Run) -> Figure:
    assert run.understanding is not None
    effects = sorted(run.understanding.genes, key=lambda each: each.val_top1.change)
    figure = Figure(figsize=(8.0, 1.6 + 0.27 * len(effects)), layout="constrained")
    panels = list(figure.subplots(1, 1 + len(run.devices), sharey=True, squeeze=False)[0])
    points = [100 * each.val_top1.change for each in effects]
    _gene_panel(panels[0], points, BLUE, "validation top-1, smallest to largest choice (points)")
    for device, axes in zip(run.devices, panels[1:], strict=True):
        _gene_panel(
            axes, [each.latency_us[device].change / 1e3 for each in effects], ORANGE, f"latency on {device} (ms)"
        )
    panels[0].set_yticks(range(len(effects)), [each.name for each in effects])
    headline(figure, searched.genes_in_short(run))
    return figure


def _gene_panel(axes: Axes, changes: Sequence[float], color: str, label: str) -> None:
    axes.barh(range(len(changes)), changes, color=color)
    axes.axvline(0, color=INK, lw=0.8)
    axes.set_xlabel(label)
    axes.grid(axis="y", visible=False)


def smooth(
    values: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Mean over a window of a twentieth of the values, narrower at the ends."""
    half = max(1, len(values) // 40)
    sums = np.concatenate([[0.0], np.cumsum(values)])
    centre = np.arange(len(values))
    low, high = np.maximum(centre - half, 0), np.minimum(centre + half + 1, len(values))
    return np.asarray((sums[high] - sums[low]) / (high - low))


def _columns(pairs: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [x for x, _ in pairs], [y for _, y in pairs]


def plot_blocks(model: str, p50_us: float, blocks: Sequence[Mapping[str, Any]]) -> bytes:
    """Latency of a model's blocks as bars, PNG.

    Args:
        model: its name.
        p50_us: of the whole model.
        blocks: name, time_us, share and bound (`memory` or `arithmetic`) of each, in the order of execution.
    """
    looks = {"memory": (BLUE, "//"), "arithmetic": (ORANGE, "")}
    longest = max(blocks, key=lambda block: block["time_us"])
    with lettering(STYLE, {"block": [block["name"] for block in blocks], "model": [model]}) as letters:
        figure, (axes,) = _panels(1, 1.8 + 0.27 * len(blocks))
        for bound, (color, hatch) in looks.items():
            bars = [(row, block["time_us"] / 1e3) for row, block in enumerate(blocks) if block["bound"] == bound]
            if bars:
                axes.barh(*_columns(bars), color=color, hatch=hatch, edgecolor="white", label=f"bound by {bound}")
        for row, block in enumerate(blocks):
            look: dict[str, Any] = {"textcoords": "offset points", "va": "center", "fontsize": 8.5}
            axes.annotate(f"{100 * block['share']:.1f} %", (block["time_us"] / 1e3, row), (4, 0), **look)
        axes.set_yticks(range(len(blocks)), [label(block["name"]) for block in blocks])
        axes.set(xlabel="latency (ms)", xlim=(0, 1.12 * longest["time_us"] / 1e3), ylim=(len(blocks) - 0.4, -0.6))
        axes.grid(axis="y", visible=False)
        figure.legend(loc="outside lower right", ncols=2)
        most = f"{longest['name']} takes most, {100 * longest['share']:.0f} %"
        headline(figure, f"{model}: {ms(p50_us)} ms an image; {most}")
        return png(figure, letters)
