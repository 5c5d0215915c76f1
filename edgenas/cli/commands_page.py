"""Every command's help as one Markdown page: `python -m edgenas.cli.commands_page > examples/COMMANDS.md`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer

from edgenas.cli.commands import app

HEAD = """# Commands

What `edgenas COMMAND --help` says, as `python -m edgenas.cli.commands_page` writes it. Results go to standard output,
all else to standard error; `--json` prints one JSON object, `--quiet` leaves progress and notes out. Exit codes: 0
success, 2 what you can put right, 128 + its number a signal, 1 the rest. `edgenas --install-completion` lets your shell
complete commands and options.
"""


def commands_page() -> str:
    """The page."""
    root = typer.main.get_command(app)
    parts = [_part(path, command) for path, command in _leaves(root, "edgenas")]
    return "\n".join([HEAD, *parts])


def _leaves(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Commands that do something, with the words that call them."""
    inner = getattr(command, "commands", None)
    if inner is None:
        yield path, command
        return
    for name, one in inner.items():
        yield from _leaves(one, f"{path} {name}")


def _part(path: str, command: Any) -> str:
    context = typer.Context(command, info_name=path)
    usage = " ".join([path, *command.collect_usage_pieces(context)])
    lines = [f"## {path}", "", " ".join((command.help or "").split()), "", "```text", usage, "```", ""]
    records = [record for one in command.get_params(context) if (record := _record(one, context))]
    return "\n".join([*lines, "| | |", "|---|---|", *(f"| `{_cell(a)}` | {_cell(b)} |" for a, b in records), ""])


def _record(parameter: Any, context: typer.Context) -> tuple[str, str] | None:
    if "--help" in parameter.opts:
        return None
    record: tuple[str, str] | None = parameter.get_help_record(context)
    return record


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    print(commands_page(), end="")
