"""Commands on runs: whole ones, single stages, and how far one is."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgenas.cli.options import (
    AsJson,
    Budgets,
    Minutes,
    On,
    Pack,
    Plan,
    Quiet,
    RunFolder,
    Sets,
    Shown,
    Target,
    Unpack,
    print_json,
)
from edgenas.config.reading import load_config
from edgenas.config.run_config import RunConfig
from edgenas.errors import ConfigError, Packed, RunFolderError
from edgenas.exits import NOT_WITHIN
from edgenas.files import prove_file, read_json, user_path

if TYPE_CHECKING:
    # Not otherwise: it loads torch, which `--help` can do without.
    from edgenas.profiling.transport_registry import TransportRegistry
    from edgenas.profiling.verdict import Verdict
    from edgenas.runs.folder import Run

RUNS = Path("runs")
DEMO = Path(__file__).parent.parent / "demo.yaml"

app = typer.Typer()


@app.command()
def demo(
    budget: Budgets = None,
    sets: Sets = None,
    run: RunFolder = None,
    minutes: Minutes = None,
    plan: Plan = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """The whole path on handwritten digits, with this machine as the device: a few minutes on two cores."""
    _whole_run(DEMO, budget, sets, run, minutes, plan, Shown(as_json, quiet), reach_of(None, None, None))


@app.command("run")
def run_command(
    target: Target,
    budget: Budgets = None,
    sets: Sets = None,
    run: RunFolder = None,
    minutes: Minutes = None,
    on: On = None,
    pack: Pack = None,
    unpack: Unpack = None,
    plan: Plan = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """A whole run: profile, train, search, verify, finetune, export, report. Goes on where it stopped."""
    _whole_run(target, budget, sets, run, minutes, plan, Shown(as_json, quiet), reach_of(on, pack, unpack))


def _whole_run(
    path: Path,
    budget: list[str] | None,
    sets: list[str] | None,
    folder: Path | None,
    minutes: float | None,
    plan: bool,
    shown: Shown,
    reach: TransportRegistry,
) -> None:
    begun = _begun(path, budget, sets, folder, reach)
    config = begun.config if begun else read_config(path, budget, sets)
    check_minutes(config, minutes)
    folder = begun.folder if begun else folder or RUNS / config.name
    if plan:
        _show_plan(config, folder, minutes, shown.as_json, reach)
        return
    from edgenas.runs.folder import ORDER

    run = begun or start(config, folder, reach, shown)
    run.needs("search")
    do_stages(run, ORDER, minutes, shown)


def start(config: RunConfig, folder: Path, reach: TransportRegistry, shown: Shown) -> Run:
    """Open a run folder for a config."""
    from edgenas.display import ProgressDisplay
    from edgenas.stages.start import start_run

    with ProgressDisplay(quiet=shown.quiet) as progress:
        return start_run(config, folder, progress, reach)


def reach_of(on: list[str] | None, pack: Path | None, unpack: Path | None) -> TransportRegistry:
    """Return the transports, with what --on, --pack and --unpack state."""
    from edgenas.profiling.transport_registry import mounted_transports

    if pack:
        prove_file(user_path(pack))
    return mounted_transports().with_options(on or [], pack and user_path(pack), unpack and user_path(unpack))


def read_config(path: Path, budget: list[str] | None, sets: list[str] | None) -> RunConfig:
    """A config file with what options say instead."""
    overrides = list(sets or [])
    if budget:
        overrides.append(f"budgets={json.dumps(budget)}")
    return load_config(path, overrides)


def check_minutes(config: RunConfig, minutes: float | None) -> None:
    """Refuse `--minutes` of training where nothing is trained.

    Raises:
        ConfigError: accuracies are known from elsewhere.
    """
    if minutes is not None and config.accuracy is not None:
        raise ConfigError("--minutes is for training, and a run with `accuracy` trains no supernet: leave it out")


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
        planned = {"stages": [stage.to_json() for stage in stages], "budgets": budgets}
        print_json(planned | {"seconds": seconds, "disk_bytes": disk})
        return
    rows = [[s.stage, s.what, "done" if s.done else f"{s.seconds:.0f}", f"{s.disk_bytes / 1e6:.1f}"] for s in stages]
    print_table(["stage", "what", "about s", "MB"], rows, right=["about s", "MB"])
    print("".join(f"\n{line}" for line in budgets))
    print("".join(f"warning: {stage.warning}\n" for stage in left if stage.warning), end="")
    print(f"left to do: about {seconds / 60:.1f} minutes and {disk / 1e6:.0f} MB in {folder}")


def do_stages(run: Run, stages: tuple[str, ...], minutes: float | None, shown: Shown) -> None:
    """Go through stages, and say what came of them."""
    from edgenas.display import ProgressDisplay
    from edgenas.stages.whole_run import run_stages

    try:
        with ProgressDisplay(quiet=shown.quiet) as progress:
            run_stages(run, progress, stages, minutes=minutes)
    except Packed as packed:
        say_packed(packed, shown.as_json)
        return
    tell(run, stages, shown)
    if "export" in stages and run.done("export"):
        exit_by_verdict(run, run.result("export")["chosen"]["verdict"])


def exit_by_verdict(run: Run, verdict: Verdict | None) -> None:
    """End with an exit code of its own where a file was not shown to be within a latency budget that was asked for."""
    if run.config.budgets and verdict in ("not significant", "over"):
        raise typer.Exit(NOT_WITHIN)


def tell(run: Run, stages: tuple[str, ...], shown: Shown) -> None:
    """Say what came of stages."""
    from edgenas.deploy.bundle.shipped_wording import latency_sentences
    from edgenas.display import print_summary

    if "report" in stages:
        summary = read_json(run.folder / "summary.json")
        if not shown.as_json:
            print_summary(summary, str(run.folder))
            return
    else:
        summary = {stage: run.result(stage) for stage in stages}
    if shown.as_json:
        print_json(summary)
    else:
        print(f"done: {', '.join(stages)} in {run.folder}")
        notes = [
            *summary.get("profile", {}).get("notes", []),
            *summary.get("verify", {}).get("notes", []),
            *latency_sentences(summary.get("export", {}).get("chosen", {}).get("latency", {})),
            *summary.get("export", {}).get("int8", {}).get("notes", []),
        ]
        for note in notes:
            print(note)


def say_packed(packed: Packed, as_json: bool) -> None:
    """Say that a kit was packed."""
    if as_json:
        print_json({"packed": str(packed)})
    else:
        print(packed)


def run_stage(
    stage: str,
    target: Path,
    budget: list[str] | None,
    sets: list[str] | None,
    folder: Path | None,
    minutes: float | None,
    shown: Shown,
    reach: TransportRegistry,
) -> None:
    """Do one stage of a run, begun before or from a config.

    Raises:
        RunFolderError: a run folder was given together with what only a config takes.
    """
    run = _begun(target, budget, sets, folder, reach)
    config = run.config if run else read_config(target, budget, sets)
    check_minutes(config, minutes)
    if run is None:
        run = start(config, folder or RUNS / config.name, reach, shown)
    do_stage(stage, run, minutes, shown)


def _begun(
    target: Path, budget: list[str] | None, sets: list[str] | None, folder: Path | None, reach: TransportRegistry
) -> Run | None:
    """The run that a folder holds; None where the target is a config.

    Raises:
        RunFolderError: it is a run folder, given together with what only a config takes.
    """
    if not target.is_dir():
        return None
    from edgenas.runs.folder import open_run

    check_settled(target, budget, sets, folder)
    return open_run(target, reach)


def do_stage(stage: str, run: Run, minutes: float | None, shown: Shown) -> None:
    """One stage; of profiling it is said before what it takes."""
    if stage == "profile" and not (shown.as_json or shown.quiet or run.done(stage)):
        from edgenas.stages.profile_plan import profile_told

        print(*profile_told(run), sep="\n", file=sys.stderr)
    do_stages(run, (stage,), minutes, shown)


def check_settled(target: Path, budget: list[str] | None, sets: list[str] | None, folder: Path | None) -> None:
    """Refuse options of a config beside a run folder.

    Raises:
        RunFolderError: there is any.
    """
    if budget or sets or folder:
        settling = "--set, --budget, --initial, profile's --minutes and --run"
        raise RunFolderError(f"{target} is a run folder, whose config is settled: {settling} go with a config file")


@app.command()
def status(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Which stages of a run are finished."""
    from edgenas.deploy.bundle.shipped_wording import accuracy_sentence, latency_sentences
    from edgenas.display import print_table
    from edgenas.display import tell as print_folded
    from edgenas.runs.folder import ORDER, STAGES, open_run

    run = open_run(folder)
    stages = {stage: run.done(stage) for stage in ORDER if run.lacks(stage) is None}
    shipped: dict[str, Any] | None = run.result("export")["chosen"] if run.done("export") else None
    if as_json:
        print_json({"name": run.config.name, "space": run.space.name, "stages": stages, "chosen": shipped})
        return
    print_table(["stage", "state"], [[stage, "done" if done else "to do"] for stage, done in stages.items()])
    if shipped is not None:
        print()
        for line in (
            f"shipped {shipped['arch']}",
            *latency_sentences(shipped["latency"]),
            accuracy_sentence(shipped["test_top1"], shipped["val_top1"]),
        ):
            print_folded(line)
    for why in filter(None, map(run.lacks, STAGES)):
        print(f"\n{why}")
