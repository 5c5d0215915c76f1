"""Commands that import published supernets and accuracy predictors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Optional

import typer

from edgenas.cli.options import AsJson, Budgets, Quiet, RunFolder, Sets, print_json
from edgenas.cli.run_source import RUNS
from edgenas.errors import UserError
from edgenas.files import prove_writable, user_path

app = typer.Typer(help="Import published supernets and accuracy predictors.", no_args_is_help=True)


@app.command("ofa")
def import_ofa_command(
    checkpoint: Annotated[
        Path,
        typer.Argument(
            help="A public once-for-all checkpoint, like ofa_mbv3_d234_…; or ofa:w1.0 or ofa:w1.2, which is downloaded."
        ),
    ],
    images: Annotated[
        Path,
        typer.Option(
            "--calibration-images",
            help="Class folders of images that it was not trained on, like ImageNet's val/. They are split into "
            "images for batch-norm recalibration, validation and test.",
        ),
    ],
    space: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            help="ofa-mbv3-w1.0 or ofa-mbv3-w1.2. Default: that of the checkpoint's name, or w1.0 for a file."
        ),
    ] = None,
    budget: Budgets = None,
    sets: Sets = None,
    run: RunFolder = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Make a run folder from a public once-for-all checkpoint; continue with profile, search, verify and export."""
    from edgenas.display import ProgressDisplay
    from edgenas.records.train import TrainRecord
    from edgenas.stages.import_ofa import import_ofa, ofa_config
    from edgenas.supernet.pretrained.ofa_weights import is_ofa_name, ofa_file, ofa_preset

    overrides = [*(sets or []), *([f"budgets={json.dumps(budget)}"] if budget else [])]
    name = str(checkpoint) if is_ofa_name(str(checkpoint)) else None
    with ProgressDisplay(quiet=quiet) as progress:
        file = ofa_file(name, progress).path if name else user_path(checkpoint)
        preset = space or (ofa_preset(name) if name else "ofa-mbv3-w1.0")
        config = ofa_config(file, preset, user_path(images), overrides)
        folder = run or RUNS / config.name
        imported = import_ofa(config, folder, progress)
    params = imported.result(TrainRecord).params
    if as_json:
        print_json({"run": str(folder), "space": imported.space.structure_id, "params": params})
    elif not quiet:
        print(f"imported {params:,} parameters of {imported.space.name} into {folder}")
        print("continue with edgenas profile, search, verify, export and report, each on that folder")


@app.command("ofa-accuracy")
def import_ofa_accuracy(
    file: Annotated[Path, typer.Argument(metavar="FILE.pth", help="Once-for-all's published accuracy predictor.")],
    out: Annotated[Path, typer.Option(help="The file to write.")] = Path("ofa-accuracy.safetensors"),
    space: Annotated[str, typer.Option(help="Space of its architectures: a preset or a space YAML.")] = "ofa-mbv3-w1.2",
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Import Once-for-all's accuracy predictor, for `accuracy: {predictor: FILE}` in a config."""
    from edgenas.accuracy.ofa_predictor import OFAAccuracy, PredictorFacts
    from edgenas.space.loading import load_space

    source, target = user_path(file), user_path(out)
    if target.exists():
        raise UserError(f"{target} exists: choose another --out, or remove it")
    prove_writable(target)
    predictor = OFAAccuracy.read_published(source, PredictorFacts(space=load_space(space).structure_id))
    predictor.save(target)
    if as_json:
        print_json({"file": str(target), **predictor.facts.model_dump()})
    elif not quiet:
        print(f"wrote {target}; name it in a config as accuracy: {{predictor: {target}}}")
