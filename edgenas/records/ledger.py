"""Ledgers: append-only JSONL files of typed rows."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from edgenas.files import SCHEMA_VERSION, append_rows, read_jsonl, write_jsonl
from edgenas.records.record import ArchParser, Record

Row = TypeVar("Row", bound=Record)
Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class Ledger(Generic[Row]):
    """An append-only JSONL file. A line that a kill tore is skipped when the file is read.

    Attributes:
        path: the file; it need not exist.
        kind: type of the rows.
        space: the search space, or the spaces, that every architecture must belong to; None to accept any.
        remedy: remedy for a damaged row, as an imperative clause.
    """

    path: Path
    kind: type[Row]
    space: ArchParser | None = None
    remedy: str = "delete that line"

    def append(self, *rows: Row) -> None:
        """Append rows and wait for the disk once."""
        append_rows(self.path, [{"schema_version": SCHEMA_VERSION, **row.to_json()} for row in rows])

    def write(self, rows: Iterable[Row]) -> None:
        """Write all rows in place of the former ones, atomically."""
        write_jsonl(self.path, [{"schema_version": SCHEMA_VERSION, **row.to_json()} for row in rows])

    def rows(self) -> tuple[Row, ...]:
        """Return all rows, the oldest first; none where the file does not exist.

        Rows of several types may share a file: those whose `kind` is another one are skipped.

        Raises:
            RunFolderError: a row is damaged.
            UserError: the file cannot be read, or a row is of a newer schema.
        """
        tag = self.kind.model_fields.get("kind")
        return tuple(
            self.kind.parse(row, f"{self.path}, row {number}", self.remedy, self.space)
            for number, row in enumerate(read_jsonl(self.path), start=1)
            if tag is None or row.get("kind") == tag.default
        )

    def last(self, key: Callable[[Row], Key]) -> dict[Key, Row]:
        """Return the last row of every key, in the order in which the keys first appear."""
        return {key(row): row for row in self.rows()}
