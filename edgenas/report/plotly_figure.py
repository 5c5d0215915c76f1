"""A figure as a specification for plotly: plain lists and dictionaries, ready for JSON.

Colours that begin with `@` are keys of the page's theme, light or dark; two hexadecimal digits behind one are opacity.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgenas.markup import plotly
from edgenas.report.figure import Axis, Coordinate, Figure, Interval, ReferenceLine, Series, margins

MARKERS = {
    "circle": "circle",
    "ring": "circle-open",
    "square": "square",
    "diamond": "diamond",
    "cross": "x",
    "tick": "line-ns-open",
    "star": "star",
    "up": "triangle-up",
    "down": "triangle-down",
}
BAND_OPACITY = "26"
Specification = dict[str, Any]
"""JSON values, as plotly's schema has them."""


def plotly_figure(figure: Figure) -> Specification:
    """Return `data` and `layout` of a figure as plotly takes them."""
    traces = [trace for series in figure.series for trace in _traces(series, figure)]
    layout = {
        "xaxis": _axis(figure.x),
        "yaxis": _axis(figure.y) | ({"autorange": "reversed"} if figure.y.categories else {}),
        "height": figure.height,
        "barmode": "overlay",
        "hovermode": "closest",
        "shapes": [_shape(line) for line in figure.lines],
        "annotations": [_annotation(line, row, figure.x) for row, line in enumerate(figure.lines) if line.label],
    }
    return {"data": traces, "layout": layout}


def _axis(axis: Axis) -> Specification:
    spec: Specification = {"title": {"text": plotly(axis.title)}, "automargin": True}
    if axis.categories:
        spec |= {"type": "category", "categoryorder": "array", "categoryarray": _values(axis.categories)}
    if axis.ends:
        spec["range"] = _values(axis.ends)
    if axis.from_zero:
        spec["rangemode"] = "tozero"
    return spec


def _traces(series: Series, figure: Figure) -> list[Specification]:
    colour = f"@{series.look.colour}"
    trace: Specification = {
        "type": "bar" if series.kind == "bars" else "scatter",
        "name": plotly(series.name),
        "x": _values(series.x),
        "y": _values(series.y),
        "showlegend": bool(series.name),
    }
    if series.notes:
        trace["customdata"] = ["<br>".join(map(plotly, lines)) for lines in series.notes]
    if series.labels:
        trace["text"] = list(map(plotly, series.labels))
    trace |= {"hoverinfo": "skip"} if series.reference else {"hovertemplate": _hover(series, figure)}
    if series.kind == "bars":
        # A pattern without an overlay would be drawn in place of the bar's colour.
        pattern = {"shape": "/" if series.look.hatched else "", "fgcolor": "@paper", "fillmode": "overlay"}
        return [trace | {"orientation": "h", "marker": {"color": colour, "pattern": pattern}, "textposition": "auto"}]
    trace |= {"mode": _mode(series), "textposition": "top center"}
    trace["line"] = {
        "color": colour,
        "dash": series.look.line or "solid",
        "width": series.look.width if series.look.line else 0,
    }
    trace["line"]["shape"] = "hv" if series.stepped else "linear"
    if series.kind == "band":
        fill = {"y": _values(series.upper), "fill": "tonexty", "fillcolor": colour + BAND_OPACITY}
        return [trace | {"showlegend": False}, trace | fill]
    if series.look.marker:
        marker = {"symbol": MARKERS[series.look.marker], "size": series.look.size, "color": colour}
        edge = {"width": 2 if series.look.marker in ("ring", "tick") else 1}
        trace["marker"] = marker | {"line": edge | ({"color": "@ink"} if series.look.marker == "star" else {})}
    for axis, values, intervals in (("x", series.x, series.x_interval), ("y", series.y, series.y_interval)):
        if intervals:
            trace[f"error_{axis}"] = _error_bars(values, intervals, colour)
    return [trace]


def _mode(series: Series) -> str:
    line = series.look.line or series.kind == "band"
    parts = {"lines": line, "markers": series.look.marker, "text": series.labels}
    return "+".join(name for name, drawn in parts.items() if drawn)


def _hover(series: Series, figure: Figure) -> str:
    titles = {
        axis: plotly(title).replace("%{", "% {") for axis, title in (("x", figure.x.title), ("y", figure.y.title))
    }
    lines = [f"{title}: %{{{axis}}}" for axis, title in titles.items() if title]
    lines += ["%{customdata}"] if series.notes else []
    return "<br>".join(lines) + f"<extra>{plotly(series.name).replace('%{', '% {')}</extra>"


def _error_bars(values: Sequence[Coordinate], intervals: Sequence[Interval], colour: str) -> Specification:
    below, above = (list(map(_short, lengths)) for lengths in margins(values, intervals))
    return {"type": "data", "symmetric": False, "array": above, "arrayminus": below, "color": colour}


def _shape(line: ReferenceLine) -> Specification:
    look = {"color": f"@{line.colour}", "dash": "dash" if line.label else "solid", "width": 2 if line.label else 1}
    return {"type": "line", "x0": _short(line.x), "x1": _short(line.x), "yref": "paper", "y0": 0, "y1": 1, "line": look}


def _annotation(line: ReferenceLine, row: int, axis: Axis) -> Specification:
    """Return a line's label on the side of it that has room; of several lines, one label below the other."""
    low, high = axis.ends or (0.0, 2 * line.x)
    side = "right" if line.x > (low + high) / 2 else "left"
    return {
        "text": plotly(line.label),
        "x": _short(line.x),
        "xanchor": side,
        "y": 0.02 + 0.07 * row,
        "yref": "paper",
        "yanchor": "bottom",
        "showarrow": False,
        "font": {"color": f"@{line.colour}"},
    }


def _values(values: Sequence[Coordinate]) -> list[Coordinate]:
    return [plotly(value) if isinstance(value, str) else None if value is None else _short(value) for value in values]


def _short(value: float) -> float:
    """Return six significant figures, as more cannot be seen and would be most of the page."""
    return value if isinstance(value, int) else float(f"{value:.6g}")
