"""Command that holds search strategies against one another."""

from __future__ import annotations

from typing import Annotated, Optional

import typer

from edgenas.cli.options import AsJson, Quiet, RunFolder, Sets, Shown, Target, print_json
from edgenas.cli.runs import RUNS, reach_of, read_config, start
from edgenas.errors import RunFolderError

app = typer.Typer()


@app.command()
def race(
    target: Target,
    strategies: Annotated[
        str,
        typer.Option(help="Names, by commas: nsga2 (NSGA-II with an archive), surrogate, random, grid, bayesian, …"),
    ] = "nsga2,surrogate,random",
    seeds: Annotated[int, typer.Option(help="Trials of each, from the run's seed on.")] = 5,
    evaluations: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(metavar="N", help="Of each trial. Default: search.evaluations."),
    ] = None,
    sets: Sets = None,
    run: RunFolder = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Search strategies side by side on a run's objectives: hypervolume by evaluations and seconds, with the spread."""
    from edgenas.cli.race_display import print_race
    from edgenas.display import ProgressDisplay
    from edgenas.runs.folder import open_run
    from edgenas.stages.whole_run import run_stages
    from edgenas.studies.strategies import Race, run_race

    if target.is_dir():
        if sets or run:
            raise RunFolderError(f"{target} is a run folder, whose config is settled: --set and --run go with a config")
        begun = open_run(target)
    else:
        config = read_config(target, None, sets)
        begun = start(config, run or RUNS / config.name, reach_of(None, None, None), Shown(as_json, quiet))
    names = tuple(name.strip() for name in strategies.split(",") if name.strip())
    wanted = Race(names, seeds, begun.config.search.evaluations if evaluations is None else evaluations)
    wanted.check()
    with ProgressDisplay(quiet=quiet) as progress:
        run_stages(begun, progress, [stage for stage in ("profile", "train") if begun.lacks(stage) is None])
        found = run_race(begun, wanted, progress)
    if as_json:
        print_json({"run": str(begun.folder), **found})
    else:
        print_race(found, begun.folder / "race")
