"""A figure as a frozen value: the HTML page and the PNG images draw the same one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from edgenas.markup import distinct_names

# Okabe and Ito's palette, made for colour-blind readers; brighter on a dark page.
LIGHT = {
    "ink": "#1d1d1f",
    "paper": "#ffffff",
    "faint": "#9aa1a8",
    "grid": "#e3e6e9",
    "blue": "#0072B2",
    "orange": "#E69F00",
    "green": "#00795a",
    "red": "#C04A00",
}
DARK = {
    "ink": "#e8e8ea",
    "paper": "#15171a",
    "faint": "#7d858d",
    "grid": "#30363d",
    "blue": "#56B4E9",
    "orange": "#F0B429",
    "green": "#3fcf9f",
    "red": "#FF8A57",
}
LONGEST_LABEL = 32
"""Characters of a category beside an axis."""

Marker = Literal["circle", "ring", "square", "diamond", "cross", "tick", "star", "up", "down"]
Line = Literal["solid", "dash", "dot", "dashdot"]
Coordinate = float | str | None
Interval = tuple[float, float]


@dataclass(frozen=True)
class Look:
    """How a series is drawn. Series of one figure differ by more than their colour.

    Attributes:
        colour: a key of `LIGHT` and `DARK`.
        marker: the symbol at each point; None for a line alone.
        line: how points are connected; None for points alone.
        size: of the marker, in pixels.
        width: of the line, in pixels.
        hatched: whether bars are hatched.
    """

    colour: str = "blue"
    marker: Marker | None = None
    line: Line | None = None
    size: float = 9
    width: float = 2
    hatched: bool = False


LOOKS = (
    Look("red", "down", "dash"),
    Look("green", "up", "solid"),
    Look("blue", "circle", "dot"),
    Look("ink", "square", "dashdot"),
    Look("orange", "diamond", "dash"),
    Look("faint", "star", "solid"),
)
"""Looks of the first, second, … of several series."""


@dataclass(frozen=True)
class Series:
    """Points, a line, bars or a band.

    Attributes:
        name: as in the legend; empty for none.
        x: numbers, categories of the axis, or None where a value is missing; bars start at 0.
        y: likewise, one for each of `x`; the lower end of a band.
        look: how it is drawn.
        kind: a curve is drawn with markers, a line or both.
        upper: the upper end of a band at each of `x`.
        x_interval: ends of each point's horizontal error bar; empty for none.
        y_interval: likewise, vertical.
        notes: lines about each point, shown on hover and read out on the page.
        labels: text written beside each point.
        stepped: whether a line keeps each value until the next point.
        reference: whether it is something to compare with, without points of its own.
    """

    name: str
    x: Sequence[Coordinate]
    y: Sequence[Coordinate]
    look: Look = Look()
    kind: Literal["curve", "bars", "band"] = "curve"
    upper: Sequence[float] = ()
    x_interval: Sequence[Interval] = ()
    y_interval: Sequence[Interval] = ()
    notes: Sequence[Sequence[str]] = ()
    labels: Sequence[str] = ()
    stepped: bool = False
    reference: bool = False


@dataclass(frozen=True)
class Axis:
    """An axis.

    Attributes:
        title: what it shows, with its unit.
        ends: the range that is shown; None to fit the values.
        categories: its values where they are no numbers, from the left or from the top.
        from_zero: whether 0 is shown.
    """

    title: str
    ends: Interval | None = None
    categories: Sequence[str] = ()
    from_zero: bool = False


@dataclass(frozen=True)
class ReferenceLine:
    """A vertical line at a value of the x axis, with a label where it needs one."""

    x: float
    label: str = ""
    colour: str = "red"


@dataclass(frozen=True)
class Figure:
    """One pair of axes with its series; `finding` says what it shows, also to readers who do not see it."""

    finding: str
    x: Axis
    y: Axis
    series: tuple[Series, ...]
    lines: tuple[ReferenceLine, ...] = ()

    @property
    def height(self) -> int:
        """The height in pixels, more for a longer list of categories."""
        return 140 + 26 * len(self.y.categories) if self.y.categories else 440


def margins(values: Sequence[Coordinate], intervals: Sequence[Interval]) -> tuple[list[float], list[float]]:
    """Return how far each interval reaches below and above its value, 0 where the value lies outside."""
    pairs = [(float(value or 0), low, high) for value, (low, high) in zip(values, intervals, strict=True)]
    return [max(value - low, 0) for value, low, _ in pairs], [max(high - value, 0) for value, _, high in pairs]


def categories_of(names: Sequence[str]) -> list[str]:
    """Return names as categories of an axis: on one line, shortened, and numbered where that makes them equal."""
    return distinct_names(names, LONGEST_LABEL)
