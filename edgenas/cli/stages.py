"""Commands of single stages, but for the export."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from edgenas.cli.options import (
    AsJson,
    Budgets,
    Classes,
    DeviceMinutes,
    Evaluations,
    FinetuneEpochs,
    Initial,
    Minutes,
    On,
    Onto,
    Pack,
    Quiet,
    RunFolder,
    Sets,
    Shown,
    Target,
    Unpack,
)
from edgenas.cli.runs import (
    RUNS,
    check_settled,
    do_stage,
    do_stages,
    reach_of,
    read_config,
    run_stage,
    start,
    tell,
)
from edgenas.config.reading import build_config, build_section
from edgenas.config.sections import FinetuneConfig
from edgenas.errors import ConfigError
from edgenas.files import user_path

if TYPE_CHECKING:
    # Not otherwise: it loads torch, which `--help` can do without.
    from edgenas.profiling.transport_registry import TransportRegistry

app = typer.Typer()

STAGE_HELP = {
    "profile": "Measure the devices and fit their latency predictors.",
    "train": "Train the supernet.",
    "search": "Search the space within the budgets.",
    "verify": "Measure the front on the devices; drop what misses a budget; choose.",
    "finetune": "Train the chosen network on its own, or other images, before it is exported.",
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
    if budget:
        raise ConfigError(
            "--budget goes with a config file: `edgenas profile SPACE --classes N` measures, searches nothing"
        )
    value = {"name": target.stem, "space": str(target), "num_classes": classes}
    config = build_config(value, f"edgenas profile {target}", sets or [])
    do_stage("profile", start(config, run or RUNS / config.name, reach, shown), None, shown)


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
    reach, shown = reach_of(on, None, None), Shown(as_json, quiet)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        _train_together(target, budget, sets, run, minutes, shown, reach)
    else:
        run_stage("train", target, budget, sets, run, minutes, shown, reach)


def _train_together(
    target: Path,
    budget: list[str] | None,
    sets: list[str] | None,
    folder: Path | None,
    minutes: float | None,
    shown: Shown,
    reach: TransportRegistry,
) -> None:
    """One of the processes that `torchrun` started; the first one tells."""
    from edgenas.display import ProgressDisplay
    from edgenas.runs.folder import open_run
    from edgenas.stages.whole_run import train_together

    if minutes is not None:
        raise ConfigError("--minutes goes with one process: set train.epochs instead")
    if target.is_dir():
        check_settled(target, budget, sets, folder)
        config = open_run(target).config
        begin = reopen = partial(open_run, target, reach)
    else:
        config = read_config(target, budget, sets)
        folder = folder or RUNS / config.name
        begin, reopen = partial(start, config, folder, reach, shown), partial(open_run, folder, reach)
    with ProgressDisplay(quiet=shown.quiet) as progress:
        run = train_together(begin, reopen, config.train.device if config.train else "auto", progress)
    if int(os.environ.get("RANK", "0")) == 0:
        tell(run, ("train",), shown)


def _report_command(
    target: Target,
    budget: Budgets = None,
    sets: Sets = None,
    run: RunFolder = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    run_stage("report", target, budget, sets, run, None, Shown(as_json, quiet), reach_of(None, None, None))


def _finetune_command(
    target: Target,
    budget: Budgets = None,
    sets: Sets = None,
    run: RunFolder = None,
    epochs: FinetuneEpochs = None,
    onto: Onto = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    reach, shown = reach_of(None, None, None), Shown(as_json, quiet)
    own: dict[str, Any] = {} if epochs is None else {"epochs": epochs}
    if onto is not None:
        own |= {
            "data": {"name": "imagefolder", "path": str(user_path(onto).absolute())},
            "start": "inherited",
            "teacher": "none",
        }
    if target.is_dir() and own:
        check_settled(target, budget, sets, run)
        from edgenas.runs.folder import open_run
        from edgenas.stages.start import retuned

        begun = open_run(target)
        settings = build_section(
            FinetuneConfig, begun.config.finetune.model_dump(mode="json") | own, "edgenas finetune"
        )
        do_stages(retuned(begun, settings), ("finetune",), None, shown)
        return
    given = [f"finetune.{key}={json.dumps(value)}" for key, value in own.items()]
    run_stage("finetune", target, budget, [*(sets or []), *given], run, None, shown, reach)


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
        check_settled(target, budget, sets, run)
        from edgenas.runs.folder import open_run
        from edgenas.stages.start import lengthen

        do_stages(lengthen(open_run(target, reach), evaluations), ("search",), None, shown)
        return
    given = {"evaluations": evaluations, "initial": initial and str(initial)}
    own = [f"search.{key}={json.dumps(value)}" for key, value in given.items() if value is not None]
    run_stage("search", target, budget, [*(sets or []), *own], run, None, shown, reach)


OWN_OPTIONS: dict[str, Callable[..., None]] = {
    "profile": _profile_command,
    "train": _train_command,
    "search": _search_command,
    "finetune": _finetune_command,
    "report": _report_command,
}
for _name, _help in STAGE_HELP.items():
    app.command(_name, help=_help)(OWN_OPTIONS.get(_name) or _stage_command(_name))
