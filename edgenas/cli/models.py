"""Commands on ONNX files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from edgenas.cli.options import AsJson, Quiet, print_json
from edgenas.errors import UserError

app = typer.Typer()


@app.command("inspect")
def inspect_command(
    model: Annotated[Path, typer.Argument(help="An ONNX file: an exported one, or any other.")],
    runs: Annotated[int, typer.Option(min=10, max=1000, help="Runs with the profiler, and as many without.")] = 100,
    threads: Annotated[int, typer.Option(min=1, max=1024, help="Threads of an operator.")] = 1,
    provider: Annotated[
        str, typer.Option(help="Who runs the nodes, all of them; a model that falls back to another is refused.")
    ] = "cpu",
    plot: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--plot", metavar="PNG", help="Draw the blocks' latencies into a PNG file."),
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Where a model's time and memory go, by block, and the five costliest operators with the reasons."""
    from edgenas.cli.inspection import print_inspection
    from edgenas.deploy.inspection.inspect import inspect_model
    from edgenas.files import prove_file, user_path

    if plot and plot.suffix.lower() != ".png":
        raise UserError(f"--plot {plot}: wanted a file name that ends in .png")
    if plot:
        prove_file(user_path(plot))
    found = inspect_model(user_path(model), runs=runs, threads=threads, provider=provider).to_json()
    if plot:
        from edgenas.report.study_charts import draw_blocks

        draw_blocks(found["model"], found["p50_us"], found["blocks"]).write(user_path(plot))
    if as_json:
        print_json(found)
    else:
        print_inspection(found)
