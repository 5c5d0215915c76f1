"""Commands that study a finished run: how well a supernet ranks, whether a search pays, which strategy to use."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional, TypeVar

import typer

from edgenas.cli.options import (
    AsJson,
    Output,
    Plan,
    Quiet,
    RunArgument,
    RunFolder,
    Sets,
    Target,
    check_positive,
    print_json,
)
from edgenas.cli.run_source import RunSource, build_reach
from edgenas.errors import RunFolderError
from edgenas.records.record import Record

if TYPE_CHECKING:
    # Importing it loads torch, which `--help` can do without.
    from edgenas.progress import Progress

Result = TypeVar("Result", bound=Record)
app = typer.Typer(help="Study a run: its supernet's ranking, baselines, search strategies.", no_args_is_help=True)

Jobs = Annotated[
    int,
    typer.Option(
        metavar="N",
        min=1,
        help="Networks trained at a time, each in its own process with as many threads as torch has: set "
        "OMP_NUM_THREADS=1 and use as many jobs as cores.",
    ),
]


@app.command()
def ranking(
    folder: RunArgument,
    subnets: Annotated[int, typer.Option(metavar="N", help="Half cover the space, half have near-equal MACs.")] = 12,
    epochs: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option(metavar="E", help="Epochs of each standalone training. Default: the supernet's."),
    ] = None,
    seed: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(metavar="S", help="Seed of the subnets and of their weights. Default: the run's."),
    ] = None,
    repeats: Annotated[
        int, typer.Option(metavar="N", help="Trainings of each subnet; also shows how well these agree.")
    ] = 1,
    jobs: Jobs = 1,
    plan: Plan = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Compare the accuracies that subnets inherit from the supernet with those they reach in standalone training.

    Prints the time it needs first. Resumes where it stopped. Writes table, figure and JSON to RUN/study/ranking.
    """
    from edgenas.cli.study_display import print_ranking
    from edgenas.runs.run import open_run
    from edgenas.studies.ranking import FOLDER, RankingSettings, plan_ranking, run_ranking

    run, settings = open_run(folder), RankingSettings(subnets, epochs, seed, repeats)
    lines, seconds = plan_ranking(run, settings, jobs)
    if not _print_plan(lines, seconds, plan, as_json, quiet):
        study = partial(run_ranking, run, settings, jobs=jobs)
        _run_study(study, print_ranking, folder, FOLDER, as_json, quiet)


@app.command()
def baselines(
    folder: RunArgument,
    seeds: Annotated[int, typer.Option(metavar="N", help="Number of seeds of each, from the run's seed on.")] = 3,
    minutes: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option(
            "--baseline-minutes",
            metavar="N",
            callback=check_positive,
            help="Training time of each baseline and seed, at the run's clock. Default: the time that edgenas took.",
        ),
    ] = None,
    jobs: Jobs = 1,
    plan: Plan = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Compare the chosen network with MobileNetV3-Small and random search at equal latency and training time.

    Prints the time it needs first. Resumes where it stopped. Writes table, figure and JSON to RUN/study/baselines.
    """
    from edgenas.cli.study_display import print_baselines
    from edgenas.runs.run import open_run
    from edgenas.studies.baseline_training import FOLDER, BaselineSettings
    from edgenas.studies.baselines import plan_baselines, run_baselines

    run, settings = open_run(folder), BaselineSettings(seeds, minutes)
    lines, seconds = plan_baselines(run, settings, jobs)
    if not _print_plan(lines, seconds, plan, as_json, quiet):
        study = partial(run_baselines, run, settings, jobs=jobs)
        _run_study(study, print_baselines, folder, FOLDER, as_json, quiet)


@app.command()
def strategies(
    target: Target,
    names: Annotated[
        str,
        typer.Option(
            "--strategies",
            help="Names, separated by commas: nsga2 (NSGA-II with an archive), surrogate, random, grid, bayesian, …",
        ),
    ] = "nsga2,surrogate,random",
    seeds: Annotated[int, typer.Option(metavar="N", help="Number of seeds of each, from the run's seed on.")] = 5,
    evaluations: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(metavar="N", help="Evaluations of each search in all. Default: search.evaluations."),
    ] = None,
    sets: Sets = None,
    run: RunFolder = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Compare search strategies on a run's objectives: hypervolume by evaluations and seconds, with the spread.

    Resumes where it stopped. Writes figure and JSON to RUN/study/strategies.
    """
    from edgenas.cli.study_display import print_strategies
    from edgenas.display import ProgressDisplay
    from edgenas.stages.whole_run import run_stages
    from edgenas.studies.strategies import FOLDER, StrategySettings, run_strategies

    if target.is_dir() and (sets or run):
        raise RunFolderError(f"{target} is a run folder with a fixed config: --set and --run need a config file")
    opened = RunSource(target, None, sets, run, Output(as_json, quiet), build_reach(None, None, None)).open()
    default = opened.config.search.evaluations
    settings = StrategySettings(
        tuple(name.strip() for name in names.split(",") if name.strip()),
        seeds,
        default if evaluations is None else evaluations,
    )
    settings.check()
    with ProgressDisplay(quiet=quiet) as progress:
        run_stages(opened, progress, [stage for stage in ("profile", "train") if opened.lacks(stage) is None])
        result = run_strategies(opened, settings, progress)
    if as_json:
        print_json({"run": str(opened.folder), **result.to_json()})
    else:
        print_strategies(result, opened.folder / FOLDER)


def _run_study(
    study: Callable[[Progress], Result],
    show: Callable[[Result, Path], None],
    run: Path,
    folder: Path,
    as_json: bool,
    quiet: bool,
) -> None:
    """Run a study with its progress, and print its result."""
    from edgenas.display import ProgressDisplay

    with ProgressDisplay(quiet=quiet) as progress:
        result = study(progress)
    if as_json:
        print_json({"run": str(run), **result.to_json()})
    else:
        show(result, run / folder)


def _print_plan(lines: list[str], seconds: float, plan_only: bool, as_json: bool, quiet: bool) -> bool:
    """Print what is left to do; return whether the user asked for the plan only."""
    if plan_only and as_json:
        print_json({"what": lines, "seconds": seconds})
    elif plan_only:
        print(*lines, sep="\n")
    elif not (as_json or quiet):
        print(*lines, sep="\n", file=sys.stderr)
    return plan_only
