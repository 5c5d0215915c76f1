"""The command line: one thin command per stage. Read a config, call one function, print a summary.

Results go to standard output, everything else to standard error. Exit code 0 only on success, 2 for what the
user got wrong, 1 for the rest.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from edgenas.config import RunConfig, load_config
from edgenas.errors import DataError, RunFolderError, UserError
from edgenas.exits import Commands, exit_codes

RUNS = Path("runs")
DEMO = Path(__file__).parent / "demo.yaml"

app = typer.Typer(
    name="edgenas",
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
devices_app = typer.Typer(help="Devices: what they are and how they are run.", no_args_is_help=True)
tables_app = typer.Typer(help="Latency tables that ship with edgenas, or lie in a folder.", no_args_is_help=True)
data_app = typer.Typer(help="Your pictures.", no_args_is_help=True)
app.add_typer(data_app, name="data")
app.add_typer(devices_app, name="devices")
app.add_typer(tables_app, name="tables")


def _positive(minutes: float | None) -> float | None:
    if minutes is not None and not (math.isfinite(minutes) and minutes > 0):
        raise typer.BadParameter(f"wanted a number of minutes above zero, got {minutes:g}")
    return minutes


Target = Annotated[Path, typer.Argument(help="A config (YAML) to start from, or a run folder to go on with.")]
Config = Annotated[Path, typer.Argument(help="A config (YAML), like those in examples/.")]
Sets = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option("--set", help="Override a key of the config: search.evaluations=200. Repeatable."),
]
Budgets = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option("--budget", help="A hard limit: 0.4ms, 8ms@p95, pi4=20ms, macs=10M, weight_bytes=400kB. Repeatable."),
]
RunFolder = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option("--run", help="The run folder. Default: runs/NAME, NAME from the config."),
]
Minutes = Annotated[
    Optional[float],  # noqa: UP045
    typer.Option(
        "--minutes",
        metavar="N",
        callback=_positive,
        help="Train for about N minutes instead of train.epochs: a few steps are timed when training begins, and the "
        "number of steps that this gives is kept, however often it is stopped.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the summary as one JSON object on standard output.")]
Plan = Annotated[bool, typer.Option("--plan", help="Say what would be done, how long and how much disk; do nothing.")]


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"edgenas {version('edgenas')}")
        raise typer.Exit


@app.callback()
def _options(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """From pictures, a device and a latency budget to an ONNX model that was measured to meet the budget."""


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
    _whole_run(DEMO, budget, sets, run, minutes, plan, as_json)


@app.command("run")
def run_command(
    config: Config,
    budget: Budgets = None,
    sets: Sets = None,
    run: RunFolder = None,
    minutes: Minutes = None,
    plan: Plan = False,
    as_json: AsJson = False,
) -> None:
    """A whole run: profile, train, search, verify, export, report. Goes on where it stopped."""
    _whole_run(config, budget, sets, run, minutes, plan, as_json)


def _whole_run(
    path: Path,
    budget: list[str] | None,
    sets: list[str] | None,
    folder: Path | None,
    minutes: float | None,
    plan: bool,
    as_json: bool,
) -> None:
    config = _config(path, budget, sets)
    folder = folder or RUNS / config.name
    if plan:
        _show_plan(config, folder, minutes, as_json)
        return
    from edgenas.pipeline.run import STAGES
    from edgenas.pipeline.start import start_run

    _do(start_run(config, folder), STAGES, minutes, as_json)


def _config(path: Path, budget: list[str] | None, sets: list[str] | None) -> RunConfig:
    overrides = list(sets or [])
    if budget:
        overrides.append(f"budgets={json.dumps(budget)}")
    return load_config(path, overrides)


def _show_plan(config: RunConfig, folder: Path, minutes: float | None, as_json: bool) -> None:
    from edgenas.display import print_table
    from edgenas.pipeline.plan import plan_run

    stages = plan_run(config, folder)
    if minutes is not None:
        what, timed = f"as many steps as {minutes:g} minutes hold", 60 * minutes
        stages = [replace(s, what=what, seconds=timed) if s.stage == "train" else s for s in stages]
    left = [stage for stage in stages if not stage.done]
    seconds, disk = sum(stage.seconds for stage in left), sum(stage.disk_bytes for stage in left)
    if as_json:
        _print_json({"stages": [stage.to_json() for stage in stages], "seconds": seconds, "disk_bytes": disk})
        return
    rows = [[s.stage, s.what, "done" if s.done else f"{s.seconds:.0f}", f"{s.disk_bytes / 1e6:.1f}"] for s in stages]
    print_table(["stage", "what", "about s", "MB"], rows, right=["about s", "MB"])
    print(f"\nleft to do: about {seconds / 60:.1f} minutes and {disk / 1e6:.0f} MB in {folder}")


def _do(run: Any, stages: tuple[str, ...], minutes: float | None, as_json: bool) -> None:
    from edgenas.display import ProgressDisplay, print_summary
    from edgenas.pipeline.stages import run_stages

    with ProgressDisplay() as progress:
        run_stages(run, progress, stages, minutes=minutes)
    if "report" in stages:
        summary = json.loads((run.folder / "summary.json").read_text(encoding="utf-8"))
        if not as_json:
            print_summary(summary, str(run.folder))
            return
    else:
        summary = {stage: run.result(stage) for stage in stages}
    if as_json:
        _print_json(summary)
    else:
        print(f"done: {', '.join(stages)} in {run.folder}")


def _stage(
    stage: str,
    target: Path,
    budget: list[str] | None,
    sets: list[str] | None,
    folder: Path | None,
    minutes: float | None,
    as_json: bool,
) -> None:
    from edgenas.pipeline.run import open_run
    from edgenas.pipeline.start import start_run

    if target.is_dir():
        if budget or sets or folder:
            raise RunFolderError(
                f"{target} is a run folder, whose config is settled: --set, --budget and --run go with a config file"
            )
        run = open_run(target)
    else:
        config = _config(target, budget, sets)
        run = start_run(config, folder or RUNS / config.name)
    _do(run, (stage,), minutes, as_json)


STAGE_HELP = {
    "profile": "Measure the devices and fit their latency predictors.",
    "train": "Train the supernet.",
    "search": "Search the space within the budgets.",
    "verify": "Measure the front on the devices; drop what misses a budget; choose.",
    "export": "Prove the chosen network's ONNX file and bundle it.",
    "report": "Write summary.json and the report from saved files.",
}


def _stage_command(stage: str) -> Callable[..., None]:
    def command(
        target: Target, budget: Budgets = None, sets: Sets = None, run: RunFolder = None, as_json: AsJson = False
    ) -> None:
        _stage(stage, target, budget, sets, run, None, as_json)

    return command


def _train_command(
    target: Target,
    budget: Budgets = None,
    sets: Sets = None,
    run: RunFolder = None,
    minutes: Minutes = None,
    as_json: AsJson = False,
) -> None:
    _stage("train", target, budget, sets, run, minutes, as_json)


for _name, _help in STAGE_HELP.items():
    app.command(_name, help=_help)(_train_command if _name == "train" else _stage_command(_name))


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
        _print_json({"name": run.config.name, "space": run.space.name, "stages": stages})
        return
    print_table(["stage", "state"], [[stage, "done" if done else "to do"] for stage, done in stages.items()])


@app.command("inspect")
def inspect_command(
    model: Annotated[Path, typer.Argument(help="An ONNX file: an exported one, or any other.")],
    runs: Annotated[int, typer.Option(min=10, max=1000, help="Runs with the profiler, and as many without.")] = 100,
    threads: Annotated[int, typer.Option(min=1, max=1024, help="Threads of an operator.")] = 1,
    plot: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--plot", metavar="PNG", help="Draw the blocks' latencies into a PNG file."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Where a model's time and memory go, by block, and the five costliest operators with the reasons."""
    from edgenas.deploy.inspection import inspect_model
    from edgenas.display import print_inspection
    from edgenas.files import write_bytes

    if plot and plot.suffix.lower() != ".png":
        raise UserError(f"--plot {plot}: wanted a file name that ends in .png")
    found = inspect_model(model.expanduser(), runs=runs, threads=threads).to_json()
    if plot:
        from edgenas.report.plots import plot_blocks

        write_bytes(plot.expanduser(), plot_blocks(found["model"], found["p50_us"], found["blocks"]))
    if as_json:
        _print_json(found)
    else:
        print_inspection(found)


@data_app.command("check")
def data_check(
    path: Annotated[Path, typer.Argument(help="Class folders, or a folder with train/ and perhaps val/ and test/.")],
    as_json: AsJson = False,
) -> None:
    """Open every picture: classes, counts, sizes, broken and duplicate files, pictures in both train and test."""
    from edgenas.display import ProgressDisplay, print_folder_check
    from edgenas.training.data_check import check_folder

    with ProgressDisplay() as progress:
        found = check_folder(path.expanduser(), progress)
    if as_json:
        _print_json(found.to_json())
    else:
        print_folder_check(found.to_json())
    if found.problems:
        raise DataError(f"{path}: {'; '.join(found.problems)}")


@devices_app.command("list")
def devices_list(as_json: AsJson = False) -> None:
    """Devices that ship with edgenas."""
    from edgenas.display import print_table
    from edgenas.latency.device import device_names, load_device

    devices = [load_device(name) for name in device_names()]
    if as_json:
        _print_json({"devices": [device.model_dump(mode="json") for device in devices]})
        return
    print_table(["name", "cpu", "description"], [[d.name, d.cpu, d.description] for d in devices])
    print("\n`here` stands for this machine in any config.")


@devices_app.command("show")
def devices_show(
    name: Annotated[str, typer.Argument(help="A shipped device, or the path of a device YAML.")],
    as_json: AsJson = False,
) -> None:
    """One device, as its YAML."""
    from edgenas.latency.device import dump_device
    from edgenas.pipeline.devices import resolve_device

    device = resolve_device(name)
    if as_json:
        _print_json(device.model_dump(mode="json"))
    else:
        print(dump_device(device), end="")


@devices_app.command("probe")
def devices_probe(
    output: Annotated[Path, typer.Argument(help="The YAML file to write.")] = Path("this-machine.yaml"),
    name: Annotated[Optional[str], typer.Option(help="The device's name. Default: the file's.")] = None,  # noqa: UP045
    threads: Annotated[int, typer.Option(min=1, help="Threads its models are run with.")] = 1,
    as_json: AsJson = False,
) -> None:
    """Write a device file for this machine."""
    from edgenas.files import write_text
    from edgenas.latency.device import dump_device, probe

    if output.exists():
        raise UserError(f"{output} exists: choose another name, or remove it")
    device = probe(name or output.stem, threads)
    write_text(output, dump_device(device))
    if as_json:
        _print_json(device.model_dump(mode="json"))
    else:
        print(f"wrote {output}; name it in a config as devices: [{output}]")


@tables_app.command("list")
def tables_list(as_json: AsJson = False) -> None:
    """Latency tables that ship with edgenas."""
    from edgenas.display import print_table
    from edgenas.latency.table import find_table, table_names

    names = table_names()
    if as_json:
        _print_json({"tables": names})
        return
    rows = []
    for name in names:
        table = find_table(name)
        kinds = [row.kind for row in table.rows]
        rows.append([name, str(kinds.count("block")), str(kinds.count("network"))])
    print_table(["table", "blocks", "networks"], rows, right=["blocks", "networks"])


@tables_app.command("show")
def tables_show(
    name: Annotated[str, typer.Argument(help="A shipped table (DEVICE/SETTING), or the path of a table's folder.")],
    as_json: AsJson = False,
) -> None:
    """One table: its circumstances and rows."""
    from dataclasses import asdict

    from edgenas.display import milliseconds, print_table
    from edgenas.latency.table import find_table

    table = find_table(name)
    if as_json:
        _print_json(
            {
                "identity": asdict(table.identity),
                "circumstances": table.circumstances,
                "rows": [asdict(r) for r in table.rows],
            }
        )
        return
    facts = {**asdict(table.identity), **table.circumstances}
    print_table(["", ""], [[key, str(value)] for key, value in facts.items()])
    print()
    columns = ["kind", "key", "p50 ms", "p95 ms", "repeat noise"]
    rows = [
        [r.kind, r.key, milliseconds(r.p50_us), milliseconds(r.p95_us), f"{r.repeat_noise:.1%}"] for r in table.rows
    ]
    print_table(columns, rows, right=columns[2:])


def _print_json(value: dict[str, Any]) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))


def main() -> None:
    """Entry point: run a command; say what went wrong in one message and exit with the right code.

    Usage errors are typer's own to report, with exit code 2.
    """
    with exit_codes():
        app()
