"""Pieces of HTML: text, lists, tables."""

from __future__ import annotations

from collections.abc import Sequence

from edgenas.markup import html, html_sentence


def sentences(said: Sequence[str]) -> str:
    """Sentences as a list."""
    return "<ul>" + "".join(f"<li>{html_sentence(one.rstrip('.'))}.</li>" for one in said if one) + "</ul>"


def folded(title: str, body: str) -> str:
    """What is shown when asked for."""
    return f"<details><summary>{html(title)}</summary>{body}</details>"


def table(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    numbers: Sequence[int] = (),
    marked: frozenset[int] = frozenset(),
) -> str:
    """A table that scrolls by itself on narrow screens; columns at `numbers` are aligned to the right."""

    def cells(row: Sequence[str], tag: str) -> str:
        kinds = (' class="number"' if place in numbers else "" for place in range(len(row)))
        return "".join(f"<{tag}{kind}>{html(cell)}</{tag}>" for kind, cell in zip(kinds, row, strict=True))

    chosen = ' class="chosen"'
    lines = "".join(f"<tr{chosen if place in marked else ''}>{cells(row, 'td')}</tr>" for place, row in enumerate(rows))
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="table"><table><thead><tr>{cells(header, "th")}'
        f"</tr></thead><tbody>{lines}</tbody></table></div>"
    )
