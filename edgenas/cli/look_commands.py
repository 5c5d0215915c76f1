"""Commands that look at runs and models: status, evaluate, compare, inspect."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Optional

import typer

from edgenas.cli.options import AsJson, Panel, Quiet, RunArgument, print_json
from edgenas.errors import UserError
from edgenas.files import prove_file, user_path

app = typer.Typer()


@app.command(rich_help_panel=Panel.LOOK)
def status(folder: RunArgument, as_json: AsJson = False, quiet: Quiet = False) -> None:
    """List the stages of a run, which of them are done, and the exported network."""
    from edgenas.deploy.bundle.shipped_wording import shipped_sentences
    from edgenas.display import print_line, print_table
    from edgenas.records.export import ExportRecord
    from edgenas.runs.run import open_run
    from edgenas.runs.stage_order import ORDER, STAGES
    from edgenas.runs.unfinished import stage_state

    run = open_run(folder)
    stages = {stage: run.done(stage) for stage in ORDER if run.lacks(stage) is None}
    chosen = run.result(ExportRecord).chosen if run.done("export") else None
    if as_json:
        exported = None if chosen is None else chosen.to_json()
        print_json({"name": run.config.name, "space": run.space.name, "stages": stages, "chosen": exported})
        return
    print_table(["stage", "state"], [[stage, stage_state(run, stage)] for stage in stages])
    if chosen is not None:
        print()
        for line in (f"exported {chosen.arch.id}", *shipped_sentences(chosen)):
            print_line(line)
    for reason in filter(None, map(run.lacks, STAGES)):
        print(f"\n{reason}")


@app.command("evaluate", rich_help_panel=Panel.LOOK)
def evaluate_command(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder whose supernet is trained.")],
    archs: Annotated[
        list[str],
        typer.Option(metavar="ARCH|chosen|best:K|front", help="The subnets; several with commas. Repeatable."),
    ],
    split: Annotated[
        Literal["val", "test"],
        typer.Option(help="val: the images that choices are based on. test: only once a network is chosen."),
    ] = "val",
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Measure the accuracy of networks, class by class; append it to RUN/evaluate/accuracy.jsonl.

    A fine-tuned network is evaluated with its fine-tuned weights, networks of `front` with those the search scored.
    """
    from edgenas.display import ProgressDisplay, print_table
    from edgenas.runs.run import open_run
    from edgenas.stages.evaluate import FILE, evaluate

    names = [name.strip() for text in archs for name in text.split(",") if name.strip()]
    with ProgressDisplay(quiet=quiet) as progress:
        scores = evaluate(open_run(folder), names, split, progress)
    if as_json:
        print_json({"rows": [score.to_json() for score in scores]})
        return
    columns = ["arch", "weights", f"{split} top-1", "mean of classes", "worst class", "its top-1"]
    rows = [
        [
            score.arch.id,
            "fine-tuned" if score.fine_tuned else "inherited",
            f"{score.top1:.2%}",
            f"{score.macro_top1:.2%}",
            score.worst_class,
            f"{score.worst_class_top1:.2%}",
        ]
        for score in scores
    ]
    print_table(columns, rows, right=[columns[2], columns[3], columns[5]])
    print(f"\nevery class: {folder / FILE}")


@app.command(rich_help_panel=Panel.LOOK)
def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN…", help="Run folders with reports.")],
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Compare runs: the chosen networks, their accuracy, latency and cost, and warnings where runs differ."""
    from edgenas.display import print_comparison
    from edgenas.report.compare import compare_runs

    comparison = compare_runs([user_path(run) for run in runs])
    if as_json:
        print_json(comparison.to_json())
    else:
        print_comparison(comparison.names, comparison.rows, comparison.warnings)


@app.command("inspect", rich_help_panel=Panel.LOOK)
def inspect_command(
    model: Annotated[Path, typer.Argument(help="An ONNX file, exported by edgenas or by others.")],
    runs: Annotated[int, typer.Option(min=10, max=1000, help="Runs with the profiler, and as many without.")] = 100,
    threads: Annotated[int, typer.Option(min=1, max=1024, help="Threads of an operator.")] = 1,
    provider: Annotated[
        str, typer.Option(help="Execution provider of all nodes; a model that falls back to another is refused.")
    ] = "cpu",
    plot: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--plot", metavar="PNG", help="Draw the blocks' latencies into a PNG file."),
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Show where a model's time and memory go, by block, and why its five slowest operators are slow."""
    from edgenas.cli.inspection_display import print_inspection
    from edgenas.deploy.inspection.inspect import inspect_model

    if plot and plot.suffix.lower() != ".png":
        raise UserError(f"--plot {plot}: expected a file name that ends in .png")
    if plot:
        prove_file(user_path(plot))
    inspection = inspect_model(user_path(model), runs=runs, threads=threads, provider=provider)
    if plot:
        from edgenas.report.study_charts import draw_blocks

        bounds = [inspection.bound(block) for block in inspection.blocks]
        draw_blocks(inspection.model, inspection.p50_us, inspection.blocks, bounds).write(user_path(plot))
    if as_json:
        print_json(inspection.to_json())
    else:
        print_inspection(inspection)
