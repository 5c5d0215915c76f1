"""All commands, put together."""

from __future__ import annotations

import signal
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from edgenas.cli import (
    data_commands,
    device_commands,
    export_commands,
    gate_command,
    import_commands,
    look_commands,
    run_commands,
    space_commands,
    stage_commands,
    study_commands,
    table_commands,
)
from edgenas.cli.options import Panel
from edgenas.exits import report_stopped


class Commands(TyperGroup):
    """Commands that report when a signal stops them."""

    def invoke(self, ctx: typer.Context) -> Any:  # type: ignore[override]
        """Run the command that the arguments name."""
        try:
            result = super().invoke(ctx)
            # A closed reader of standard output (`| head`) is noticed here, and typer handles it.
            sys.stdout.flush()
            return result
        except KeyboardInterrupt as stop:
            raise typer.Exit(report_stopped(getattr(stop, "signal_number", signal.SIGINT), stop)) from None


app = typer.Typer(name="edgenas", cls=Commands, no_args_is_help=True, pretty_exceptions_enable=False)
app.add_typer(run_commands.app)
app.add_typer(stage_commands.app)
app.add_typer(import_commands.app, name="import", rich_help_panel=Panel.RUN)
app.add_typer(space_commands.app, name="space", rich_help_panel=Panel.RUN)
app.add_typer(look_commands.app)
app.add_typer(space_commands.listing)
app.add_typer(data_commands.app, name="data", rich_help_panel=Panel.LOOK)
app.add_typer(device_commands.app, name="devices", rich_help_panel=Panel.DEVICE)
app.add_typer(table_commands.app, name="tables", rich_help_panel=Panel.DEVICE)
app.add_typer(export_commands.app)
app.add_typer(gate_command.app)
app.add_typer(study_commands.app, name="study", rich_help_panel=Panel.STUDY)


def _show_version(requested: bool) -> None:
    if requested:
        # Slow to import.
        from importlib.metadata import version

        print(f"edgenas {version('edgenas')}")
        raise typer.Exit


@app.callback()
def _options(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """From images, a device and a latency budget to an ONNX model that was measured to meet the budget."""
