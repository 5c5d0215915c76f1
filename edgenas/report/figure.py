"""What figures of the page share. A figure is a plotly specification: plain lists and dicts.

Colours that begin with `@` are names, which the page replaces by those of its theme, light or dark.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgenas.markup import distinct_names, plotly

Figure = dict[str, Any]
"""`data`, `layout`, and `label`: what it shows, for those who do not see it."""
LOOKS = (("@red", "triangle-down", "dash"), ("@green", "triangle-up", "solid"), ("@blue", "circle", "dot"))
"""Colour, mark and line of the first, second and third of several: nothing is told by colour alone."""


def layout_of(x: str, y: str) -> Figure:
    """A layout with titled axes."""
    return {
        "xaxis": {"title": {"text": plotly(x)}, "automargin": True},
        "yaxis": {"title": {"text": plotly(y)}, "automargin": True},
        "height": 440,
    }


def short(value: float) -> float:
    """Six significant figures: more cannot be seen, and would be most of the page."""
    return float(f"{value:.6g}")


LONGEST_LABEL = 40


def labels_of(names: Sequence[str]) -> list[str]:
    """Return names as labels of an axis: equal ones would be one category, so that shortened ones are numbered."""
    return [plotly(name) for name in distinct_names(names, LONGEST_LABEL)]
