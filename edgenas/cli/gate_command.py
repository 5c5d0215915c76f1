"""The command that checks a bundle before it is deployed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from edgenas.cli.options import AsJson, On, Pack, Panel, Quiet, Unpack, print_json
from edgenas.cli.run_commands import print_packed
from edgenas.cli.run_source import build_reach
from edgenas.errors import ConfigError, Packed
from edgenas.exits import NOT_WITHIN
from edgenas.files import prove_file, user_path, write_json

if TYPE_CHECKING:
    from edgenas.gate.evidence import Evidence

app = typer.Typer()
EXIT_CODES = {"pass": 0, "fail": 1, "not significant": NOT_WITHIN}


@app.command("gate", rich_help_panel=Panel.EXPORT)
def gate_command(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="A bundle's folder or zip.")],
    budget: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option("--budget", help="A limit to check: 8ms, 8ms@p95, macs=10M, weight_bytes=400kB. Repeatable."),
    ] = None,
    min_top1: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option(min=0, max=1, help="Minimum test top-1 of the deployed file: 0.90."),
    ] = None,
    images: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(
            metavar="FOLDER",
            help="Measure top-1 on these labelled images: one folder for each class, named like the class. "
            "Default: the top-1 of the manifest.",
        ),
    ] = None,
    digest: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(metavar="HEX", help="Expected digest of the manifest, or its first 12 digits."),
    ] = None,
    device: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="One of the bundle's devices; required if it has several."),
    ] = None,
    on: On = None,
    pack: Pack = None,
    unpack: Unpack = None,
    rounds: Annotated[int, typer.Option(min=8, max=10_000, help="Rounds of the timer.")] = 40,
    evidence: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(metavar="JSON", help="Write all checks and measurements into a file, whatever the result."),
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Check that a bundle is complete, accurate enough and within budget, as measured now.

    Latency is measured on the bundle's device: this machine if it has the same CPU, cores and ISA, else --on or --pack
    reaches it. The last line is the verdict. Exit code 0: the bundle passes. 1: it does not, or a kit was packed and
    nothing is decided. 2: wrong arguments. 3: the latency is within budget, but not significantly.
    """
    from edgenas.budget import parse_budget
    from edgenas.display import ProgressDisplay
    from edgenas.gate.gate import Requirements, gate

    requirements = Requirements(
        budgets=[parse_budget(text) for text in budget or []],
        min_top1=min_top1,
        images=images and user_path(images),
        device=device,
        reach=build_reach(on, pack, unpack),
        rounds=rounds,
    )
    if (on or pack or unpack) and not requirements.measured:
        raise ConfigError(
            "--on, --pack and --unpack measure, but no budget is of time: add one (--budget 8ms), or leave them out"
        )
    if evidence:
        prove_file(user_path(evidence))
    try:
        with ProgressDisplay(quiet=quiet) as progress:
            result = gate(user_path(bundle), requirements, digest=digest, progress=progress)
    except Packed as packed:
        print_packed(packed, as_json)
        # Nothing is decided yet, and exit code 0 would let the bundle pass.
        raise typer.Exit(1) from None
    if evidence:
        write_json(user_path(evidence), result.to_json())
    _print_gate(result, as_json)
    if code := EXIT_CODES[result.outcome]:
        raise typer.Exit(code)


def _print_gate(evidence: Evidence, as_json: bool) -> None:
    """Print a line for each check of a gate, and the verdict last."""
    from edgenas.display import print_line

    if as_json:
        print_json(evidence.to_json())
        return
    for check in evidence.checks:
        print_line(f"{'ok  ' if check.ok else 'FAIL'}  {check.message}")
    print_line(evidence.verdict_line)
