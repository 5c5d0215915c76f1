"""What figures of the page share. A figure is a plotly specification: plain lists and dicts.

Colours that begin with `@` are names, which the page replaces by those of its theme, light or dark.
"""

from __future__ import annotations

from typing import Any

Figure = dict[str, Any]
"""`data`, `layout`, and `label`: what it shows, for those who do not see it."""
LOOKS = (("@red", "triangle-down", "dash"), ("@green", "triangle-up", "solid"), ("@blue", "circle", "dot"))
"""Colour, mark and line of the first, second and third of several: nothing is told by colour alone."""


def layout_of(x: str, y: str) -> Figure:
    """A layout with titled axes."""
    return {
        "xaxis": {"title": {"text": x}, "automargin": True},
        "yaxis": {"title": {"text": y}, "automargin": True},
        "height": 440,
    }


def short(value: float) -> float:
    """Six significant figures: more cannot be seen, and would be most of the page."""
    return float(f"{value:.6g}")


def label_of(text: str) -> str:
    """A class's name on an axis, which takes a little HTML: none of it is."""
    for letter, escaped in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        text = text.replace(letter, escaped)
    return text if len(text) <= 40 else text[:39] + "…"
