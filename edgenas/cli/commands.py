"""All commands, put together."""

from __future__ import annotations

import signal
import sys
from importlib.metadata import version
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from edgenas.cli import (
    bundles,
    data,
    devices,
    evaluation,
    evidence,
    exporting,
    imports,
    models,
    racing,
    runs,
    stages,
    tables,
)
from edgenas.exits import say_stopped


class Commands(TyperGroup):
    """Commands that say that they were stopped."""

    def invoke(self, ctx: typer.Context) -> Any:  # type: ignore[override]
        """Run the command that was asked for."""
        try:
            result = super().invoke(ctx)
            # A reader of standard output that is gone (`| head`) is noticed here, and dealt with by typer.
            sys.stdout.flush()
            return result
        except KeyboardInterrupt as stop:
            raise typer.Exit(say_stopped(getattr(stop, "signal_number", signal.SIGINT), stop)) from None


app = typer.Typer(name="edgenas", cls=Commands, no_args_is_help=True, pretty_exceptions_enable=False)
app.add_typer(runs.app)
app.add_typer(racing.app)
app.add_typer(stages.app)
app.add_typer(evidence.app)
app.add_typer(evaluation.app)
app.add_typer(exporting.app)
app.add_typer(bundles.app)
app.add_typer(models.app)
app.add_typer(data.app, name="data")
app.add_typer(devices.app, name="devices")
app.add_typer(tables.app, name="tables")
app.add_typer(imports.app, name="import")


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
    """From images, a device and a latency budget to an ONNX model that was measured to meet the budget."""
