"""Commands on the user's images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgenas.cli.options import AsJson, Quiet, print_json
from edgenas.errors import DataError
from edgenas.files import user_path

app = typer.Typer(help="Check your images.", no_args_is_help=True)


@app.callback()
def _data() -> None:
    """Check your images."""


@app.command("check")
def data_check(
    path: Annotated[Path, typer.Argument(help="Class folders, or a folder with train/ and optionally val/ and test/.")],
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Open every image: classes, counts, sizes, broken and duplicate files, images in both train and test."""
    from edgenas.cli.data_display import LISTED, print_folder_check
    from edgenas.display import ProgressDisplay
    from edgenas.training.data.check import check_folder

    with ProgressDisplay(quiet=quiet) as progress:
        check = check_folder(user_path(path), progress)
    if as_json:
        print_json(check.to_json())
    else:
        print_folder_check(check)
    if check.problems:
        more = len(check.problems) - LISTED
        rest = f"; and {more:,} more: --json lists all" if more > 0 else ""
        raise DataError(f"{path}: {'; '.join(check.problems[:LISTED])}{rest}")
