"""Commands that read what others published into files of ours."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgenas.cli.options import AsJson, Quiet, print_json
from edgenas.errors import UserError

app = typer.Typer(help="Read what others published.", no_args_is_help=True)


@app.callback()
def _import() -> None:
    """Read what others published."""


@app.command("ofa-accuracy")
def import_ofa_accuracy(
    file: Annotated[Path, typer.Argument(metavar="FILE.pth", help="Once-for-all's published accuracy predictor.")],
    out: Annotated[Path, typer.Option(help="The file to write.")] = Path("ofa-accuracy.safetensors"),
    space: Annotated[str, typer.Option(help="The space of its archs: a preset or a space YAML.")] = "ofa-mbv3-w1.2",
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Once-for-all's own accuracy predictor, for `accuracy: {predictor: FILE}` in a config."""
    from edgenas.files import user_path
    from edgenas.space.load import load_space
    from edgenas.supernet.ofa_accuracy import Facts, OFAAccuracy

    source, target = user_path(file), user_path(out)
    if target.exists():
        raise UserError(f"{target} exists: choose another --out, or remove it")
    predictor = OFAAccuracy.read_published(source, Facts(space=load_space(space).structure_id))
    predictor.save(target)
    if as_json:
        print_json({"file": str(target), **predictor.facts.model_dump()})
    elif not quiet:
        print(f"wrote {target}; name it in a config as accuracy: {{predictor: {target}}}")
