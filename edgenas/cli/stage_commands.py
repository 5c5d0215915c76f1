"""Commands of single stages, except `export`."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from typing import TYPE_CHECKING

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
from edgenas.cli.run_commands import print_results, run_and_print, run_one_stage, run_stage
from edgenas.cli.run_source import RunSource, build_reach
from edgenas.errors import ConfigError
from edgenas.files import user_path

if TYPE_CHECKING:
    # Importing it loads torch, which `--help` can do without.
    from edgenas.runs.run import Run

app = typer.Typer()


@app.command("profile", rich_help_panel=Panel.RUN)
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
    """Measure the devices and fit their latency predictors."""
    if minutes is not None:
        sets = [*(sets or []), f"profile.minutes={minutes!r}"]
    source = RunSource(target, budget, sets, run, Output(as_json, quiet), build_reach(on, pack, unpack))
    if classes is None:
        run_stage("profile", source)
        return
    if budget:
        raise ConfigError(
            "--budget goes with a config file: `edgenas profile SPACE --classes N` measures, searches nothing"
        )
    from edgenas.config.reading import build_config

    value = {"name": target.stem, "space": str(target), "num_classes": classes}
    config = build_config(value, f"edgenas profile {target}", sets or [])
    run_one_stage("profile", source.start(config), None, source.output)


@app.command("train", rich_help_panel=Panel.RUN)
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
    """Train the supernet."""
    source = RunSource(target, budget, sets, run, Output(as_json, quiet), build_reach(on, None, None))
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        _train_together(source, minutes)
    else:
        run_stage("train", source, minutes)


def _train_together(source: RunSource, minutes: float | None) -> None:
    """Train in one of the processes that `torchrun` started; the first one prints the results."""
    from edgenas.display import ProgressDisplay
    from edgenas.runs.run import open_run
    from edgenas.stages.whole_run import train_together

    opened = source.resumed()
    config = opened.config if opened else source.config()
    if (minutes or config.minutes) is not None:
        raise ConfigError("--train-minutes and minutes work with one process only: set train.epochs instead")

    def begin() -> Run:
        return opened or source.start(config)

    def reopen() -> Run:
        return opened or open_run(source.run_folder(config), source.reach)

    with ProgressDisplay(quiet=source.output.quiet) as progress:
        run = train_together(begin, reopen, config.train.device if config.train else "auto", progress)
    if int(os.environ.get("RANK", "0")) == 0:
        print_results(run, ("train",), source.output)


@app.command("search", rich_help_panel=Panel.RUN)
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
    """Search the space within the budgets."""
    source = RunSource(target, budget, sets, run, Output(as_json, quiet), build_reach(on, None, None))
    if initial is None and evaluations is not None and (opened := source.resumed()):
        from edgenas.stages.start import extend_search

        run_and_print(extend_search(opened, evaluations), ("search",), None, source.output)
        return
    given = {"evaluations": evaluations, "initial": initial and str(initial)}
    overrides = [f"search.{key}={json.dumps(value)}" for key, value in given.items() if value is not None]
    run_stage("search", replace(source, sets=[*(sets or []), *overrides]))


@app.command("verify", rich_help_panel=Panel.RUN)
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
    """Measure the front on the devices, drop networks over budget, and choose one."""
    source = RunSource(target, budget, sets, run, Output(as_json, quiet), build_reach(on, pack, unpack))
    run_stage("verify", source)


@app.command("finetune", rich_help_panel=Panel.RUN)
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
    """Fine-tune the chosen network, on the run's images or on others, before it is exported."""
    settings: dict[str, object] = {} if epochs is None else {"epochs": epochs}
    if onto is not None:
        settings |= {
            "data": {"name": "imagefolder", "path": str(user_path(onto).absolute())},
            "start": "inherited",
            "teacher": "none",
            "candidates": None,
        }
    source = RunSource(target, budget, sets, run, Output(as_json, quiet), build_reach(None, None, None))
    if settings and (opened := source.resumed()):
        from edgenas.config.reading import build_section
        from edgenas.config.sections import FinetuneConfig
        from edgenas.stages.start import change_finetuning

        finetune = build_section(
            FinetuneConfig, opened.config.finetune.model_dump(mode="json") | settings, "edgenas finetune"
        )
        run_and_print(change_finetuning(opened, finetune), ("finetune",), None, source.output)
        return
    overrides = [f"finetune.{key}={json.dumps(value)}" for key, value in settings.items()]
    run_stage("finetune", replace(source, sets=[*(sets or []), *overrides]))


@app.command("report", rich_help_panel=Panel.RUN)
def _report_command(folder: RunArgument, as_json: AsJson = False, quiet: Quiet = False) -> None:
    """Write summary.json and the report from the files of a finished run."""
    from edgenas.runs.run import open_run

    run_and_print(open_run(folder), ("report",), None, Output(as_json, quiet))
