"""Commands on the user's images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgenas.cli.options import AsJson, Quiet, print_json
from edgenas.errors import DataError
from edgenas.files import user_path

app = typer.Typer(help="Your images.", no_args_is_help=True)


@app.callback()
def _data() -> None:
    """Your images."""


@app.command("check")
def data_check(
    path: Annotated[Path, typer.Argument(help="Class folders, or a folder with train/ and perhaps val/ and test/.")],
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Open every image: classes, counts, sizes, broken and duplicate files, images in both train and test."""
    from edgenas.display import LISTED, ProgressDisplay, print_folder_check
    from edgenas.training.data.check import check_folder

    with ProgressDisplay(quiet=quiet) as progress:
        found = check_folder(user_path(path), progress)
    if as_json:
        print_json(found.to_json())
    else:
        print_folder_check(found.to_json())
    if found.problems:
        more = len(found.problems) - LISTED
        cut = f"; and {more:,} more: --json lists all" if more > 0 else ""
        raise DataError(f"{path}: {'; '.join(found.problems[:LISTED])}{cut}")
