"""Options that several commands take, and how `--json` prints."""

from __future__ import annotations

import json
import logging
import math
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Optional

import typer


def _positive(minutes: float | None) -> float | None:
    if minutes is not None and not (math.isfinite(minutes) and minutes > 0):
        raise typer.BadParameter(f"wanted a number above zero, got {minutes:g}")
    return minutes


Target = Annotated[
    Path,
    typer.Argument(help="A config (YAML), like those in examples/, to start from, or a run folder to go on with."),
]
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
Classes = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option(metavar="N", min=2, help="With the name of a space instead of a config: classes of its networks."),
]
DeviceMinutes = Annotated[
    Optional[float],  # noqa: UP045
    typer.Option(
        "--minutes",
        metavar="N",
        callback=_positive,
        help="Time no more than N minutes of each device hold (profile.minutes): fewer blocks are measured, the others "
        "regressed, and intervals are wider.",
    ),
]
Evaluations = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option(
        metavar="N",
        min=2,
        help="Search for N evaluations in all; with a run folder, a finished search goes on to them.",
    ),
]
Initial = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option(metavar="RUN", help="Begin with the front of another run, of another device, say."),
]


FinetuneEpochs = Annotated[
    Optional[float],  # noqa: UP045
    typer.Option(
        "--epochs",
        metavar="E",
        callback=_positive,
        help="Passes over the training images (finetune.epochs); with a run folder, it is trained anew.",
    ),
]
Onto = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option(
        metavar="FOLDER", help="Class folders of other images (finetune.data): the network gets a new classifier."
    ),
]


def _hush(ctx: typer.Context, quiet: bool) -> bool:
    """Keep notes of the package to itself while the command runs."""
    logger = logging.getLogger("edgenas")
    if quiet:
        before = logger.level
        logger.setLevel(logging.ERROR)
        ctx.call_on_close(lambda: logger.setLevel(before))
    return quiet


class Shown(NamedTuple):
    """How a command shows what it does: its result as JSON, no progress."""

    as_json: bool
    quiet: bool


Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", callback=_hush, help="No progress and no notes: the result, and errors, alone.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the summary as one JSON object on standard output.")]
Which = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        "--arch",
        metavar="ARCH|chosen|best:K",
        help="Another network: one of the space by its text, or the K-th best of the front within the budgets.",
    ),
]
Precision = Annotated[
    Optional[Literal["fp32", "int8"]],  # noqa: UP045
    typer.Option(help="int8 adds model_int8.onnx. Default: the config's."),
]
Batch = Annotated[
    Optional[Literal["1", "dynamic"]],  # noqa: UP045
    typer.Option(help="dynamic: any number of images at once. Default: 1."),
]
EmbedPreprocessing = Annotated[
    bool,
    typer.Option("--embed-preprocessing", help="The model takes resized and cropped pixels (uint8) and normalises."),
]
Out = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option(help="The bundle's folder. Default: RUN/export/, named after architecture and options."),
]
AsZip = Annotated[
    bool, typer.Option("--zip", help="Also write the bundle as a zip beside its folder; verify.py reads it as it is.")
]
Web = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option("--web", metavar="FOLDER", help="Write a page that runs the model in a browser, for any web server."),
]
WebRuntime = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option(
        "--web-runtime",
        metavar="DIST",
        help="onnxruntime-web's dist folder (npm install onnxruntime-web), to lie beside the page. Default: the page "
        "fetches it from a public server.",
    ),
]
On = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option(
        "--on",
        metavar="[DEVICE=]PLACE",
        help="Where a device is: pi4=ssh://user@host[:port][?python=/path/to/python3]. Kept in no file: say it again "
        "when a run goes on. `browser` is the web browser on this machine. Repeatable.",
    ),
]
Pack = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option(metavar="KIT.ZIP", help="Pack what has to be timed on a device out of reach, and end."),
]
Unpack = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option(metavar="RESULTS.ZIP", help="Take what was timed by a kit, and go on."),
]
Plan = Annotated[bool, typer.Option("--plan", help="Say what would be done, how long and how much disk; do nothing.")]


def print_json(value: dict[str, Any]) -> None:
    """One JSON object on standard output."""
    print(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))
