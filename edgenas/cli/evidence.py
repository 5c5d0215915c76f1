"""Commands that ask whether a run is to be believed: trust and worth."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from edgenas.cli.options import AsJson, Quiet, print_json

if TYPE_CHECKING:
    # Not otherwise: it loads torch, which `--help` can do without.
    from edgenas.runs.folder import Progress

app = typer.Typer()

Finished = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")]
Jobs = Annotated[
    int,
    typer.Option(
        metavar="N",
        min=1,
        help="Networks trained at a time, a process each, of as many threads each as torch has: with OMP_NUM_THREADS=1 "
        "as many as cores.",
    ),
]
OnlyCost = Annotated[bool, typer.Option("--plan", help="Say what is left to do and how long it takes; do nothing.")]


@app.command()
def trust(
    folder: Finished,
    subnets: Annotated[int, typer.Option(metavar="N", help="Half cover the space, half have near-equal MACs.")] = 12,
    epochs: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option(metavar="E", help="That each is trained from scratch. Default: as many as the supernet."),
    ] = None,
    seed: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(metavar="S", help="Of the subnets and their weights. Default: the run's."),
    ] = None,
    repeats: Annotated[
        int, typer.Option(metavar="N", help="Trainings of each; tells, too, how well these agree among themselves.")
    ] = 1,
    jobs: Jobs = 1,
    plan: OnlyCost = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Can the supernet be trusted: accuracies that subnets inherit, beside what they reach when trained from scratch.

    Says first what it costs. Goes on where it stopped. Leaves table, figure and JSON in RUN/trust.
    """
    from edgenas.cli.evidence_display import print_trust
    from edgenas.runs.folder import open_run
    from edgenas.studies.ranking import Trust, run_trust, trust_told

    run, wanted = open_run(folder), Trust(subnets, epochs, seed, repeats)
    lines, seconds = trust_told(run, wanted, jobs)
    if not _only_told(lines, seconds, plan, as_json, quiet):
        _look(partial(run_trust, run, wanted, jobs=jobs), print_trust, folder, "trust", as_json, quiet)


@app.command()
def worth(
    folder: Finished,
    seeds: Annotated[int, typer.Option(metavar="N", help="Of each rival, from the run's seed on.")] = 3,
    minutes: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option(
            metavar="N",
            help="Of each rival and seed, at the clock that the run had. Default: the whole time that edgenas took.",
        ),
    ] = None,
    jobs: Jobs = 1,
    plan: OnlyCost = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Was the search worth it: its network beside MobileNetV3-Small and random search, given as much time and latency.

    Says first what it costs. Goes on where it stopped. Leaves table, figure and JSON in RUN/worth.
    """
    from edgenas.cli.evidence_display import print_worth
    from edgenas.runs.folder import open_run
    from edgenas.studies.baseline_training import Worth
    from edgenas.studies.baselines import run_worth, worth_told

    run, wanted = open_run(folder), Worth(seeds, minutes)
    lines, seconds = worth_told(run, wanted, jobs)
    if not _only_told(lines, seconds, plan, as_json, quiet):
        _look(partial(run_worth, run, wanted, jobs=jobs), print_worth, folder, "worth", as_json, quiet)


def _look(
    do: Callable[[Progress], dict[str, Any]],
    show: Callable[[dict[str, Any], Path], None],
    folder: Path,
    name: str,
    as_json: bool,
    quiet: bool,
) -> None:
    """Do what was asked for, with its progress, and print what was found."""
    from edgenas.display import ProgressDisplay

    with ProgressDisplay(quiet=quiet) as progress:
        found = do(progress)
    if as_json:
        print_json({"run": str(folder), **found})
    else:
        show(found, folder / name)


def _only_told(lines: list[str], seconds: float, plan: bool, as_json: bool, quiet: bool) -> bool:
    """Say what is left to do; whether that is all that was asked for."""
    if plan and as_json:
        print_json({"what": lines, "seconds": seconds})
    elif plan:
        print(*lines, sep="\n")
    elif not (as_json or quiet):
        print(*lines, sep="\n", file=sys.stderr)
    return plan
