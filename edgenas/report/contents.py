"""What a report consists of, as frozen values, which HTML and Markdown render alike.

A line is a sentence of plain text in which backticks enclose code; its full stop is added when it is rendered.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgenas.report.figure import Figure


@dataclass(frozen=True)
class Heading:
    """A heading within a section."""

    text: str


@dataclass(frozen=True)
class Lines:
    """A list of sentences, with or without their full stops; empty ones and None are left out."""

    sentences: Sequence[str | None]


@dataclass(frozen=True)
class Table:
    """A table of plain text.

    Attributes:
        header: a title for each column.
        rows: cells.
        numbers: columns that are aligned to the right.
        marked: rows in bold.
        code: the column that holds code; None without one.
        fold: its title, where it is shown on demand only; empty to show it at once.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers: Sequence[int] = ()
    marked: frozenset[int] = frozenset()
    code: int | None = None
    fold: str = ""


@dataclass(frozen=True)
class YamlListing:
    """Lines of YAML, shown on demand."""

    title: str
    text: str


@dataclass(frozen=True)
class FileLink:
    """A file of the run folder, by its path there."""

    name: str
    path: str


Part = Heading | Lines | Table | YamlListing | FileLink


@dataclass(frozen=True)
class ReportSection:
    """A section: its finding stands first, then its figures, then the numbers.

    Attributes:
        name: its anchor, and the name of its image.
        title: its heading.
        finding: the most important sentence.
        figures: drawn side by side on the page, one below the other in an image.
        parts: lines, tables and others behind the figures.
    """

    name: str
    title: str
    finding: str
    figures: tuple[Figure, ...] = ()
    parts: tuple[Part, ...] = ()


@dataclass(frozen=True)
class Report:
    """A report of a run.

    Attributes:
        title: the run, its data set and its devices.
        facts: the most important figures, each a value and what it is.
        parts: lines, links and others below the facts.
        sections: in order.
        names: by kind (`class`, `device`), the names that figures may show.
    """

    title: str
    facts: Sequence[tuple[str, str]]
    parts: tuple[Part, ...]
    sections: tuple[ReportSection, ...]
    names: Mapping[str, Sequence[str]]
