"""Pieces of Markdown: tables, pictures, what is folded."""

from __future__ import annotations

from collections.abc import Sequence


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A table; what would end a cell is escaped."""
    lines = [header, ["---"] * len(header), *rows]
    return ["| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in line) + " |" for line in lines]


def image(name: str, alt: str, plots: Sequence[str], before: Sequence[str] = ()) -> list[str]:
    """A picture, where there is one of that name."""
    return [*before, f"![{alt}]({name})"] if name in plots else []


def folded(title: str, lines: Sequence[str]) -> list[str]:
    """What is shown when asked for; nothing where there is nothing."""
    return [f"<details><summary>{title}</summary>", "", *lines, "", "</details>"] if lines else []
