"""Commands that take over supernets from elsewhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from edgenas.cli.options import AsJson, Budgets, RunFolder, Sets, print_json
from edgenas.files import user_path

app = typer.Typer(help="Supernets from elsewhere: search them without training.", no_args_is_help=True)


@app.callback()
def _imports() -> None:
    """Supernets from elsewhere: search them without training."""


@app.command("ofa")
def import_ofa_command(
    checkpoint: Annotated[Path, typer.Argument(help="A public once-for-all checkpoint, like ofa_mbv3_d234_….")],
    pictures: Annotated[
        Path,
        typer.Option(
            "--calibration-images",
            help="Class folders of pictures that it was not trained on, like ImageNet's val/: divided into pictures "
            "that settle batch norm, that choose, and that judge.",
        ),
    ],
    space: Annotated[str, typer.Option(help="ofa-mbv3-w1.0 or ofa-mbv3-w1.2.")] = "ofa-mbv3-w1.0",
    budget: Budgets = None,
    sets: Sets = None,
    run: RunFolder = None,
    as_json: AsJson = False,
) -> None:
    """A run folder from a public once-for-all checkpoint: go on with profile, search, verify and export."""
    from edgenas.display import ProgressDisplay
    from edgenas.pipeline.importing import import_ofa, ofa_config

    overrides = [*(sets or []), *([f"budgets={json.dumps(budget)}"] if budget else [])]
    config = ofa_config(user_path(checkpoint), space, user_path(pictures), overrides)
    folder = run or Path("runs") / config.name
    with ProgressDisplay() as progress:
        begun = import_ofa(config, folder, progress)
    params = begun.result("train")["params"]
    if as_json:
        print_json({"run": str(folder), "space": begun.space.structure_id, "params": params})
        return
    print(f"imported {params:,} parameters of {begun.space.name} into {folder}")
    print("go on with: edgenas profile, search, verify, export and report, each on that folder")
