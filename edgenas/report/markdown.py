"""A report as Markdown, with an image for each section that has figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from urllib.parse import quote

from edgenas.markup import markdown, markdown_fence, markdown_sentence
from edgenas.report.contents import FileLink, Heading, Lines, Part, Report, ReportSection, Table, YamlListing
from edgenas.report.lettering import ADVICE


def render_markdown(report: Report, numbers: Mapping[str, str] = MappingProxyType({})) -> str:
    """Return a report as Markdown.

    Args:
        report: the report.
        numbers: by name, the number that stands for it in images.
    """
    facts = [f"- {markdown(value)} {markdown(what)}" for value, what in report.facts]
    legend = Table(("in images", "name"), [[number, name] for name, number in numbers.items()])
    blocks = [
        f"# {markdown(report.title)}",
        "\n".join(facts),
        *map(_part, report.parts),
        *([f"{ADVICE}.", _part(legend)] if numbers else []),
        *(block for section in report.sections for block in _section(section)),
    ]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _section(section: ReportSection) -> list[str]:
    finding = markdown_sentence(section.finding)
    axes = [" against ".join(filter(None, (figure.y.title, figure.x.title))) for figure in section.figures]
    alt = markdown(f"{section.title}: {'; '.join(axes)}")
    image = [f"![{alt}]({section.name}.png)"] if axes else []
    return [f"## {markdown(section.title)}", f"**{finding}.**", *image, *map(_part, section.parts)]


def _part(part: Part) -> str:
    match part:
        case Heading():
            return f"### {markdown(part.text)}"
        case Lines():
            return "\n".join(f"- {markdown_sentence(line.rstrip('.'))}." for line in part.sentences if line)
        case Table():
            return _folded(part.fold, _table(part)) if part.fold else _table(part)
        case YamlListing():
            return _folded(part.title, "\n".join(markdown_fence(part.text.rstrip(), "yaml")))
        case FileLink():
            return f"{markdown(part.name)}: [{markdown(part.path)}](../{quote(part.path)})"


def _folded(title: str, body: str) -> str:
    return f"<details><summary>{markdown(title)}</summary>\n\n{body}\n\n</details>"


def _table(table: Table) -> str:
    rows = [_row(row, table, bold=index in table.marked) for index, row in enumerate(table.rows)]
    alignment = ["---:" if column in table.numbers else "---" for column in range(len(table.header))]
    return "\n".join("| " + " | ".join(row) + " |" for row in [list(map(markdown, table.header)), alignment, *rows])


def _row(row: Sequence[str], table: Table, *, bold: bool) -> list[str]:
    cells = [_code(cell) if column == table.code else markdown(cell) for column, cell in enumerate(row)]
    return [f"**{cells[0]}**", *cells[1:]] if bold else cells


def _code(cell: str) -> str:
    # A backtick would end the code, and a bar the cell.
    return markdown(cell) if set("`|") & set(cell) else markdown_sentence(f"`{cell}`")
