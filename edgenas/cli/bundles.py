"""Commands that judge what was handed over: gate, compare."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from edgenas.cli.options import AsJson, Quiet, print_json
from edgenas.files import user_path, write_json

app = typer.Typer()


@app.command("gate")
def gate_command(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="A bundle's folder or zip.")],
    budget: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option("--budget", help="What must be met: 8ms, 8ms@p95, macs=10M, weight_bytes=400kB. Repeatable."),
    ] = None,
    min_top1: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option(min=0, max=1, help="Least test top-1 of the deployed file: 0.90."),
    ] = None,
    device: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Which of the bundle's devices; needed where it is for several."),
    ] = None,
    on: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(metavar="PLACE", help="Where it is: ssh://user@host[:port][?python=/path]. Default: here."),
    ] = None,
    rounds: Annotated[int, typer.Option(min=8, max=10_000, help="Visits of the timer.")] = 40,
    evidence: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(metavar="JSON", help="Write what was checked and measured into a file, whatever the result."),
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """May a bundle pass? Whole, accurate enough, within budget as measured now. Exits with 1 where it may not."""
    from edgenas.budget import parse_budget
    from edgenas.display import ProgressDisplay, tell
    from edgenas.pipeline.gate import gate, refusal
    from edgenas.profiling.place import parse_place

    budgets, place = [parse_budget(text) for text in budget or []], parse_place(on) if on else None
    with ProgressDisplay(quiet=quiet) as progress:
        found = gate(
            user_path(bundle),
            budgets,
            min_top1=min_top1,
            device=device,
            place=place,
            rounds=rounds,
            progress=progress,
        )
    if evidence:
        write_json(user_path(evidence), found)
    if as_json:
        print_json(found)
    else:
        for check in found["checks"]:
            tell(f"{'ok  ' if check['ok'] else 'FAIL'}  {check['said']}")
    if error := refusal(found):
        raise error


@app.command()
def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN…", help="Run folders whose reports are written.")],
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Runs side by side: what was chosen, how accurate and fast it is, what it cost, and what may not be compared."""
    from edgenas.display import print_comparison
    from edgenas.report.compare import compare_runs

    found = compare_runs([user_path(run) for run in runs])
    if as_json:
        print_json(found.to_json())
    else:
        print_comparison(found.names, found.rows, found.doubts)
