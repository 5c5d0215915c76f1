"""The command line: thin commands. Read a config, call one function, print a summary.

Results go to standard output, everything else to standard error. Exit code 0 only on success, 2 for what the
user got wrong, 1 for the rest.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated

import typer

from edgenas.cli import data, devices, models, runs, tables
from edgenas.exits import Commands, exit_codes

app = typer.Typer(name="edgenas", cls=Commands, no_args_is_help=True, pretty_exceptions_enable=False)
app.add_typer(runs.app)
app.add_typer(models.app)
app.add_typer(data.app, name="data")
app.add_typer(devices.app, name="devices")
app.add_typer(tables.app, name="tables")


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"edgenas {version('edgenas')}")
        raise typer.Exit


@app.callback()
def _options(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """From pictures, a device and a latency budget to an ONNX model that was measured to meet the budget."""


def main() -> None:
    """Entry point: run a command; say what went wrong in one message and exit with the right code.

    Usage errors are typer's own to report, with exit code 2.
    """
    with exit_codes():
        app()
