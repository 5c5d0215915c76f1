"""A report as HTML: one file that needs no network."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from edgenas.markup import html, html_block, html_sentence
from edgenas.report.contents import FileLink, Heading, Lines, Part, Report, ReportSection, Table, YamlListing
from edgenas.report.figure import DARK, LIGHT, Figure
from edgenas.report.plotly_figure import plotly_figure

HERE = Path(__file__).parent


def render_html(report: Report) -> str:
    """Return a report as one page of HTML, with its script and plotly's inside."""
    links = "".join(f'<li><a href="#{part.name}">{html(part.title)}</a></li>' for part in report.sections)
    facts = "".join(f"<li><b>{html(value)}</b> {html(what)}</li>" for value, what in report.facts)
    body = [
        f'<header><h1>{html(report.title)}</h1><ul class="facts">{facts}</ul>',
        *map(_part, report.parts),
        f'<nav aria-label="Sections"><ul>{links}</ul></nav></header><main>',
        *map(_section, report.sections),
        "</main>",
    ]
    figures = {name: plotly_figure(figure) for part in report.sections for name, figure in _placed(part)}
    return _filled(
        (HERE / "page_template.html").read_text(encoding="utf-8"),
        title=html(report.title),
        body="\n".join(body),
        figures=_json(figures),
        themes=_json({"light": LIGHT, "dark": DARK}),
        plotly=_plotly(),
        script=(HERE / "page_script.js").read_text(encoding="utf-8"),
    )


def _json(value: object) -> str:
    # The name of a class or a path may contain the end of a script.
    return json.dumps(value, ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")


def _plotly() -> str:
    # Imported where it is needed, as it is slow to import.
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())


def _filled(template: str, **parts: str) -> str:
    """Return the template with its marks replaced; marks inside the replacements stay."""
    return re.sub(r"\{\{(\w+)\}\}", lambda mark: parts[mark[1]], template)


def _placed(section: ReportSection) -> Iterator[tuple[str, Figure]]:
    """Yield each figure of a section with the identifier of its element."""
    for number, figure in enumerate(section.figures):
        yield f"{section.name}-{number}", figure


def _section(section: ReportSection) -> str:
    panels = "".join(_panel(name, figure) for name, figure in _placed(section))
    return (
        f'<section id="{section.name}"><h2>{html(section.title)}</h2>'
        f'<p class="finding">{html_sentence(section.finding)}.</p>'
        f'{f"""<div class="panels">{panels}</div>""" if panels else ""}{"".join(map(_part, section.parts))}</section>'
    )


def _panel(name: str, figure: Figure) -> str:
    label = f"{figure.finding}. Arrow keys go from point to point."
    return (
        f'<div><div class="figure" id="{name}" tabindex="0" role="figure" aria-label="{html(label)}"></div>'
        '<div class="spoken" role="status" aria-live="polite"></div></div>'
    )


def _part(part: Part) -> str:
    match part:
        case Heading():
            return f"<h3>{html(part.text)}</h3>"
        case Lines():
            return (
                "<ul>"
                + "".join(f"<li>{html_sentence(line.rstrip('.'))}.</li>" for line in part.sentences if line)
                + "</ul>"
            )
        case Table():
            return _folded(part.fold, _table(part)) if part.fold else _table(part)
        case YamlListing():
            return _folded(part.title, f"<pre>{html_block(part.text)}</pre>")
        case FileLink():
            # A link would lead to nothing once the page is copied elsewhere.
            return f"<p>{html(part.name)}: <code>{html(part.path)}</code></p>"


def _folded(title: str, body: str) -> str:
    return f"<details><summary>{html(title)}</summary>{body}</details>"


def _table(table: Table) -> str:
    """Return a table that scrolls by itself on narrow screens."""

    def cells(row: Sequence[str], tag: str) -> str:
        kinds = (' class="number"' if column in table.numbers else "" for column in range(len(row)))
        return "".join(f"<{tag}{kind}>{html(cell)}</{tag}>" for kind, cell in zip(kinds, row, strict=True))

    marks = (' class="chosen"' if index in table.marked else "" for index in range(len(table.rows)))
    lines = "".join(f"<tr{mark}>{cells(row, 'td')}</tr>" for mark, row in zip(marks, table.rows, strict=True))
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="table"><table><thead><tr>'
        f"{cells(table.header, 'th')}</tr></thead><tbody>{lines}</tbody></table></div>"
    )
