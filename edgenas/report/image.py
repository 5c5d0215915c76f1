"""Figures as PNG images, drawn by matplotlib."""

from __future__ import annotations

import logging
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import MaxNLocator

from edgenas.files import write_bytes
from edgenas.markup import name_in_sentence
from edgenas.report.figure import LIGHT, Axis, Coordinate, Figure, ReferenceLine, Series, margins
from edgenas.report.lettering import ADVICE, Lettering, lettered, png

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LOGGER = logging.getLogger(__name__)
STYLE: dict[Any, Any] = {
    "font.size": 10,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "axes.titlepad": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#666666",
    "axes.grid": True,
    "grid.color": LIGHT["grid"],
    "axes.axisbelow": True,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "figure.facecolor": "white",
    "savefig.dpi": 150,
}
MARKERS = {
    "circle": "o",
    "ring": "o",
    "square": "s",
    "diamond": "D",
    "cross": "X",
    "tick": "|",
    "star": "*",
    "up": "^",
    "down": "v",
}
LINES = {"solid": "-", "dash": "--", "dot": ":", "dashdot": "-."}
WIDTH_INCHES = 9.0
PIXELS_PER_INCH = 100
BAND_OPACITY = 0.15


@dataclass(frozen=True)
class Image:
    """A PNG image.

    Attributes:
        png: its bytes.
        numbers: by name, the label that stands for it in the image, as no installed font has its letters.
    """

    png: bytes
    numbers: Mapping[str, str]

    def write(self, path: Path) -> None:
        """Write the image to a file, and log which names it shows as numbers."""
        write_bytes(path, self.png)
        if self.numbers:
            legend = "; ".join(f"{number} is {name_in_sentence(name)}" for name, number in self.numbers.items())
            LOGGER.warning("note: %s: %s", ADVICE, legend)


def draw(figures: Sequence[Figure], headline: str, letters: Lettering) -> Image:
    """Draw figures one below the other.

    Args:
        figures: at least one.
        headline: what the image shows, written above it.
        letters: fonts for the names that may occur in it.
    """
    heights = [figure.height / PIXELS_PER_INCH for figure in figures]
    with lettered(letters, STYLE):
        canvas = Canvas(figsize=(WIDTH_INCHES, 0.5 + sum(heights)), layout="constrained")
        panels = canvas.subplots(len(figures), 1, squeeze=False, height_ratios=heights)[:, 0]
        for axes, figure in zip(panels, figures, strict=True):
            _draw_figure(axes, figure)
            if len(figures) > 1 and figure.finding != headline:
                axes.set_title(_wrapped(figure.finding, 70))
        canvas.suptitle(_wrapped(headline, 96), x=0.01, ha="left", fontweight="bold", fontsize=11)
        return Image(png(canvas, letters), letters.numbers)


def _wrapped(text: str, width: int) -> str:
    """Return lines of at most `width` characters; a number keeps its percent sign, code loses its backticks."""
    return textwrap.fill(text.replace(" %", "\u00a0%").replace("`", ""), width)


def _draw_figure(axes: Axes, figure: Figure) -> None:
    for order, series in enumerate(figure.series, start=2):
        _draw_series(axes, series, figure, order)
    for line in figure.lines:
        _draw_line(axes, line)
    axes.set(xlabel=figure.x.title, ylabel=figure.y.title)
    _set_axis(axes, "x", figure.x)
    _set_axis(axes, "y", figure.y)
    values = [value for series in figure.series for value in series.x]
    if values and all(isinstance(value, int) for value in values):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if axes.get_legend_handles_labels()[1]:
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))


def _set_axis(axes: Axes, name: str, axis: Axis) -> None:
    if axis.categories:
        getattr(axes, f"set_{name}ticks")(range(len(axis.categories)), list(axis.categories))
        ends = (-0.5, len(axis.categories) - 0.5)
        # The first category is at the top.
        axes.set(**{f"{name}lim": ends if name == "x" else ends[::-1]})
    if axis.ends:
        axes.set(**{f"{name}lim": axis.ends})
    if axis.from_zero:
        axes.set(**{f"{name}lim": (0, None)})


def _draw_series(axes: Axes, series: Series, figure: Figure, order: int) -> None:
    x, y = _positions(series.x, figure.x), _positions(series.y, figure.y)
    {"bars": _draw_bars, "band": _draw_band, "curve": _draw_curve}[series.kind](axes, series, x, y, order)
    offset, ha, va = ((4, 0), "left", "center") if series.kind == "bars" else ((0, 8), "center", "baseline")
    points = zip(x, y, strict=True)
    for label, at in zip(series.labels, points, strict=False):
        axes.annotate(label, at, offset, textcoords="offset points", ha=ha, va=va, fontsize=8.5, zorder=order)
    if series.kind == "bars" and series.labels:
        axes.margins(x=0.2)


def _draw_bars(axes: Axes, series: Series, x: Sequence[float], y: Sequence[float], order: int) -> None:
    hatch, colour = "//" if series.look.hatched else None, LIGHT[series.look.colour]
    axes.barh(y, x, hatch=hatch, edgecolor="white", color=colour, zorder=order, label=series.name or None)


def _draw_band(axes: Axes, series: Series, x: Sequence[float], y: Sequence[float], order: int) -> None:
    look, colour = series.look, LIGHT[series.look.colour]
    step: Literal["post"] | None = "post" if series.stepped else None
    shade = axes.fill_between(x, y, series.upper, alpha=BAND_OPACITY, lw=0, step=step, color=colour)
    shade.set_zorder(order)
    if look.line:
        for end, name in ((y, series.name or None), (series.upper, None)):
            axes.plot(x, end, ls=LINES[look.line], lw=0.9, color=colour, zorder=order, label=name)


def _draw_curve(axes: Axes, series: Series, x: Sequence[float], y: Sequence[float], order: int) -> None:
    look = series.look
    axes.errorbar(
        x,
        y,
        margins(y, series.y_interval) if series.y_interval else None,
        margins(x, series.x_interval) if series.x_interval else None,
        color=LIGHT[look.colour],
        zorder=order,
        label=series.name or None,
        ls=LINES[look.line] if look.line else "",
        lw=0.8 * look.width,
        drawstyle="steps-post" if series.stepped else "default",
        marker=MARKERS[look.marker] if look.marker else "",
        ms=0.8 * look.size,
        mfc="white" if look.marker == "ring" else None,
        mec=LIGHT["ink"] if look.marker == "star" else None,
        capsize=4,
        elinewidth=1.3,
    )


def _positions(values: Sequence[Coordinate], axis: Axis) -> list[float]:
    """Return values as numbers: categories by their order, missing ones as NaN."""
    position = {name: float(row) for row, name in enumerate(axis.categories)}
    return [position[value] if isinstance(value, str) else float("nan") if value is None else value for value in values]


def _draw_line(axes: Axes, line: ReferenceLine) -> None:
    colour = LIGHT[line.colour]
    axes.axvline(line.x, color=colour, ls="--" if line.label else "-", lw=1.4 if line.label else 0.8, zorder=2)
    if line.label:
        at, offset = (line.x, 0.03), (-3, 0)
        label = axes.annotate(line.label, at, offset, xycoords=("data", "axes fraction"), textcoords="offset points")
        label.set(color=colour, fontsize=9, rotation=90, ha="right")
