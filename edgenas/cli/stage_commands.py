"""Commands of single stages, except `export`."""

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
    On,
    Onto,
    Output,
    Pack,
    Panel,
    Quiet,
    RunArgument,
    RunFolder,
    Sets,
    Target,
    TrainMinutes,
    Unpack,
)
from edgenas.cli.run_commands import (
    RUNS,
    build_reach,
    print_results,
    read_config,
    refuse_config_options,
    run_and_print,
    run_one_stage,
    run_stage,
    start,
)
from edgenas.errors import ConfigError
from edgenas.files import user_path

if TYPE_CHECKING:
    # Importing it loads torch, which `--help` can do without.
    from edgenas.profiling.transport_registry import TransportRegistry

app = typer.Typer()

STAGE_HELP = {
    "profile": "Measure the devices and fit their latency predictors.",
    "train": "Train the supernet.",
    "search": "Search the space within the budgets.",
    "verify": "Measure the front on the devices, drop networks over budget, and choose one.",
    "finetune": "Fine-tune the chosen network, on the run's images or on others, before it is exported.",
    "report": "Write summary.json and the report from the files of a finished run.",
}


def _verify_command(
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
    run_stage("verify", target, budget, sets, run, None, Output(as_json, quiet), build_reach(on, pack, unpack))


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
    reach, output = build_reach(on, pack, unpack), Output(as_json, quiet)
    if classes is None:
        run_stage("profile", target, budget, sets, run, None, output, reach)
        return
    if budget:
        raise ConfigError(
            "--budget goes with a config file: `edgenas profile SPACE --classes N` measures, searches nothing"
        )
    from edgenas.config.reading import build_config

    value = {"name": target.stem, "space": str(target), "num_classes": classes}
    config = build_config(value, f"edgenas profile {target}", sets or [])
    run_one_stage("profile", start(config, run or RUNS / config.name, reach, output), None, output)


def _train_command(
    target: Target,
    budget: Budgets = None,
    sets: Sets = None,
    run: RunFolder = None,
    minutes: TrainMinutes = None,
    on: On = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    reach, output = build_reach(on, None, None), Output(as_json, quiet)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        _train_together(target, budget, sets, run, minutes, output, reach)
    else:
        run_stage("train", target, budget, sets, run, minutes, output, reach)


def _train_together(
    target: Path,
    budget: list[str] | None,
    sets: list[str] | None,
    folder: Path | None,
    minutes: float | None,
    output: Output,
    reach: TransportRegistry,
) -> None:
    """Train in one of the processes that `torchrun` started; the first one prints the results."""
    from edgenas.display import ProgressDisplay
    from edgenas.runs.run import open_run
    from edgenas.stages.whole_run import train_together

    if minutes is not None:
        raise ConfigError("--train-minutes works with one process only: set train.epochs instead")
    if target.is_dir():
        refuse_config_options(target, budget, sets, folder)
        opened = open_run(target, reach)
        config, begin, reopen = opened.config, lambda: opened, lambda: opened
    else:
        config = read_config(target, budget, sets)
        folder = folder or RUNS / config.name
        begin, reopen = partial(start, config, folder, reach, output), partial(open_run, folder, reach)
    with ProgressDisplay(quiet=output.quiet) as progress:
        run = train_together(begin, reopen, config.train.device if config.train else "auto", progress)
    if int(os.environ.get("RANK", "0")) == 0:
        print_results(run, ("train",), output)


def _report_command(folder: RunArgument, as_json: AsJson = False, quiet: Quiet = False) -> None:
    from edgenas.runs.run import open_run

    run_and_print(open_run(folder), ("report",), None, Output(as_json, quiet))


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
    reach, output = build_reach(None, None, None), Output(as_json, quiet)
    settings: dict[str, Any] = {} if epochs is None else {"epochs": epochs}
    if onto is not None:
        settings |= {
            "data": {"name": "imagefolder", "path": str(user_path(onto).absolute())},
            "start": "inherited",
            "teacher": "none",
        }
    if target.is_dir() and settings:
        refuse_config_options(target, budget, sets, run)
        from edgenas.config.reading import build_section
        from edgenas.config.sections import FinetuneConfig
        from edgenas.runs.run import open_run
        from edgenas.stages.start import retuned

        opened = open_run(target)
        finetune = build_section(
            FinetuneConfig, opened.config.finetune.model_dump(mode="json") | settings, "edgenas finetune"
        )
        run_and_print(retuned(opened, finetune), ("finetune",), None, output)
        return
    overrides = [f"finetune.{key}={json.dumps(value)}" for key, value in settings.items()]
    run_stage("finetune", target, budget, [*(sets or []), *overrides], run, None, output, reach)


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
    reach, output = build_reach(on, None, None), Output(as_json, quiet)
    if target.is_dir() and initial is None and evaluations is not None:
        refuse_config_options(target, budget, sets, run)
        from edgenas.runs.run import open_run
        from edgenas.stages.start import extend_search

        run_and_print(extend_search(open_run(target, reach), evaluations), ("search",), None, output)
        return
    given = {"evaluations": evaluations, "initial": initial and str(initial)}
    overrides = [f"search.{key}={json.dumps(value)}" for key, value in given.items() if value is not None]
    run_stage("search", target, budget, [*(sets or []), *overrides], run, None, output, reach)


COMMANDS: dict[str, Callable[..., None]] = {
    "profile": _profile_command,
    "train": _train_command,
    "search": _search_command,
    "verify": _verify_command,
    "finetune": _finetune_command,
    "report": _report_command,
}
for _name, _help in STAGE_HELP.items():
    app.command(_name, help=_help, rich_help_panel=Panel.RUN)(COMMANDS[_name])
