"""Escaping of text for each output format, for names in any script.

Sentences are plain text in which backticks enclose code. `name_in_sentence` puts a name into a sentence,
`markdown_sentence` and `html_sentence` put a sentence into a format, `markdown` and `html` any other text.
"""

from __future__ import annotations

import html as _html
import re
import unicodedata
from collections.abc import Sequence

JOINERS = "\u200c\u200d"
"""Characters that join or separate letters of Persian and Indic scripts, and emoji."""
LONGEST_NAME = 60
ISOLATE, END_ISOLATE = "\u2068", "\u2069"
_MARKS = re.compile(r"([\\`*_\[\]<>|#~$&])")
_LIST = re.compile(r"^([-+](?=\s|$)|[0-9]{1,9}(?=[.)](?:\s|$)))")
_CODE = re.compile(r"`([^`]+)`")


def visible(text: str) -> str:
    r"""Return the text on one line, its control and direction characters as escapes: `\n`, `\x1b`, `\u202e`."""
    return _visible(text, JOINERS)


def _visible(text: str, allowed: str) -> str:
    return "".join(each if each.isprintable() or each in allowed else _escape(each) for each in text)


def _visible_sentence(text: str) -> str:
    return _visible(text, JOINERS + ISOLATE + END_ISOLATE)


def _escape(letter: str) -> str:
    return letter.encode("unicode_escape").decode("ascii") if ord(letter) < 0xD800 else repr(letter)[1:-1]


def right_to_left(text: str) -> bool:
    """Return whether the text has letters that are written from right to left."""
    return any(unicodedata.bidirectional(each) in ("R", "AL") for each in text)


def name_in_sentence(name: str) -> str:
    """Return a name for a sentence: on one line, shortened, without backticks, isolated if right to left."""
    text = shortened_name(visible(name).replace("`", "'"), LONGEST_NAME)
    return f"{ISOLATE}{text}{END_ISOLATE}" if right_to_left(text) else text


def shortened_name(name: str, most: int) -> str:
    """Return at most `most` characters of a name; a longer one ends with an ellipsis."""
    return name if len(name) <= most else name[: most - 1] + "…"


def distinct_names(names: Sequence[str], most: int) -> list[str]:
    """Return each name on one line and shortened; names that become equal are numbered."""
    short = [shortened_name(visible(name), most) for name in names]
    seen: dict[str, int] = {}
    for name in short:
        seen[name] = seen.get(name, 0) + 1
    count: dict[str, int] = {}
    distinct = []
    for name in short:
        count[name] = count.get(name, 0) + 1
        distinct.append(f"{name} ({count[name]})" if seen[name] > 1 else name)
    return distinct


class Ready(str):
    """Markdown that `markdown` does not escape."""

    __slots__ = ()


def markdown(text: str) -> str:
    """Return text escaped for Markdown, on one line."""
    if isinstance(text, Ready):
        return str(text)
    return _escaped(visible(text))


def _escaped(text: str) -> str:
    return _LIST.sub(_escaped_start, _MARKS.sub(r"\\\1", text))


def _escaped_start(start: re.Match[str]) -> str:
    # Markdown can escape the point after a number, which begins a list, but not the digit.
    return f"{start[1]}\\" if start[1].isdigit() else f"\\{start[1]}"


def markdown_sentence(text: str) -> str:
    """Return a sentence as Markdown, with text between backticks as code."""
    if isinstance(text, Ready):
        return str(text)
    parts = _CODE.split(_visible_sentence(text))
    return "".join(f"`{part}`" if place % 2 else _escaped(part) for place, part in enumerate(parts))


def markdown_fence(text: str, language: str = "") -> list[str]:
    """Return lines of a code block, with a fence longer than any row of backticks inside."""
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return [f"{fence}{language}", text, fence]


def html(text: str) -> str:
    """Return text escaped for HTML, on one line."""
    return _html.escape(visible(text))


def html_block(text: str) -> str:
    """Return lines of text escaped for HTML's `<pre>`."""
    return "\n".join(map(html, text.split("\n")))


def html_sentence(text: str) -> str:
    """Return a sentence as HTML, with text between backticks as code."""
    return _CODE.sub(r"<code>\1</code>", _html.escape(_visible_sentence(text)))


def plotly(text: str) -> str:
    """Return text as plotly shows it in labels, which take a little HTML."""
    return _html.escape(visible(text), quote=False)
