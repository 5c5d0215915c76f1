"""Commands that judge what was handed over: gate, compare."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from edgenas.cli.options import AsJson, On, Pack, Quiet, Unpack, print_json
from edgenas.cli.runs import reach_of, say_packed
from edgenas.errors import ConfigError, Packed
from edgenas.exits import NOT_WITHIN
from edgenas.files import prove_file, user_path, write_json

app = typer.Typer()
EXIT_CODES = {"pass": 0, "fail": 1, "not significant": NOT_WITHIN}


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
    images: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(
            metavar="FOLDER",
            help="Measure top-1 on these labelled images, in a folder for each class that is called as the class. "
            "Without them the manifest's top-1 is quoted.",
        ),
    ] = None,
    digest: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(metavar="HEX", help="The manifest's digest, or its first 12 digits: any other bundle fails."),
    ] = None,
    device: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Which of the bundle's devices; needed where it is for several."),
    ] = None,
    on: On = None,
    pack: Pack = None,
    unpack: Unpack = None,
    rounds: Annotated[int, typer.Option(min=8, max=10_000, help="Visits of the timer.")] = 40,
    evidence: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(metavar="JSON", help="Write what was checked and measured into a file, whatever the result."),
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Check whether a bundle is whole, accurate enough and within budget as measured now: exit code 0.

    Latency is measured on the bundle's device: this machine if it is the same in CPU, cores and ISA, else --on or
    --pack reaches it. The last line is the verdict. Exit code 1: the bundle does not pass, or a kit was packed and
    nothing is decided. 2: the question makes no sense. 3: the latency is within budget, but not significantly.
    """
    from edgenas.budget import parse_budget
    from edgenas.display import ProgressDisplay
    from edgenas.gate.gate import Asked, gate, outcome

    asked = Asked(
        budgets=[parse_budget(text) for text in budget or []],
        min_top1=min_top1,
        images=images and user_path(images),
        device=device,
        reach=reach_of(on, pack, unpack),
        rounds=rounds,
    )
    if (on or pack or unpack) and not asked.timed:
        raise ConfigError(
            "--on, --pack and --unpack are for measuring, and no budget is of time: add one (--budget 8ms), or leave "
            "them out"
        )
    if evidence:
        prove_file(user_path(evidence))
    try:
        with ProgressDisplay(quiet=quiet) as progress:
            found = gate(user_path(bundle), asked, digest=digest, progress=progress)
    except Packed as packed:
        say_packed(packed, as_json)
        # Nothing was decided, and 0 would let the bundle pass.
        raise typer.Exit(1) from None
    if evidence:
        write_json(user_path(evidence), found)
    _say_gate(found, as_json)
    if code := EXIT_CODES[outcome(found)]:
        raise typer.Exit(code)


def _say_gate(evidence: dict[str, Any], as_json: bool) -> None:
    """Print what a gate found: a line for each check, and the verdict last."""
    from edgenas.display import tell
    from edgenas.gate.gate import verdict_line

    if as_json:
        print_json(evidence)
        return
    for check in evidence["checks"]:
        tell(f"{'ok  ' if check['ok'] else 'FAIL'}  {check['said']}")
    tell(verdict_line(evidence))


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
        print_comparison(found.names, found.rows, found.warnings)
