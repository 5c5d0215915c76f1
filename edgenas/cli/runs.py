"""Commands on runs: whole ones, single stages, and how far one is."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgenas.cli.options import (
    AsJson,
    Budgets,
    Classes,
    Config,
    DeviceMinutes,
    Evaluations,
    Initial,
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
from edgenas.config import RunConfig, build_config, load_config
from edgenas.errors import Packed, RunFolderError
from edgenas.files import read_json, user_path

if TYPE_CHECKING:
    # Not otherwise: it loads torch, which `--help` can do without.
    from edgenas.pipeline.run import Run
    from edgenas.profiling.reach import Reach

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
    config: Config,
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
    """A whole run: profile, train, search, verify, export, report. Goes on where it stopped."""
    _whole_run(config, budget, sets, run, minutes, plan, Shown(as_json, quiet), reach_of(on, pack, unpack))


def _whole_run(
    path: Path,
    budget: list[str] | None,
    sets: list[str] | None,
    folder: Path | None,
    minutes: float | None,
    plan: bool,
    shown: Shown,
    reach: Reach,
) -> None:
    config = _config(path, budget, sets)
    folder = folder or RUNS / config.name
    if plan:
        _show_plan(config, folder, minutes, shown.as_json, reach)
        return
    from edgenas.pipeline.run import STAGES

    run = _start(config, folder, reach, shown)
    run.needs("search")
    _do(run, STAGES, minutes, shown)


def _start(config: RunConfig, folder: Path, reach: Reach, shown: Shown) -> Run:
    from edgenas.display import ProgressDisplay
    from edgenas.pipeline.start import start_run

    with ProgressDisplay(quiet=shown.quiet) as progress:
        return start_run(config, folder, progress, reach)


def reach_of(on: list[str] | None, pack: Path | None, unpack: Path | None) -> Reach:
    """How devices are reached, as --on, --pack and --unpack say."""
    from edgenas.profiling.reach import parse_reach

    return parse_reach(on or [], pack and user_path(pack), unpack and user_path(unpack))


def _config(path: Path, budget: list[str] | None, sets: list[str] | None) -> RunConfig:
    overrides = list(sets or [])
    if budget:
        overrides.append(f"budgets={json.dumps(budget)}")
    return load_config(path, overrides)


def _show_plan(config: RunConfig, folder: Path, minutes: float | None, as_json: bool, reach: Reach) -> None:
    from edgenas.display import print_table
    from edgenas.pipeline.plan import plan_budgets, plan_run

    stages, budgets = plan_run(config, folder, reach), plan_budgets(config, folder)
    if minutes is not None:
        what, timed = f"as many steps as {minutes:g} minutes hold", 60 * minutes
        stages = [replace(s, what=what, seconds=timed) if s.stage == "train" else s for s in stages]
    left = [stage for stage in stages if not stage.done]
    seconds, disk = sum(stage.seconds for stage in left), sum(stage.disk_bytes for stage in left)
    if as_json:
        planned = {"stages": [stage.to_json() for stage in stages], "budgets": budgets}
        print_json(planned | {"seconds": seconds, "disk_bytes": disk})
        return
    rows = [[s.stage, s.what, "done" if s.done else f"{s.seconds:.0f}", f"{s.disk_bytes / 1e6:.1f}"] for s in stages]
    print_table(["stage", "what", "about s", "MB"], rows, right=["about s", "MB"])
    print("".join(f"\n{line}" for line in budgets))
    print(f"left to do: about {seconds / 60:.1f} minutes and {disk / 1e6:.0f} MB in {folder}")


def _do(run: Run, stages: tuple[str, ...], minutes: float | None, shown: Shown) -> None:
    from edgenas.display import ProgressDisplay, print_summary
    from edgenas.pipeline.stages import run_stages

    try:
        with ProgressDisplay(quiet=shown.quiet) as progress:
            run_stages(run, progress, stages, minutes=minutes)
    except Packed as packed:
        say_packed(packed, shown.as_json)
        return
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
    reach: Reach,
) -> None:
    """Do one stage of a run, begun before or from a config.

    Raises:
        RunFolderError: a run folder was given together with what only a config takes.
    """
    from edgenas.pipeline.run import open_run

    if target.is_dir():
        if budget or sets or folder:
            raise RunFolderError(_settled(target))
        run = open_run(target, reach)
    else:
        config = _config(target, budget, sets)
        run = _start(config, folder or RUNS / config.name, reach, shown)
    _go_through(stage, run, minutes, shown)


def _go_through(stage: str, run: Run, minutes: float | None, shown: Shown) -> None:
    if stage == "profile" and not (shown.as_json or shown.quiet or run.done(stage)):
        from edgenas.pipeline.profile_plan import profile_told

        print(*profile_told(run), sep="\n", file=sys.stderr)
    _do(run, (stage,), minutes, shown)


def _settled(target: Path) -> str:
    settling = "--set, --budget, --initial, profile's --minutes and --run"
    return f"{target} is a run folder, whose config is settled: {settling} go with a config file"


STAGE_HELP = {
    "profile": "Measure the devices and fit their latency predictors.",
    "train": "Train the supernet.",
    "search": "Search the space within the budgets.",
    "verify": "Measure the front on the devices; drop what misses a budget; choose.",
    "report": "Write summary.json and the report from saved files.",
}


def _stage_command(stage: str) -> Callable[..., None]:
    def command(
        target: Target,
        budget: Budgets = None,
        sets: Sets = None,
        run: RunFolder = None,
        on: On = None,
        pack: Pack = None,
        unpack: Unpack = None,
        as_json: AsJson = False,
        quiet: Quiet = False,
    ) -> None:
        run_stage(stage, target, budget, sets, run, None, Shown(as_json, quiet), reach_of(on, pack, unpack))

    return command


def _profile_command(
    target: Target,
    budget: Budgets = None,
    sets: Sets = None,
    run: RunFolder = None,
    minutes: DeviceMinutes = None,
    classes: Classes = None,
    on: On = None,
    pack: Pack = None,
    unpack: Unpack = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    if minutes is not None:
        sets = [*(sets or []), f"profile.minutes={minutes!r}"]
    reach, shown = reach_of(on, pack, unpack), Shown(as_json, quiet)
    if classes is None:
        run_stage("profile", target, budget, sets, run, None, shown, reach)
        return
    value = {"name": target.stem, "space": str(target), "num_classes": classes}
    config = build_config(value, f"edgenas profile {target}", sets or [])
    _go_through("profile", _start(config, run or RUNS / config.name, reach, shown), None, shown)


def _train_command(
    target: Target,
    budget: Budgets = None,
    sets: Sets = None,
    run: RunFolder = None,
    minutes: Minutes = None,
    on: On = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    run_stage("train", target, budget, sets, run, minutes, Shown(as_json, quiet), reach_of(on, None, None))


def _search_command(
    target: Target,
    budget: Budgets = None,
    sets: Sets = None,
    run: RunFolder = None,
    evaluations: Evaluations = None,
    initial: Initial = None,
    on: On = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    reach, shown = reach_of(on, None, None), Shown(as_json, quiet)
    if target.is_dir() and initial is None and evaluations is not None:
        if budget or sets or run:
            raise RunFolderError(_settled(target))
        from edgenas.pipeline.run import open_run
        from edgenas.pipeline.start import lengthen

        _do(lengthen(open_run(target, reach), evaluations), ("search",), None, shown)
        return
    given = {"evaluations": evaluations, "initial": initial and str(initial)}
    own = [f"search.{key}={json.dumps(value)}" for key, value in given.items() if value is not None]
    run_stage("search", target, budget, [*(sets or []), *own], run, None, shown, reach)


for _name, _help in STAGE_HELP.items():
    app.command(_name, help=_help)(_train_command if _name == "train" else _stage_command(_name))


@app.command()
def status(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Which stages of a run are finished."""
    from edgenas.display import print_table
    from edgenas.pipeline.run import STAGES, open_run

    run = open_run(folder)
    stages = {stage: run.done(stage) for stage in STAGES if run.lacks(stage) is None}
    if as_json:
        print_json({"name": run.config.name, "space": run.space.name, "stages": stages})
        return
    print_table(["stage", "state"], [[stage, "done" if done else "to do"] for stage, done in stages.items()])
    for why in filter(None, map(run.lacks, STAGES)):
        print(f"\n{why}")
