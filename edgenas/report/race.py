"""The figure of a race: hypervolume against evaluations and against seconds."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure

from edgenas.report.lettering import lettering, png
from edgenas.report.plots import BLUE, GREEN, GREY, INK, ORANGE, STYLE, VERMILION

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LOOKS = ((BLUE, "-"), (VERMILION, "--"), (GREEN, "-."), (ORANGE, ":"), (INK, "-"), (GREY, "--"))
"""Nothing is told by colour alone: beyond these, lines begin again and are marked."""
MARKERS = ("", "o")
TITLE_WIDTH = 90


def race_judgement(found: Mapping[str, Any]) -> str:
    """Who was ahead at the end, and by how much."""
    last = {name: one["by_evaluations"]["median"][-1] for name, one in found["strategies"].items()}
    first, *others = sorted(last, key=lambda name: -last[name])
    lead = f"{first} found {last[first]:.1%} of the hypervolume in {found['evaluations']} evaluations"
    return f"{lead}; next came {others[0]} with {last[others[0]]:.1%}" if others else lead


def plot_race(found: Mapping[str, Any]) -> bytes:
    """Medians over the seeds, and from the least to the greatest, PNG.

    Args:
        found: as `search.race.summarise` gives it.
    """
    with lettering(STYLE, {"strategy": found["strategies"]}) as letters:
        figure = Figure(figsize=(9.0, 3.8), layout="constrained")
        panels = figure.subplots(1, 2, sharey=True)
        lows = [_panel(axes, found, axis) for axes, axis in zip(panels, ("evaluations", "seconds"), strict=True)]
        panels[0].set(ylabel="share of the hypervolume found", ylim=(max(0.0, min(lows) - 0.05), 1.01))
        panels[0].legend(loc="lower right")
        title = textwrap.fill(race_judgement(found), TITLE_WIDTH)
        figure.suptitle(title, x=0.01, ha="left", fontweight="bold", fontsize=11)
        return png(figure, letters)


def _panel(axes: Axes, found: Mapping[str, Any], axis: str) -> float:
    """Draw, and tell what share the slowest had when a tenth of its curve was behind it."""
    low = 1.0
    for place, (name, one) in enumerate(found["strategies"].items()):
        color, line = LOOKS[place % len(LOOKS)]
        curve = one[f"by_{axis}"]
        seeds = len(one["seeds"])
        look: dict[str, Any] = {"color": color, "ls": line, "marker": MARKERS[place // len(LOOKS) % 2], "ms": 3}
        axes.plot(curve[axis], curve["median"], label=f"{name}, {seeds} seeds", lw=1.8, drawstyle="steps-post", **look)
        axes.fill_between(curve[axis], curve["least"], curve["greatest"], color=color, alpha=0.15, lw=0, step="post")
        # What every strategy has behind it soon, or nothing found yet, would hide how they differ.
        reached = [share for share in curve["median"] if share > 0]
        low = min([low, *reached[len(reached) // 10 :][:1]])
    axes.set(xlabel=axis, xlim=(0, None))
    return low
