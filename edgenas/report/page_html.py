"""Pieces of HTML: text, lists, tables."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence


def text(value: str) -> str:
    """Text as HTML takes it."""
    return html.escape(value)


def prose(value: str) -> str:
    """Text with what stands between backticks as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", text(value))


def sentences(said: Sequence[str]) -> str:
    """Sentences as a list."""
    return "<ul>" + "".join(f"<li>{prose(one.rstrip('.'))}.</li>" for one in said if one) + "</ul>"


def folded(title: str, body: str) -> str:
    """What is shown when asked for."""
    return f"<details><summary>{text(title)}</summary>{body}</details>"


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
        return "".join(f"<{tag}{kind}>{text(cell)}</{tag}>" for kind, cell in zip(kinds, row, strict=True))

    chosen = ' class="chosen"'
    lines = "".join(f"<tr{chosen if place in marked else ''}>{cells(row, 'td')}</tr>" for place, row in enumerate(rows))
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="table"><table><thead><tr>{cells(header, "th")}'
        f"</tr></thead><tbody>{lines}</tbody></table></div>"
    )
