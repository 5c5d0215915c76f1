"""The help of every command as one Markdown page: `python -m edgenas.cli.commands_page > examples/COMMANDS.md`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer

from edgenas.cli.commands import app

HEAD = """# Commands

The help of every command, written by `python -m edgenas.cli.commands_page`. Results go to standard output, progress and
errors to standard error. `--json` prints one JSON object, `--quiet` omits progress and notes. Exit codes: 0 success, 2
an error that you can fix, 3 a bundle not shown to be within its latency budget, 128 + n stopped by signal n, 1 any
other error. `edgenas --install-completion` lets your shell complete commands and options.
"""


def commands_page() -> str:
    """Return the page."""
    root = typer.main.get_command(app)
    parts = [_part(path, command) for path, command in leaves(root, "edgenas")]
    return "\n".join([HEAD, *parts])


def leaves(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Yield every command that is not a group, with the words that call it."""
    subcommands = getattr(command, "commands", None)
    if subcommands is None:
        yield path, command
        return
    for name, subcommand in subcommands.items():
        yield from leaves(subcommand, f"{path} {name}")


def _part(path: str, command: Any) -> str:
    context = typer.Context(command, info_name=path)
    usage = " ".join([path, *command.collect_usage_pieces(context)])
    lines = [f"## {path}", "", " ".join((command.help or "").split()), "", "```text", usage, "```", ""]
    records = [record for option in command.get_params(context) if (record := _record(option, context))]
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
