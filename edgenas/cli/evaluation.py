"""Commands on a trained supernet's subnets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from edgenas.cli.options import AsJson, Quiet, print_json

app = typer.Typer()


@app.command("evaluate")
def evaluate_command(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder whose supernet is trained.")],
    archs: Annotated[
        list[str],
        typer.Option(metavar="ARCH|chosen|best:K|front", help="Which subnets; several with commas. Repeatable."),
    ],
    split: Annotated[
        Literal["val", "test"],
        typer.Option(help="val: what every choice saw. test: only once a network is chosen."),
    ] = "val",
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Accuracy of networks, class by class; appended to RUN/evaluate/accuracy.jsonl.

    A fine-tuned network has the weights that it ships with; those of `front` are as the search scored them.
    """
    from edgenas.display import ProgressDisplay, print_table
    from edgenas.runs.folder import open_run
    from edgenas.stages.evaluate import FILE, evaluate

    names = [name.strip() for text in archs for name in text.split(",") if name.strip()]
    with ProgressDisplay(quiet=quiet) as progress:
        rows = evaluate(open_run(folder), names, split, progress)
    if as_json:
        print_json({"rows": rows})
        return
    columns = ["arch", "weights", f"{split} top-1", "worst class", "its top-1"]
    told = [
        [
            row["arch"],
            "fine-tuned" if row["fine_tuned"] else "inherited",
            f"{row['top1']:.2%}",
            row["worst_class"],
            f"{row['worst_class_top1']:.2%}",
        ]
        for row in rows
    ]
    print_table(columns, told, right=[columns[2], columns[4]])
    print(f"\nevery class: {folder / FILE}")
