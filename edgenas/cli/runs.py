"""Commands on runs: whole ones, single stages, and how far one is."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from edgenas.cli.options import (
    AsJson,
    Batch,
    Budgets,
    Config,
    EmbedPreprocessing,
    Minutes,
    On,
    Out,
    Pack,
    Plan,
    Precision,
    RunFolder,
    Sets,
    Target,
    Unpack,
    Which,
    print_json,
)
from edgenas.config import RunConfig, load_config
from edgenas.errors import ConfigError, Packed, RunFolderError
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
) -> None:
    """The whole path on handwritten digits, with this machine as the device: a few minutes on two cores."""
    _whole_run(DEMO, budget, sets, run, minutes, plan, as_json, _reach(None, None, None))


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
) -> None:
    """A whole run: profile, train, search, verify, export, report. Goes on where it stopped."""
    _whole_run(config, budget, sets, run, minutes, plan, as_json, _reach(on, pack, unpack))


def _whole_run(
    path: Path,
    budget: list[str] | None,
    sets: list[str] | None,
    folder: Path | None,
    minutes: float | None,
    plan: bool,
    as_json: bool,
    reach: Reach,
) -> None:
    config = _config(path, budget, sets)
    folder = folder or RUNS / config.name
    if plan:
        _show_plan(config, folder, minutes, as_json, reach)
        return
    from edgenas.pipeline.run import STAGES

    _do(_start(config, folder, reach), STAGES, minutes, as_json)


def _start(config: RunConfig, folder: Path, reach: Reach) -> Run:
    from edgenas.display import ProgressDisplay
    from edgenas.pipeline.start import start_run

    with ProgressDisplay() as progress:
        return start_run(config, folder, progress, reach)


def _reach(on: list[str] | None, pack: Path | None, unpack: Path | None) -> Reach:
    from edgenas.profiling.reach import parse_reach

    return parse_reach(on or [], pack and user_path(pack), unpack and user_path(unpack))


def _config(path: Path, budget: list[str] | None, sets: list[str] | None) -> RunConfig:
    overrides = list(sets or [])
    if budget:
        overrides.append(f"budgets={json.dumps(budget)}")
    return load_config(path, overrides)


def _show_plan(config: RunConfig, folder: Path, minutes: float | None, as_json: bool, reach: Reach) -> None:
    from edgenas.display import print_table
    from edgenas.pipeline.plan import plan_run

    stages = plan_run(config, folder, reach)
    if minutes is not None:
        what, timed = f"as many steps as {minutes:g} minutes hold", 60 * minutes
        stages = [replace(s, what=what, seconds=timed) if s.stage == "train" else s for s in stages]
    left = [stage for stage in stages if not stage.done]
    seconds, disk = sum(stage.seconds for stage in left), sum(stage.disk_bytes for stage in left)
    if as_json:
        print_json({"stages": [stage.to_json() for stage in stages], "seconds": seconds, "disk_bytes": disk})
        return
    rows = [[s.stage, s.what, "done" if s.done else f"{s.seconds:.0f}", f"{s.disk_bytes / 1e6:.1f}"] for s in stages]
    print_table(["stage", "what", "about s", "MB"], rows, right=["about s", "MB"])
    print(f"\nleft to do: about {seconds / 60:.1f} minutes and {disk / 1e6:.0f} MB in {folder}")


def _do(run: Run, stages: tuple[str, ...], minutes: float | None, as_json: bool) -> None:
    from edgenas.display import ProgressDisplay
    from edgenas.pipeline.stages import run_stages

    try:
        with ProgressDisplay() as progress:
            run_stages(run, progress, stages, minutes=minutes)
    except Packed as packed:
        _say_packed(packed, as_json)
        return
    _tell(run, stages, as_json)


def _tell(run: Run, stages: tuple[str, ...], as_json: bool) -> None:
    from edgenas.display import print_summary

    if "report" in stages:
        summary = read_json(run.folder / "summary.json")
        if not as_json:
            print_summary(summary, str(run.folder))
            return
    else:
        summary = {stage: run.result(stage) for stage in stages}
    if as_json:
        print_json(summary)
    else:
        print(f"done: {', '.join(stages)} in {run.folder}")
        notes = [
            *summary.get("profile", {}).get("notes", []),
            *summary.get("export", {}).get("int8", {}).get("notes", []),
        ]
        for note in notes:
            print(note)


def _say_packed(packed: Packed, as_json: bool) -> None:
    if as_json:
        print_json({"packed": str(packed)})
    else:
        print(packed)


def _stage(
    stage: str,
    target: Path,
    budget: list[str] | None,
    sets: list[str] | None,
    folder: Path | None,
    minutes: float | None,
    as_json: bool,
    reach: Reach,
) -> None:
    from edgenas.pipeline.run import open_run

    if target.is_dir():
        _check_settled(target, budget, sets, folder)
        run = open_run(target, reach)
    else:
        config = _config(target, budget, sets)
        run = _start(config, folder or RUNS / config.name, reach)
    _do(run, (stage,), minutes, as_json)


def _check_settled(target: Path, budget: list[str] | None, sets: list[str] | None, folder: Path | None) -> None:
    if budget or sets or folder:
        raise RunFolderError(
            f"{target} is a run folder, whose config is settled: --set, --budget and --run go with a config file"
        )


STAGE_HELP = {
    "profile": "Measure the devices and fit their latency predictors.",
    "train": "Train the supernet.",
    "search": "Search the space within the budgets.",
    "verify": "Measure the front on the devices; drop what misses a budget; choose.",
    "export": "Prove the chosen network's ONNX file and bundle it; or another network or form, see the options.",
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
    ) -> None:
        _stage(stage, target, budget, sets, run, None, as_json, _reach(on, pack, unpack))

    return command


def _train_command(
    target: Target,
    budget: Budgets = None,
    sets: Sets = None,
    run: RunFolder = None,
    minutes: Minutes = None,
    on: On = None,
    as_json: AsJson = False,
) -> None:
    reach = _reach(on, None, None)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        _train_together(target, budget, sets, run, minutes, as_json, reach)
    else:
        _stage("train", target, budget, sets, run, minutes, as_json, reach)


def _train_together(
    target: Path,
    budget: list[str] | None,
    sets: list[str] | None,
    folder: Path | None,
    minutes: float | None,
    as_json: bool,
    reach: Reach,
) -> None:
    """One of the processes that `torchrun` started; the first one tells."""
    from edgenas.display import ProgressDisplay
    from edgenas.pipeline.run import open_run
    from edgenas.pipeline.stages import train_together

    if minutes is not None:
        raise ConfigError("--minutes goes with one process: set train.epochs instead")
    if target.is_dir():
        _check_settled(target, budget, sets, folder)
        config = open_run(target).config
        begin = reopen = partial(open_run, target, reach)
    else:
        config = _config(target, budget, sets)
        folder = folder or RUNS / config.name
        begin, reopen = partial(_start, config, folder, reach), partial(open_run, folder, reach)
    with ProgressDisplay() as progress:
        run = train_together(begin, reopen, config.train.device, progress)
    if int(os.environ.get("RANK", "0")) == 0:
        _tell(run, ("train",), as_json)


def _export_command(
    target: Target,
    budget: Budgets = None,
    sets: Sets = None,
    run: RunFolder = None,
    arch: Which = None,
    precision: Precision = None,
    batch: Batch = None,
    embed_preprocessing: EmbedPreprocessing = False,
    out: Out = None,
    on: On = None,
    pack: Pack = None,
    unpack: Unpack = None,
    as_json: AsJson = False,
) -> None:
    reach = _reach(on, pack, unpack)
    if embed_preprocessing or not all(option is None for option in (arch, precision, batch, out)):
        if budget or sets or run or not target.is_dir():
            raise RunFolderError(
                f"{target}: --arch, --precision, --batch, --embed-preprocessing and --out go with a run folder"
            )
        _export_bundle(target, arch, precision, batch, embed_preprocessing, out, as_json, reach)
        return
    _stage("export", target, budget, sets, run, None, as_json, reach)


def _export_bundle(
    target: Path,
    arch: str | None,
    precision: Literal["fp32", "int8"] | None,
    batch: Literal["1", "dynamic"] | None,
    embed_preprocessing: bool,
    out: Path | None,
    as_json: bool,
    reach: Reach,
) -> None:
    from edgenas.display import ProgressDisplay, print_bundle
    from edgenas.pipeline.bundling import BundleOptions, run_precision
    from edgenas.pipeline.export import export_bundle
    from edgenas.pipeline.run import open_run

    run = open_run(target, reach)
    options = BundleOptions(
        precision or run_precision(run),
        dynamic_batch=batch == "dynamic",
        embed_preprocessing=embed_preprocessing,
    )
    try:
        with ProgressDisplay() as progress:
            folder = export_bundle(run, arch or "chosen", options, out, progress)
    except Packed as packed:
        _say_packed(packed, as_json)
        return
    manifest = read_json(folder / "manifest.json")
    if as_json:
        print_json({"bundle": str(folder), **manifest})
        return
    print_bundle(manifest, str(folder))


OWN_OPTIONS: dict[str, Callable[..., None]] = {"train": _train_command, "export": _export_command}
for _name, _help in STAGE_HELP.items():
    app.command(_name, help=_help)(OWN_OPTIONS.get(_name) or _stage_command(_name))


@app.command()
def status(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")], as_json: AsJson = False
) -> None:
    """Which stages of a run are finished."""
    from edgenas.display import print_table
    from edgenas.pipeline.run import STAGES, open_run

    run = open_run(folder)
    stages = {stage: run.done(stage) for stage in STAGES}
    if as_json:
        print_json({"name": run.config.name, "space": run.space.name, "stages": stages})
        return
    print_table(["stage", "state"], [[stage, "done" if done else "to do"] for stage, done in stages.items()])
