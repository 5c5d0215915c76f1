"""Pieces of Markdown: tables, images, what is folded."""

from __future__ import annotations

from collections.abc import Sequence

from edgenas.markup import markdown, markdown_sentence


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return a table whose cells are text, or Markdown where they are `Ready`."""
    lines = [map(markdown, header), ["---"] * len(header), *(map(markdown, row) for row in rows)]
    return ["| " + " | ".join(line) + " |" for line in lines]


def sentences(lines: Sequence[str]) -> list[str]:
    """Return sentences as a list; empty ones are left out."""
    return [f"- {markdown_sentence(line.rstrip('.'))}." for line in lines if line]


def image(name: str, alt: str, plots: Sequence[str], before: Sequence[str] = ()) -> list[str]:
    """An image, where there is one of that name."""
    return [*before, f"![{markdown(alt)}]({name})"] if name in plots else []


def folded(title: str, lines: Sequence[str]) -> list[str]:
    """What is shown when asked for; nothing where there is nothing."""
    return [f"<details><summary>{title}</summary>", "", *lines, "", "</details>"] if lines else []
