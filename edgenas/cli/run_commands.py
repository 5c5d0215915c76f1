"""Commands for whole runs, and how all commands open a run and print its results."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from edgenas.cli.options import (
    AsJson,
    Budgets,
    On,
    Output,
    Pack,
    Panel,
    Plan,
    Quiet,
    RunFolder,
    Sets,
    Target,
    TrainMinutes,
    Unpack,
    WholeMinutes,
    print_json,
)
from edgenas.cli.run_source import RunSource, build_reach, check_train_minutes
from edgenas.errors import Packed
from edgenas.exits import NOT_WITHIN
from edgenas.files import read_json
from edgenas.records.paths import SUMMARY

if TYPE_CHECKING:
    # Importing them takes longer than `--help` should.
    from collections.abc import Sequence

    from edgenas.budget import Budget
    from edgenas.config.run_config import RunConfig
    from edgenas.profiling.transport_registry import TransportRegistry
    from edgenas.records.record import Verdict
    from edgenas.runs.run import Run

DEMO = Path(__file__).parent.parent / "demo.yaml"

app = typer.Typer()


@app.command(rich_help_panel=Panel.RUN)
def demo(
    budget: Budgets = None,
    sets: Sets = None,
    run: RunFolder = None,
    minutes: WholeMinutes = None,
    train_minutes: TrainMinutes = None,
    plan: Plan = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Do a whole run on handwritten digits, with this machine as the device: a few minutes on two cores."""
    overrides = _with_minutes(sets, minutes)
    source = RunSource(DEMO, budget, overrides, run, Output(as_json, quiet), build_reach(None, None, None))
    _whole_run(source, train_minutes, plan)


@app.command("run", rich_help_panel=Panel.RUN)
def run_command(
    target: Target,
    budget: Budgets = None,
    sets: Sets = None,
    run: RunFolder = None,
    minutes: WholeMinutes = None,
    train_minutes: TrainMinutes = None,
    on: On = None,
    pack: Pack = None,
    unpack: Unpack = None,
    plan: Plan = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Do a whole run: profile, train, search, verify, finetune, export, report. Resumes where it stopped."""
    overrides = _with_minutes(sets, minutes)
    source = RunSource(target, budget, overrides, run, Output(as_json, quiet), build_reach(on, pack, unpack))
    _whole_run(source, train_minutes, plan)


def _with_minutes(sets: list[str] | None, minutes: float | None) -> list[str] | None:
    """Return the values of --set with that of --minutes."""
    return sets if minutes is None else [*(sets or []), f"minutes={minutes!r}"]


def _whole_run(source: RunSource, minutes: float | None, plan: bool) -> None:
    opened = source.resumed()
    config = opened.config if opened else source.config()
    check_train_minutes(config, minutes)
    if plan:
        folder = opened.folder if opened else source.run_folder(config)
        _show_plan(config, folder, minutes, source.output.as_json, source.reach)
        return
    from edgenas.runs.stage_order import ORDER

    run = opened or source.start(config)
    run.require("search")
    run_and_print(run, ORDER, minutes, source.output)


def _show_plan(config: RunConfig, folder: Path, minutes: float | None, as_json: bool, reach: TransportRegistry) -> None:
    from edgenas.display import ProgressDisplay, print_table
    from edgenas.stages.plan import plan_budgets, plan_run

    with ProgressDisplay(quiet=as_json) as progress:
        progress("planning", 0, 1)
        stages = plan_run(config, folder, reach, minutes, progress)
    budgets = plan_budgets(config, folder, reach)
    left = [stage for stage in stages if not stage.done]
    seconds, disk = sum(stage.seconds for stage in left), sum(stage.disk_bytes for stage in left)
    if as_json:
        plan = {"stages": [stage.to_json() for stage in stages], "budgets": budgets}
        print_json(plan | {"seconds": seconds, "disk_bytes": disk})
        return
    rows = [[s.stage, s.what, "done" if s.done else f"{s.seconds:.0f}", f"{s.disk_bytes / 1e6:.1f}"] for s in stages]
    print_table(["stage", "what", "about s", "MB"], rows, right=["about s", "MB"])
    print("".join(f"\n{line}" for line in budgets))
    print("".join(f"warning: {stage.warning}\n" for stage in left if stage.warning), end="")
    print(f"left to do: about {seconds / 60:.1f} minutes and {disk / 1e6:.0f} MB in {folder}")


def run_and_print(run: Run, stages: tuple[str, ...], minutes: float | None, output: Output) -> None:
    """Run stages and print their results."""
    from edgenas.display import ProgressDisplay
    from edgenas.records.export import ExportRecord
    from edgenas.stages.whole_run import run_stages

    try:
        with ProgressDisplay(quiet=output.quiet) as progress:
            run_stages(run, progress, stages, minutes=minutes)
    except Packed as packed:
        print_packed(packed, output.as_json)
        return
    print_results(run, stages, output)
    if "export" in stages and run.done("export"):
        exit_by_verdict(run.config.budgets, run.result(ExportRecord).chosen.verdict)


def exit_by_verdict(budgets: Sequence[Budget], verdict: Verdict | None) -> None:
    """Exit with its own code if there are budgets and a file was not shown to be within a latency budget."""
    if budgets and verdict in ("not significant", "over"):
        raise typer.Exit(NOT_WITHIN)


def print_results(run: Run, stages: tuple[str, ...], output: Output) -> None:
    """Print the results of stages."""
    from edgenas.cli.summary_display import print_stage_notes, print_summary
    from edgenas.records.folder import SummaryRecord
    from edgenas.runs.stage_order import RECORDS

    if "report" in stages:
        path = run.folder / SUMMARY
        if output.as_json:
            print_json(read_json(path))
        else:
            print_summary(SummaryRecord.read(path, f"run `edgenas report {run.folder}`"), str(run.folder))
        return
    results = {stage: run.result(RECORDS[stage]) for stage in stages}
    if output.as_json:
        print_json({stage: result.to_json() for stage, result in results.items()})
        return
    print(f"done: {', '.join(stages)} in {run.folder}")
    for result in results.values():
        print_stage_notes(result)


def print_packed(packed: Packed, as_json: bool) -> None:
    """Print that a kit was packed."""
    if as_json:
        print_json({"packed": str(packed)})
    else:
        print(packed)


def run_stage(stage: str, source: RunSource, minutes: float | None = None) -> None:
    """Run one stage of an existing run, or of a new one from a config; see `RunSource.open`."""
    run_one_stage(stage, source.open(minutes), minutes, source.output)


def run_one_stage(stage: str, run: Run, minutes: float | None, output: Output) -> None:
    """Run one stage; before profiling, print what it measures and how long it takes."""
    if stage == "profile" and not (output.as_json or output.quiet or run.done(stage)):
        from edgenas.stages.devices.profile_plan import profile_lines

        print(
            *profile_lines(run.networks, run.config.profile, run.config.seed, run.devices.measured),
            sep="\n",
            file=sys.stderr,
        )
    run_and_print(run, (stage,), minutes, output)
